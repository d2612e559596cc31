//! `camshaft execution retry`.

use std::process::ExitCode;

use camshaft_model::ExecutionId;
use clap::Args;
use serde_json::{Value, json};

use crate::command::Context;
use crate::exit::CliError;
use crate::render::execution;

/// Request a new execution with the action and parameters of one that has ended
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft execution retry exec_01jd2x3f5k8m9n0p1q2r3s4t5v")]
pub struct Retry {
    /// The execution that has ended
    #[arg(value_name = "EXECUTION")]
    id: ExecutionId,
    /// Requests with the same key make one execution
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Retry {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let path = format!("/executions/{}/retry", self.id);
        let shown: Value = context
            .client
            .post(&path, &json!({}), self.idempotency_key.as_deref())
            .await?;
        context.show(&shown, execution::show)
    }
}
