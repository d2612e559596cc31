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

A file is an event ({\"payload\": …}) or just its payload, as JSON or YAML.
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

fn body(event: &str) -> Result<Value, CliError> {
    if let Ok(id) = event.parse::<EventId>() {
        return Ok(json!({ "event_id": id }));
    }
    let document = input::document(event)?;
    let event = if document.get("payload").is_some() {
        document
    } else {
        json!({ "payload": document })
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
        let id = "evt_00000000000000000000000001";
        assert_eq!(body(id).unwrap(), json!({"event_id": id}));
    }
}
