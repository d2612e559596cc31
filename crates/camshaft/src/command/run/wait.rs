//! Staying with an execution to its end: its output as it comes, then what became of it.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::port::dispatch::OutputStream;
use camshaft_model::{ErrorCode, ExecutionId, Status, duration};
use serde_json::Value;

use crate::command::Context;
use crate::command::context::Query;
use crate::command::logs::retry::Patience;
use crate::command::logs::{Follower, Until};
use crate::exit::CliError;
use crate::render::{Format, execution, text_at};

/// The exit status of a process that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;
/// How long the engine may hold the answer while the execution has not ended.
const END_WAIT: Duration = Duration::from_secs(30);

/// Shows the output until the execution has ended, and then how it ended. Ctrl-C and the limit only
/// end the staying: the execution goes on.
pub(super) async fn stay(
    context: &Context,
    id: ExecutionId,
    limit: Option<Duration>,
) -> Result<ExitCode, CliError> {
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler SIGINT ends the process by itself.
            std::future::pending::<()>().await;
        }
    };
    stay_until(context, id, interrupted, over, limit.unwrap_or_default()).await
}

async fn stay_until(
    context: &Context,
    id: ExecutionId,
    interrupted: impl Future<Output = ()>,
    over: impl Future<Output = ()>,
    limit: Duration,
) -> Result<ExitCode, CliError> {
    tokio::select! {
        biased;
        () = interrupted => {
            context.screen.note(&format!("The execution goes on; cancel it with: camshaft execution cancel {id}"));
            Ok(ExitCode::from(EXIT_INTERRUPTED))
        }
        ended = end(context, id) => conclude(context, id, &ended?),
        () = over => {
            let limit = duration::display(limit);
            Err(CliError::new(ErrorCode::ExecutionFailed, format!("execution {id} has not ended after {limit}; it goes on"))
                .hint(format!("see its output with: camshaft logs -f {id}; cancel it with: camshaft execution cancel {id}")))
        }
    }
}

/// Copies both streams to their ends and returns the execution.
async fn end(context: &Context, id: ExecutionId) -> Result<Value, CliError> {
    if context.format == Format::Table {
        let follow = |stream| Follower::new(context, id, stream, Until::ExecutionEnds).run();
        futures::try_join!(follow(OutputStream::Stdout), follow(OutputStream::Stderr))?;
    }
    let query = Query::default().with("timeout", Some(format!("{}s", END_WAIT.as_secs())));
    let mut patience = Patience::default();
    loop {
        match context
            .client
            .get::<Value>(&format!("/executions/{id}/wait"), &query.0, END_WAIT)
            .await
        {
            Ok(execution) if status(&execution).is_some_and(Status::is_terminal) => {
                return Ok(execution);
            }
            Ok(_) => patience = Patience::default(),
            Err(error) => patience.wait(context, error, "the execution").await?,
        }
    }
}

fn status(execution: &Value) -> Option<Status> {
    execution.get("status")?.as_str()?.parse().ok()
}

fn conclude(context: &Context, id: ExecutionId, ended: &Value) -> Result<ExitCode, CliError> {
    if context.format != Format::Table {
        context.show(ended, execution::show)?;
    }
    if status(ended) == Some(Status::Completed) {
        return Ok(ExitCode::SUCCESS);
    }
    let reason = match text_at(ended, "/error/message").as_str() {
        "-" => String::new(),
        reason => format!(": {reason}"),
    };
    let message = format!("execution {id} {}{reason}", text_at(ended, "/status"));
    Err(CliError::new(ErrorCode::ExecutionFailed, message)
        .hint(format!("see what led to it with: camshaft why {id}")))
}

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;
