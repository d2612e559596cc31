//! `camshaft enforcement`.

use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::{EventId, Ref};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Context;
use super::context::{Page, Query};
use crate::exit::CliError;
use crate::render::table::Column;
use crate::render::text_at;

const COLUMNS: &[Column] = &[
    Column::instant("TIME", "/created_at"),
    Column::at("RULE", "/rule"),
    Column::at("EVENT", "/event"),
    Column::at("OUTCOME", "/outcome"),
    Column::with("RESULT", |item| {
        match text_at(item, "/execution").as_str() {
            "-" => text_at(item, "/reason"),
            execution => execution.to_owned(),
        }
    }),
];

/// What rules made of events
#[derive(Debug, Subcommand)]
pub enum Enforcement {
    List(List),
}

/// List enforcements, newest first: which rule answered which event, and what came of it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft enforcement list --rule demo.every_ten_seconds
  camshaft enforcement list --event evt_01jd2x3f5k8m9n0p1q2r3s4t5v")]
pub struct List {
    /// On this event
    #[arg(long, value_name = "EVENT")]
    event: Option<EventId>,
    /// Of this rule
    #[arg(long, value_name = "REF")]
    rule: Option<Ref>,
    #[command(flatten)]
    page: Page,
}

impl Enforcement {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let Self::List(List { event, rule, page }) = self;
        let query = Query::default()
            .with("event", event)
            .with("rule", rule)
            .page(&page);
        let page: Value = context
            .client
            .get("/enforcements", &query.0, Duration::ZERO)
            .await?;
        context.list(&page, COLUMNS)
    }
}
