//! `camshaft workflow`: validate, graph, test, run.

mod graph;
mod run;
mod source;
mod test;
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
    Test(test::Test),
    Run(run::Run),
}

impl Workflow {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::Validate(verb) => verb.run(context).await,
            Self::Graph(verb) => verb.run(context).await,
            Self::Test(verb) => verb.run(context),
            Self::Run(verb) => verb.run(context).await,
        }
    }
}

#[cfg(test)]
mod tests;
