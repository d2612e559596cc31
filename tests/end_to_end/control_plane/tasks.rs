//! A task whose execution has not started says so, and what holds it, wherever its run is shown.

use super::*;

/// The tasks of a run by name, each with its status and the kind of what holds it.
fn said_of_tasks(site: &Site, run: &str) -> Value {
    let view = site.get(&format!("/api/v1/executions/{run}/run"));
    let tasks = view["tasks"].as_array().expect("tasks");
    let mut said: Vec<_> = tasks
        .iter()
        .map(|task| (&task["name"], &task["status"], &task["blocked_by"]["kind"]))
        .collect();
    said.sort_by_key(|(name, ..)| name.as_str());
    json!(said)
}

/// What the trace of a run says of a task: its status, the kind of what holds it, and why it is as it is.
fn traced(site: &Site, run: &str, task: &str) -> Value {
    let trace = site.json(["trace", run]);
    let steps = trace["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["step"] == task);
    let step = step.unwrap_or_else(|| panic!("no {task} in {trace}"));
    json!([step["status"], step["blocked_by"]["kind"], step["reason"]])
}

#[test]
fn a_task_is_requested_until_its_execution_starts() {
    let site = site();
    site.pack_file(
        "t/workflows/flow.yaml",
        "ref: t.flow\ntasks:\n  queued: { action: t.say }\n  held: { action: t.say }\n  rows: { action: t.say, items: \"{{ [1, 2] }}\" }\n",
    );
    let _engine = site.up_with(&["--slots", "1"], &[]);
    let holder = request_gated(&site, "a");
    began(&site, &holder);
    site.ok(["pause", "task:held"]);
    let run = site.request(["t.flow"]);
    let requested = |name: &str, held_by: &str| json!([name, "requested", held_by]);
    // There is no slot for any of them; what somebody set is said first.
    let all = [
        ("held", "constraint"),
        ("queued", "slots"),
        ("rows", "slots"),
    ];
    let all = all.map(|(name, held_by)| requested(name, held_by));
    assert_eq!(said_of_tasks(&site, &run), json!(all));
    for task in ["queued", "rows"] {
        let told = json!(["requested", "slots", "All 1 slots are taken"]);
        assert_eq!(traced(&site, &run, task), told);
    }
    let children = site.get(&format!("/api/v1/executions/{run}/children"));
    let children = children["items"].as_array().expect("children");
    assert_eq!(children.len(), 4, "{children:?}");
    for child in children {
        let is_held = child["task"]["name"] == "held";
        let held_by = if is_held { "constraint" } else { "slots" };
        let said = (&child["status"], &child["blocked_by"]["kind"]);
        assert_eq!(said, (&json!("requested"), &json!(held_by)), "{child}");
    }

    open_gate(&site, "a");
    let others = children
        .iter()
        .filter(|child| child["task"]["name"] != "held");
    for child in others {
        site.ended(child["id"].as_str().expect("an id"));
    }
    let completed = |name: &str| json!([name, "completed", null]);
    let told = [
        requested("held", "constraint"),
        completed("queued"),
        completed("rows"),
    ];
    assert_eq!(said_of_tasks(&site, &run), json!(told));
    let held = traced(&site, &run, "held");
    assert_eq!(held[1], "constraint");
    let reason = held[2].as_str().unwrap_or_default();
    assert!(reason.contains("'pause-task:held' on task:held"), "{held}");
    let screen = site.ok(["trace", &run]);
    assert!(
        screen.contains("  blocked: Constraint 'pause-task:held'"),
        "{screen}"
    );
    site.ok(["resume", "task:held"]);
    assert_eq!(site.ended(&run)["status"], "completed");
    let ended = ["held", "queued", "rows"].map(completed);
    assert_eq!(said_of_tasks(&site, &run), json!(ended));
}
