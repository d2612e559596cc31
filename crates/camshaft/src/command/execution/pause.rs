//! `camshaft execution pause` and `resume`: one request each, told apart by its path.

use std::process::ExitCode;

use camshaft_model::ExecutionId;
use clap::Args;
use serde_json::{Value, json};

use super::screen;
use crate::command::Context;
use crate::exit::CliError;

/// Hold a run: no new task of it starts, nor of the runs below it; what runs goes on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  camshaft execution pause exec_01jd2x3f5k8m9n0p1q2r3s4t5v

It stays held over a restart of the engine, until it is resumed or cancelled. To pause again changes
nothing.")]
pub struct Pause {
    /// The run
    #[arg(value_name = "RUN")]
    id: ExecutionId,
}

/// Let a run that was paused go on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  camshaft execution resume exec_01jd2x3f5k8m9n0p1q2r3s4t5v

To resume what is not paused changes nothing. A run below one that is paused goes on only with it.")]
pub struct Resume {
    /// The run
    #[arg(value_name = "RUN")]
    id: ExecutionId,
}

impl Pause {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        tell(context, self.id, "pause").await
    }
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        tell(context, self.id, "resume").await
    }
}

async fn tell(context: &Context, id: ExecutionId, what: &str) -> Result<ExitCode, CliError> {
    let path = format!("/executions/{id}/{what}");
    let shown: Value = context.client.post(&path, &json!({}), None).await?;
    screen::show(context, id, &shown).await
}
