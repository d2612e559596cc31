//! `camshaft set-limit`.

use std::process::ExitCode;

use camshaft_model::Scope;
use clap::Args;

use super::Context;
use super::constraint::request::{self, Limits, Terming};
use super::constraint::via::Via;
use crate::exit::CliError;

/// Limit how many run at once in a scope, or how often they start
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft set-limit --scope task:api_call --concurrency 3
  camshaft set-limit --scope task:api_call --rate 10/m --ttl 1h --reason 'quota of the API'
  camshaft set-limit --scope runtime:python --concurrency 2 --rate 5/s

Both together are two constraints, and both hold. A limit replaces the one of the same kind on the
same scope; raising it starts at once what may start now, lowering it stops nothing that runs. 10/m
starts one every six seconds. `camshaft constraint clear SCOPE TYPE` ends a limit.")]
pub struct SetLimit {
    /// What to limit: global, or a kind and a name or pattern such as task:api_call
    #[arg(long, value_name = "SCOPE")]
    scope: Scope,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    terming: Terming,
    #[command(flatten)]
    via: Via,
}

impl SetLimit {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let terms = self.limits.terms();
        if terms.is_empty() {
            return Err(CliError::invalid(
                "there is no limit to set: give --concurrency, --rate or both",
            )
            .hint("--concurrency 0 holds everything; camshaft constraint clear ends a limit"));
        }
        request::set(context, &self.via, &self.scope, terms, self.terming).await
    }
}
