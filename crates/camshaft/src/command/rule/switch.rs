//! `camshaft rule enable`, `disable` and `reset`: one request each, told apart by its path.

use std::process::ExitCode;

use camshaft_model::Ref;
use clap::Args;
use serde_json::{Value, json};

use super::show::render;
use crate::command::Context;
use crate::exit::CliError;

/// Which rule
#[derive(Debug, Args)]
pub struct Switch {
    /// The rule
    #[arg(value_name = "REF")]
    reference: Ref,
}

impl Switch {
    pub(super) async fn run(self, context: &Context, how: &str) -> Result<ExitCode, CliError> {
        let path = format!("/rules/{}", self.reference);
        let answer: Value = context
            .client
            .post(&format!("{path}/{how}"), &json!({}), None)
            .await?;
        // An answer without the rule in it is completed, so that every format shows the same.
        let rule = if answer.get("ref").is_some() {
            answer
        } else {
            context.client.read(&path).await?
        };
        context.show(&rule, render)
    }
}
