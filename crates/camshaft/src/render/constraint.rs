//! Constraints: the columns of lists, one on one screen, and what one holds or would hold.

use std::time::Duration;

use camshaft_model::duration;
use serde_json::Value;

use super::table::{Column, list, pairs};
use super::{Style, instant_at, plain, text_at};

/// The columns of `camshaft constraint list`.
pub const COLUMNS: &[Column] = &[
    Column::at("SCOPE", "/scope"),
    Column::at("TYPE", "/type"),
    Column::at("TERMS", "/terms"),
    Column::at("RUNNING", "/use/leases"),
    Column::at("WAITING", "/use/waiting"),
    Column::with("REMAINING", remaining),
    Column::at("OWNER", "/owner"),
    Column::at("REASON", "/reason"),
];

/// More holders than this are counted, not named.
const MAX_HOLDERS: usize = 5;
/// More actions than this are counted, not named.
const MAX_ACTIONS: usize = 10;

/// What is left of its time.
fn remaining(constraint: &Value) -> String {
    match constraint.get("remaining_secs").and_then(Value::as_f64) {
        Some(secs) => {
            // Whole seconds are as exact as people read, and at least one: it is in force.
            let secs = secs.round().clamp(1.0, 1e12);
            duration::display(Duration::from_secs(secs as u64))
        }
        None => "-".to_owned(),
    }
}

fn number_at(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// One constraint on one screen, with what it does if that is known.
pub fn show(constraint: &Value, style: Style) -> String {
    pairs(&rows(constraint), style)
}

fn rows(constraint: &Value) -> Vec<(&'static str, String)> {
    let at = |pointer| text_at(constraint, pointer);
    let mut rows = vec![
        ("scope", at("/scope")),
        ("type", at("/type")),
        ("terms", at("/terms")),
        ("id", at("/id")),
        ("set", instant_at(constraint, "/set_at")),
    ];
    let expires = match remaining(constraint).as_str() {
        "-" => "never: it holds until it is cleared".to_owned(),
        left => format!("{} (in {left})", instant_at(constraint, "/expires_at")),
    };
    rows.push(("expires", expires));
    for (key, pointer) in [("owner", "/owner"), ("reason", "/reason")] {
        if at(pointer) != "-" {
            rows.push((key, at(pointer)));
        }
    }
    if constraint.get("use").is_some() {
        rows.push(("running", running(constraint)));
        rows.push(("waiting", at("/use/waiting")));
        if at("/use/next_at") != "-" {
            rows.push(("next start", instant_at(constraint, "/use/next_at")));
        }
    }
    rows
}

fn running(constraint: &Value) -> String {
    let holders = constraint.pointer("/use/holders").and_then(Value::as_array);
    let holders = holders.map_or(&[][..], Vec::as_slice);
    let leases = number_at(constraint, "/use/leases");
    let named: Vec<String> = holders.iter().take(MAX_HOLDERS).map(plain).collect();
    let mut text = format!("{leases}");
    if !named.is_empty() {
        text.push_str(&format!(": {}", named.join(", ")));
    }
    let more = leases.saturating_sub(named.len() as u64);
    if more > 0 && !named.is_empty() {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// What was set, and what it holds now.
pub fn set(answer: &Value, style: Style) -> String {
    let constraint = answer.get("constraint").unwrap_or(&Value::Null);
    let mut rows = rows(constraint);
    // A pause of events holds what is yet to come.
    let holds_starts = text_at(constraint, "/type") != "event_pause";
    if let Some(preview) = answer.get("preview").filter(|_| holds_starts) {
        rows.push(("holds now", held(preview)));
    }
    if let Some(topic) = answer.get("topic") {
        rows.push(("published", plain(topic)));
    }
    pairs(&rows, style)
}

/// What a constraint would hold.
pub fn preview(preview: &Value, style: Style) -> String {
    let mut text = pairs(
        &[
            ("would hold", held(preview)),
            ("waiting", text_at(preview, "/waiting")),
            ("running", text_at(preview, "/running")),
        ],
        style,
    );
    let by_action = preview.get("by_action").and_then(Value::as_object);
    let counts: Vec<Value> = by_action
        .into_iter()
        .flatten()
        .map(|(action, held)| serde_json::json!({"action": action, "held": held}))
        .collect();
    if !counts.is_empty() {
        let columns = [Column::at("ACTION", "/action"), Column::at("HELD", "/held")];
        text.push('\n');
        text.push_str(&list(&counts, &columns, style));
    }
    text
}

/// How many executions, of which actions.
fn held(preview: &Value) -> String {
    let held = number_at(preview, "/held");
    let mut text = match held {
        0 => "nothing".to_owned(),
        1 => "1 execution".to_owned(),
        held => format!("{held} executions"),
    };
    let by_action = preview.get("by_action").and_then(Value::as_object);
    let mut actions: Vec<(u64, &String)> = by_action
        .into_iter()
        .flatten()
        .map(|(action, count)| (count.as_u64().unwrap_or(0), action))
        .collect();
    actions.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    if !actions.is_empty() {
        let named: Vec<String> = actions
            .iter()
            .take(MAX_ACTIONS)
            .map(|(count, action)| format!("{count} of {action}"))
            .collect();
        text.push_str(&format!(" ({}", named.join(", ")));
        if actions.len() > MAX_ACTIONS {
            text.push_str(&format!(", and of {} more", actions.len() - MAX_ACTIONS));
        }
        text.push(')');
    }
    match number_at(preview, "/running") {
        0 => {}
        1 => text.push_str("; 1 that runs goes on"),
        running => text.push_str(&format!("; {running} that run go on")),
    }
    text
}

/// A constraint in force in one line: where somebody looks for something else.
pub fn line(constraint: &Value) -> String {
    let at = |pointer| text_at(constraint, pointer);
    let mut text = format!("{}: {}", at("/scope"), at("/terms"));
    if at("/owner") != "-" {
        text.push_str(&format!(", set by {}", at("/owner")));
    }
    if at("/reason") != "-" {
        text.push_str(&format!(" ({})", at("/reason")));
    }
    match remaining(constraint).as_str() {
        "-" => text.push_str(", until it is cleared"),
        left => text.push_str(&format!(", {left} left")),
    }
    match number_at(constraint, "/use/waiting") {
        0 => {}
        waiting => text.push_str(&format!(", {waiting} waiting")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limit() -> Value {
        json!({"id": "concurrency-task:api_call", "scope": "task:api_call", "type": "concurrency",
            "params": {"limit": 2}, "terms": "at most 2 at once", "set_at": "2026-11-21T01:28:29.590000Z",
            "expires_at": "2026-11-21T01:33:29.590000Z", "remaining_secs": 299.6, "owner": "ada",
            "reason": "quota", "via": "api",
            "use": {"leases": 2, "holders": ["exec_1", "exec_2"], "waiting": 3, "room": 0, "next_at": null}})
    }

    fn pause() -> Value {
        json!({"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "terms": "pause",
            "set_at": "2026-11-21T01:28:29.590000Z", "expires_at": null, "remaining_secs": null,
            "owner": "ada", "reason": null, "via": "api"})
    }

    #[test]
    fn a_list_tells_what_each_does_and_for_how_long() {
        insta::assert_snapshot!(list(&[limit()], COLUMNS, Style::default()), @r"
        SCOPE          TYPE         TERMS              RUNNING  WAITING  REMAINING  OWNER  REASON
        task:api_call  concurrency  at most 2 at once  2        3        5m         ada    quota
        ");
    }

    #[test]
    fn one_names_who_holds_its_slots() {
        insta::assert_snapshot!(show(&limit(), Style::default()), @r"
        scope    task:api_call
        type     concurrency
        terms    at most 2 at once
        id       concurrency-task:api_call
        set      2026-11-21T01:28:29.590Z
        expires  2026-11-21T01:33:29.590Z (in 5m)
        owner    ada
        reason   quota
        running  2: exec_1, exec_2
        waiting  3
        ");
    }

    #[test]
    fn what_was_set_says_what_it_holds() {
        let preview =
            json!({"running": 2, "waiting": 4, "held": 4, "by_action": {"t.a": 1, "t.b": 3}});
        let answer = json!({"constraint": pause(), "preview": preview});
        insta::assert_snapshot!(set(&answer, Style::default()), @r"
        scope      global
        type       pause
        terms      pause
        id         pause-global
        set        2026-11-21T01:28:29.590Z
        expires    never: it holds until it is cleared
        owner      ada
        holds now  4 executions (3 of t.b, 1 of t.a); 2 that run go on
        ");
        insta::assert_snapshot!(super::preview(&answer["preview"], Style::default()), @r"
        would hold  4 executions (3 of t.b, 1 of t.a); 2 that run go on
        waiting     4
        running     2

        ACTION  HELD
        t.a     1
        t.b     3
        ");
    }

    #[test]
    fn a_pause_that_everybody_forgot_is_one_line() {
        assert_eq!(
            line(&pause()),
            "global: pause, set by ada, until it is cleared"
        );
        assert_eq!(
            line(&limit()),
            "task:api_call: at most 2 at once, set by ada (quota), 5m left, 3 waiting"
        );
    }
}
