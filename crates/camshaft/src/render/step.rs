//! Step events: one line each.

use serde_json::Value;

use super::{escape, instant_at, plain, text_at};
use crate::render::table::Column;

/// The columns of `camshaft events`.
pub const COLUMNS: &[Column] = &[
    Column::at("ID", "/id"),
    Column::instant("TIME", "/created_at"),
    Column::at("TYPE", "/event_type"),
    Column::at("STEP", "/step"),
    Column::with("DETAILS", details),
];

/// The payload as `key=value`, without what has a column of its own or says nothing.
pub fn details(event: &Value) -> String {
    let Some(payload) = event.get("payload").and_then(Value::as_object) else {
        return "-".to_owned();
    };
    let parts: Vec<String> = payload
        .iter()
        .filter(|(key, value)| !matches!(key.as_str(), "step" | "step_scope") && !value.is_null())
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(" ")
    }
}

/// One event of a stream, on a line of its own.
pub fn line(event: &Value) -> String {
    let text = format!(
        "{}  {}  {:<16} {}  {}",
        instant_at(event, "/created_at"),
        text_at(event, "/execution_id"),
        text_at(event, "/event_type"),
        text_at(event, "/step"),
        details(event),
    );
    escape::line(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_time_run_type_step_and_details() {
        let event = json!({"id": 7, "execution_id": "exec_01", "event_type": "step_finished", "step": "greet",
            "payload": {"step": "greet", "success": true, "exit_code": 0, "reason": null, "text": "[x]\u{1b}"},
            "created_at": "2026-11-21T01:28:29.590000Z"});
        insta::assert_snapshot!(line(&event),
            @r"2026-11-21T01:28:29.590Z  exec_01  step_finished    greet  success=true exit_code=0 text=[x]\u{1b}");
        assert_eq!(details(&json!({"payload": "?"})), "-");
    }
}
