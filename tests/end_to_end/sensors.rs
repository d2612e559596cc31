//! Sensors: timers, webhooks, files, processes and executions; there while an enabled rule wants them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Site, await_ended};

fn rule(site: &Site, name: &str, trigger: &str, parameters: &str, action: &str) {
    site.shell_action("note", "cat", "output: json\nparameters:\n  what: {}\n");
    let text = format!(
        "ref: t.{name}\ntrigger: {{ ref: {trigger}, parameters: {parameters} }}\naction: {action}\n"
    );
    site.pack_file(&format!("t/rules/{name}.yaml"), &text);
}

const NOTE: &str = "{ ref: t.note, parameters: { what: \"{{ trigger }}\" } }";

fn payloads(site: &Site, trigger: &str) -> Vec<Value> {
    let page = site.json(["event", "list", "--trigger", trigger, "--limit", "500"]);
    page["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["payload"].clone())
        .collect()
}

#[test]
fn timers_fire_and_never_twice_for_one_instant() {
    let site = Site::new();
    rule(
        &site,
        "interval",
        "core.interval",
        "{ every: 100ms, catchup: all }",
        NOTE,
    );
    rule(
        &site,
        "cron",
        "core.cron",
        "{ expression: '* * * * * *', timezone: Europe/Berlin }",
        NOTE,
    );
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(300);
    rule(
        &site,
        "date",
        "core.date",
        &format!("{{ at: '{at}' }}"),
        NOTE,
    );
    rule(
        &site,
        "rrule",
        "core.rrule",
        "{ rule: 'FREQ=SECONDLY' }",
        NOTE,
    );
    let mut engine = site.up();
    for trigger in ["core.date", "core.cron", "core.rrule", "core.interval"] {
        if payloads(&site, trigger).is_empty() {
            engine.wait_for(trigger);
        }
    }
    engine.kill();
    let mut engine = site.up();
    for _ in 0..3 {
        engine.wait_for("core.interval");
    }
    let (_, log) = engine.stop();
    let _engine = site.up();
    for trigger in ["core.interval", "core.cron", "core.rrule"] {
        let instants: Vec<String> = payloads(&site, trigger)
            .iter()
            .map(|p| p["scheduled_at"].as_str().expect("an instant").to_owned())
            .collect();
        let distinct: BTreeSet<&String> = instants.iter().collect();
        assert_eq!(
            instants.len(),
            distinct.len(),
            "{trigger}: {instants:?}\n{log}"
        );
    }
    assert_eq!(
        payloads(&site, "core.date").len(),
        1,
        "once, also after a restart"
    );
}

fn hmac(key: &[u8], body: &[u8]) -> String {
    let pad = |byte: u8| -> Vec<u8> {
        (0..64)
            .map(|n| key.get(n).copied().unwrap_or(0) ^ byte)
            .collect()
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(body)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_webhook_takes_what_is_signed_and_small_enough() {
    let site = Site::new();
    fs::write(
        site.path().join("camshaft.yaml"),
        "secrets: { hook: { env: HOOK_KEY } }\n",
    )
    .expect("written");
    rule(
        &site,
        "hook",
        "core.webhook",
        "{ path: deploy, secret: \"{{ secrets.hook }}\", max_bytes: 64 }",
        NOTE,
    );
    let mut engine = site.up_with(&[], &[("HOOK_KEY", "key")]);
    let body = br#"{"branch": "main"}"#;
    let send = |method: &str, signature: &str, body: &[u8]| {
        let headers = [
            ("Authorization", "none"),
            ("Content-Type", "application/json"),
            ("X-Hub-Signature-256", signature),
        ];
        site.http(method, "/api/v1/hooks/deploy?dry=1", &headers, body)
    };
    let good = format!("sha256={}", hmac(b"key", body));
    assert_eq!(send("POST", &good, body).status, 202);
    engine.wait_for("completed");
    let bad = format!("sha256={}", hmac(b"wrong", body));
    assert_eq!(
        send("POST", &bad, body).refusal(),
        (401, "unauthorized".to_owned())
    );
    assert_eq!(
        send("POST", "", body).refusal(),
        (401, "unauthorized".to_owned())
    );
    assert_eq!(
        send("PUT", &good, body).refusal(),
        (405, "method_not_allowed".to_owned())
    );
    let large = vec![b'x'; 65];
    assert_eq!(
        send("POST", &format!("sha256={}", hmac(b"key", &large)), &large).refusal(),
        (413, "too_large".to_owned())
    );
    assert_eq!(
        site.http("POST", "/api/v1/hooks/other", &[], b"").refusal(),
        (404, "not_found".to_owned())
    );
    let events = payloads(&site, "core.webhook");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["body"], json!({"branch": "main"}));
    assert_eq!(events[0]["query"]["dry"], "1");
    let sensors = site.get("/api/v1/sensors").to_string();
    assert!(
        !sensors.contains("\"key\":\"key\"") && !events[0].to_string().contains(&good),
        "{sensors}"
    );
}

#[test]
fn a_webhook_that_a_run_waits_for_is_there_once_the_run_is_acknowledged() {
    let site = Site::new();
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    for number in 0..20 {
        let wait =
            format!("wait_for: {{ trigger: core.webhook, parameters: {{ path: call-{number} }} }}");
        site.pack_file(
            &format!("t/workflows/called_{number}.yaml"),
            &format!("ref: t.called_{number}\ntasks:\n  call: {{ {wait} }}\n"),
        );
    }
    let _engine = site.up();
    for number in 0..20 {
        let what = json!({"action": format!("t.called_{number}")});
        let run = site.post("/api/v1/executions", &what);
        assert!(run.status < 300, "{}", run.text());
        let hook = format!("/api/v1/hooks/call-{number}");
        let called = site.http("POST", &hook, &[], b"");
        assert_eq!(called.status, 202, "{number}: {}", called.text());
        let run = run.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(site.ended(&run)["status"], "completed");
    }
}

#[test]
fn files_and_lines_of_processes_are_events() {
    let site = Site::new();
    let inbox = site.path().join("inbox");
    fs::create_dir(&inbox).expect("made");
    fs::write(inbox.join("early.csv"), "1").expect("written");
    rule(
        &site,
        "file",
        "core.file",
        &format!(
            "{{ path: {}, glob: '*.csv', settle: 20ms }}",
            inbox.display()
        ),
        NOTE,
    );
    rule(
        &site,
        "line",
        "core.process",
        "{ command: [sh, -c, 'echo \"{\\\"pid\\\": $$}\"; exec sleep 1000'] }",
        NOTE,
    );
    let mut engine = site.up();
    engine.wait_for("core.file");
    if payloads(&site, "core.process").is_empty() {
        engine.wait_for("core.process");
    }
    let before = payloads(&site, "core.file").len();
    assert_eq!(before, 1);
    fs::write(inbox.join("ignored.txt"), "1").expect("written");
    fs::write(inbox.join("new.csv"), "12").expect("written");
    engine.wait_for("core.file");
    let files = payloads(&site, "core.file");
    let names: BTreeSet<&str> = files.iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["early.csv", "new.csv"]));
    let new = files
        .iter()
        .find(|p| p["name"] == "new.csv")
        .expect("there");
    assert_eq!(
        (new["event"].as_str(), new["size"].as_u64()),
        (Some("created"), Some(2))
    );

    let pid = payloads(&site, "core.process")[0]["pid"]
        .as_i64()
        .expect("a pid");
    site.ok(["rule", "disable", "t.line"]);
    await_ended(i32::try_from(pid).expect("a pid"));
    let sensors = site.get("/api/v1/sensors").to_string();
    assert!(
        sensors.contains("core.file") && !sensors.contains("core.process"),
        "{sensors}"
    );
    site.ok(["rule", "enable", "t.line"]);
    engine.wait_for("core.process");
    let pid = payloads(&site, "core.process")[0]["pid"]
        .as_i64()
        .expect("a pid");
    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
    await_ended(i32::try_from(pid).expect("a pid"));
}

#[test]
fn an_execution_that_ends_is_an_event() {
    let site = Site::new();
    site.shell_action("fails", "exit 3", "");
    rule(
        &site,
        "after",
        "core.execution",
        "{ action: t.f*, status: [failed, timed_out] }",
        NOTE,
    );
    let mut engine = site.up();
    site.done(["core.noop"]);
    let failed = site.request(["t.fails"]);
    engine.wait_for("t.note completed");
    let enforcements = site.json(["enforcement", "list", "--rule", "t.after"]);
    assert_eq!(
        enforcements["items"].as_array().map(Vec::len),
        Some(1),
        "only what the rule asked for: {enforcements}"
    );
    let list = site.json(["execution", "list", "--action", "t.note"]);
    let told = &list["items"][0]["result"]["what"];
    assert_eq!(
        (told["execution_id"].as_str(), told["exit_code"].as_i64()),
        (Some(failed.as_str()), Some(3)),
        "{list}"
    );
}

#[test]
fn a_chain_of_executions_has_an_end() {
    let site = Site::new();
    rule(
        &site,
        "echo",
        "core.execution",
        "{ action: t.note, status: completed }",
        NOTE,
    );
    let mut engine = site.up_with(&[], &[("CAMSHAFT__ENGINE__MAX_DEPTH", "3")]);
    site.done(["t.note"]);
    let line = engine.wait_for("t.echo could not be evaluated");
    assert!(
        line.contains("engine.max_depth") && line.contains('3'),
        "{line}"
    );
    let enforcements = site.json(["enforcement", "list"]);
    let outcomes: Vec<&str> = enforcements["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|e| e["outcome"].as_str())
        .collect();
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == "requested")
            .count(),
        2,
        "{enforcements}"
    );
}

#[test]
fn overlapping_occurrences_are_skipped_where_the_rule_says_so() {
    let site = Site::new();
    site.shell_action("slow", "sleep 1000", "");
    rule(
        &site,
        "skip",
        "core.interval",
        "{ every: 100ms, overlap: skip }",
        "{ ref: t.slow }",
    );
    let mut engine = site.up();
    let line = engine.wait_for("t.skip matched, skipped");
    assert!(line.contains("exec_"), "the holder is named: {line}");
    assert_eq!(
        site.json(["execution", "list"])["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn cloud_events_are_events() {
    let site = Site::new();
    site.pack_file("t/triggers/placed.yaml", "ref: t.placed\n");
    rule(&site, "order", "t.placed", "{}", NOTE);
    let mut engine = site.up();
    let body = json!({"specversion": "1.0", "id": "7", "source": "/shop", "type": "t.placed", "data": {"id": 7}}).to_string();
    let answer = site.http(
        "POST",
        "/api/v1/events",
        &[("Content-Type", "application/cloudevents+json")],
        body.as_bytes(),
    );
    assert_eq!(answer.status, 202, "{}", answer.text());
    engine.wait_for("completed");
    assert_eq!(payloads(&site, "t.placed"), [json!({"id": 7})]);
}
