//! `camshaft constraint show`.

use std::process::ExitCode;

use camshaft_model::{ConstraintKey, ConstraintType, Scope};
use clap::Args;

use super::request::path;
use crate::command::Context;
use crate::exit::CliError;
use crate::render::constraint;

/// Show one constraint: who set it and why, who holds its slots, until when it holds
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft constraint show task:api_call concurrency")]
pub struct Show {
    /// Its scope
    #[arg(value_name = "SCOPE")]
    scope: Scope,
    /// Its type: pause, concurrency, rate_limit, event_pause
    #[arg(value_name = "TYPE")]
    kind: ConstraintType,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let key = ConstraintKey {
            scope: self.scope,
            kind: self.kind,
        };
        let found = context.client.read(&path(&key)).await?;
        context.show(&found, constraint::show)
    }
}
