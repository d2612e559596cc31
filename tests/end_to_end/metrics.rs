//! `/metrics`, as a scraper reads it from the real engine.

use crate::harness::Site;

/// The number on the line that begins so.
#[track_caller]
pub(crate) fn number(page: &str, labelled: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(labelled)?.strip_prefix(' '));
    let number = line.unwrap_or_else(|| panic!("no '{labelled}' in:\n{page}"));
    number.parse().expect("a number")
}

#[test]
fn metrics_tell_what_happened_and_how_busy_the_engine_is() {
    let site = Site::new();
    let gate = site.gate("gate");
    let script = format!("echo begun; read line < '{}'", gate.display());
    site.shell_action("hold", &script, "resources: { gpu: 1 }");
    site.shell_action("fail", "exit 1", "retry: { max_attempts: 2, delay: 1ms }");
    let variables = [
        ("CAMSHAFT__METRICS__ACTIONS", "2"),
        ("CAMSHAFT__WORKER__RESOURCES__GPU", "1"),
    ];
    let engine = site.up_with(&["--slots", "3"], &variables);
    site.done(["t.fail"]);
    let held = site.request(["t.hold"]);
    site.wait_for_log(&held, "begun");
    let behind = site.request(["t.hold"]);
    site.done(["core.noop"]);

    // Nobody has looked before, so nothing that was kept is shown.
    let answer = site.http("GET", "/metrics", &[("Authorization", "none")], b"");
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let page = answer.text();
    for (labelled, expected) in [
        ("camshaft_attempts_started_total{action=\"t.fail\"}", 2.0),
        ("camshaft_attempts_started_total{action=\"t.hold\"}", 1.0),
        ("camshaft_attempts_started_total{action=\"other\"}", 1.0),
        (
            "camshaft_executions_ended_total{action=\"t.fail\",status=\"failed\"}",
            1.0,
        ),
        (
            "camshaft_executions_ended_total{action=\"other\",status=\"completed\"}",
            1.0,
        ),
        (
            "camshaft_execution_duration_seconds_count{action=\"t.fail\"}",
            1.0,
        ),
        ("camshaft_execution_wait_seconds_count", 3.0),
        ("camshaft_step_events_total{type=\"step_retrying\"}", 1.0),
        ("camshaft_slots", 3.0),
        ("camshaft_slots_used", 1.0),
        ("camshaft_resource_capacity{resource=\"gpu\"}", 1.0),
        ("camshaft_resource_used{resource=\"gpu\"}", 1.0),
        ("camshaft_queue_depth{for=\"capacity\"}", 1.0),
        ("camshaft_queue_depth{for=\"slot\"}", 0.0),
        ("camshaft_executions_live", 2.0),
        ("camshaft_component_up{component=\"writer\"}", 1.0),
        ("camshaft_telemetry_dropped_total{sink=\"metrics\"}", 0.0),
    ] {
        let found: f64 = number(&page, labelled);
        assert!((found - expected).abs() < 1e-9, "{labelled} in:\n{page}");
    }
    assert!(
        number(&page, "camshaft_queue_oldest_age_seconds") > 0.0,
        "{page}"
    );
    let commits = number(&page, "camshaft_commit_transactions_count");
    assert!(commits >= 5.0 && commits <= number(&page, "camshaft_commit_transactions_sum"));

    let accept = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let answer = site.http("GET", "/metrics", &accept, b"");
    assert!(
        answer.head.contains("application/openmetrics-text"),
        "{}",
        answer.head
    );
    assert!(answer.text().ends_with("# EOF\n"));
    site.ok(["execution", "cancel", &behind]);
    std::fs::write(&gate, "go\n").expect("written");
    site.ended(&held);
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn metrics_that_are_off_are_not_there() {
    let site = Site::new();
    let _engine = site.up_with(&[], &[("CAMSHAFT__METRICS__ENABLED", "false")]);
    let answer = site.http("GET", "/metrics", &[], b"");
    assert_eq!(answer.status, 404);
    assert!(
        answer.text().contains("metrics.enabled"),
        "{}",
        answer.text()
    );
}
