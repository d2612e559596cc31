//! `camshaft rule list`.

use std::process::ExitCode;

use clap::Args;

use crate::command::Context;
use crate::exit::CliError;
use crate::render::table::Column;

const COLUMNS: &[Column] = &[
    Column::at("REF", "/ref"),
    Column::at("ENABLED", "/enabled"),
    Column::at("TRIGGER", "/trigger"),
    Column::at("ACTION", "/action"),
    Column::at("DESCRIPTION", "/description"),
];

/// List rules and whether each is enabled
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft rule list")]
pub struct List {}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let page = context.client.read("/rules").await?;
        context.list(&page, COLUMNS)
    }
}
