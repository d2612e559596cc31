//! How the engine hands an attempt to a worker and hears of it again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::definition::{Action, Runtime};
use crate::{
    AttemptKey, ExecutionId, Failure, Object, Output, Status, StepEventDraft, StepScope, Timestamp,
};

/// One attempt, with everything that a worker needs to run it. The row already says `running`.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which attempt.
    pub key: AttemptKey,
    /// The run.
    pub root: ExecutionId,
    /// How its lines in the event log name it: the task of a workflow, else the action.
    pub step: String,
    /// Whether it is a task or an item of one; `None` outside a workflow.
    pub step_scope: Option<StepScope>,
    /// What to run. For an ad-hoc file the engine makes an action of its own.
    pub action: Arc<Action>,
    /// Arguments of an ad-hoc file, after the entry point; empty otherwise.
    pub args: Vec<String>,
    /// The folder to run in; the entry point's own folder if `None`.
    pub working_dir: Option<std::path::PathBuf>,
    /// The parameters to deliver.
    pub parameters: Arc<Object>,
    /// Values to be replaced wherever output shows them.
    pub secrets: Vec<String>,
    /// Stop it after so long; measured from the start of the process.
    pub timeout: Option<Duration>,
    /// The value of `CAMSHAFT_TOKEN`.
    pub token: String,
    /// The value of `TRACEPARENT`.
    pub trace_parent: String,
    /// The value of `CAMSHAFT_IDEMPOTENCY_KEY`: the same for every attempt.
    pub idempotency_key: String,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// `Completed`, `Failed`, `TimedOut` or `Cancelled`.
    pub status: Status,
    /// What the action returned.
    pub result: Option<Value>,
    /// Why it did not complete.
    pub error: Option<Failure>,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// Signal.
    pub signal: Option<i32>,
    /// When the process was started; `None` if it was not.
    pub started_at: Option<Timestamp>,
    /// When the end was seen.
    pub ended_at: Timestamp,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// Why output that there was cannot be shown (the disk was full, say).
    pub output_lost: Option<String>,
}

/// What a worker tells about an attempt.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which attempt.
    pub key: AttemptKey,
    /// Lines for the event log, in order.
    pub events: Vec<StepEventDraft>,
    /// Set with the last report of the attempt.
    pub end: Option<Box<AttemptEnd>>,
}

/// The engine's side: how it reaches workers.
pub trait Dispatch: Send + Sync {
    /// Runs an attempt. Returns at once; the answer comes as reports, and there is always a last one
    /// with an end, also when the attempt cannot be started.
    fn start(&self, job: Job);

    /// Stops an attempt: TERM to its process group, `grace`, KILL. The end comes as a report with
    /// `Cancelled`, or with what it was if it had ended by itself. An unknown attempt is ignored.
    fn cancel(&self, key: AttemptKey, grace: Duration);

    /// The name of the runtime for a file without a definition; `defined` are those of packs.
    ///
    /// # Errors
    /// None claims it: a sentence that says what to do.
    fn resolve_adhoc(
        &self,
        file: &std::path::Path,
        defined: &[Arc<Runtime>],
    ) -> Result<String, String>;

    /// Why the worker does not work; `None` if it does.
    fn health(&self) -> Option<String>;
}

/// The worker's side: how it reaches the engine.
pub trait Reports: Send + Sync {
    /// Hands a report over; it will be stored, or refused and recorded as such. Never blocks.
    fn report(&self, report: Report);
}

/// What a worker offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The worker.
    pub worker: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// The runtimes that it has, sorted.
    pub runtimes: Vec<String>,
    /// Named capacities, such as `gpu`.
    pub resources: std::collections::BTreeMap<String, u32>,
}

/// One of the two output streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// The name in paths, flags and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Where the log of an attempt is, relative to the folder of logs. It exists only once there was
    /// more output than is kept in the database, or output while the process ran on.
    pub fn log_file(self, key: &AttemptKey) -> std::path::PathBuf {
        let id = key.execution.to_string();
        let shard = &id[id.len() - 2..];
        std::path::Path::new(shard).join(format!("{id}.{}.{}", key.attempt, self.as_str()))
    }
}
