//! `camshaft action list`.

use std::process::ExitCode;

use clap::Args;

use crate::command::Context;
use crate::exit::CliError;
use crate::render::table::Column;

const COLUMNS: &[Column] = &[
    Column::at("REF", "/ref"),
    Column::at("RUNTIME", "/runtime"),
    Column::at("DESCRIPTION", "/description"),
];

/// List actions
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft action list")]
pub struct List {}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let page = context.client.read("/actions").await?;
        context.list(&page, COLUMNS)
    }
}
