//! An attempt without a process: a native function or an HTTP request, as a task. Cheap: no thread of
//! its own, one step event, no file.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use camshaft_model::port::dispatch::Job;
use camshaft_model::{Failure, FailureKind, Output, duration};
use futures::FutureExt;
use serde_json::Value;

use super::ending::{Ending, panic_text};
use super::secrets::redacted_bytes;
use super::{Shared, TaskStop};
use crate::runtime::failure;
use crate::runtime::native::NativeContext;

/// Runs an attempt to its end and reports it.
pub(super) async fn run(shared: Arc<Shared>, job: Job, stop: Arc<TaskStop>) {
    let started_at = shared.clock.now();
    let context = NativeContext::new(&job, stop.token.clone(), shared.limits.inline_bytes);
    let work = AssertUnwindSafe(call(&shared, &job, &context)).catch_unwind();
    let outcome = bounded(work, job.timeout, &stop).await;
    let outcome = outcome.and_then(|value| match &job.action.output_schema {
        Some(schema) => shared.schemas.check(schema, &value).map(|()| value),
        None => Ok(value),
    });
    let stdout = kept(context.logged(), &job.secrets, shared.limits.inline_bytes);
    let ending = Ending::without_process(
        &job,
        Some(started_at),
        shared.clock.now(),
        outcome,
        (stdout, Output::default()),
    );
    shared.finish(job.key, ending);
}

async fn call(shared: &Shared, job: &Job, context: &NativeContext) -> Result<Value, Failure> {
    if job.action.runtime == "http" {
        shared.http.run(job).await
    } else {
        shared.native.call(job, context.clone()).await
    }
}

/// Waits for the work, its deadline or its stop, whichever comes first. Work that is stopped sees it
/// and has its grace; then it is dropped where it stands.
async fn bounded(
    work: impl Future<Output = Result<Result<Value, Failure>, Box<dyn Any + Send>>>,
    timeout: Option<Duration>,
    stop: &TaskStop,
) -> Result<Value, Failure> {
    let mut work = pin!(work);
    let deadline = async {
        match timeout {
            Some(timeout) => {
                tokio::time::sleep(timeout).await;
                timeout
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = &mut work => return done.unwrap_or_else(|panic| {
            Err(failure(FailureKind::Native, format!("it panicked: {}", panic_text(&*panic))))
        }),
        () = stop.token.cancelled() => {}
        timeout = deadline => {
            stop.token.cancel();
            let limit = duration::display(timeout);
            return Err(failure(FailureKind::Timeout, format!("stopped at its timeout, having run for {limit}")));
        }
    }
    let grace = *stop.grace.lock();
    // What it says in its grace changes nothing: it was stopped.
    let _ = tokio::time::timeout(grace, work).await;
    Err(if stop.interrupted.load(Ordering::SeqCst) {
        failure(
            FailureKind::Interrupted,
            "stopped because the worker was shut down",
        )
    } else {
        failure(FailureKind::Cancelled, "cancelled")
    })
}

/// What a function logged, as the output that it is kept as.
fn kept(mut logged: Vec<u8>, secrets: &[String], limit: usize) -> Output {
    if logged.is_empty() {
        return Output::default();
    }
    let bytes = logged.len() as u64;
    let truncated = logged.len() > limit;
    logged.truncate(limit);
    let (inline, redacted) = redacted_bytes(&logged, secrets);
    Output {
        bytes,
        stored: inline.len() as u64,
        truncated,
        redacted,
        inline: Some(inline),
    }
}
