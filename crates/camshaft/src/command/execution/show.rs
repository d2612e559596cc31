//! `camshaft execution show`.

use std::process::ExitCode;

use camshaft_model::ExecutionId;
use clap::Args;

use super::screen;
use crate::command::Context;
use crate::exit::CliError;

/// Show one execution: a run of a workflow with its tasks, any other one with its attempts
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft execution show exec_01jd2x3f5k8m9n0p1q2r3s4t5v")]
pub struct Show {
    /// The execution
    #[arg(value_name = "EXECUTION")]
    id: ExecutionId,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let path = format!("/executions/{}", self.id);
        let shown = context.client.read(&path).await?;
        screen::show(context, self.id, &shown).await
    }
}
