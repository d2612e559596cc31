//! `camshaft event emit`.

use std::process::ExitCode;

use camshaft_model::{Ref, Timestamp};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::command::Context;
use crate::command::context::instant;
use crate::command::input;
use crate::exit::CliError;
use crate::render::table::pairs;
use crate::render::{Style, plain, text_at};

/// Hand in an event, as a sensor would
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft event emit demo.order '{\"id\": 7}'
  camshaft event emit demo.order @order.json --dedup-key order-7
  jq .order big.json | camshaft event emit demo.order -

Answers once the event and what rules made of it are stored.")]
pub struct Emit {
    /// Its trigger
    #[arg(value_name = "TRIGGER")]
    trigger: Ref,
    /// Its payload: JSON, @FILE, or - for standard input
    #[arg(value_name = "PAYLOAD", default_value = "{}")]
    payload: String,
    /// At most one event with the same key is recorded for a trigger
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,
    /// When it happened, if not now
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    occurred_at: Option<Timestamp>,
}

impl Emit {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let mut event = Map::new();
        event.insert("trigger".to_owned(), json!(self.trigger));
        event.insert(
            "payload".to_owned(),
            input::json_argument(&self.payload, "the payload")?,
        );
        event.extend(
            self.dedup_key
                .map(|key| ("dedup_key".to_owned(), key.into())),
        );
        event.extend(
            self.occurred_at
                .map(|at| ("occurred_at".to_owned(), at.to_string().into())),
        );
        let accepted: Value = context
            .client
            .post("/events", &Value::Object(event), None)
            .await?;
        context.show(&accepted, render)
    }
}

fn render(accepted: &Value, style: Style) -> String {
    let mut rows = vec![("event", text_at(accepted, "/event"))];
    if accepted.get("duplicate") == Some(&Value::Bool(true)) {
        rows.push((
            "duplicate",
            "yes: this is the earlier event with the same key".to_owned(),
        ));
    }
    for execution in accepted
        .get("executions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        rows.push(("execution", plain(execution)));
    }
    pairs(&rows, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_what_came_of_it() {
        let accepted =
            json!({"event": "evt_1", "duplicate": true, "executions": ["exec_1", "exec_2"]});
        insta::assert_snapshot!(render(&accepted, Style::default()), @r"
        event      evt_1
        duplicate  yes: this is the earlier event with the same key
        execution  exec_1
        execution  exec_2
        ");
    }
}
