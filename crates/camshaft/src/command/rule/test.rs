//! `camshaft rule test`.

use std::process::ExitCode;

use camshaft_model::{EventId, Ref};
use clap::Args;
use serde_json::{Value, json};

use crate::command::{Context, input};
use crate::exit::CliError;
use crate::render::why;

/// Say what a rule would do with an event, and why, without doing it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft rule test demo.every_ten_seconds --event evt_01jd2x3f5k8m9n0p1q2r3s4t5v
  camshaft rule test demo.on_order --event order.json
  echo '{\"id\": 7}' | camshaft rule test demo.on_order --event -

A file is an event ({\"payload\": …}, or what `camshaft event show -o json` writes) or just its payload,
as JSON or YAML.
The exit status is 0 whether the rule matches or not.")]
pub struct Test {
    /// The rule
    #[arg(value_name = "RULE")]
    reference: Ref,
    /// A recorded event, or a file with one (- for standard input)
    #[arg(long, value_name = "FILE|EVENT")]
    event: String,
}

impl Test {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let body = body(&self.event)?;
        let trial: Value = context
            .client
            .post(&format!("/rules/{}/test", self.reference), &body, None)
            .await?;
        context.show(&trial, |trial, _| why::trial(trial))
    }
}

/// What an event has once it is recorded, and one to try cannot have.
const RECORDED: [&str; 6] = [
    "id",
    "received_at",
    "dedup_key",
    "sensor",
    "depth",
    "trace_parent",
];

fn body(event: &str) -> Result<Value, CliError> {
    if let Ok(id) = event.parse::<EventId>() {
        return Ok(json!({ "event_id": id }));
    }
    let mut document = input::document(event)?;
    let event = match &mut document {
        Value::Object(event) if event.contains_key("payload") => {
            // A recorded one carries what only the engine says of an event.
            event.retain(|key, _| !RECORDED.contains(&key.as_str()));
            document
        }
        _ => json!({ "payload": document }),
    };
    Ok(json!({ "event": event }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_an_id_or_a_file_with_or_without_its_envelope() {
        let dir = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = dir.path().join("event.json");
            std::fs::write(&path, text).unwrap();
            body(path.to_str().unwrap()).unwrap()
        };
        assert_eq!(file(r#"{"a": 1}"#), json!({"event": {"payload": {"a": 1}}}));
        assert_eq!(
            file("payload: {a: 1}"),
            json!({"event": {"payload": {"a": 1}}})
        );
        let shown = r#"{"id": "evt_1", "received_at": "2026-11-21T01:28:29Z", "trigger": "t.poked", "payload": {},
            "source": {"kind": "api"}, "dedup_key": "k", "occurred_at": null, "sensor": null, "depth": 1, "trace_parent": null}"#;
        assert_eq!(
            file(shown),
            json!({"event": {"trigger": "t.poked", "payload": {}, "source": {"kind": "api"}, "occurred_at": null}})
        );
        let id = "evt_00000000000000000000000001";
        assert_eq!(body(id).unwrap(), json!({"event_id": id}));
    }
}
