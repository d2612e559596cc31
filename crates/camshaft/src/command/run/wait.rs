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
use crate::command::logs::{FIRST_ATTEMPT, Follower, Until, follow_run};
use crate::exit::CliError;
use crate::render::{Format, escape, execution, text_at};

/// The exit status of a process that SIGINT ended.
pub(in crate::command) const EXIT_INTERRUPTED: u8 = 130;
/// How long the engine may hold the answer while the execution has not ended.
const END_WAIT: Duration = Duration::from_secs(30);
/// How often it is asked whether another attempt has begun.
const ATTEMPT_WAIT: Duration = Duration::from_secs(1);

/// Whose the engine is that runs the execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum Whose {
    /// It runs on when this command has left.
    Theirs,
    /// This command brought it along.
    Own,
}

/// Shows the output until the execution has ended, and then how it ended. Ctrl-C and the limit only
/// end the staying: the execution goes on, unless its engine is this command's own.
pub(in crate::command) async fn stay(
    context: &Context,
    id: ExecutionId,
    limit: Option<Duration>,
    engine: Whose,
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
    let limit = limit.unwrap_or_default();
    stay_until(context, id, interrupted, over, (limit, engine)).await
}

async fn stay_until(
    context: &Context,
    id: ExecutionId,
    interrupted: impl Future<Output = ()>,
    over: impl Future<Output = ()>,
    (limit, engine): (Duration, Whose),
) -> Result<ExitCode, CliError> {
    tokio::select! {
        biased;
        () = interrupted => {
            context.screen.note(&match engine {
                Whose::Theirs => format!("The execution goes on; cancel it with: camshaft execution cancel {id}"),
                Whose::Own => format!("Stopping. {id} {}", taken_up(context)),
            });
            Ok(ExitCode::from(EXIT_INTERRUPTED))
        }
        ended = end(context, id) => conclude(context, id, &ended?),
        () = over => {
            let what = format!("execution {id} has not ended after {}", duration::display(limit));
            let (what, hint) = match engine {
                Whose::Theirs => (
                    format!("{what}; it goes on"),
                    format!("see its output with: camshaft logs -f {id}; cancel it with: camshaft execution cancel {id}"),
                ),
                Whose::Own => (
                    format!("{what}; its engine stops with this command. It {}", taken_up(context)),
                    "start an engine that stays with: camshaft up".to_owned(),
                ),
            };
            Err(CliError::new(ErrorCode::ExecutionFailed, what).hint(hint))
        }
    }
}

/// What becomes of an execution whose engine leaves with this command.
fn taken_up(context: &Context) -> String {
    let data_dir = context.data_dir.display();
    format!("is taken up by the next engine on {data_dir}, if it may run again")
}

/// Copies both streams of every attempt to their ends, of every step if it is a run, and returns the
/// execution.
async fn end(context: &Context, id: ExecutionId) -> Result<Value, CliError> {
    let is_run = context.format == Format::Table && follow_run(context, id).await?;
    if context.format == Format::Table && !is_run {
        let mut attempt = FIRST_ATTEMPT;
        loop {
            copy(context, id, attempt).await?;
            if !another(context, id, attempt).await? {
                break;
            }
            attempt += 1;
        }
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
                // What its steps wrote is on stdout; what it came to is nobody's output.
                if let Some(result) = execution
                    .get("result")
                    .filter(|value| is_run && !value.is_null())
                {
                    context.screen.note(&format!("Result: {result}"));
                }
                return Ok(execution);
            }
            Ok(_) => patience = Patience::default(),
            Err(error) => patience.wait(context, error, "the execution").await?,
        }
    }
}

/// Copies both streams of one attempt. The first one may not have begun, and may never.
async fn copy(context: &Context, id: ExecutionId, attempt: u32) -> Result<(), CliError> {
    let follow = |stream| {
        let follower = Follower::new(context, id, stream, Until::AttemptEnds);
        match attempt {
            FIRST_ATTEMPT => follower.beginning_with_the_first().run(),
            later => follower.attempt(Some(later)).run(),
        }
    };
    futures::try_join!(follow(OutputStream::Stdout), follow(OutputStream::Stderr)).map(drop)
}

/// Waits until another attempt has begun, having said how this one ended; `false` if the execution
/// has ended without one.
async fn another(context: &Context, id: ExecutionId, attempt: u32) -> Result<bool, CliError> {
    let path = format!("/executions/{id}");
    let mut patience = Patience::default();
    let mut said = false;
    loop {
        // The first look waits for nothing: the next attempt may have begun, or ended, already.
        let found = if said {
            let query = Query::default().with("timeout", Some(duration::display(ATTEMPT_WAIT)));
            let path = format!("{path}/wait");
            context.client.get(&path, &query.0, ATTEMPT_WAIT).await
        } else {
            context.client.get(&path, &[], Duration::ZERO).await
        };
        let execution: Value = match found {
            Ok(execution) => execution,
            Err(error) => {
                patience.wait(context, error, "the execution").await?;
                continue;
            }
        };
        patience = Patience::default();
        let begun = execution["attempt"].as_u64() > Some(attempt.into());
        if !begun && status(&execution).is_some_and(Status::is_terminal) {
            return Ok(false);
        }
        if !std::mem::replace(&mut said, true) {
            say_end_of_attempt(context, id, attempt, &execution).await;
        }
        if begun {
            return Ok(true);
        }
    }
}

/// One line between the output of two attempts.
async fn say_end_of_attempt(context: &Context, id: ExecutionId, attempt: u32, execution: &Value) {
    let path = format!("/executions/{id}/attempts");
    // Without an answer the line says less; what follows needs none.
    let attempts: Value = context
        .client
        .get(&path, &[], Duration::ZERO)
        .await
        .unwrap_or_default();
    let ended = attempts["items"]
        .as_array()
        .and_then(|items| items.iter().find(|item| item["attempt"] == attempt));
    let how = ended.map_or_else(
        || "ended".to_owned(),
        |ended| match text_at(ended, "/error/message").as_str() {
            "-" => text_at(ended, "/status"),
            reason => format!("{}: {reason}", text_at(ended, "/status")),
        },
    );
    let when = match text_at(execution, "/not_before").as_str() {
        "-" => String::new(),
        at => format!(" at {at}"),
    };
    let line = format!("attempt {attempt} {how}; another one follows{when}");
    context.screen.note(&escape::line(&line));
}

fn status(execution: &Value) -> Option<Status> {
    execution.get("status")?.as_str()?.parse().ok()
}

/// Says how an execution has ended, and ends accordingly.
pub(in crate::command) fn conclude(
    context: &Context,
    id: ExecutionId,
    ended: &Value,
) -> Result<ExitCode, CliError> {
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
