//! `camshaft execution show`.

use std::process::ExitCode;

use camshaft_model::ExecutionId;
use clap::Args;
use serde_json::Value;

use crate::command::Context;
use crate::command::context::items;
use crate::exit::CliError;
use crate::render::{Format, execution, table};

/// Show one execution with its attempts
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
        context.show(&shown, execution::show)?;
        if context.format == Format::Table {
            let attempts: Value = context.client.read(&format!("{path}/attempts")).await?;
            let attempts = items(&attempts);
            if !attempts.is_empty() {
                let list = table::list(attempts, execution::ATTEMPT_COLUMNS, context.screen.style);
                context.screen.text(&format!("\n{list}"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
