//! `/metrics` of constraints and of the connection, from a real engine and a real broker.

use super::broker::{Mosquitto, retain};
use super::control::{GLOBAL, PAUSE, connected};
use crate::harness::Site;
use crate::metrics::number;

#[track_caller]
fn shows(site: &Site, expected: &[(&str, f64)]) {
    let page = site.http("GET", "/metrics", &[], b"").text();
    for (labelled, expected) in expected {
        let found = number(&page, labelled);
        assert!((found - expected).abs() < 1e-9, "{labelled} in:\n{page}");
    }
}

#[test]
fn metrics_tell_what_constraints_hold_and_how_the_broker_is() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let gate = site.gate("gate");
    let script = format!("echo begun; read line < '{}'", gate.display());
    site.shell_action("hold", &script, "");
    let mut engine = connected(&site, broker.port);
    let limits = ["--concurrency", "1", "--rate", "1/d", "--burst", "4"];
    site.ok(["set-limit", "--scope", "task:hold"]
        .into_iter()
        .chain(limits));
    let held = site.request(["t.hold"]);
    site.wait_for_log(&held, "begun");
    let behind = [site.request(["t.hold"]), site.request(["t.hold"])];
    let pause = PAUSE.replace("global", "task:noop");
    retain(broker.port, "cascade/constraints/task/noop", &pause);
    engine.wait_for("pause-task:noop");
    let paused = site.request(["core.noop"]);
    retain(broker.port, GLOBAL, "{");
    engine.wait_for("not a JSON object");

    let expected = [
        ("camshaft_constraints", 3.0),
        (
            "camshaft_constraint_used{scope=\"task:hold\",type=\"concurrency\"}",
            1.0,
        ),
        (
            "camshaft_constraint_free{scope=\"task:hold\",type=\"concurrency\"}",
            0.0,
        ),
        (
            "camshaft_constraint_blocked{scope=\"task:hold\",type=\"concurrency\"}",
            2.0,
        ),
        (
            "camshaft_constraint_used{scope=\"task:hold\",type=\"rate_limit\"}",
            1.0,
        ),
        (
            "camshaft_constraint_free{scope=\"task:hold\",type=\"rate_limit\"}",
            3.0,
        ),
        (
            "camshaft_constraint_blocked{scope=\"task:hold\",type=\"rate_limit\"}",
            0.0,
        ),
        (
            "camshaft_constraint_used{scope=\"task:noop\",type=\"pause\"}",
            0.0,
        ),
        (
            "camshaft_constraint_free{scope=\"task:noop\",type=\"pause\"}",
            0.0,
        ),
        (
            "camshaft_constraint_blocked{scope=\"task:noop\",type=\"pause\"}",
            1.0,
        ),
        ("camshaft_queue_depth{for=\"constraint\"}", 3.0),
        ("camshaft_slots_used", 1.0),
        (
            "camshaft_messages_refused_total{sink=\"mqtt constraints\"}",
            1.0,
        ),
        (
            "camshaft_telemetry_dropped_total{sink=\"mqtt telemetry\"}",
            0.0,
        ),
    ];
    let connection = "camshaft_connection_up{sink=\"mqtt constraints\"}";
    shows(&site, &expected);
    shows(&site, &[(connection, 1.0)]);
    broker.kill();
    engine.wait_for("Engine disconnected from external connector.");
    shows(&site, &[(connection, 0.0)]);

    for waiting in behind.iter().chain([&paused]) {
        site.ok(["execution", "cancel", waiting]);
    }
    std::fs::write(&gate, "go\n").expect("written");
    site.ended(&held);
    assert_eq!(engine.stop().0, 0);
}
