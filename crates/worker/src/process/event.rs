//! The step events that the watching of a process writes (the event log of a run). Keys without a
//! value are left out: there is a line of this kind for every execution.

use std::time::Duration;

use camshaft_model::{Object, StepEventDraft, StepEventType};
use serde_json::Value;

use super::output::Ended;
use super::spawn::Spawned;
use super::supervise::Ending;
use super::{Attempt, Cause};
use crate::redact::Redactor;

/// A heartbeat with at most so many new bytes counts as one of a process that says nothing.
const FEW_BYTES: u64 = 32;
/// So many of them in a row are low output.
const LOW_OUTPUT_HEARTBEATS: u32 = 3;
/// How much of a command line the event shows.
const COMMAND_CHARS: usize = 200;

fn draft(attempt: &Attempt<'_>, event_type: StepEventType, payload: Object) -> StepEventDraft {
    StepEventDraft {
        root: attempt.root,
        item: (attempt.key.execution != attempt.root).then_some(attempt.key.execution),
        event_type,
        step: Some(attempt.step.to_owned()),
        step_scope: attempt.step_scope,
        payload,
        created_at: attempt.clock.now(),
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Object {
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// The process was started.
pub(super) fn spawned(
    attempt: &Attempt<'_>,
    child: &Spawned,
    start_ticks: u64,
    paths: [&std::path::Path; 2],
    redactor: &Redactor,
) -> StepEventDraft {
    let [stdout_path, stderr_path] = paths.map(|path| path.to_string_lossy().into_owned());
    let payload = object([
        ("step", attempt.step.into()),
        ("attempt", attempt.key.attempt.into()),
        ("pid", child.pid.as_raw_pid().into()),
        ("pid_start_time", start_ticks.into()),
        ("stdout_path", stdout_path.into()),
        ("stderr_path", stderr_path.into()),
        ("command", command(attempt, redactor).into()),
        (
            "working_dir",
            redactor
                .text(&attempt.launch.working_dir.to_string_lossy())
                .into(),
        ),
    ]);
    draft(attempt, StepEventType::StepSpawned, payload)
}

/// Where the output went is known by the time a short attempt tells of its start.
pub(super) fn place(spawned: &mut StepEventDraft, stdout: &Ended, stderr: &Ended) {
    let places = object([
        ("stdout_inline", inline(stdout)),
        ("stderr_inline", inline(stderr)),
    ]);
    spawned.payload.extend(places);
}

/// That a stream is kept with the execution and has no file; nothing where it has one.
fn inline(stream: &Ended) -> Value {
    match stream.output.inline {
        Some(_) => true.into(),
        None => Value::Null,
    }
}

/// The command line, or only its length where an argument could be a secret in a form that the
/// redactor does not know.
fn command(attempt: &Attempt<'_>, redactor: &Redactor) -> String {
    let launch = &attempt.launch;
    let mut text = launch.program.to_string_lossy().into_owned();
    if attempt.secrets.is_empty() {
        for argument in &launch.args {
            text.push(' ');
            text.push_str(&argument.to_string_lossy());
            if text.len() > 4 * COMMAND_CHARS {
                break;
            }
        }
    } else if !launch.args.is_empty() {
        text = format!("{text} ({} arguments)", launch.args.len());
    }
    let text = redactor.text(&text);
    match text.char_indices().nth(COMMAND_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What heartbeats remember of the one before.
#[derive(Default)]
pub(super) struct Pulse {
    stdout_bytes: u64,
    stderr_bytes: u64,
    stagnant: u32,
}

impl Pulse {
    /// The process is still there, and this is what it wrote since the last heartbeat.
    pub(super) fn beat(
        &mut self,
        attempt: &Attempt<'_>,
        pid: i32,
        elapsed: Duration,
        stdout_bytes: u64,
        stderr_bytes: u64,
    ) -> StepEventDraft {
        let stdout_delta = stdout_bytes - self.stdout_bytes;
        let stderr_delta = stderr_bytes - self.stderr_bytes;
        (self.stdout_bytes, self.stderr_bytes) = (stdout_bytes, stderr_bytes);
        let active = stdout_delta + stderr_delta > FEW_BYTES;
        self.stagnant = if active { 0 } else { self.stagnant + 1 };
        let output_state = match self.stagnant {
            0 => "active",
            stagnant if stagnant < LOW_OUTPUT_HEARTBEATS => "quiet",
            _ => "low_output",
        };
        let payload = object([
            ("elapsed_secs", seconds(elapsed)),
            ("stdout_bytes", stdout_bytes.into()),
            ("stderr_bytes", stderr_bytes.into()),
            ("stdout_delta_bytes", stdout_delta.into()),
            ("stderr_delta_bytes", stderr_delta.into()),
            ("stagnant_heartbeats", self.stagnant.into()),
            ("pid", pid.into()),
            ("pid_alive", true.into()),
            ("output_state", output_state.into()),
        ]);
        draft(attempt, StepEventType::StepHeartbeat, payload)
    }
}

/// The process was stopped because its time was up; `None` for other ends.
pub(super) fn timeout(attempt: &Attempt<'_>, cause: &Cause) -> Option<StepEventDraft> {
    let (limit, reason) = match cause {
        Cause::TimedOut => (attempt.limits.timeout?, "timeout"),
        Cause::Stalled => (attempt.limits.stall_timeout?, "stalled"),
        _ => return None,
    };
    let payload = object([("timeout_secs", seconds(limit)), ("reason", reason.into())]);
    Some(draft(attempt, StepEventType::StepTimeout, payload))
}

/// The attempt has ended.
pub(super) fn finished(
    attempt: &Attempt<'_>,
    ending: &Ending,
    duration: Duration,
    stdout: &Ended,
    stderr: &Ended,
) -> StepEventDraft {
    let payload = object([
        ("success", (ending.cause == Cause::Exited(0)).into()),
        ("exit_code", ending.exit_code.into()),
        ("signal", ending.signal.into()),
        (
            "duration_ms",
            u64::try_from(duration.as_millis())
                .unwrap_or(u64::MAX)
                .into(),
        ),
        ("confidence", ending.confidence().into()),
        ("reason", ending.reason(&attempt.limits).into()),
        ("stdout_bytes", stdout.output.bytes.into()),
        ("stderr_bytes", stderr.output.bytes.into()),
        ("stdout_stored", stdout.output.stored.into()),
        ("stderr_stored", stderr.output.stored.into()),
        ("stdout_inline", inline(stdout)),
        ("stderr_inline", inline(stderr)),
    ]);
    draft(attempt, StepEventType::StepFinished, payload)
}

/// Whole seconds as an integer, others with their fraction.
fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        duration.as_secs().into()
    } else {
        ((duration.as_secs_f64() * 1000.0).round() / 1000.0).into()
    }
}
