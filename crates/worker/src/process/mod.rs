//! One attempt as one process: started, watched, stopped and accounted for.
//!
//! [`run`] blocks the thread it is called on from the start of the process to its end; the caller
//! gives each running attempt a thread of its own. Inside, [`spawn`] starts the process in a group of
//! its own, [`supervise`] waits on its pipes, its pidfd, the stop handle and the next deadline at
//! once, [`output`] counts, redacts and keeps what it writes, and [`event`] says what happened. There
//! is no runtime here on purpose: a thread that sleeps in `poll` costs nothing, and an end is seen
//! without a detour through anybody's queue.
//!
//! Two promises shape it. An end is the end of the process, not of its pipes, so a background child
//! that holds them delays nothing. And no process outlives its attempt: what is left of the group is
//! killed at the end, what left the group is looked for when the attempt is stopped, and the
//! [`journal`] lets the next life of the worker [`sweep`] up after a crash.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camshaft_model::port::clock::Clock;
use camshaft_model::{AttemptKey, ExecutionId, Output, StepEventDraft, StepScope, Timestamp};

mod event;
mod group;
pub mod journal;
mod oom;
mod output;
mod procfs;
mod spawn;
mod stop;
mod supervise;
pub mod sweep;
#[cfg(test)]
mod tests;

pub use journal::Journal;
pub use spawn::keep_descriptors;
pub use stop::StopHandle;
pub use supervise::run;

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A path, or a name that is looked up in the `PATH` of `env`.
    pub program: OsString,
    /// Its arguments, without the program itself.
    pub args: Vec<OsString>,
    /// The whole environment of the process.
    pub env: Vec<(OsString, OsString)>,
    /// The folder to run it in.
    pub working_dir: PathBuf,
    /// What it may read from its standard input.
    pub stdin: Vec<u8>,
}

/// How much an attempt may take of everything.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Stop it so long after its start.
    pub timeout: Option<Duration>,
    /// Stop it when it has written nothing for so long.
    pub stall_timeout: Option<Duration>,
    /// Bytes of each stream that are kept. What comes after them is counted and dropped.
    pub output_bytes: u64,
    /// A stream of a short attempt with at most so many bytes is returned and gets no file.
    pub inline_bytes: usize,
    /// Bytes of standard output that are kept in memory for the result.
    pub capture_bytes: usize,
    /// How often a running attempt says that it is alive.
    pub heartbeat: Duration,
    /// Between TERM and KILL. An attempt whose time is up gets half a second at most.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: None,
            stall_timeout: None,
            output_bytes: 64 * 1024 * 1024,
            inline_bytes: 4096,
            capture_bytes: 8 * 1024 * 1024,
            heartbeat: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// One attempt to be run.
pub struct Attempt<'a> {
    /// Which.
    pub key: AttemptKey,
    /// The run it belongs to.
    pub root: ExecutionId,
    /// The name of its step in the event log.
    pub step: &'a str,
    /// Whether that is a task or an item of one.
    pub step_scope: Option<StepScope>,
    /// The worker.
    pub agent: &'a str,
    /// What to start.
    pub launch: Launch,
    /// Its limits.
    pub limits: Limits,
    /// Values that are replaced wherever output shows them.
    pub secrets: &'a [String],
    /// The folder of logs.
    pub logs: &'a Path,
    /// What stops it.
    pub stop: &'a StopHandle,
    /// Where the time of events comes from.
    pub clock: &'a dyn Clock,
    /// Where the process is recorded while it runs.
    pub journal: &'a Journal,
    /// Takes step events while the process runs. Must not block.
    pub emit: &'a dyn Fn(Vec<StepEventDraft>),
}

/// Why an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The process ended with this status.
    Exited(i32),
    /// The process was killed by a signal that we did not send.
    Signaled(i32),
    /// The kernel killed it for want of memory.
    OutOfMemory,
    /// Its time was up.
    TimedOut,
    /// It wrote nothing for too long.
    Stalled,
    /// Somebody stopped it.
    Stopped,
    /// It could not be started: a sentence for people, with secrets redacted.
    NotStarted(String),
}

/// How an attempt ended.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub cause: Cause,
    /// Exit status of the process, whatever the cause.
    pub exit_code: Option<i32>,
    /// Signal that ended the process, whatever the cause.
    pub signal: Option<i32>,
    /// When the process was started, if it was.
    pub started_at: Option<Timestamp>,
    /// When the end was seen.
    pub ended_at: Timestamp,
    /// What is kept of its standard output.
    pub stdout: Output,
    /// What is kept of its standard error.
    pub stderr: Output,
    /// Redacted standard output from its beginning, up to `capture_bytes`.
    pub captured: Vec<u8>,
    /// Whether there was more.
    pub capture_truncated: bool,
    /// The last 2 KiB of redacted standard error, for messages.
    pub stderr_tail: Vec<u8>,
    /// Why output that there was is not kept, such as a full disk.
    pub output_lost: Option<String>,
    /// Whether processes of the group were still there after the end; they have been killed.
    pub leftover: bool,
    /// Step events that were not emitted yet; the last one is `step_finished`.
    pub events: Vec<StepEventDraft>,
}
