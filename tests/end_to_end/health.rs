//! Health tells the truth: what does not work is named, and only that.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::harness::{Engine, Site, await_ended, shown};

fn problem(ready: &Value) -> Option<String> {
    let parts = ready["components"].as_array().expect("a list");
    parts.iter().find_map(|part| {
        Some(format!(
            "{}: {}",
            part["component"].as_str()?,
            part["problem"].as_str()?
        ))
    })
}

#[test]
fn a_well_engine_says_so_everywhere() {
    let site = Site::new();
    let _engine = site.up();
    assert_eq!(site.get("/healthz")["status"], "ok");
    let ready = site.get("/readyz");
    let parts: Vec<&str> = ready["components"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|part| part["component"].as_str())
        .collect();
    for part in ["writer", "dispatcher", "worker"] {
        assert!(parts.contains(&part), "{parts:?}");
    }
    assert!(site.ok(["status"]).contains("ok"));
    site.ok(["doctor"]);
}

/// Sets how large files of the engine may become; `None` lets them grow again. Stands for a disk without
/// room, which a test cannot have everywhere.
fn room(engine: &Engine, bytes: Option<u64>) {
    let pid = Pid::from_raw(engine.pid());
    let before = prlimit(
        pid,
        Resource::Fsize,
        Rlimit {
            current: bytes,
            maximum: None,
        },
    );
    before.expect("the limit is set");
}

#[test]
fn an_engine_without_room_says_so_loses_nothing_and_goes_on_by_itself() {
    let site = Site::new();
    let gate = site.path().join("gate");
    assert!(
        Command::new("mkfifo")
            .arg(&gate)
            .status()
            .expect("it runs")
            .success()
    );
    site.shell_action(
        "hold",
        &format!("echo begun; read line < '{}'; echo done", gate.display()),
        "stall_timeout: 1m",
    );
    site.pack_file("t/triggers/poked.yaml", "ref: t.poked\n");
    let mut engine = site.up();
    let held = site.request(["t.hold"]);
    site.wait_for_log(&held, "begun");

    room(&engine, Some(1));
    let refused = site.run(["run", "core.noop", "--idempotency-key", "k", "--detach"]);
    assert_eq!(refused.status.code(), Some(3), "{}", shown(&refused));
    let refused = site.run(["run", "core.noop", "--idempotency-key", "late", "--detach"]);
    assert_eq!(refused.status.code(), Some(3), "{}", shown(&refused));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("nothing has changed"), "{said}");
    let event = serde_json::json!({"trigger": "t.poked", "payload": {}});
    let (status, code) = site.post("/api/v1/events", &event).refusal();
    assert_eq!((status, code.as_str()), (503, "unavailable"));
    engine.seen_or_wait("commits fail");
    let ready = site.http("GET", "/readyz", &[], b"");
    assert_eq!(ready.status, 503, "{}", ready.text());
    let named = problem(&ready.json()).expect("a problem");
    assert!(named.starts_with("writer: "), "{named}");
    // It ends while its end cannot be recorded; nobody is told of an end that is not recorded.
    fs::write(&gate, "go\n").expect("written");
    let steps = site.steps(&held);
    let spawned = steps.iter().find(|(kind, _)| kind == "step_spawned");
    let pid = spawned.and_then(|(_, payload)| payload["pid"].as_i64());
    await_ended(i32::try_from(pid.expect("it was told of")).expect("a pid"));
    let held_now = site.get(&format!("/api/v1/executions/{held}"));
    assert_eq!(held_now["status"], "running", "{held_now}");

    room(&engine, None);
    engine.seen_or_wait("commits work again");
    assert_eq!(problem(&site.get("/readyz")), None);
    let held = site.ended(&held);
    assert_eq!(
        (held["status"].as_str(), held["attempt"].as_u64()),
        (Some("completed"), Some(1)),
        "{held}"
    );
    assert_eq!(
        site.done(["core.noop", "--idempotency-key", "k"])["status"],
        "completed"
    );
    let known = site.get("/api/v1/executions?action=core.noop");
    assert_eq!(known["items"].as_array().map(Vec::len), Some(1), "{known}");
    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
    let said = log.lines().filter(|line| line.contains("commits fail"));
    assert!(said.count() <= 2, "it is said once for each cause: {log}");
    let check = site.run(["doctor", "--check"]);
    assert!(check.status.success(), "{}", shown(&check));
}

#[test]
fn room_that_came_back_is_seen_although_nobody_writes() {
    let site = Site::new();
    let mut engine = site.up();
    room(&engine, Some(1));
    let refused = site.run(["run", "core.noop", "--detach"]);
    assert_eq!(refused.status.code(), Some(3), "{}", shown(&refused));
    room(&engine, None);
    engine.wait_for("commits work again");
    assert_eq!(problem(&site.get("/readyz")), None);
}

#[test]
fn a_sensor_that_cannot_work_is_named_until_it_can() {
    let site = Site::new();
    site.shell_action("note", "echo noted", "");
    let folder = site.path().join("inbox");
    site.pack_file(
        "t/rules/on_file.yaml",
        &format!("ref: t.on_file\ntrigger: {{ ref: core.file, parameters: {{ path: {}, settle: 10ms }} }}\naction: {{ ref: t.note }}\n", folder.display()),
    );
    let mut engine = site.up();
    engine.seen_or_wait("inbox does not exist");
    let answer = site.http("GET", "/readyz", &[("Authorization", "none")], b"");
    assert_eq!(answer.status, 503);
    let found = problem(&answer.json()).expect("the sensor's problem");
    assert!(found.contains("inbox"), "{found}");
    let status = site.run(["status"]);
    assert_eq!(status.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&status.stdout).contains("inbox"));

    fs::create_dir(&folder).expect("made");
    engine.wait_for("the sensor works again");
    assert_eq!(site.get("/readyz")["ready"], true);
    fs::write(folder.join("a"), "a").expect("written");
    engine.wait_for("completed");
}

#[test]
fn a_sensor_process_that_ends_is_named() {
    let site = Site::new();
    site.shell_action("note", "echo noted", "");
    site.pack_file(
        "t/rules/on_line.yaml",
        "ref: t.on_line\ntrigger: { ref: core.process, parameters: { command: 'exit 7' } }\naction: { ref: t.note }\n",
    );
    let mut engine = site.up();
    engine.seen_or_wait("exit status: 7");
    let answer = site.http("GET", "/readyz", &[], b"");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        problem(&answer.json())
            .expect("a problem")
            .contains("exit status: 7")
    );
}

/// The leaders of this process's group and session are then outside, and have the number 0.
#[test]
fn an_engine_runs_in_a_pid_namespace_of_its_own() {
    let alone = || {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
        ]);
        command
    };
    if !alone()
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!("not tried: this machine allows no namespaces");
        return;
    }
    let site = Site::new();
    let output = alone()
        .arg(env!("CARGO_BIN_EXE_camshaft"))
        .arg("--data-dir")
        .arg(site.data_dir())
        .args(["up", "--listen", "127.0.0.1:0", "--for", "3s", "--packs"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/packs"))
        .output()
        .expect("unshare runs");
    // Only if executions completed.
    assert!(output.status.success(), "{output:?}");
}
