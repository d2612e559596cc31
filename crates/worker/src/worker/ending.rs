//! The last report of an attempt.

use std::any::Any;

use camshaft_model::port::dispatch::{AttemptEnd, Job};
use camshaft_model::{
    Failure, FailureKind, Object, Output, Status, StepEventDraft, StepEventType, Timestamp,
};
use serde_json::Value;

use super::Shared;
use super::secrets::redacted;

/// What the last report says.
pub(super) struct Ending {
    pub(super) events: Vec<StepEventDraft>,
    pub(super) end: AttemptEnd,
}

impl Ending {
    /// The end of an attempt that never had a process.
    pub(super) fn unstarted(shared: &Shared, job: &Job, failure: Failure) -> Self {
        let at = shared.clock.now();
        Self::without_process(
            job,
            None,
            at,
            Err(failure),
            (Output::default(), Output::default()),
        )
    }

    /// The end of an attempt without a process, with the one step event that tells of it.
    pub(super) fn without_process(
        job: &Job,
        started_at: Option<Timestamp>,
        ended_at: Timestamp,
        outcome: Result<Value, Failure>,
        (stdout, stderr): (Output, Output),
    ) -> Self {
        let (status, result, error) = judged(outcome, &job.secrets);
        let event = step_finished(job, started_at, ended_at, error.as_ref());
        let end = AttemptEnd {
            status,
            result,
            error,
            exit_code: None,
            signal: None,
            started_at,
            ended_at,
            stdout,
            stderr,
            output_lost: None,
        };
        Self {
            events: vec![event],
            end,
        }
    }
}

/// Status, result and error of an outcome, free of secrets.
pub(super) fn judged(
    outcome: Result<Value, Failure>,
    secrets: &[String],
) -> (Status, Option<Value>, Option<Failure>) {
    match outcome {
        Ok(value) => (
            Status::Completed,
            Some(super::secrets::redacted_value(value, secrets)),
            None,
        ),
        Err(failure) => {
            let message = redacted(failure.message, secrets);
            (
                status_of(failure.kind),
                None,
                Some(Failure {
                    kind: failure.kind,
                    message,
                }),
            )
        }
    }
}

fn status_of(kind: FailureKind) -> Status {
    match kind {
        FailureKind::Timeout | FailureKind::Stalled => Status::TimedOut,
        FailureKind::Cancelled => Status::Cancelled,
        _ => Status::Failed,
    }
}

fn step_finished(
    job: &Job,
    started_at: Option<Timestamp>,
    ended_at: Timestamp,
    error: Option<&Failure>,
) -> StepEventDraft {
    let mut payload = Object::new();
    payload.insert("success".to_owned(), error.is_none().into());
    let millis = started_at.map_or(0, |at| ended_at.since(at).as_millis() as u64);
    payload.insert("duration_ms".to_owned(), millis.into());
    // It ran inside the worker: nobody else can have ended it unseen.
    payload.insert("confidence".to_owned(), "certain".into());
    if let Some(error) = error {
        payload.insert("reason".to_owned(), error.message.clone().into());
    }
    StepEventDraft {
        root: job.root,
        item: (job.key.execution != job.root).then_some(job.key.execution),
        event_type: StepEventType::StepFinished,
        step: Some(job.step.clone()),
        step_scope: job.step_scope,
        payload,
        created_at: ended_at,
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
