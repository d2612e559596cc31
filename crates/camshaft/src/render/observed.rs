//! What a broker tells of runs, as lines: the time, the end of the run's id, what happened.

use std::time::Duration;

use camshaft_model::{Timestamp, duration};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{escape, watched};

/// The line for a message of telemetry; `None` if it is none.
pub fn run_line(message: &Value, zone: &TimeZone) -> Option<String> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let at: Timestamp = text(message, "ts")?.parse().ok()?;
    let run = text(message, "run_id")?;
    let body = message.get("body")?;
    let mut line = match text(body, "type")?.as_str() {
        "LifecycleEvent" => match text(body, "event")?.as_str() {
            "ENGINE_STARTED" if body.get("resumed").and_then(Value::as_bool) == Some(true) => {
                "run taken up again".to_owned()
            }
            "ENGINE_STARTED" => "run started".to_owned(),
            "ENGINE_STOPPED" => format!(
                "run {}",
                text(body, "status").unwrap_or_else(|| "stopped".to_owned())
            ),
            other => other.to_owned(),
        },
        "TaskStateEvent" => {
            let item = body.get("item").and_then(Value::as_u64);
            let item = item.map_or_else(String::new, |item| format!("[{item}]"));
            format!(
                "{}{item} {}",
                text(body, "task_name")?,
                text(body, "state")?.to_lowercase()
            )
        }
        other => other.to_owned(),
    };
    let millis = body.get("duration_ms").and_then(Value::as_f64);
    if let Some(millis) = millis.filter(|millis| *millis > 0.0) {
        let lasted = Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or(Duration::MAX);
        line.push_str(&format!(" in {}", duration::display(lasted)));
    }
    if let Some(attempt) = body
        .get("attempt")
        .and_then(Value::as_u64)
        .filter(|attempt| *attempt > 1)
    {
        line.push_str(&format!(" (attempt {attempt})"));
    }
    let notes = ["reason", "error"]
        .into_iter()
        .filter_map(|key| text(body, key));
    for note in notes.filter(|note| !note.is_empty()) {
        line.push_str(&format!(": {note}"));
    }
    if let Some(dropped) = message.get("dropped").and_then(Value::as_u64) {
        line.push_str(&format!(" ({dropped} messages before this one were lost)"));
    }
    Some(format!(
        "{}  {}  {}",
        time(at, zone),
        escape::line(watched::short_id(&run)),
        escape::line(&line)
    ))
}

/// The line for the presence of an engine.
pub fn status_line(
    source: &str,
    message: &Value,
    now: Timestamp,
    zone: &TimeZone,
) -> Option<String> {
    let status = message.get("status")?.as_str()?;
    Some(format!(
        "{}  engine {} is {}",
        time(now, zone),
        escape::line(source),
        escape::line(status)
    ))
}

fn time(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_jiff().to_zoned(zone.clone());
    at.strftime("%H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(body: Value) -> String {
        let message = json!({
            "ts": "2026-11-21T01:28:29.590000+00:00", "run_id": "exec_01jd2x3f5k8m9n0p1q2r3s4t5v", "body": body,
        });
        run_line(&message, &TimeZone::UTC).unwrap()
    }

    #[test]
    fn lines_of_a_run() {
        let lines = [
            json!({ "type": "LifecycleEvent", "event": "ENGINE_STARTED" }),
            json!({ "type": "TaskStateEvent", "task_name": "fetch", "state": "RUNNING", "duration_ms": 0.0, "error": "", "attempt": 1 }),
            json!({ "type": "TaskStateEvent", "task_name": "fetch", "state": "FAILED", "duration_ms": 12.5, "error": "[x] broke\u{1b}[2J", "attempt": 2, "item": 3 }),
            json!({ "type": "TaskStateEvent", "task_name": "fetch", "state": "BLOCKED", "duration_ms": 0.0, "error": "", "reason": "held" }),
            json!({ "type": "LifecycleEvent", "event": "ENGINE_STARTED", "resumed": true }),
            json!({ "type": "LifecycleEvent", "event": "ENGINE_STOPPED", "status": "completed", "duration_ms": 1500.0, "error": "" }),
        ]
        .map(line);
        assert_eq!(
            lines,
            [
                "01:28:29.590  3s4t5v  run started",
                "01:28:29.590  3s4t5v  fetch running",
                "01:28:29.590  3s4t5v  fetch[3] failed in 12ms (attempt 2): [x] broke\\u{1b}[2J",
                "01:28:29.590  3s4t5v  fetch blocked: held",
                "01:28:29.590  3s4t5v  run taken up again",
                "01:28:29.590  3s4t5v  run completed in 1.5s",
            ]
        );
    }

    #[test]
    fn what_is_no_telemetry_is_no_line() {
        for message in [
            json!(1),
            json!({}),
            json!({ "ts": "soon", "run_id": "x", "body": {} }),
            json!({ "ts": "2026-11-21T01:28:29Z", "run_id": "x", "body": { "type": 1 } }),
        ] {
            assert_eq!(run_line(&message, &TimeZone::UTC), None, "{message}");
        }
    }
}
