//! `camshaft workflow`: validate, graph.

mod graph;
mod source;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::exit::CliError;

/// Graphs of tasks
#[derive(Debug, Subcommand)]
pub enum Workflow {
    Validate(validate::Validate),
    Graph(graph::Graph),
}

impl Workflow {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::Validate(verb) => verb.run(context).await,
            Self::Graph(verb) => verb.run(context).await,
        }
    }
}

#[cfg(test)]
mod tests;
