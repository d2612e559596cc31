//! What the broker is told of work that a constraint holds: through a restart, and once it is freed.

use super::broker::{Ear, Mosquitto};
use super::telemetry::{read, with_mosquitto};
use crate::harness::{Engine, Site};

/// The states of the next two messages, with the run and the task that each is about, in the order of the tasks.
fn next_two(ear: &mut Ear) -> [(String, serde_json::Value); 2] {
    let mut two = [(); 2].map(|()| {
        let (topic, message) = read(&ear.next());
        let run = topic.split('/').nth(4).expect("a run");
        (run.to_owned(), message["body"].clone())
    });
    two.sort_by_key(|(_, body)| body["task_name"].to_string());
    two
}

fn with_one_slot(site: &Site, port: u16) -> Engine {
    with_mosquitto(site, port, &["--slots", "1"], &[])
}

#[test]
fn what_is_held_is_told_again_after_a_restart_and_waits_once_it_is_freed() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let go = site.path().join("go");
    let script = format!("while [ ! -e '{}' ]; do sleep 0.01; done", go.display());
    site.shell_action("wait", &script, "").pack_file(
        "t/workflows/one.yaml",
        "ref: t.one\ntasks:\n  only: { action: t.wait }\n",
    );
    let engine = with_one_slot(&site, broker.port);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    site.ok(["pause", "--reason", "audit"]);
    let first = site.request(["t.wait"]);
    ear.wait_for(&[&first, "BLOCKED", "audit"]);
    let second = site.request(["t.one"]);
    ear.wait_for(&[&second, "BLOCKED", "audit"]);
    assert_eq!(engine.stop().0, 0);
    for run in [&first, &second] {
        let (_, stopped) = read(&ear.wait_for(&[run, "ENGINE_STOPPED"]));
        assert_eq!(stopped["body"]["status"], "interrupted", "{stopped}");
    }

    let engine = with_one_slot(&site, broker.port);
    // Those that have begun come first.
    for run in [&second, &first] {
        let (_, started) = read(&ear.wait_for(&[run, "ENGINE_STARTED"]));
        assert_eq!(started["body"]["resumed"], true, "{started}");
    }
    let [(held, only), (also_held, wait)] = next_two(&mut ear);
    assert_eq!((&held, &also_held), (&second, &first));
    for (body, name) in [(&only, "only"), (&wait, "wait")] {
        assert_eq!(body["task_name"], name);
        assert_eq!(body["state"], "BLOCKED");
        assert_eq!(body["constraint"], "pause-global");
        let reason = body["reason"].as_str().expect("a reason");
        assert!(reason.contains("audit"), "{reason}");
    }

    site.ok(["resume"]);
    let [(waiting, only), (running, wait)] = next_two(&mut ear);
    assert_eq!((&waiting, &running), (&second, &first));
    assert_eq!(wait["state"], "RUNNING");
    assert_eq!(only["state"], "PENDING");
    assert_eq!(only["reason"], "All 1 slots are taken");
    assert_eq!(only["constraint"], serde_json::Value::Null);
    std::fs::write(&go, "").expect("written");
    ear.wait_for(&[&second, "RUNNING"]);
    let (_, stopped) = read(&ear.wait_for(&[&second, "ENGINE_STOPPED"]));
    assert_eq!(stopped["body"]["status"], "completed");
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn a_question_that_waits_for_a_person_is_told_again_after_a_restart() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n")
        .pack_file(
            "t/workflows/asks.yaml",
            "ref: t.asks\ntasks:\n  ask: { inquiry: { prompt: 'Go on?' } }\n",
        );
    let engine = with_one_slot(&site, broker.port);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    let run = site.request(["t.asks"]);
    let (_, first) = read(&ear.wait_for(&["BLOCKED"]));
    assert_eq!(engine.stop().0, 0);
    ear.wait_for(&["ENGINE_STOPPED"]);
    let engine = with_one_slot(&site, broker.port);
    ear.wait_for(&[&run, "ENGINE_STARTED"]);
    let (_, again) = read(&ear.next());
    assert_eq!(again["body"], first["body"]);
    assert_eq!(again["body"]["reason"], "waits for a person");
    assert_eq!(engine.stop().0, 0);
}
