//! What the broker is told of runs.

use serde_json::Value;

use super::broker::{Ear, Mosquitto, free_port};
use crate::harness::{Engine, Site};

/// An engine of an organisation and a project that is connected, with more flags and variables.
pub(super) fn with_mosquitto(
    site: &Site,
    port: u16,
    flags: &[&str],
    variables: &[(&str, &str)],
) -> Engine {
    let port = port.to_string();
    let own = [
        ("CAMSHAFT__MQTT__HOST", "127.0.0.1"),
        ("CAMSHAFT__MQTT__PORT", port.as_str()),
        ("CASCADE_ORG_ID", "ignored"),
        ("CAMSHAFT_ORG_ID", "acme"),
        ("CASCADE_PROJECT_ID", "edge"),
    ];
    let variables: Vec<_> = own.into_iter().chain(variables.iter().copied()).collect();
    let mut engine = site.up_with(flags, &variables);
    engine.seen_or_wait("Engine connected");
    engine
}

/// Topic and message.
pub(super) fn read(line: &str) -> (String, Value) {
    let (retained, rest) = line.split_once(' ').expect("a flag");
    assert_eq!(retained, "0", "telemetry is not retained: {line}");
    let (topic, payload) = rest.split_once(' ').expect("a payload");
    let message = serde_json::from_str(payload).unwrap_or_else(|error| panic!("{error}: {line}"));
    (topic.to_owned(), message)
}

/// A message without what differs from run to run.
fn redacted(line: &str, run: &str, source: &str) -> String {
    let (_, message) = read(line);
    let ts = message["ts"].as_str().expect("a time");
    assert_eq!(ts.len(), "2026-11-21T01:28:29.590000+00:00".len(), "{ts}");
    assert!(ts.ends_with("+00:00"), "{ts}");
    let mut text = line
        .replace(run, "RUN")
        .replace(ts, "TS")
        .replace(source, "SOURCE");
    if let Some(duration) = message["body"]["duration_ms"]
        .as_f64()
        .filter(|duration| *duration > 0.0)
    {
        text = text.replace(
            &format!("\"duration_ms\":{duration:?}"),
            "\"duration_ms\":MS",
        );
    }
    text
}

#[test]
fn messages_of_a_run_byte_by_byte() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    site.shell_action("fail", "exit 3", "");
    let engine = with_mosquitto(&site, broker.port, &[], &[]);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    let ended = site.done(["t.fail"]);
    let run = ended["id"].as_str().expect("an id");
    let worker = ended["worker"].as_str().expect("a worker");
    let source = format!(
        "{}-{}",
        rustix::system::uname().nodename().to_string_lossy(),
        engine.pid()
    );
    let error = ended["error"]["message"].as_str().expect("an error");
    let head = r#"0 cascade/telemetry/acme/edge/RUN/events {"v":"1.0","ts":"TS","run_id":"RUN","org_id":"acme","project_id":"edge","source":"SOURCE","body":{"#;
    let task = format!(r#"{head}"type":"TaskStateEvent","task_id":"RUN","task_name":"fail","#);
    let expected = [
        format!(r#"{head}"type":"LifecycleEvent","event":"ENGINE_STARTED"}},"seq":1}}"#),
        format!(
            r#"{task}"state":"RUNNING","duration_ms":0.0,"error":"","attempt":1,"worker":"{worker}"}},"seq":2}}"#
        ),
        format!(
            r#"{task}"state":"FAILED","duration_ms":MS,"error":"{error}","attempt":1,"worker":"{worker}"}},"seq":3}}"#
        ),
        format!(
            r#"{head}"type":"LifecycleEvent","event":"ENGINE_STOPPED","status":"failed","duration_ms":MS,"error":"{error}"}},"seq":4}}"#
        ),
    ];
    for expected in expected {
        assert_eq!(redacted(&ear.next(), run, &source), expected);
    }
    assert_eq!(engine.stop().0, 0);
}

/// A run of ten thousand messages, whose end is followed by a stop of the engine.
pub(super) fn ten_thousand_messages(
    site: &Site,
    mut engine: Engine,
    ear: &mut Ear,
    stop: impl FnOnce(&Engine),
) {
    let run = site.request(["t.many"]);
    assert_eq!(site.ended(&run)["status"], "completed");
    stop(&engine);
    assert_eq!(engine.ended().0, 0);
    let mut seq = 0;
    loop {
        let (topic, message) = read(&ear.next());
        assert!(topic.contains(&run), "{topic}");
        seq += 1;
        assert_eq!(message["seq"], seq, "{message}");
        assert_eq!(message["dropped"], Value::Null);
        if message["body"]["event"] == "ENGINE_STOPPED" {
            assert_eq!(message["body"]["status"], "completed");
            break;
        }
    }
    assert!(seq >= 10_000, "{seq}");
}

pub(super) fn site_with_many() -> Site {
    let site = Site::new();
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n").pack_file(
        "t/workflows/many.yaml",
        "ref: t.many\ntasks:\n  each:\n    items: '{{ range(5000) }}'\n    concurrency: 16\n    action: core.noop\n",
    );
    site
}

#[test]
fn a_workflow_with_tasks_of_every_kind() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    site.shell_action("flaky", "test \"$CAMSHAFT_ATTEMPT\" = 2", "retry: { max_attempts: 2, delay: 10ms }")
        .pack_file("t/workflows/inner.yaml", "ref: t.inner\ntasks:\n  deep: { action: core.noop }\n")
        .pack_file(
            "t/workflows/all.yaml",
            "ref: t.all\ntasks:\n  each: { action: core.noop, items: '{{ [1, 2] }}' }\n  skipped: { action: core.noop, when: '1 == 2', needs: [each] }\n  sub: { action: t.inner, needs: [each] }\n  flaky: { action: t.flaky, needs: [sub] }\n",
        );
    let engine = with_mosquitto(&site, broker.port, &[], &[]);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    let run = site.request(["t.all"]);
    let mut told = Vec::new();
    loop {
        let (_, message) = read(&ear.next());
        let body = &message["body"];
        if let Some(event) = body["event"].as_str() {
            told.push(event.to_owned());
            if event == "ENGINE_STOPPED" {
                break;
            }
            continue;
        }
        let own_id =
            body["task_id"] != format!("{run}/{}", body["task_name"].as_str().expect("a name"));
        let item = body["item"]
            .as_u64()
            .map_or_else(String::new, |item| format!("[{item}]"));
        let kind = if own_id { "" } else { " of the run" };
        told.push(format!(
            "{}{item} {}{kind}",
            body["task_name"].as_str().expect("a name"),
            body["state"].as_str().expect("a state")
        ));
    }
    let of = |name: &str| -> Vec<&str> {
        let lines = told.iter().map(String::as_str);
        lines
            .filter(|line| line.split([' ', '[']).next() == Some(name))
            .collect()
    };
    let each = of("each");
    assert_eq!(
        (each[0], each[5]),
        ("each RUNNING of the run", "each COMPLETED of the run"),
        "{told:?}"
    );
    let mut items = each[1..5].to_vec();
    items.sort_unstable();
    assert_eq!(
        items,
        [
            "each[0] COMPLETED",
            "each[0] RUNNING",
            "each[1] COMPLETED",
            "each[1] RUNNING"
        ]
    );
    assert_eq!(of("skipped"), ["skipped SKIPPED of the run"]);
    assert_eq!(of("sub"), ["sub RUNNING", "sub COMPLETED"]);
    assert_eq!(of("deep"), ["deep RUNNING", "deep COMPLETED"]);
    assert_eq!(
        of("flaky"),
        [
            "flaky RUNNING",
            "flaky RETRYING",
            "flaky RUNNING",
            "flaky COMPLETED"
        ]
    );
    assert_eq!(told.len(), 2 + 6 + 1 + 2 + 2 + 4, "{told:?}");
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn a_run_goes_on_while_the_broker_is_away_and_is_told_of_later() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let port = broker.port;
    let go = site.path().join("go");
    let script = format!("while [ ! -e '{}' ]; do sleep 0.05; done", go.display());
    site.shell_action("wait", &script, "");
    let mut engine = with_mosquitto(&site, port, &[], &[]);
    let mut ear = Ear::to(port, "cascade/telemetry/#");
    let run = site.request(["t.wait"]);
    ear.wait_for(&[&run, "RUNNING"]);
    let connection = || {
        let about = site.get("/api/v1/info");
        let sinks = about["sinks"].as_array().expect("sinks").iter();
        let connections: Vec<_> = sinks.filter(|sink| !sink["connection"].is_null()).collect();
        assert_eq!(connections.len(), 1, "{about}");
        connections[0]["connection"].clone()
    };
    assert_eq!(connection()["up"], true);
    broker.kill();
    engine.wait_for("Engine disconnected");
    assert_eq!(connection()["up"], false);
    let status = site.ok(["status"]);
    assert!(
        status.contains(&format!(":{port}, not connected")),
        "{status}"
    );
    std::fs::write(&go, "").expect("written");
    assert_eq!(site.ended(&run)["status"], "completed");
    // Whoever wants to hear it must be there before the engine is back.
    engine.signal(rustix::process::Signal::STOP);
    let broker = Mosquitto::start_on(port, "allow_anonymous true\n");
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    engine.signal(rustix::process::Signal::CONT);
    let (_, stopped) = read(&ear.wait_for(&[&run, "ENGINE_STOPPED"]));
    assert_eq!(stopped["seq"], 4);
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn a_stop_and_a_crash_are_told_and_so_is_what_became_of_the_run() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    site.shell_action("long", "sleep 600", "idempotent: true\n");
    let mut status = Ear::to(broker.port, "cascade/status/#");
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    let engine = with_mosquitto(&site, broker.port, &[], &[]);
    let online = status.wait_for(&["\"status\": \"online\""]);
    assert!(online.contains(&format!("-{} ", engine.pid())), "{online}");
    let run = site.request(["t.long"]);
    ear.wait_for(&[&run, "RUNNING"]);
    let source = engine.pid();
    engine.kill();
    let offline = status.wait_for(&["offline"]);
    assert!(
        offline.ends_with(&format!("-{source} {{\"status\": \"offline\"}}")),
        "{offline}"
    );
    let engine = with_mosquitto(&site, broker.port, &[], &[]);
    let (_, started) = read(&ear.wait_for(&[&run, "ENGINE_STARTED"]));
    assert_eq!(started["body"]["resumed"], true);
    ear.wait_for(&[&run, "\"RUNNING\"", "\"attempt\":2"]);
    // The second signal does not wait for what runs.
    engine.signal(rustix::process::Signal::TERM);
    let source = engine.pid();
    let (code, _) = engine.stop();
    assert_eq!(code, 0);
    let (_, stopped) = read(&ear.wait_for(&[&run, "ENGINE_STOPPED"]));
    assert_eq!(stopped["body"]["status"], "interrupted", "{stopped}");
    let offline = status.wait_for(&["offline"]);
    assert!(offline.contains(&format!("-{source} ")), "{offline}");
}

#[test]
fn a_run_that_ends_while_the_engine_stops_is_told_as_it_ended() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let go = site.path().join("go");
    let script = format!("while [ ! -e '{}' ]; do sleep 0.01; done", go.display());
    site.shell_action("wait", &script, "");
    let mut engine = with_mosquitto(&site, broker.port, &[], &[]);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    // Many end at once, so that the last commit takes its time.
    let runs: Vec<String> = (0..4).map(|_| site.request(["t.wait"])).collect();
    for _ in &runs {
        ear.wait_for(&["RUNNING"]);
    }
    engine.signal(rustix::process::Signal::TERM);
    std::fs::write(&go, "").expect("written");
    assert_eq!(engine.ended().0, 0);
    for _ in &runs {
        let (_, stopped) = read(&ear.wait_for(&["ENGINE_STOPPED"]));
        assert_eq!(stopped["body"]["status"], "completed", "{stopped}");
    }
}

#[test]
fn an_engine_takes_back_what_the_broker_keeps_of_the_one_before_it() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    let engine = with_mosquitto(&site, broker.port, &[], &[]);
    let first = engine.pid();
    assert_eq!(engine.stop().0, 0);
    let mut ear = Ear::to(broker.port, "cascade/status/#");
    let kept = ear.next();
    assert!(
        kept.ends_with(&format!("-{first} {{\"status\": \"offline\"}}")),
        "{kept}"
    );
    assert!(kept.starts_with("1 "), "{kept}");
    let engine = with_mosquitto(&site, broker.port, &[], &[]);
    ear.wait_for(&["\"online\""]);
    let forgotten = &ear.heard[1];
    assert!(forgotten.ends_with(&format!("-{first} ")), "{forgotten}");
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn ten_thousand_messages_leave_the_broker_in_the_process_before_the_end() {
    let (site, port) = (site_with_many(), free_port());
    let mut engine = site.up_with(&[&format!("--broker=127.0.0.1:{port}")], &[]);
    engine.seen_or_wait("Engine connected");
    let mut ear = Ear::to(port, "cascade/telemetry/#");
    ten_thousand_messages(&site, engine, &mut ear, |engine| {
        engine.signal(rustix::process::Signal::TERM);
    });
}

#[test]
fn a_task_with_items_runs_before_its_items_and_completes_after_them() {
    let (site, broker) = (Site::new(), Mosquitto::start());
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n").pack_file(
        "t/workflows/few.yaml",
        "ref: t.few\ntasks:\n  each: { items: [1, 2], concurrency: 1, action: core.noop }\n  after: { needs: [each], action: core.noop }\n",
    );
    let engine = with_mosquitto(&site, broker.port, &[], &[]);
    let mut ear = Ear::to(broker.port, "cascade/telemetry/#");
    let run = site.request(["t.few"]);
    assert_eq!(site.ended(&run)["status"], "completed");
    let mut told = Vec::new();
    loop {
        let (_, message) = read(&ear.next());
        let body = &message["body"];
        let item = body["item"]
            .as_u64()
            .map_or_else(String::new, |item| item.to_string());
        match (&body["event"], &body["task_name"], &body["state"]) {
            (Value::String(event), _, _) if event == "ENGINE_STOPPED" => break,
            (_, Value::String(name), Value::String(state)) => {
                told.push(format!("{name}{item} {state}"))
            }
            _ => {}
        }
    }
    let expected = [
        "each RUNNING",
        "each0 RUNNING",
        "each0 COMPLETED",
        "each1 RUNNING",
        "each1 COMPLETED",
        "each COMPLETED",
        "after RUNNING",
        "after COMPLETED",
    ];
    assert_eq!(told, expected);
    assert_eq!(engine.stop().0, 0);
}
