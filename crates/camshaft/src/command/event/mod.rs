//! `camshaft event`: list, show, emit.

mod emit;
mod list;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::exit::CliError;

/// What happened
#[derive(Debug, Subcommand)]
pub enum Event {
    List(list::List),
    Show(show::Show),
    Emit(emit::Emit),
}

impl Event {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Emit(verb) => verb.run(context).await,
        }
    }
}
