//! A run of a workflow on one screen: how far it has come, and each of its tasks.
//!
//! What is shown is `GET /executions/{id}/run`. Tasks come in the order of the file, each with its
//! latest start in the present lap, every earlier visit before it; one that has not been decided says
//! what it waits for.

use serde_json::{Value, json};

use super::table::{Column, list, pairs};
use super::{Style, execution, instant_at, span_between, text_at};

const COLUMNS: &[Column] = &[
    Column::with("TASK", name),
    Column::with("STATUS", execution::status),
    Column::with("ITEMS", items),
    Column::with("DURATION", duration),
    Column::with("EXECUTION", |task| text_at(task, "/execution")),
    Column::with("DETAIL", detail),
];

/// The run and its tasks. Why a run will not complete is said of its execution once it has ended.
pub fn show(run: &Value, style: Style) -> String {
    let head = head(run);
    let tasks = list(&rows(run), COLUMNS, style);
    if head.is_empty() {
        tasks
    } else {
        format!("{}\n{tasks}", pairs(&head, style))
    }
}

/// What is to be said of the run itself and is not said of its execution.
fn head(run: &Value) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if run.pointer("/run/paused") == Some(&json!(true)) {
        rows.push(("paused", "no new task starts".to_owned()));
    }
    if run
        .pointer("/workflow/loop/mode")
        .is_some_and(|mode| mode != "once")
    {
        rows.push(("cycle", text_at(run, "/run/cycle")));
    }
    let ending = text_at(run, "/run/ending/error/message");
    if ending != "-" && is_under_way(run) {
        rows.push(("ending", ending));
    }
    let next = instant_at(run, "/run/next_lap_at");
    if next != "-" {
        rows.push(("next cycle", next));
    }
    if let Some(vars) = run.pointer("/run/vars").and_then(Value::as_object)
        && !vars.is_empty()
    {
        rows.push(("vars", text_at(run, "/run/vars")));
    }
    rows
}

/// Whether a task still runs or waits, for its start or for something else.
fn is_under_way(run: &Value) -> bool {
    let tasks = run.get("tasks").and_then(Value::as_array);
    tasks.into_iter().flatten().any(|task| {
        matches!(
            text_at(task, "/status").as_str(),
            "requested" | "running" | "waiting"
        )
    })
}

/// A row for each start of a task in the present lap, and for each task that has none.
fn rows(run: &Value) -> Vec<Value> {
    let array = |pointer: &str| {
        run.pointer(pointer)
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice)
    };
    let lap = run.pointer("/run/lap");
    let records: Vec<&Value> = array("/tasks")
        .iter()
        .filter(|task| task.get("lap") == lap)
        .collect();
    let inquiries = array("/inquiries");
    let graph = array("/workflow/tasks");
    let is_known = |record: &Value| graph.iter().any(|task| task["name"] == record["name"]);
    let mut rows = Vec::new();
    for task in graph {
        let before = rows.len();
        let of_task = records
            .iter()
            .filter(|record| record["name"] == task["name"]);
        rows.extend(of_task.map(|record| asked(record, inquiries)));
        if rows.len() == before {
            rows.push(task.clone());
        }
    }
    // If the graph cannot be read any more, what is recorded is shown all the same.
    let others = records.iter().filter(|record| !is_known(record));
    rows.extend(others.map(|record| asked(record, inquiries)));
    rows
}

/// A record with the open inquiry that it waits on, if there is one.
fn asked(record: &Value, inquiries: &[Value]) -> Value {
    let mut row = record.clone();
    let inquiry = inquiries.iter().find(|inquiry| {
        ["lap", "name", "visit"]
            .iter()
            .all(|key| inquiry["task"][key] == record[key])
    });
    row["inquiry"] = inquiry.cloned().unwrap_or_default();
    row
}

fn name(task: &Value) -> String {
    let name = text_at(task, "/name");
    match task.get("visit").and_then(Value::as_u64) {
        Some(visit) if visit > 1 => format!("{name}#{visit}"),
        _ => name,
    }
}

/// How long it took; one that was skipped took no time.
fn duration(task: &Value) -> String {
    if text_at(task, "/status") == "skipped" {
        return "-".to_owned();
    }
    span_between(task, "/started_at", "/ended_at")
}

/// How many items have ended, of how many, and how many of those did not complete.
fn items(task: &Value) -> String {
    let Some(total) = task.get("items").and_then(Value::as_u64) else {
        return "-".to_owned();
    };
    let count = |statuses: &[&str]| -> u64 {
        let counts = statuses.iter();
        counts
            .filter_map(|status| task.pointer(&format!("/item_counts/{status}"))?.as_u64())
            .sum()
    };
    let completed = count(&["completed"]);
    let failed = count(&["failed", "timed_out", "abandoned", "cancelled"]);
    match failed {
        0 => format!("{completed}/{total}"),
        _ => format!("{}/{total}, {failed} failed", completed + failed),
    }
}

fn detail(task: &Value) -> String {
    let texts = [
        text_at(task, "/error/message"),
        text_at(task, "/reason"),
        execution::blocked_by(task),
        question(task),
        origin(task),
    ];
    if let Some(text) = texts.into_iter().find(|text| text != "-") {
        return text;
    }
    match instant_at(task, "/until").as_str() {
        "-" if task.get("status").is_none() => before_it(task),
        "-" => "-".to_owned(),
        until => format!("until {until}"),
    }
}

fn question(task: &Value) -> String {
    match text_at(task, "/inquiry/id").as_str() {
        "-" => "-".to_owned(),
        id => format!("{id}: {}", text_at(task, "/inquiry/prompt")),
    }
}

fn origin(task: &Value) -> String {
    match text_at(task, "/taken_from/kind").as_str() {
        "cache" => "taken from the cache".to_owned(),
        "run" => format!("kept from {}", text_at(task, "/taken_from/of")),
        _ => "-".to_owned(),
    }
}

/// What a task that has not been decided comes after.
fn before_it(task: &Value) -> String {
    if task.get("finally") == Some(&json!(true)) {
        return "at the end of the run".to_owned();
    }
    let needs: Vec<String> = task
        .get("needs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|need| text_at(need, "/task"))
        .collect();
    if needs.is_empty() {
        "-".to_owned()
    } else {
        format!("after {}", needs.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, visit: u32, status: &str, more: &Value) -> Value {
        let mut record = json!({
            "lap": 2, "name": name, "visit": visit, "status": status,
            "started_at": "2026-11-21T01:28:30Z", "ended_at": null,
        });
        for (key, value) in more.as_object().unwrap() {
            record[key] = value.clone();
        }
        record
    }

    fn run() -> Value {
        let earlier = json!({"lap": 1, "name": "fetch", "visit": 1, "status": "completed"});
        json!({
            "run": {"lap": 2, "cycle": 2, "paused": true, "vars": {"total": 3}, "ending": null,
                    "next_lap_at": null},
            "tasks": [
                earlier,
                record("fetch", 1, "running", &json!({"items": 10, "item_counts": {"completed": 6, "failed": 1, "timed_out": 1, "running": 2}})),
                record("check", 1, "failed", &json!({"execution": "exec_1", "ended_at": "2026-11-21T01:28:30.5Z",
                    "error": {"kind": "exit", "message": "exit status 3"}})),
                record("check", 2, "completed", &json!({"taken_from": {"kind": "cache"}})),
                record("approve", 1, "waiting", &json!({"until": "2026-11-21T05:28:30Z"})),
                record("event", 1, "waiting", &json!({"until": "2026-11-21T05:28:30Z"})),
                record("held", 1, "waiting", &json!({"blocked_by": {"kind": "constraint", "id": "c", "scope": "task:held",
                    "type": "concurrency", "terms": "at most 2 at once"}})),
                record("never", 1, "skipped", &json!({"reason": "'when' is false"})),
            ],
            "inquiries": [{"id": "inq_1", "task": {"lap": 2, "name": "approve", "visit": 1}, "prompt": "Load 3 rows?"}],
            "workflow": {"loop": {"mode": "fixed"}, "tasks": [
                {"name": "fetch"}, {"name": "check"}, {"name": "approve"}, {"name": "event"}, {"name": "held"}, {"name": "never"},
                {"name": "load", "needs": [{"task": "approve"}, {"task": "fetch"}], "items": {"concurrency": 16}},
                {"name": "cleanup", "needs": [], "finally": true},
            ]},
        })
    }

    #[test]
    fn a_run_shows_what_each_of_its_tasks_does_or_waits_for() {
        insta::assert_snapshot!(show(&run(), Style::default()), @r#"
        paused  no new task starts
        cycle   2
        vars    {"total":3}

        TASK     STATUS     ITEMS           DURATION  EXECUTION  DETAIL
        fetch    running    8/10, 2 failed  -         -          -
        check    failed     -               500ms     exec_1     exit status 3
        check#2  completed  -               -         -          taken from the cache
        approve  waiting    -               -         -          inq_1: Load 3 rows?
        event    waiting    -               -         -          until 2026-11-21T05:28:30.000Z
        held     blocked    -               -         -          Constraint 'c' on task:held holds it: at most 2 at once
        never    skipped    -               -         -          'when' is false
        load     -          -               -         -          after approve, fetch
        cleanup  -          -               -         -          at the end of the run
        "#);
    }

    #[test]
    fn a_run_whose_graph_is_gone_shows_what_is_recorded() {
        let mut run = run();
        run["workflow"] = Value::Null;
        run["run"]["paused"] = json!(false);
        insta::assert_snapshot!(show(&run, Style::default()), @r#"
        vars  {"total":3}

        TASK     STATUS     ITEMS           DURATION  EXECUTION  DETAIL
        fetch    running    8/10, 2 failed  -         -          -
        check    failed     -               500ms     exec_1     exit status 3
        check#2  completed  -               -         -          taken from the cache
        approve  waiting    -               -         -          inq_1: Load 3 rows?
        event    waiting    -               -         -          until 2026-11-21T05:28:30.000Z
        held     blocked    -               -         -          Constraint 'c' on task:held holds it: at most 2 at once
        never    skipped    -               -         -          'when' is false
        "#);
    }
}
