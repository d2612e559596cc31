//! One execution on one screen: what it is, and its tasks or its attempts.

use std::process::ExitCode;

use camshaft_model::{ErrorCode, ExecutionId};
use serde_json::Value;

use crate::command::Context;
use crate::command::context::items;
use crate::exit::CliError;
use crate::render::{Format, execution, run, table};

/// Shows an execution: a run with its tasks, any other one with its attempts. Programs get the
/// execution as it is.
pub(super) async fn show(
    context: &Context,
    id: ExecutionId,
    shown: &Value,
) -> Result<ExitCode, CliError> {
    context.show(shown, execution::show)?;
    if context.format != Format::Table {
        return Ok(ExitCode::SUCCESS);
    }
    let style = context.screen.style;
    if let Some(run) = of_run(context, id).await? {
        context
            .screen
            .text(&format!("\n{}", run::show(&run, style)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let attempts: Value = context
        .client
        .read(&format!("/executions/{id}/attempts"))
        .await?;
    let attempts = items(&attempts);
    if !attempts.is_empty() {
        let list = table::list(attempts, execution::ATTEMPT_COLUMNS, style);
        context.screen.text(&format!("\n{list}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The run with its tasks; `None` for an execution that is no run.
async fn of_run(context: &Context, id: ExecutionId) -> Result<Option<Value>, CliError> {
    let path = format!("/executions/{id}/run");
    match context.client.read(&path).await {
        Ok(run) => Ok(Some(run)),
        Err(error) if error.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
