//! Messages as events, events as messages, and a person who looks on.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::broker::{Ear, Mosquitto, free_port, publish, retain};
use crate::harness::{Engine, Site};

fn site() -> Site {
    let site = Site::new();
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n").pack_file(
        "t/rules/echo.yaml",
        "ref: t.echo\ntrigger: { ref: core.mqtt, parameters: { topic: \"in/+\" } }\naction:\n  ref: core.mqtt_publish\n  parameters:\n    topic: \"out/{{ trigger.topic }}\"\n    payload: { was: \"{{ trigger.payload }}\", as: \"{{ trigger.encoding }}\", retain: \"{{ trigger.retain }}\" }\n",
    );
    site
}

fn engine(site: &Site, port: u16) -> Engine {
    let port = port.to_string();
    let variables = [
        ("CAMSHAFT__MQTT__HOST", "127.0.0.1"),
        ("CAMSHAFT__MQTT__PORT", port.as_str()),
    ];
    let mut engine = site.up_with(&[], &variables);
    engine.seen_or_wait("the sensor listens");
    engine
}

#[test]
fn a_message_is_an_event_and_an_action_answers_it() {
    let (site, port) = (site(), free_port());
    let mut engine = site.up_with(&[&format!("--broker=127.0.0.1:{port}")], &[]);
    engine.seen_or_wait("the sensor listens");
    let mut ear = Ear::to(port, "out/#");
    publish(port, &["-t", "in/a", "-m", "{\"n\": 1}"]);
    assert_eq!(
        ear.next(),
        r#"0 out/in/a {"was":{"n":1},"as":"json","retain":false}"#
    );
    publish(port, &["-t", "in/b", "-m", "on"]);
    assert_eq!(
        ear.next(),
        r#"0 out/in/b {"was":"on","as":"text","retain":false}"#
    );
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn what_is_published_while_the_engine_is_away_comes_later_and_what_is_retained_comes_once() {
    let (site, broker) = (site(), Mosquitto::start());
    let port = broker.port;
    let first = engine(&site, port);
    let mut ear = Ear::to(port, "out/#");
    retain(port, "in/kept", "1");
    assert_eq!(
        ear.next(),
        r#"0 out/in/kept {"was":1,"as":"json","retain":false}"#
    );
    assert_eq!(first.stop().0, 0);
    publish(port, &["-q", "1", "-t", "in/missed", "-m", "2"]);
    let second = engine(&site, port);
    let mut heard = [ear.next(), ear.next()];
    heard.sort();
    assert_eq!(
        heard,
        [
            r#"0 out/in/kept {"was":1,"as":"json","retain":true}"#,
            r#"0 out/in/missed {"was":2,"as":"json","retain":false}"#,
        ],
        "the retained one is retained for the first time"
    );
    assert_eq!(second.stop().0, 0);
    let third = engine(&site, port);
    publish(port, &["-t", "in/next", "-m", "3"]);
    assert_eq!(
        ear.next(),
        r#"0 out/in/next {"was":3,"as":"json","retain":false}"#
    );
    assert_eq!(third.stop().0, 0);
}

#[test]
fn a_broker_that_is_not_there_shows_in_the_action_and_in_the_sensor() {
    let site = site();
    let engine = site.up();
    let done = site.done(["core.mqtt_publish", "topic=a/b", "payload=x"]);
    assert_eq!(done["status"], "failed");
    let error = done["error"]["message"].as_str().expect("an error");
    assert!(
        error.contains("there is no broker: set mqtt.host"),
        "{error}"
    );
    let done = site.done(["core.mqtt_publish", "topic=a/#", "host=127.0.0.1"]);
    let error = done["error"]["message"].as_str().expect("an error");
    assert!(error.contains("has a wildcard"), "{error}");
    let sensors = site.ok(["sensor", "list"]);
    assert!(sensors.contains("there is no broker"), "{sensors}");
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn a_person_observes_runs_through_a_restart_of_the_broker() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let port = broker.port;
    let port_text = port.to_string();
    let mut observer = site
        .command(["observe", "--port", &port_text])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(observer.stdout.take().expect("piped")).lines();
    let mut notes = BufReader::new(observer.stderr.take().expect("piped")).lines();
    let wait = |lines: &mut dyn Iterator<Item = std::io::Result<String>>, text: &str| loop {
        let line = lines.next().expect("a line").expect("UTF-8");
        if line.contains(text) {
            return line;
        }
    };
    wait(&mut notes, "Observing");
    let variables = [
        ("CAMSHAFT__MQTT__HOST", "127.0.0.1"),
        ("CAMSHAFT__MQTT__PORT", port_text.as_str()),
    ];
    let mut engine = site.up_with(&[], &variables);
    engine.seen_or_wait("Engine connected");
    wait(&mut lines, "is online");
    let id = site.request(["core.noop"]);
    let short = &id[id.len() - 6..];
    for text in [
        "run started",
        "noop running",
        "noop completed",
        "run completed",
    ] {
        wait(&mut lines, &format!("{short}  {text}"));
    }
    broker.kill();
    wait(&mut notes, "tried again");
    let _broker = Mosquitto::start_on(port, "allow_anonymous true\n");
    wait(&mut notes, "The broker is back.");
    engine.wait_for("Engine connected");
    let id = site.request(["core.noop"]);
    wait(
        &mut lines,
        &format!("{}  run completed", &id[id.len() - 6..]),
    );
    assert_eq!(engine.stop().0, 0);
    wait(&mut lines, "is offline");
    let _ = observer.kill();
    let _ = observer.wait();
    let nobody = site.run(["observe", "--port", "1"]);
    assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");
}
