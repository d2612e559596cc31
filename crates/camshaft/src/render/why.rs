//! The answers of `camshaft why` and `camshaft rule test`, each on one screen.

use std::fmt::Write as _;

use camshaft_model::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{escape, instant_at, plain, span_to, text_at};

/// More holders than this are counted, not named.
const MAX_HOLDERS: usize = 5;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Criterion {
    path: String,
    operator: String,
    pattern: Value,
    value: Option<Value>,
    holds: Option<bool>,
    problem: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct When {
    expression: String,
    holds: Option<bool>,
    problem: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Trial {
    rule: String,
    enabled: bool,
    verdict: String,
    matched: bool,
    criteria: Vec<Criterion>,
    when: Option<When>,
    parameters: Option<Value>,
    enforcement: Option<Value>,
}

/// Why an execution is where it is. `now` is for what is left until an instant.
pub fn execution(explanation: &Value, now: Timestamp) -> String {
    let at = |pointer| text_at(explanation, pointer);
    let mut text = format!(
        "{}  {}  {}\n{}\n",
        at("/execution"),
        at("/action"),
        super::execution::status(explanation),
        at("/summary")
    );
    let blockers = explanation
        .get("blockers")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    // The summary tells of the only one already; what else there is to it follows that.
    let is_told = matches!(blockers, [only] if at("/summary").contains(&text_at(only, "/text")));
    if !blockers.is_empty() && !is_told {
        text.push_str("\nWaits for\n");
    }
    let indent = if is_told { "  " } else { "    " };
    // A run waits for executions of its own, which hold nothing that others want.
    let whose = match at("/status").as_str() {
        "waiting" | "canceling" => "execution",
        _ => "held by",
    };
    for blocker in blockers {
        if !is_told {
            let _ = writeln!(text, "  - {}", text_at(blocker, "/text"));
        }
        if blocker.get("until").is_some_and(|until| !until.is_null()) {
            let left = match span_to(blocker, "/until", now) {
                Some(left) => format!(" (in {left})"),
                None => String::new(),
            };
            let until = instant_at(blocker, "/until");
            let _ = writeln!(text, "{indent}until {until}{left}");
        }
        holders(&mut text, blocker, indent, whose);
    }
    match explanation.get("ahead").and_then(Value::as_u64) {
        Some(ahead) if ahead > 0 && !blockers.is_empty() => {
            let _ = writeln!(text, "  {ahead} before it in the queue");
        }
        _ => {}
    }
    let history = explanation
        .get("history")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if !history.is_empty() {
        text.push_str("\nHistory\n");
    }
    for entry in history {
        let _ = writeln!(text, "  {}", plain(entry));
    }
    escape::lines(&text).into_owned()
}

fn holders(text: &mut String, blocker: &Value, indent: &str, whose: &str) {
    let holders = blocker
        .get("holders")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    for holder in holders.iter().take(MAX_HOLDERS) {
        let _ = writeln!(text, "{indent}{whose} {}", plain(holder));
    }
    let count = blocker.get("holder_count").and_then(Value::as_u64);
    let count = count.unwrap_or(holders.len() as u64);
    let more = count.saturating_sub(MAX_HOLDERS as u64);
    if more > 0 {
        let _ = writeln!(text, "{indent}and {more} more");
    }
}

/// Why an event led to what it led to.
pub fn event(explanation: &Value) -> String {
    let at = |pointer| text_at(explanation, pointer);
    let mut text = format!(
        "{}  {}  {}\n{}\n",
        at("/event/id"),
        at("/event/trigger"),
        instant_at(explanation, "/event/received_at"),
        at("/summary")
    );
    for rule in explanation
        .get("rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        text.push('\n');
        text.push_str(&trial(rule));
    }
    escape::lines(&text).into_owned()
}

/// What one rule makes of one event.
pub fn trial(trial: &Value) -> String {
    let trial: Trial = Trial::deserialize(trial).unwrap_or_else(|error| Trial {
        verdict: format!("the engine's answer cannot be read: {error}"),
        ..Trial::default()
    });
    let state = match (trial.matched, trial.enabled) {
        (true, true) => "matches",
        (true, false) => "would match, but is disabled",
        (false, true) => "does not match",
        (false, false) => "does not match, and is disabled",
    };
    let mut text = format!("rule {} {state}\n  {}\n", trial.rule, trial.verdict);
    for criterion in &trial.criteria {
        let value = criterion
            .value
            .as_ref()
            .map_or_else(|| "(nothing)".to_owned(), Value::to_string);
        let Criterion {
            path,
            operator,
            pattern,
            ..
        } = criterion;
        let compared = comparison(operator, pattern);
        let _ = writeln!(
            text,
            "  {} {path} {compared}: the value is {value}",
            mark(criterion.holds)
        );
        problem(&mut text, criterion.problem.as_deref());
    }
    if let Some(when) = &trial.when {
        let _ = writeln!(text, "  {} when {}", mark(when.holds), when.expression);
        problem(&mut text, when.problem.as_deref());
    }
    if let Some(parameters) = &trial.parameters {
        let _ = writeln!(text, "  parameters {parameters}");
    }
    if let Some(enforcement) = &trial.enforcement {
        let _ = writeln!(text, "  recorded {}", enforcement_line(enforcement));
    }
    escape::lines(&text).into_owned()
}

fn mark(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "yes",
        Some(false) => "NO ",
        None => "?? ",
    }
}

fn problem(text: &mut String, problem: Option<&str>) {
    if let Some(problem) = problem {
        let _ = writeln!(text, "      cannot be evaluated: {problem}");
    }
}

/// An enforcement in a few words: what came of it.
pub fn enforcement_line(enforcement: &Value) -> String {
    let at = |pointer| text_at(enforcement, pointer);
    match at("/outcome").as_str() {
        "requested" => format!("requested {}", at("/execution")),
        other => format!("{other}: {}", at("/reason")),
    }
}

/// Operator and pattern of a criterion; some operators take no pattern.
pub(crate) fn comparison(operator: &str, pattern: &Value) -> String {
    if matches!(operator, "exists" | "nexists") {
        operator.to_owned()
    } else {
        format!("{operator} {pattern}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_execution_that_waits_names_what_holds_it() {
        let holders: Vec<String> = (1..=20).map(|n| format!("exec_{n}")).collect();
        let explanation = json!({
            "execution": "exec_01", "action": "demo.greet", "status": "requested",
            "summary": "It waits for a slot.",
            "blockers": [
                {"text": "All 2 slots are taken", "holders": holders, "holder_count": 500, "until": null},
                {"text": "Not before", "holders": [], "holder_count": 0, "until": "2026-11-21T01:28:29.590000Z"}
            ],
            "ahead": 3,
            "history": ["requested by rule demo.x on evt_01", "attempt 1 failed: [red]\u{1b}"]
        });
        let now = "2026-11-21T01:23:29Z".parse().unwrap();
        insta::assert_snapshot!(execution(&explanation, now), @r"
        exec_01  demo.greet  requested
        It waits for a slot.

        Waits for
          - All 2 slots are taken
            held by exec_1
            held by exec_2
            held by exec_3
            held by exec_4
            held by exec_5
            and 495 more
          - Not before
            until 2026-11-21T01:28:29.590Z (in 5m)
          3 before it in the queue

        History
          requested by rule demo.x on evt_01
          attempt 1 failed: [red]\u{1b}
        ");
    }

    #[test]
    fn the_only_thing_that_an_execution_waits_for_is_told_once() {
        let held = "Constraint 'pause-task:load' on task:load holds task 'load': pause";
        let explanation = json!({
            "execution": "exec_01", "action": "demo.flow", "status": "waiting",
            "summary": format!("It holds no slot and waits: {held}."),
            "blockers": [{"text": held, "holders": ["exec_02"], "holder_count": 1, "until": "2026-11-21T01:28:29Z"}],
            "ahead": 0,
            "history": ["requested by a person or program"]
        });
        let now = "2026-11-21T01:23:29Z".parse().unwrap();
        insta::assert_snapshot!(execution(&explanation, now), @r"
        exec_01  demo.flow  waiting
        It holds no slot and waits: Constraint 'pause-task:load' on task:load holds task 'load': pause.
          until 2026-11-21T01:28:29.000Z (in 5m)
          execution exec_02

        History
          requested by a person or program
        ");
    }

    #[test]
    fn an_event_shows_every_rule_with_both_values() {
        let explanation = json!({
            "event": {"id": "evt_01", "trigger": "core.interval", "received_at": "2026-11-21T01:28:29.590000Z"},
            "summary": "1 of 2 rules matched.",
            "rules": [
                {"rule": "demo.a", "enabled": true, "applies": true, "matched": true, "verdict": "All criteria hold.",
                 "criteria": [{"path": "trigger.count", "operator": "gt", "pattern": 0, "value": 3, "holds": true}],
                 "when": {"expression": "trigger.count % 2", "holds": true}, "parameters": {"name": "x"},
                 "enforcement": {"outcome": "requested", "execution": "exec_01"}},
                {"rule": "demo.b", "enabled": false, "applies": true, "matched": false, "verdict": "A criterion does not hold.",
                 "criteria": [
                    {"path": "trigger.kind", "operator": "eq", "pattern": "a", "value": "b", "holds": false},
                    {"path": "trigger.size", "operator": "gt", "pattern": 1, "value": null, "holds": null, "problem": "there is nothing at trigger.size"}]}
            ]
        });
        insta::assert_snapshot!(event(&explanation), @r#"
        evt_01  core.interval  2026-11-21T01:28:29.590Z
        1 of 2 rules matched.

        rule demo.a matches
          All criteria hold.
          yes trigger.count gt 0: the value is 3
          yes when trigger.count % 2
          parameters {"name":"x"}
          recorded requested exec_01

        rule demo.b does not match, and is disabled
          A criterion does not hold.
          NO  trigger.kind eq "a": the value is "b"
          ??  trigger.size gt 1: the value is (nothing)
              cannot be evaluated: there is nothing at trigger.size
        "#);
    }

    #[test]
    fn an_operator_without_a_pattern_shows_none() {
        assert_eq!(comparison("nexists", &Value::Null), "nexists");
        assert_eq!(comparison("equals", &Value::Null), "equals null");
    }

    #[test]
    fn an_answer_of_another_shape_is_said_to_be_one() {
        assert!(trial(&json!({"criteria": 7})).contains("cannot be read"));
    }
}
