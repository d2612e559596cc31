//! `camshaft constraint clear`.

use std::process::ExitCode;

use camshaft_model::{ConstraintType, Scope};
use clap::Args;

use super::request;
use super::via::Via;
use crate::command::Context;
use crate::exit::CliError;

/// Clear one constraint, or all of a scope; what waited for it starts at once
#[derive(Debug, Args)]
#[command(
    after_help = "\
Examples:
  camshaft constraint clear task:api_call concurrency
  camshaft constraint clear task:api_call --all

The scope is taken as it stands: task:api_* clears the constraint that was set on task:api_*, not
those on the tasks that fit it. To clear what is not in force changes nothing.",
    override_usage = "camshaft constraint clear [OPTIONS] <SCOPE> <TYPE|--all>",
    group = clap::ArgGroup::new("what").required(true)
)]
pub struct Clear {
    /// The scope
    #[arg(value_name = "SCOPE")]
    scope: Scope,
    /// The type: pause, concurrency, rate_limit, event_pause
    #[arg(value_name = "TYPE", group = "what")]
    kind: Option<ConstraintType>,
    /// Every type
    #[arg(long, group = "what")]
    all: bool,
    #[command(flatten)]
    via: Via,
}

impl Clear {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        request::clear(context, &self.via, &self.scope, self.kind).await
    }
}
