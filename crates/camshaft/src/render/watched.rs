//! One event of a run as a sentence, for `camshaft watch`.

use std::time::Duration;

use camshaft_model::{StepEvent, StepEventType, duration};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{escape, step};

/// So many characters of the id tell runs apart: those at its end are chance.
const SHORT_ID_CHARS: usize = 6;

/// The end of an id, which differs between runs that began at the same time.
pub fn short_id(id: &str) -> &str {
    let start = id.len().saturating_sub(SHORT_ID_CHARS);
    id.get(start..).unwrap_or(id)
}

/// The line of an event: time, run, what it is about, what happened.
pub fn line(event: &StepEvent, name: &str, zone: &TimeZone) -> String {
    let at = event.created_at.to_jiff().to_zoned(zone.clone());
    let run = event.execution_id.to_string();
    let text = format!(
        "{}  {}  {}{}{}",
        at.strftime("%H:%M:%S%.3f"),
        short_id(&run),
        name,
        if name.is_empty() { "" } else { "  " },
        sentence(event)
    );
    escape::line(&text).into_owned()
}

/// What happened, without the name of what it happened to.
pub fn sentence(event: &StepEvent) -> String {
    let payload = &event.payload;
    let text = |key: &str| {
        payload
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let number = |key: &str| payload.get(key).and_then(Value::as_u64);
    let because = |key: &str| text(key).map_or_else(String::new, |reason| format!(": {reason}"));
    let took = number("duration_ms").map_or_else(String::new, |millis| {
        format!(" in {}", duration::display(Duration::from_millis(millis)))
    });
    let items = number("items").map_or_else(String::new, |items| {
        match number("items_failed").unwrap_or(0) {
            0 => format!(", {items} items"),
            failed => format!(", {items} items, {failed} failed"),
        }
    });
    match event.event_type {
        StepEventType::StepStarted => match number("attempt") {
            Some(attempt) if attempt > 1 => format!("started, attempt {attempt}"),
            _ => "started".to_owned(),
        },
        StepEventType::StepFinished if payload.get("success") == Some(&Value::Bool(true)) => {
            format!("finished{took}")
        }
        StepEventType::StepFinished => format!("did not succeed{took}{}", because("reason")),
        StepEventType::StepRetrying => {
            let delay = Duration::from_millis(number("delay_ms").unwrap_or(0));
            format!(
                "failed, retrying (attempt {}/{}) after {}{}",
                number("attempt").unwrap_or(0),
                number("max_attempts").unwrap_or(0),
                duration::display(delay),
                because("reason")
            )
        }
        StepEventType::StepSkipped => format!("skipped{}", because("reason")),
        StepEventType::CycleStarted => format!("cycle {}", number("cycle").unwrap_or(0)),
        StepEventType::TaskCompleted if payload.contains_key("taken_from") => {
            "completed, with a result that was kept".to_owned()
        }
        StepEventType::TaskCompleted => format!("completed{took}{items}"),
        StepEventType::TaskFailed => {
            let status = text("status").unwrap_or("failed");
            let reason = because("error");
            format!("{status}{took}{items}{reason}")
        }
        StepEventType::TaskCancelled => "cancelled".to_owned(),
        StepEventType::TaskPaused if payload.get("paused") == Some(&Value::Bool(false)) => {
            "resumed".to_owned()
        }
        StepEventType::TaskPaused => "paused".to_owned(),
        StepEventType::TaskBlocked => match text("inquiry") {
            Some(inquiry) => format!(
                "asks{}; answer with: camshaft inquiry answer {inquiry} --approve (or --reject)",
                because("prompt")
            ),
            None if payload.contains_key("constraint") => {
                format!("is blocked{}", because("reason"))
            }
            None => format!(
                "{} {}",
                text("reason").unwrap_or("waits"),
                text("trigger").unwrap_or("")
            ),
        },
        _ => {
            let value = serde_json::to_value(event).unwrap_or_default();
            format!("{} {}", event.event_type, step::details(&value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camshaft_model::ExecutionId;
    use serde_json::json;
    use uuid::Uuid;

    fn event(kind: &str, payload: Value) -> StepEvent {
        StepEvent::from_row(
            1,
            ExecutionId::new(Uuid::from_u128(0x0123_4567_89ab)),
            None,
            kind,
            Some("load".to_owned()),
            None,
            &payload.to_string(),
            "2026-11-21T12:00:01.5Z".parse().unwrap(),
        )
    }

    #[test]
    fn every_event_is_a_sentence() {
        let events = [
            event("step_started", json!({"attempt": 1})),
            event("step_started", json!({"attempt": 2})),
            event(
                "step_finished",
                json!({"success": true, "duration_ms": 1500}),
            ),
            event(
                "step_finished",
                json!({"success": false, "duration_ms": 12, "reason": "exit status 3 \u{1b}[2J"}),
            ),
            event(
                "step_retrying",
                json!({"attempt": 1, "max_attempts": 3, "delay_ms": 500, "reason": "exit status 3"}),
            ),
            event(
                "step_timeout",
                json!({"timeout_secs": 30, "reason": "timeout"}),
            ),
            event(
                "step_skipped",
                json!({"reason": "'load' needs 'approve' to have completed, and it was skipped"}),
            ),
            event("cycle_started", json!({"cycle": 2})),
            event(
                "task_completed",
                json!({"duration_ms": 20, "items": 10, "items_failed": 1}),
            ),
            event("task_completed", json!({"taken_from": {"kind": "cache"}})),
            event(
                "task_failed",
                json!({"status": "timed_out", "error": "no answer"}),
            ),
            event("task_cancelled", json!({})),
            event("task_paused", json!({"paused": true})),
            event("task_paused", json!({"paused": false})),
            event(
                "task_blocked",
                json!({"reason": "waits for a person", "inquiry": "inq_01", "prompt": "Load 3 rows?"}),
            ),
            event(
                "task_blocked",
                json!({"reason": "waits for an event", "trigger": "core.webhook"}),
            ),
            event(
                "task_blocked",
                json!({"status": "blocked", "constraint": "pause-global", "reason": "Constraint 'pause-global' on global holds it: pause"}),
            ),
            event("from_the_future", json!({"a": 1})),
        ];
        let lines = events
            .iter()
            .map(|event| line(event, "load[3]", &TimeZone::UTC) + "\n");
        insta::assert_snapshot!(lines.collect::<String>());
    }

    #[test]
    fn a_short_id_is_the_end_of_the_id() {
        assert_eq!(short_id("exec_01jd2x3f5k8m9n0p1q2r3s4t5v"), "3s4t5v");
        assert_eq!(short_id("x"), "x");
    }
}
