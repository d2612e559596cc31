//! `camshaft constraint preview`.

use std::process::ExitCode;

use camshaft_model::Scope;
use clap::Args;
use serde_json::{Value, json};

use super::request::{Limits, note_of_ref};
use crate::command::Context;
use crate::exit::CliError;
use crate::render::constraint;

/// Say what a pause or a limit would hold now, by action, without setting it
///
/// It counts those in its scope that would wait for it if it were set now, whatever else they wait for. So a
/// pause holds all that waits, and a limit that is not reached holds nothing. What would start is not counted,
/// nor what is requested later.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft constraint preview task:api_call                    what a pause would hold
  camshaft constraint preview task:api_call --concurrency 2    what a limit would hold")]
pub struct Preview {
    /// The scope
    #[arg(value_name = "SCOPE", default_value = "global")]
    scope: Scope,
    #[command(flatten)]
    limits: Limits,
}

impl Preview {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let mut terms = self.limits.terms();
        if terms.len() > 1 {
            return Err(CliError::invalid(
                "two limits are two constraints: preview them one after the other",
            ));
        }
        let terms = terms.pop().unwrap_or(camshaft_model::Terms::Pause);
        note_of_ref(context, &self.scope);
        let body = json!({"scope": self.scope, "type": terms.kind(), "params": terms.params()});
        let answer: Value = context
            .client
            .post("/constraints/preview", &body, None)
            .await?;
        context.show(&answer, constraint::preview)
    }
}
