//! An attempt that is a process: prepare, run, make the result.

use std::sync::atomic::Ordering;

use camshaft_model::port::dispatch::{AttemptEnd, Job, Report};
use camshaft_model::{Failure, FailureKind, StepEventDraft, StepEventType, duration};
use serde_json::Value;

use super::ending::{Ending, judged};
use super::{ProcessStop, Shared};
use crate::process::{self, Attempt, Cause, End, Limits};
use crate::runtime::{Context, Prepared, failure, output, prepare};

/// Runs an attempt to its end, on the thread that it is called on.
pub(super) fn run(shared: &Shared, job: &Job, stop: &ProcessStop) -> Ending {
    let context = Context {
        site: &shared.site,
        stop: &stop.handle,
        stopped: &stop.stopped,
        clock: &*shared.clock,
        journal: &shared.journal,
    };
    let prepared = shared
        .registry
        .runtime_of(&job.action)
        .and_then(|runtime| prepare(&*runtime, job, &context));
    let Prepared {
        launch,
        parameter_file,
    } = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return Ending::unstarted(shared, job, stopped_by_whom(stop, failure)),
    };
    let emit = |events: Vec<StepEventDraft>| {
        shared.reports.report(Report {
            key: job.key,
            events,
            end: None,
        });
    };
    let end = process::run(Attempt {
        key: job.key,
        root: job.root,
        step: &job.step,
        step_scope: job.step_scope,
        agent: &shared.id,
        launch,
        limits: Limits {
            timeout: job.timeout,
            stall_timeout: job.action.stall_timeout,
            ..shared.limits.clone()
        },
        secrets: &job.secrets,
        logs: &shared.logs,
        stop: &stop.handle,
        clock: &*shared.clock,
        journal: &shared.journal,
        emit: &emit,
    });
    drop(parameter_file);
    conclude(shared, job, stop, end)
}

fn conclude(shared: &Shared, job: &Job, stop: &ProcessStop, mut end: End) -> Ending {
    let outcome = match why_not(job, &end) {
        Some(failure) => Err(stopped_by_whom(stop, failure)),
        None => result(shared, job, &end),
    };
    let (status, result, error) = judged(outcome, &job.secrets);
    match &error {
        Some(error) => say_in_step(&mut end.events, error),
        None => say_where_it_was_cut(job, &mut end),
    }
    Ending {
        events: end.events,
        end: AttemptEnd {
            status,
            result,
            error,
            exit_code: end.exit_code,
            signal: end.signal,
            started_at: end.started_at,
            ended_at: end.ended_at,
            stdout: end.stdout,
            stderr: end.stderr,
            output_lost: end.output_lost,
        },
    }
}

fn result(shared: &Shared, job: &Job, end: &End) -> Result<Value, Failure> {
    let value = output::result(job.action.output, &end.captured, end.capture_truncated)?;
    if let Some(schema) = &job.action.output_schema {
        shared.schemas.check(schema, &value)?;
    }
    Ok(value)
}

/// A stop that nobody asked for but the shutdown is an interruption, not a cancel.
fn stopped_by_whom(stop: &ProcessStop, failed: Failure) -> Failure {
    if failed.kind == FailureKind::Cancelled && stop.interrupted.load(Ordering::SeqCst) {
        failure(
            FailureKind::Interrupted,
            "stopped because the worker was shut down",
        )
    } else {
        failed
    }
}

/// Why the process did not do what it was asked to; `None` if it exited with 0.
fn why_not(job: &Job, end: &End) -> Option<Failure> {
    let said =
        || output::last_line(&end.stderr_tail).map_or_else(String::new, |line| format!(": {line}"));
    let after = |limit: Option<std::time::Duration>| {
        limit.map_or_else(String::new, |l| format!(" for {}", duration::display(l)))
    };
    Some(match &end.cause {
        Cause::Exited(0) => return None,
        Cause::Exited(code) => failure(FailureKind::Exit, format!("exit status {code}{}", said())),
        Cause::Signaled(signal) => failure(
            FailureKind::Signal,
            format!("killed by signal {}{}", signal_name(*signal), said()),
        ),
        Cause::OutOfMemory => failure(
            FailureKind::OutOfMemory,
            "killed by the kernel for want of memory",
        ),
        Cause::TimedOut => failure(
            FailureKind::Timeout,
            format!("stopped at its timeout, having run{}", after(job.timeout)),
        ),
        Cause::Stalled => {
            let limit = after(job.action.stall_timeout);
            failure(
                FailureKind::Stalled,
                format!("stopped because it wrote nothing{limit}"),
            )
        }
        Cause::Stopped => failure(FailureKind::Cancelled, "cancelled"),
        Cause::NotStarted(why) => failure(FailureKind::Spawn, why.clone()),
    })
}

/// The number of a signal with its name, where it is a usual one.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "HUP",
        libc::SIGINT => "INT",
        libc::SIGQUIT => "QUIT",
        libc::SIGILL => "ILL",
        libc::SIGTRAP => "TRAP",
        libc::SIGABRT => "ABRT",
        libc::SIGBUS => "BUS",
        libc::SIGFPE => "FPE",
        libc::SIGKILL => "KILL",
        libc::SIGUSR1 => "USR1",
        libc::SIGSEGV => "SEGV",
        libc::SIGUSR2 => "USR2",
        libc::SIGPIPE => "PIPE",
        libc::SIGALRM => "ALRM",
        libc::SIGTERM => "TERM",
        libc::SIGXCPU => "XCPU",
        libc::SIGXFSZ => "XFSZ",
        libc::SIGSYS => "SYS",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}

/// A result that is not all that the process printed says so in the event log.
fn say_where_it_was_cut(job: &Job, end: &mut End) {
    let cut = output::cut_after(job.action.output, &end.captured, end.capture_truncated);
    if let (Some(limit), Some(event)) = (cut, finished(&mut end.events)) {
        let said = [
            ("result_truncated".to_owned(), true.into()),
            ("result_limit_bytes".to_owned(), limit.into()),
        ];
        event.payload.extend(said);
    }
}

fn finished(events: &mut [StepEventDraft]) -> Option<&mut StepEventDraft> {
    events
        .iter_mut()
        .rfind(|event| event.event_type == StepEventType::StepFinished)
}

/// A process may exit with 0 and yet fail, by what it printed: the event log must not say otherwise.
fn say_in_step(events: &mut [StepEventDraft], error: &Failure) {
    if let Some(event) = finished(events)
        && event.payload.get("success").and_then(Value::as_bool) == Some(true)
    {
        event.payload.insert("success".to_owned(), false.into());
        event
            .payload
            .insert("reason".to_owned(), error.message.clone().into());
    }
}
