//! Constraints that come by the broker.

use super::broker::{Ear, Mosquitto, free_port, retain};
use crate::harness::{Engine, Site};

pub(super) const PAUSE: &str = r#"{"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": null}"#;
pub(super) const GLOBAL: &str = "cascade/constraints/global";
pub(super) const UP: &str = "Engine connected to external connector.";

/// An engine that is connected to the broker at this port of this machine.
pub(super) fn connected(site: &Site, port: u16) -> Engine {
    let port = port.to_string();
    let variables = [
        ("CAMSHAFT__MQTT__HOST", "127.0.0.1"),
        ("CAMSHAFT__MQTT__PORT", port.as_str()),
    ];
    let mut engine = site.up_with(&[], &variables);
    engine.seen_or_wait(UP);
    engine
}

/// Waits until the engine says that it holds an execution.
fn held(engine: &mut Engine, id: &str, constraint: &str) {
    loop {
        let line = engine.wait_for(id);
        if line.contains(&format!("Constraint '{constraint}'")) {
            return;
        }
    }
}

fn a_pause_holds_and_its_end_frees(site: &Site, engine: &mut Engine, port: u16) {
    retain(port, GLOBAL, PAUSE);
    engine.wait_for("pause-global");
    let id = site.request(["core.noop"]);
    held(engine, &id, "pause-global");
    retain(port, GLOBAL, "");
    assert_eq!(site.ended(&id)["status"], "completed");
    assert_eq!(site.done(["core.noop"])["status"], "completed");
}

#[test]
fn a_pause_of_a_client_in_the_field_with_mosquitto() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let mut engine = connected(&site, broker.port);
    a_pause_holds_and_its_end_frees(&site, &mut engine, broker.port);
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn a_pause_of_a_client_in_the_field_with_the_broker_in_the_process() {
    let (site, port) = (Site::new(), free_port());
    let mut engine = site.up_with(&[&format!("--broker=127.0.0.1:{port}")], &[]);
    engine.seen_or_wait(UP);
    a_pause_holds_and_its_end_frees(&site, &mut engine, port);
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn what_is_retained_holds_before_anything_starts() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    // Work that waits from an earlier life, and a broker that has its constraints since then.
    let engine = connected(&site, broker.port);
    retain(broker.port, GLOBAL, PAUSE);
    let mut engine = engine;
    engine.wait_for("pause-global");
    let id = site.request(["core.noop"]);
    held(&mut engine, &id, "pause-global");
    engine.kill();
    retain(broker.port, GLOBAL, "");
    let limit = r#"{"id": "concurrency-task:noop", "scope": "task:noop", "type": "concurrency", "params": {"limit": 0}, "expires_at": null}"#;
    let pause = r#"{"id": "pause-task:noop", "scope": "task:noop", "type": "pause", "params": {}, "expires_at": null}"#;
    retain(
        broker.port,
        "cascade/constraints/task/noop/~concurrency",
        limit,
    );
    retain(broker.port, "cascade/constraints/task/noop", limit);
    retain(broker.port, "cascade/constraints/task/noop/~pause", pause);
    retain(broker.port, "cascade/constraints/task/noop", pause);
    let mut engine = connected(&site, broker.port);
    // The engine remembers the pause of everything: the broker may have forgotten it.
    retain(broker.port, GLOBAL, "");
    engine.wait_for("global: pause cleared");
    let later = site.request(["core.noop"]);
    held(&mut engine, &later, "pause-task:noop");
    retain(broker.port, "cascade/constraints/task/noop/~pause", "");
    engine.wait_for("task:noop: pause cleared");
    let last = site.request(["core.noop"]);
    held(&mut engine, &last, "concurrency-task:noop");
    let limits = "cascade/constraints/task/noop/~concurrency";
    let mut ear = Ear::to(broker.port, limits);
    retain(broker.port, "cascade/constraints/task/noop", "");
    for id in [id, later, last] {
        assert_eq!(site.ended(&id)["status"], "completed");
    }
    // It is over on the topic of its type as well, so that nothing brings the limit back.
    let end = limit.replace("null}", r#"1.0, "was": null, "emptied": true, "mark": "#);
    ear.wait_for(&[&format!("0 {limits} {end}")]);
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn a_broker_that_dies_takes_no_constraint_with_it() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let port = broker.port;
    let mut engine = connected(&site, port);
    retain(port, GLOBAL, PAUSE);
    engine.wait_for("pause-global");
    let id = site.request(["core.noop"]);
    held(&mut engine, &id, "pause-global");
    broker.kill();
    engine.wait_for("Engine disconnected from external connector.");
    engine.wait_for("Next try in");
    let meanwhile = site.request(["core.noop"]);
    held(&mut engine, &meanwhile, "pause-global");
    let broker = Mosquitto::start_on(port, "allow_anonymous true\n");
    engine.wait_for(UP);
    // The new broker knows of no pause, and that ends none.
    let later = site.request(["core.noop"]);
    held(&mut engine, &later, "pause-global");
    retain(broker.port, GLOBAL, "");
    for id in [id, meanwhile, later] {
        assert_eq!(site.ended(&id)["status"], "completed");
    }
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn what_changes_nothing_is_said_and_harms_nobody() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let mut engine = connected(&site, broker.port);
    let pause = |scope: &str| PAUSE.replace("\"global\"", &format!("\"{scope}\""));
    for (topic, payload, reason) in [
        (GLOBAL, "{", "not a JSON object"),
        (GLOBAL, "[[[[", "not a JSON object"),
        (
            GLOBAL,
            &PAUSE.replace("pause\",", "halt\","),
            "not a type of constraint",
        ),
        (
            GLOBAL,
            &PAUSE.replace("null", "\"soon\""),
            "'expires_at' must be",
        ),
        (GLOBAL, &PAUSE.replace("null", "1.5"), "expired"),
        (
            GLOBAL,
            &pause("task:x"),
            "its scope is 'task:x', but its topic is that of the scope 'global'",
        ),
        (
            "cascade/constraints/tsk/x",
            &pause("tsk:x"),
            "'tsk:x' is not a scope",
        ),
        ("cascade/constraints/global/~halt", PAUSE, "~halt"),
        (
            "cascade/constraints/global/~concurrency",
            PAUSE,
            "another type",
        ),
        (GLOBAL, &"x".repeat(100_000), "has 100000 bytes"),
    ] {
        retain(broker.port, topic, payload);
        let line = engine.wait_for("changes nothing");
        assert!(line.contains(reason), "{topic} {payload}: {line}");
    }
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn nobody_waits_for_a_broker_that_is_not_there() {
    let site = Site::new();
    let port = free_port().to_string();
    let variables = [
        ("CAMSHAFT__MQTT__HOST", "127.0.0.1"),
        ("CAMSHAFT__MQTT__PORT", port.as_str()),
    ];
    let mut engine = site.up_with(&[], &variables);
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    engine.seen_or_wait("cannot be reached");
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn the_command_line_controls_by_the_broker_alone() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let mut engine = connected(&site, broker.port);
    // No engine runs on this one's data directory.
    let (elsewhere, port) = (Site::new(), broker.port.to_string());
    let via = ["--via", "mqtt", "--port", port.as_str()];
    let tell = |arguments: &[&str]| elsewhere.ok(arguments.iter().chain(&via));
    tell(&["pause", "--ttl", "1h", "--reason", "an audit"]);
    engine.wait_for("global: pause for");
    let id = site.request(["core.noop"]);
    held(&mut engine, &id, "pause-global");
    tell(&["resume"]);
    assert_eq!(site.ended(&id)["status"], "completed");
    tell(&[
        "set-limit",
        "--scope",
        "task:a/b",
        "--concurrency",
        "0",
        "--rate",
        "1/d",
    ]);
    engine.wait_for("task:a/b: at most 1/d");
    let kinds = |site: &Site| {
        let all = site.json(["constraint", "list", "--scope", "task:a/b"]);
        let items = all["items"].as_array().expect("a list").iter();
        items.map(|item| item["type"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&site), ["concurrency", "rate_limit"]);
    tell(&["constraint", "clear", "task:a/b", "concurrency"]);
    engine.wait_for("task:a/b: at most 0 at once cleared");
    assert_eq!(kinds(&site), ["rate_limit"]);
    tell(&["resume", "task:a/b", "--all"]);
    engine.wait_for("task:a/b: at most 1/d cleared");
    assert!(!elsewhere.data_dir().exists(), "it needs no data directory");
}
