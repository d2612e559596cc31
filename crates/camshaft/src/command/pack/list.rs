//! `camshaft pack list`.

use std::process::ExitCode;

use clap::Args;

use crate::command::Context;
use crate::exit::CliError;
use crate::render::table::Column;
use crate::render::text_at;

const COLUMNS: &[Column] = &[
    Column::at("PACK", "/pack"),
    Column::at("VERSION", "/version"),
    Column::with("HASH", |pack| {
        text_at(pack, "/hash").chars().take(12).collect()
    }),
    Column::instant("APPLIED", "/applied_at"),
    Column::at("DESCRIPTION", "/description"),
];

/// List the packs that are current
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft pack list")]
pub struct List {}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let page = context.client.read("/packs").await?;
        context.list(&page, COLUMNS)
    }
}
