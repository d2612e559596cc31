use super::*;

use serde_json::{Value, json};

const RUN: &str = "exec_00000000000000000000000001";

fn now() -> Timestamp {
    "2026-11-21T12:00:10Z".parse().unwrap()
}

fn id(number: u32) -> String {
    format!("exec_{number:026}")
}

fn execution(status: &str) -> Value {
    json!({
        "id": RUN, "root": RUN, "parent": null, "action": "demo.etl", "pack_hash": null, "adhoc": null, "parameters": {},
        "priority": 0, "requested_at": "2026-11-21T12:00:00Z", "origin": {"kind": "api"}, "idempotency_key": null,
        "depth": 0, "trace_parent": null, "status": status, "attempt": 1, "epoch": 1, "not_before": null,
        "blocked_by": null, "worker": null, "lease_expires_at": null, "scheduled_at": null, "started_at": null,
        "ended_at": null, "result": null, "error": null, "exit_code": null, "signal": null
    })
}

fn task(name: &str, status: &str, more: Value) -> Value {
    let mut task = json!({
        "run": RUN, "lap": 1, "name": name, "visit": 1, "status": status, "execution": null, "items": null,
        "item_counts": null, "reason": null, "error": null, "result": null, "taken_from": null, "awaited": null,
        "until": null, "started_at": "2026-11-21T12:00:02Z",
        "ended_at": (!matches!(status, "requested" | "running" | "waiting")).then_some("2026-11-21T12:00:05.5Z"),
    });
    for (key, value) in more.as_object().unwrap() {
        task[key] = value.clone();
    }
    task
}

fn view(tasks: Vec<Value>, ahead: &[&str]) -> Value {
    let graph: Vec<Value> = ahead
        .iter()
        .map(|name| json!({"name": name, "kind": "action"}))
        .collect();
    json!({
        "run": {"execution": RUN, "lap": 1, "cycle": 1, "vars": {}, "paused": false, "arrivals": {}, "ending": null, "next_lap_at": null},
        "tasks": tasks, "inquiries": [], "workflow": {"ref": "demo.etl", "tasks": graph},
    })
}

fn watched(view: Value) -> Watched {
    Watched {
        execution: Some(serde_json::from_value(execution("waiting")).unwrap()),
        runs: HashMap::from([(RUN.parse().unwrap(), serde_json::from_value(view).unwrap())]),
        ..Watched::default()
    }
}

fn room(rows: usize) -> Room {
    Room {
        rows,
        columns: 100,
        colour: false,
    }
}

fn screen(watched: &Watched, rows: usize) -> String {
    draw(watched, now(), room(rows)).join("\n")
}

#[test]
fn a_run_is_a_tree_with_everything_that_is_under_way() {
    let counts =
        json!({"items": 1000, "item_counts": {"completed": 500, "failed": 3, "running": 16}});
    let until = "2026-11-21T14:00:10Z";
    let mut view = view(
        vec![
            task("fetch", "completed", json!({})),
            task(
                "cached",
                "completed",
                json!({"taken_from": {"kind": "cache"}}),
            ),
            task("load", "running", counts),
            task("merge", "running", json!({"execution": id(2)})),
            task("again", "running", json!({"execution": id(3)})),
            task(
                "queued",
                "requested",
                json!({"execution": id(4), "blocked_by": {"kind": "slots", "capacity": 2}}),
            ),
            task(
                "held",
                "requested",
                json!({"items": 10, "item_counts": {"requested": 2}, "blocked_by": {"kind": "constraint",
                "id": "c", "scope": "task:held", "type": "pause", "terms": "pause"}}),
            ),
            task("below", "running", json!({"execution": id(5)})),
            task("approve", "waiting", json!({"until": until})),
            task(
                "hear",
                "waiting",
                json!({"awaited": {"trigger": "core.webhook"}}),
            ),
            task("quiet", "skipped", json!({"reason": "when is false"})),
            task(
                "broken",
                "failed",
                json!({"error": {"kind": "exit", "message": "exit status 3 [x]\u{1b}[2J"}}),
            ),
        ],
        &["fetch", "later"],
    );
    view["run"]["paused"] = json!(true);
    view["inquiries"] = json!([{
        "id": "inq_00000000000000000000000001", "run": RUN, "root": RUN, "task": {"lap": 1, "name": "approve", "visit": 1},
        "prompt": "Load 3 rows?", "schema": null, "roles": [], "created_at": "2026-11-21T12:00:02Z", "expires_at": until,
        "status": "open", "answer": null, "answered_by": null, "closed_at": null,
    }]);
    let mut watched = watched(view);
    let mut inner = super::tests::view(vec![task("inner", "running", json!({}))], &[]);
    inner["run"]["execution"] = json!(id(5));
    watched.runs.insert(
        id(5).parse().unwrap(),
        serde_json::from_value(inner).unwrap(),
    );
    let progress = [
        (
            2,
            Progress {
                attempt: 2,
                ..Progress::default()
            },
        ),
        (
            3,
            Progress {
                attempt: 1,
                retry: Some((
                    "exit status 1".to_owned(),
                    "2026-11-21T12:00:12Z".parse().unwrap(),
                )),
            },
        ),
    ];
    watched.progress = progress
        .into_iter()
        .map(|(n, p)| (id(n).parse().unwrap(), p))
        .collect();
    watched.output = vec![
        "load[3] | row 17".to_owned(),
        "load[4] | \u{1b}[2Jrow 18".to_owned(),
    ];
    insta::assert_snapshot!(screen(&watched, 50));
}

#[test]
fn a_thousand_tasks_fit_the_screen_and_what_matters_is_shown() {
    let tasks: Vec<Value> = (0..1_000u32)
        .map(|n| match n {
            700 => task(
                "t700",
                "failed",
                json!({"error": {"kind": "exit", "message": "exit status 3"}}),
            ),
            995.. => task(&format!("t{n}"), "requested", json!({"execution": id(n)})),
            990.. => task(&format!("t{n}"), "running", json!({})),
            n => task(&format!("t{n}"), "completed", json!({})),
        })
        .collect();
    let ahead: Vec<String> = (0..1_050).map(|n| format!("t{n}")).collect();
    let ahead: Vec<&str> = ahead.iter().map(String::as_str).collect();
    let watched = watched(view(tasks, &ahead));
    insta::assert_snapshot!(screen(&watched, 24));
    assert!(draw(&watched, now(), room(10)).len() <= 10);
}

#[test]
fn only_the_lap_that_runs_is_drawn() {
    let mut earlier = task("old", "completed", json!({}));
    earlier["lap"] = json!(1);
    let mut view = view(
        vec![earlier, task("new", "running", json!({"lap": 2}))],
        &[],
    );
    view["run"]["lap"] = json!(2);
    view["run"]["cycle"] = json!(2);
    let shown = screen(&watched(view), 24);
    assert!(
        shown.contains("cycle 2") && shown.contains("new") && !shown.contains("old"),
        "{shown}"
    );
}

#[test]
fn a_line_never_breaks_and_colours_are_for_terminals_that_take_them() {
    let long = task(
        "long",
        "failed",
        json!({"error": {"kind": "exit", "message": "x".repeat(500)}}),
    );
    let watched = watched(view(vec![long], &[]));
    let narrow = Room {
        columns: 30,
        colour: true,
        rows: 24,
    };
    for line in draw(&watched, now(), narrow) {
        let plain = line.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
        assert!(plain.chars().count() <= 30, "{line:?}");
    }
    assert!(
        draw(&watched, now(), narrow)
            .iter()
            .any(|line| line.starts_with("\u{1b}[31m"))
    );
    assert!(!screen(&watched, 24).contains('\u{1b}'));
}

#[test]
fn an_execution_that_is_no_run_says_what_it_waits_for() {
    let mut watched = watched(view(Vec::new(), &[]));
    watched.runs.clear();
    let mut held = execution("requested");
    held["blocked_by"] = json!({"kind": "slots", "capacity": 2});
    watched.execution = Some(serde_json::from_value(held).unwrap());
    insta::assert_snapshot!(screen(&watched, 24), @r"
    demo.etl exec_00000000000000000000000001  requested 10s
      requested: All 2 slots are taken
    ");
}
