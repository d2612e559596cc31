//! `camshaft execution`: list, show, cancel, retry.

mod cancel;
mod list;
mod retry;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::exit::CliError;

/// What ran, what runs and what waits
#[derive(Debug, Subcommand)]
pub enum Execution {
    List(list::List),
    Show(show::Show),
    Cancel(cancel::Cancel),
    Retry(retry::Retry),
}

impl Execution {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Cancel(verb) => verb.run(context).await,
            Self::Retry(verb) => verb.run(context).await,
        }
    }
}
