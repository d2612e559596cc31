//! `camshaft event show`.

use std::process::ExitCode;

use camshaft_model::EventId;
use clap::Args;
use serde_json::Value;

use crate::command::Context;
use crate::exit::CliError;
use crate::render::table::pairs;
use crate::render::{Format, Style, instant_at, json, text_at};

/// Show one event with its payload
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft event show evt_01jd2x3f5k8m9n0p1q2r3s4t5v")]
pub struct Show {
    /// The event
    #[arg(value_name = "EVENT")]
    id: EventId,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let event = context.client.read(&format!("/events/{}", self.id)).await?;
        context.show(&event, render)
    }
}

fn render(event: &Value, style: Style) -> String {
    let payload = event
        .get("payload")
        .and_then(|payload| json::render(payload, Format::Json).ok());
    let rows = [
        ("id", text_at(event, "/id")),
        ("trigger", text_at(event, "/trigger")),
        ("received", instant_at(event, "/received_at")),
        ("occurred", instant_at(event, "/occurred_at")),
        ("source", text_at(event, "/source/kind")),
        ("name", text_at(event, "/source/name")),
        ("key", text_at(event, "/dedup_key")),
        ("payload", payload.unwrap_or_else(|| "-".to_owned())),
    ];
    let rows: Vec<_> = rows.into_iter().filter(|(_, text)| text != "-").collect();
    pairs(&rows, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_shows_its_payload() {
        let event = serde_json::json!({"id": "evt_1", "trigger": "demo.order", "received_at": "2026-11-21T01:28:29Z",
            "source": {"kind": "api"}, "payload": {"n": 1}});
        insta::assert_snapshot!(render(&event, Style::default()), @r#"
        id        evt_1
        trigger   demo.order
        received  2026-11-21T01:28:29.000Z
        source    api
        payload   {
                    "n": 1
                  }
        "#);
    }
}
