//! `camshaft constraint`: list, show, clear, preview; and what these have in common with `pause`,
//! `resume` and `set-limit`.

mod clear;
mod list;
mod preview;
pub(super) mod request;
mod show;
pub(super) mod via;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::exit::CliError;

/// Pauses and limits that are in force
#[derive(Debug, Subcommand)]
pub enum Constraint {
    List(list::List),
    Show(show::Show),
    Clear(clear::Clear),
    Preview(preview::Preview),
}

impl Constraint {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Clear(verb) => verb.run(context).await,
            Self::Preview(verb) => verb.run(context).await,
        }
    }
}
