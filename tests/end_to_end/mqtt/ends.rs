//! What the broker hears of the last of a run: at a stop, after one that it was too slow for, after a crash.

use rustix::process::Signal;

use super::broker::{Ear, Mosquitto, free_port, retain};
use super::control::GLOBAL;
use super::telemetry::{read, site_with_many, ten_thousand_messages, with_mosquitto};
use crate::harness::{Engine, Site};

/// It queues for its clients whatever comes.
const PATIENT: &str = "allow_anonymous true\nmax_queued_messages 0\n";

#[test]
fn ten_thousand_messages_that_mosquitto_has_not_taken_reach_it_at_the_stop() {
    let (site, broker) = (site_with_many(), Mosquitto::start_on(free_port(), PATIENT));
    let flush = [("CAMSHAFT__MQTT__FLUSH", "60s")];
    let engine = with_mosquitto(&site, broker.port, &[], &flush);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    broker.signal(Signal::STOP);
    ten_thousand_messages(&site, engine, &mut ear, |engine| {
        engine.signal(Signal::TERM);
        broker.signal(Signal::CONT);
    });
}

#[test]
fn what_is_given_up_is_counted_in_the_next_message() {
    let (site, broker) = (Site::new(), Mosquitto::start_on(free_port(), PATIENT));
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n").pack_file(
        "t/workflows/many.yaml",
        "ref: t.many\ntasks:\n  each:\n    items: '{{ range(9500) }}'\n    concurrency: 9500\n    action: core.noop\n",
    );
    let mut engine = with_mosquitto(&site, broker.port, &[], &[]);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    // What says why an execution is held is long, so that it takes few of them to fill the queue.
    let long = "x".repeat(1_024);
    let pause = format!(
        r#"{{"id": "{long}", "scope": "global", "type": "pause", "params": {{}}, "expires_at": null, "reason": "{long}", "owner": "{long}"}}"#
    );
    retain(broker.port, GLOBAL, &pause);
    engine.wait_for(&long);
    broker.signal(Signal::STOP);
    let run = site.request(["t.many"]);
    site.ok(["execution", "cancel", &run]);
    assert_eq!(site.ended(&run)["status"], "cancelled");
    broker.signal(Signal::CONT);
    let (mut seq, mut dropped) = (0, 0);
    loop {
        let (topic, message) = read(&ear.next());
        assert!(topic.contains(&run), "{topic}");
        let missing = message["dropped"].as_u64().unwrap_or(0);
        let next = message["seq"].as_u64().expect("a number");
        assert_eq!(next, seq + missing + 1, "{message}");
        (seq, dropped) = (next, dropped + missing);
        if message["body"]["event"] == "ENGINE_STOPPED" {
            break;
        }
    }
    assert!(dropped > 0, "{seq} messages");
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn an_interrupt_is_told_like_any_other_stop() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    site.shell_action("long", "sleep 600", "");
    let mut engine = with_mosquitto(&site, broker.port, &[], &[]);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    let mut status = Ear::to(broker.port, "cascade/status/#");
    let run = site.request(["t.long"]);
    ear.wait_for(&[&run, "RUNNING"]);
    engine.signal(Signal::INT);
    // The second one does not wait for what runs.
    engine.wait_for("Draining");
    engine.signal(Signal::INT);
    assert_eq!(engine.ended().0, 0);
    let (_, stopped) = read(&ear.wait_for(&[&run, "ENGINE_STOPPED"]));
    assert_eq!(stopped["body"]["status"], "interrupted", "{stopped}");
    status.wait_for(&["offline"]);
}

/// The next start tells of a run that ended before, and the one after that does not.
fn is_told_at_the_next_start_and_no_more(site: &Site, run: &str, port: u16) {
    let mut ear = Ear::to(port, "cascade/telemetry/#");
    let engine = with_mosquitto(site, port, &[], &[]);
    let (_, started) = read(&ear.wait_for(&[run, "ENGINE_STARTED"]));
    assert_eq!(started["body"]["resumed"], true, "{started}");
    ear.wait_for(&[run, "\"COMPLETED\""]);
    let (_, stopped) = read(&ear.wait_for(&[run, "ENGINE_STOPPED"]));
    assert_eq!(stopped["body"]["status"], "completed", "{stopped}");
    assert_eq!(engine.stop().0, 0);
    let engine = with_mosquitto(site, port, &[], &[]);
    let mut ear = Ear::to(port, "cascade/telemetry/#");
    let other = site.request(["core.noop"]);
    let (topic, _) = read(&ear.next());
    assert!(topic.contains(&other), "{topic}, and not {run}");
    assert_eq!(engine.stop().0, 0);
}

/// A run that the broker has heard to begin, and that ends when it is gone.
fn ended_without_a_broker(site: &Site, engine: &mut Engine, broker: Mosquitto) -> String {
    let go = site.path().join("go");
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    let run = site.request(["t.wait"]);
    ear.wait_for(&[&run, "RUNNING"]);
    broker.kill();
    engine.wait_for("Engine disconnected");
    std::fs::write(&go, "").expect("written");
    assert_eq!(site.ended(&run)["status"], "completed");
    run
}

fn site_that_waits() -> Site {
    let site = Site::new();
    let go = site.path().join("go");
    let script = format!("while [ ! -e '{}' ]; do sleep 0.01; done", go.display());
    site.shell_action("wait", &script, "");
    site
}

#[test]
fn an_end_that_the_broker_had_not_taken_at_a_crash_is_told_at_the_next_start() {
    let (site, broker) = (site_that_waits(), Mosquitto::start());
    let port = broker.port;
    let mut engine = with_mosquitto(&site, port, &[], &[]);
    let run = ended_without_a_broker(&site, &mut engine, broker);
    engine.kill();
    let broker = Mosquitto::start_on(port, "allow_anonymous true\n");
    is_told_at_the_next_start_and_no_more(&site, &run, broker.port);
}

#[test]
fn an_end_that_the_broker_had_not_taken_at_the_stop_is_told_at_the_next_start() {
    let (site, broker) = (site_that_waits(), Mosquitto::start());
    let port = broker.port;
    let flush = [("CAMSHAFT__MQTT__FLUSH", "10ms")];
    let mut engine = with_mosquitto(&site, port, &[], &flush);
    let run = ended_without_a_broker(&site, &mut engine, broker);
    let (code, printed) = engine.stop();
    assert_eq!(code, 0);
    assert!(
        printed.contains("had not taken all that was told"),
        "{printed}"
    );
    let broker = Mosquitto::start_on(port, "allow_anonymous true\n");
    is_told_at_the_next_start_and_no_more(&site, &run, broker.port);
}
