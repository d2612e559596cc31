//! `camshaft constraint list`.

use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::{ConstraintType, Scope};
use clap::Args;
use serde_json::{Value, json};

use crate::command::Context;
use crate::command::context::Query;
use crate::exit::CliError;
use crate::render::constraint::COLUMNS;

/// So many are asked for at once.
const PAGE: u32 = 1_000;

/// List what is in force: what it says, how many run and wait under it, what is left of its time
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft constraint list
  camshaft constraint list --type pause -o json | jq -r '.items[].scope'

WAITING counts what is in line for its start and falls under the constraint; something else may
hold it too. `camshaft why EXECUTION` says what does. Of a pause of events it counts events.")]
pub struct List {
    /// On exactly this scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Of this type: pause, concurrency, rate_limit, event_pause
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<ConstraintType>,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let query = Query::default()
                .with("scope", self.scope.clone())
                .with("type", self.kind)
                .with("limit", Some(PAGE))
                .with("cursor", cursor);
            let mut page: Value = context
                .client
                .get("/constraints", &query.0, Duration::ZERO)
                .await?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                all.extend(items);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return context.list(&json!({ "items": all }), COLUMNS);
            }
        }
    }
}
