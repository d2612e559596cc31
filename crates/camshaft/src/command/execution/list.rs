//! `camshaft execution list`.

use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::execution::UnknownStatus;
use camshaft_model::{Ref, Status};
use clap::Args;
use serde_json::Value;

use crate::command::Context;
use crate::command::context::{Page, Query};
use crate::exit::CliError;
use crate::render::execution::COLUMNS;

/// List runs, newest first: executions that are no part of another one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft execution list --status running,requested
  camshaft execution list --action demo.greet --limit 5
  camshaft execution list --all --status failed      tasks of workflows too
  camshaft execution list --all --status blocked     what pauses and limits hold
  camshaft execution list -o json | jq -r '.items[].id'")]
pub struct List {
    /// In these states: requested, scheduled, running, waiting, canceling, completed, failed,
    /// timed_out, cancelled, abandoned, skipped; or blocked: held by a constraint, or by the
    /// wait for those of a broker
    #[arg(long, value_delimiter = ',', value_name = "STATUS", value_parser = status)]
    status: Vec<String>,
    /// Of this action
    #[arg(long, value_name = "REF")]
    action: Option<Ref>,
    /// Requested by this rule
    #[arg(long, value_name = "REF")]
    rule: Option<Ref>,
    /// The tasks and items of workflows too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    page: Page,
}

fn status(text: &str) -> Result<String, UnknownStatus> {
    if text != "blocked" {
        text.parse::<Status>()?;
    }
    Ok(text.to_owned())
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let query = Query::default()
            .with_all("status", &self.status)
            .with("action", self.action)
            .with("rule", self.rule)
            .with("roots", (!self.all).then_some(true))
            .page(&self.page);
        let page: Value = context
            .client
            .get("/executions", &query.0, Duration::ZERO)
            .await?;
        context.list(&page, COLUMNS)
    }
}
