//! `camshaft trigger`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Context;
use crate::exit::CliError;
use crate::render::table::Column;

const COLUMNS: &[Column] = &[
    Column::at("REF", "/ref"),
    Column::at("KIND", "/kind"),
    Column::at("DESCRIPTION", "/description"),
];

/// The kinds of events
#[derive(Debug, Subcommand)]
pub enum Trigger {
    List(List),
}

/// List triggers
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft trigger list")]
pub struct List {}

impl Trigger {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let Self::List(List {}) = self;
        let page: Value = context.client.get("/triggers", &[], Duration::ZERO).await?;
        context.list(&page, COLUMNS)
    }
}
