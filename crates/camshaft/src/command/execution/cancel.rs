//! `camshaft execution cancel`.

use std::process::ExitCode;

use camshaft_model::ExecutionId;
use clap::Args;
use serde_json::{Value, json};

use crate::command::Context;
use crate::exit::CliError;
use crate::render::execution;

/// Stop an execution: TERM to its processes, then KILL; one that waits just ends
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  camshaft execution cancel exec_01jd2x3f5k8m9n0p1q2r3s4t5v

It is 'canceling' until the last process is gone. To cancel again changes nothing.")]
pub struct Cancel {
    /// The execution
    #[arg(value_name = "EXECUTION")]
    id: ExecutionId,
}

impl Cancel {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let path = format!("/executions/{}/cancel", self.id);
        let shown: Value = context.client.post(&path, &json!({}), None).await?;
        context.show(&shown, execution::show)
    }
}
