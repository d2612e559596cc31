//! What happens, as it happens: the event log as a stream that resumes, and logs that wait for bytes.

use std::fs;

use serde_json::Value;

use super::{Live, header, items, problem, text};
use crate::harness::Site;

fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| text(event, "event_type"))
        .collect()
}

#[test]
fn a_run_is_followed_from_its_start_to_its_end_and_resumed_without_gaps() {
    let site = Site::new();
    let gate = site.gate("gate");
    site.shell_action(
        "hold",
        &format!("echo ready; read line < {}", gate.display()),
        "",
    );
    site.shell_action("say", "echo said", "");
    let _engine = site.up();
    let id = site.request(["t.hold"]);
    let path = format!("/api/v1/executions/{id}/events/stream");
    let mut live = Live::get(&site, &path, &[]);
    assert_eq!(live.status, 200, "{}", live.head);
    assert!(
        live.head
            .to_lowercase()
            .contains("content-type: text/event-stream"),
        "{}",
        live.head
    );
    let mut seen = vec![live.next().expect("started"), live.next().expect("spawned")];
    assert_eq!(
        types(&seen),
        ["step_started", "step_spawned"],
        "while it runs"
    );
    let stranger = site.request(["t.say"]);
    site.ended(&stranger);
    fs::write(&gate, "go\n").expect("written");
    seen.extend(live.rest());
    assert_eq!(
        types(&seen),
        ["step_started", "step_spawned", "step_finished"],
        "the stream ends with the run"
    );

    let log = site.get(&format!("/api/v1/executions/{id}/events"));
    assert_eq!(
        items(&log),
        &seen,
        "stream and list show the same, and nothing of another run"
    );
    for (position, event) in seen.iter().enumerate() {
        let last = event["id"].to_string();
        let rest = Live::get(&site, &path, &[("Last-Event-ID", &last)]).rest();
        assert_eq!(rest, seen[position + 1..], "resumed after {last}");
        assert_eq!(
            Live::get(&site, &format!("{path}?after={last}"), &[]).rest(),
            seen[position + 1..]
        );
    }
    assert_eq!(
        Live::get(&site, &path, &[]).rest(),
        seen,
        "also when it has ended"
    );
    assert_eq!(
        Live::get(&site, &format!("{path}?type=step_finished"), &[]).rest(),
        seen[2..]
    );
    assert_eq!(
        Live::get(&site, &format!("{path}?after={}", i64::MAX), &[]).rest(),
        Vec::<Value>::new()
    );
    let wrong = Live::get(&site, &path, &[("Last-Event-ID", "seventeen")]).answer();
    assert_eq!(problem(&wrong, 400), "invalid_request");

    let first = site.get(&format!("/api/v1/executions/{id}/events?limit=2"));
    assert_eq!(items(&first), &seen[..2]);
    let rest = site.get(&format!(
        "/api/v1/executions/{id}/events?limit=2&after={}",
        text(&first, "next_cursor")
    ));
    assert_eq!(
        (items(&rest), &rest["next_cursor"]),
        (&seen[2..].to_vec(), &Value::Null)
    );
}

#[test]
fn every_run_is_followed_at_once_and_the_stream_ends_with_the_engine() {
    let site = Site::new();
    site.shell_action("say", "echo said", "");
    let engine = site.up();
    let done = site.request(["t.say"]);
    site.ended(&done);
    let newest = items(&site.get(&format!("/api/v1/executions/{done}/events")))
        .last()
        .expect("a line")["id"]
        .to_string();
    let mut live = Live::get(
        &site,
        "/api/v1/events/stream",
        &[("Last-Event-ID", &newest)],
    );
    let ids = [site.request(["t.say"]), site.request(["t.say"])];
    let mut finished = Vec::new();
    let mut last = 0;
    while finished.len() < 2 {
        let event = live.next().expect("a line");
        let number = event["id"].as_i64().expect("a number");
        assert!(number > last, "in order");
        last = number;
        if event["event_type"] == "step_finished" {
            finished.push(text(&event, "execution_id").to_owned());
        }
    }
    finished.sort_unstable();
    let mut expected = ids.to_vec();
    expected.sort_unstable();
    assert_eq!(finished, expected);
    let (code, log) = engine.stop();
    assert_eq!((code, live.next()), (0, None), "{log}");
}

#[test]
fn a_log_is_followed_byte_by_byte_while_it_grows() {
    let site = Site::new();
    let gate = site.gate("gate");
    site.shell_action(
        "two",
        &format!(
            "echo one; read line < {}; echo two; echo bad >&2",
            gate.display()
        ),
        "",
    );
    let _engine = site.up();
    let id = site.request(["t.two"]);
    assert_eq!(site.wait_for_log(&id, "one\n"), "one\n");
    let path = format!("/api/v1/executions/{id}/logs/stdout");
    let now = site.http("GET", &format!("{path}?offset=1&limit=2"), &[], b"");
    assert_eq!(
        (
            now.text().as_str(),
            header(&now, "camshaft-next-offset").as_deref()
        ),
        ("ne", Some("3"))
    );
    assert_eq!(
        header(&now, "camshaft-ended").as_deref(),
        Some("false"),
        "{}",
        now.head
    );
    assert_eq!(header(&now, "camshaft-status").as_deref(), Some("running"));
    let nothing = site.http("GET", &format!("{path}?offset=4&wait=10ms"), &[], b"");
    assert_eq!(
        (
            nothing.body.len(),
            header(&nothing, "camshaft-ended").as_deref()
        ),
        (0, Some("false"))
    );
    let grown = std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| site.http("GET", &format!("{path}?offset=4&wait=60s"), &[], b""));
        fs::write(&gate, "go\n").expect("written");
        waiting.join().expect("an answer")
    });
    assert_eq!(
        (
            grown.text().as_str(),
            header(&grown, "camshaft-next-offset").as_deref()
        ),
        ("two\n", Some("8"))
    );
    let end = site.http("GET", &format!("{path}?offset=8&wait=60s"), &[], b"");
    assert_eq!(
        (end.body.len(), header(&end, "camshaft-ended").as_deref()),
        (0, Some("true")),
        "{}",
        end.head
    );
    assert_eq!(
        header(&end, "camshaft-status").as_deref(),
        Some("completed")
    );
    assert_eq!(
        (
            header(&end, "camshaft-attempt").as_deref(),
            header(&end, "camshaft-attempts").as_deref()
        ),
        (Some("1"), Some("1"))
    );
    let errors = site.http(
        "GET",
        &format!("/api/v1/executions/{id}/logs/stderr?attempt=1"),
        &[],
        b"",
    );
    assert_eq!(
        (
            errors.text().as_str(),
            header(&errors, "camshaft-ended").as_deref()
        ),
        ("bad\n", Some("true"))
    );
    assert_eq!(
        header(&errors, "content-type").as_deref(),
        Some("application/octet-stream")
    );
}

#[test]
fn a_stream_of_every_run_begins_with_the_first_line_after_a_quiet_start() {
    let site = Site::new();
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    // Its start, its task's and their first lines are one commit.
    site.pack_file(
        "t/workflows/flow.yaml",
        "ref: t.flow\ntasks:\n  a: { action: core.echo, with: { message: a } }\n  b: { action: core.echo, with: { message: b } }\n",
    );
    let engine = site.up();
    let done = site.done(["t.flow"]);
    engine.stop();
    let _engine = site.up();
    let mut live = Live::get(&site, "/api/v1/events/stream", &[]);
    assert_eq!(live.status, 200, "{}", live.head);
    let id = site.done(["t.flow"])["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let log = site.get(&format!("/api/v1/executions/{id}/events"));
    let seen: Vec<Value> = items(&log)
        .iter()
        .map(|_| live.next().expect("a line"))
        .collect();
    assert_eq!(&seen, items(&log), "and nothing of {}", done["id"]);
}
