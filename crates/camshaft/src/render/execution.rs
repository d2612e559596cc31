//! Executions: the columns of lists, and one execution on one screen.

use camshaft_model::BlockedBy;
use serde::Deserialize as _;
use serde_json::Value;

use super::table::{Column, pairs};
use super::{Style, instant_at, plain, span_between, text_at};

/// The columns of `camshaft execution list`.
pub const COLUMNS: &[Column] = &[
    Column::at("ID", "/id"),
    Column::at("ACTION", "/action"),
    Column::with("STATUS", status),
    Column::at("ATTEMPT", "/attempt"),
    Column::instant("REQUESTED", "/requested_at"),
    Column::with("DURATION", run_time),
    Column::with("ORIGIN", origin),
    Column::at("ERROR", "/error/message"),
];

/// The columns of the attempts of an execution.
pub const ATTEMPT_COLUMNS: &[Column] = &[
    Column::at("ATTEMPT", "/attempt"),
    Column::at("STATUS", "/status"),
    Column::with("DURATION", |item| {
        span_between(item, "/started_at", "/ended_at")
    }),
    Column::at("EXIT", "/exit_code"),
    Column::at("SIGNAL", "/signal"),
    Column::with("STDOUT", |item| output(item, "/stdout")),
    Column::with("STDERR", |item| output(item, "/stderr")),
    Column::at("ERROR", "/error/message"),
];

fn run_time(item: &Value) -> String {
    span_between(item, "/started_at", "/ended_at")
}

fn output(item: &Value, stream: &str) -> String {
    let flag = |name: &str| {
        item.pointer(&format!("{stream}/{name}"))
            .and_then(Value::as_bool)
            == Some(true)
    };
    let mut text = format!("{} B", text_at(item, &format!("{stream}/bytes")));
    for note in ["truncated", "redacted"] {
        if flag(note) {
            text.push_str(", ");
            text.push_str(note);
        }
    }
    text
}

/// Its status: `blocked` while a constraint holds it.
pub fn status(item: &Value) -> String {
    let held = item.get("blocked_by").unwrap_or(&Value::Null);
    named_status(&text_at(item, "/status"), held).to_owned()
}

/// A status, or `blocked` if what holds it is a constraint.
pub fn named_status<'a>(status: &'a str, blocked_by: &Value) -> &'a str {
    match blocked_by.get("kind").and_then(Value::as_str) {
        Some("constraint") => "blocked",
        _ => status,
    }
}

/// What holds it, in a sentence.
pub fn blocked_by(item: &Value) -> String {
    let held = item.get("blocked_by").filter(|held| !held.is_null());
    held.map_or_else(
        || "-".to_owned(),
        |held| {
            BlockedBy::deserialize(held).map_or_else(|_| held.to_string(), |held| held.to_string())
        },
    )
}

/// Who asked for it, in a word or two.
pub fn origin(item: &Value) -> String {
    let at = |pointer| text_at(item, pointer);
    match at("/origin/kind").as_str() {
        "rule" => format!("rule {}", at("/origin/rule")),
        "retry" => format!("retry of {}", at("/origin/of")),
        other => other.to_owned(),
    }
}

/// One execution on one screen.
pub fn show(execution: &Value, style: Style) -> String {
    let at = |pointer| text_at(execution, pointer);
    let mut rows = vec![
        ("id", at("/id")),
        ("action", at("/action")),
        ("status", status(execution)),
        ("origin", origin(execution)),
    ];
    let mut optional = |key, text: String| {
        if text != "-" {
            rows.push((key, text));
        }
    };
    if execution.pointer("/origin/event").is_some() {
        optional("event", at("/origin/event"));
    }
    optional("requested", instant_at(execution, "/requested_at"));
    optional("not before", instant_at(execution, "/not_before"));
    optional("started", instant_at(execution, "/started_at"));
    optional("ended", instant_at(execution, "/ended_at"));
    optional("duration", run_time(execution));
    optional("attempt", at("/attempt"));
    optional("worker", at("/worker"));
    optional("priority", at("/priority"));
    optional("key", at("/idempotency_key"));
    if let Some(Value::Object(adhoc)) = execution.get("adhoc") {
        let args = adhoc
            .get("args")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(plain);
        let path = adhoc.get("path").map(plain).unwrap_or_default();
        optional(
            "file",
            std::iter::once(path)
                .chain(args)
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    optional("parameters", compact(execution, "/parameters"));
    optional("blocked by", blocked_by(execution));
    optional("result", compact(execution, "/result"));
    optional("exit code", at("/exit_code"));
    optional("signal", at("/signal"));
    optional("error", at("/error/message"));
    pairs(&rows, style)
}

fn compact(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::Object(object)) if object.is_empty() => "-".to_owned(),
        _ => text_at(value, pointer),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::list;
    use super::*;
    use serde_json::json;

    fn failed() -> Value {
        json!({
            "id": "exec_01jd2x", "action": "demo.greet", "status": "failed", "attempt": 2, "priority": 0,
            "requested_at": "2026-11-21T01:28:29.590000Z", "started_at": "2026-11-21T01:28:30Z",
            "ended_at": "2026-11-21T01:28:30.012000Z", "worker": "local",
            "origin": {"kind": "rule", "rule": "demo.every", "event": "evt_01"},
            "parameters": {"name": "x"}, "exit_code": 3, "signal": null, "result": null,
            "error": {"kind": "exit", "message": "exit status 3"}
        })
    }

    #[test]
    fn a_list_tells_what_when_and_why() {
        insta::assert_snapshot!(list(&[failed()], COLUMNS, Style::default()), @r"
        ID           ACTION      STATUS  ATTEMPT  REQUESTED                 DURATION  ORIGIN           ERROR
        exec_01jd2x  demo.greet  failed  2        2026-11-21T01:28:29.590Z  12ms      rule demo.every  exit status 3
        ");
    }

    #[test]
    fn one_execution_shows_what_is_known_and_no_more() {
        insta::assert_snapshot!(show(&failed(), Style::default()), @r#"
        id          exec_01jd2x
        action      demo.greet
        status      failed
        origin      rule demo.every
        event       evt_01
        requested   2026-11-21T01:28:29.590Z
        started     2026-11-21T01:28:30.000Z
        ended       2026-11-21T01:28:30.012Z
        duration    12ms
        attempt     2
        worker      local
        priority    0
        parameters  {"name":"x"}
        exit code   3
        error       exit status 3
        "#);
    }

    #[test]
    fn what_a_constraint_holds_is_blocked() {
        let mut execution = failed();
        execution["status"] = json!("requested");
        execution["error"] = Value::Null;
        execution["blocked_by"] = json!({"kind": "constraint", "id": "pause-global", "scope": "global", "type": "pause",
            "terms": "pause", "owner": "ada", "reason": "audit", "expires_at": "2026-11-21T01:33:29.590000Z"});
        let shown = show(&execution, Style::default());
        assert!(shown.contains("status      blocked\n"), "{shown}");
        assert!(shown.contains("blocked by  Constraint 'pause-global' on global holds it: pause, set by ada (audit), expires at 2026"), "{shown}");
        assert!(list(&[execution.clone()], COLUMNS, Style::default()).contains("  blocked  "));
        execution["blocked_by"] = json!({"kind": "slots", "capacity": 4});
        assert_eq!(status(&execution), "requested");
        assert_eq!(blocked_by(&execution), "All 4 slots are taken");
    }

    #[test]
    fn attempts_say_what_became_of_their_output() {
        let attempt = json!({"attempt": 1, "status": "completed", "exit_code": 0,
            "stdout": {"bytes": 12, "truncated": true, "redacted": true}, "stderr": {"bytes": 0}});
        insta::assert_snapshot!(list(&[attempt], ATTEMPT_COLUMNS, Style::default()), @r"
        ATTEMPT  STATUS     DURATION  EXIT  SIGNAL  STDOUT                     STDERR  ERROR
        1        completed  -         0     -       12 B, truncated, redacted  0 B     -
        ");
    }
}
