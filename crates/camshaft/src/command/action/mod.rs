//! `camshaft action`: list, show.

mod list;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::exit::CliError;

/// What can be run
#[derive(Debug, Subcommand)]
pub enum Action {
    List(list::List),
    Show(show::Show),
}

impl Action {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
        }
    }
}
