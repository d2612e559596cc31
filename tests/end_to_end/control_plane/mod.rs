//! Pauses and limits, set and cleared while work runs and waits.

mod events;
mod expiry;
mod limits;
mod pause;
mod refusals;
mod scopes;
mod tasks;
mod views;

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::control;
use crate::harness::Site;

/// A pack with `t.say`, which ends at once, and `t.gate`, which runs until its gate is opened.
fn site() -> Site {
    let site = Site::new();
    site.shell_action("say", "echo hi", "");
    let script = format!(
        "echo began\ncat '{}/'\"$PARAM_NAME\" > /dev/null",
        site.path().display()
    );
    site.shell_action(
        "gate",
        &script,
        "parameter_delivery: env\nparameters:\n  name: { type: string, required: true }\n",
    );
    site
}

/// Makes a gate and requests what will wait at it.
#[track_caller]
fn request_gated(site: &Site, name: &str) -> String {
    make_gate(site, name);
    site.request(["t.gate", &format!("name={name}")])
}

#[track_caller]
fn make_gate(site: &Site, name: &str) {
    let made = Command::new("mkfifo").arg(site.path().join(name)).status();
    assert!(made.expect("mkfifo").success(), "no gate {name}");
}

/// Waits until an execution runs.
#[track_caller]
fn began(site: &Site, id: &str) {
    let path = format!("/api/v1/executions/{id}/events/stream?type=step_started");
    control::first_of_stream(site, &path);
    site.wait_for_log(id, "began");
}

/// Lets what waits at a gate end. It must have begun.
#[track_caller]
fn open_gate(site: &Site, name: &str) {
    let gate = OpenOptions::new().write(true).open(site.path().join(name));
    gate.expect("a gate").write_all(b"go").expect("opened");
}

#[track_caller]
fn status(site: &Site, id: &str) -> String {
    let execution = site.get(&format!("/api/v1/executions/{id}"));
    execution["status"].as_str().expect("a status").to_owned()
}

/// The scope and type of the constraint that holds an execution now, as `type on scope`.
#[track_caller]
fn held_by(site: &Site, id: &str) -> String {
    let execution = site.get(&format!("/api/v1/executions/{id}"));
    let held = &execution["blocked_by"];
    assert_eq!(held["kind"], "constraint", "nothing holds {execution}");
    let text = |key: &str| held[key].as_str().expect("a text").to_owned();
    format!("{} on {}", text("type"), text("scope"))
}

/// How many run and how many wait under a constraint.
#[track_caller]
fn in_use(site: &Site, scope: &str, kind: &str) -> (u64, u64) {
    let shown = site.json(["constraint", "show", scope, kind]);
    let count = |key: &str| shown["use"][key].as_u64().expect("a number");
    (count("leases"), count("waiting"))
}

/// Waits until the event log of a run says that a constraint holds something of it.
#[track_caller]
fn blocked(site: &Site, run: &str) -> Value {
    let path = format!("/api/v1/executions/{run}/events/stream?type=task_blocked");
    control::first_of_stream(site, &path)
}

/// Requests something that falls under no constraint but those on everything, and waits for its end: what
/// was to start before it has started.
#[track_caller]
fn nothing_else_starts(site: &Site) {
    let ended = site.ended(&site.request(["core.noop"]));
    assert_eq!(ended["status"], json!("completed"));
}
