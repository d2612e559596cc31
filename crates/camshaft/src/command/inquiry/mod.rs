//! `camshaft inquiry`: list, show, answer.

mod answer;
mod list;
mod show;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::exit::CliError;

/// What runs ask of people
#[derive(Debug, Subcommand)]
pub enum Inquiry {
    List(list::List),
    Show(show::Show),
    Answer(answer::Answer),
}

impl Inquiry {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Answer(verb) => verb.run(context).await,
        }
    }
}
