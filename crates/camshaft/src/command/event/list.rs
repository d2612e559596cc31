//! `camshaft event list`.

use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::Ref;
use clap::Args;
use serde_json::Value;

use crate::command::Context;
use crate::command::context::{Page, Query};
use crate::exit::CliError;
use crate::render::table::Column;

const COLUMNS: &[Column] = &[
    Column::at("ID", "/id"),
    Column::instant("RECEIVED", "/received_at"),
    Column::at("TRIGGER", "/trigger"),
    Column::at("SOURCE", "/source/kind"),
    Column::at("PAYLOAD", "/payload"),
];

/// List events, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft event list --trigger core.interval --limit 5")]
pub struct List {
    /// Of this trigger
    #[arg(long, value_name = "REF")]
    trigger: Option<Ref>,
    #[command(flatten)]
    page: Page,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let query = Query::default()
            .with("trigger", self.trigger)
            .page(&self.page);
        let page: Value = context
            .client
            .get("/events", &query.0, Duration::ZERO)
            .await?;
        context.list(&page, COLUMNS)
    }
}
