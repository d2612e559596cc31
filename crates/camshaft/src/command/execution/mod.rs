//! `camshaft execution`: list, show, cancel, pause, resume, retry, rerun.

mod cancel;
mod list;
mod pause;
mod retry;
mod screen;
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
    Pause(pause::Pause),
    Resume(pause::Resume),
    Retry(retry::Retry),
    Rerun(retry::Rerun),
}

impl Execution {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Cancel(verb) => verb.run(context).await,
            Self::Pause(verb) => verb.run(context).await,
            Self::Resume(verb) => verb.run(context).await,
            Self::Retry(verb) => verb.run(context).await,
            Self::Rerun(verb) => verb.run(context).await,
        }
    }
}
