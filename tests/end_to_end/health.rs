//! Health tells the truth: what does not work is named, and only that.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::Site;

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

#[test]
fn metrics_count_what_happened() {
    let site = Site::new();
    let _engine = site.up();
    site.ok(["run", "core.noop"]);
    let text = site.http("GET", "/metrics", &[], b"").text();
    assert!(
        text.lines()
            .any(|line| line.starts_with("camshaft_") && line.ends_with(" 1")),
        "{text}"
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
