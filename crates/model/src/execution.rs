//! Executions: the states they may be in, the one table of transitions, and the record itself.
//!
//! An execution has an immutable part, [`ExecutionSpec`] (what was asked for), and a mutable part,
//! [`ExecutionState`] (how far it has come). The only way to change the mutable part is a
//! [`Transition`], which can only be made along an arrow of the table and is stored only if the row
//! is still where the transition says it starts from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ConstraintKey, EventId, ExecutionId, Object, Ref, StepScope, TaskRef, Timestamp};

macro_rules! statuses {
    ($($variant:ident = $text:literal, $code:literal, $doc:literal;)*) => {
        /// The state of an execution.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Status { $(#[doc = $doc] $variant = $code,)* }

        impl Status {
            /// Every status.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in JSON, on screens and in flags.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The number that databases store. Terminal ones are 10 and above.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The status behind a stored number.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }

        impl FromStr for Status {
            type Err = UnknownStatus;

            fn from_str(text: &str) -> Result<Self, UnknownStatus> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownStatus(text.chars().take(64).collect())) }
            }
        }
    };
}

statuses! {
    Requested = "requested", 0, "Asked for; waits for admission.";
    Scheduled = "scheduled", 1, "Admitted: it has an attempt number, a lease epoch and a worker or queue.";
    Running = "running", 2, "The worker is about to start the process, or has.";
    Waiting = "waiting", 3, "An inquiry, an awaited event or a child is outstanding; holds no slot.";
    Canceling = "canceling", 4, "Being stopped; terminal only when the whole process group is gone.";
    Completed = "completed", 10, "It did what it was asked to.";
    Failed = "failed", 11, "It ended without doing so.";
    TimedOut = "timed_out", 12, "Its deadline passed.";
    Cancelled = "cancelled", 13, "Somebody stopped it.";
    Abandoned = "abandoned", 14, "Its lease ran out: what became of the process is not known for certain.";
    Skipped = "skipped", 15, "A workflow task that was not to run.";
}

/// A text that names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a status: use requested, scheduled, running, waiting, canceling, completed, failed, timed_out, cancelled, abandoned or skipped"
)]
pub struct UnknownStatus(String);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Every arrow between states. What is not here cannot be written.
///
/// `Requested -> Requested` is a change of the reason for waiting; `Running -> Requested` and its
/// like is the next attempt under a retry policy. An execution in one process may take several
/// arrows in one commit; each is checked.
pub const TRANSITIONS: &[(Status, &[Status])] = {
    use Status::*;
    &[
        (
            Requested,
            &[Requested, Scheduled, Cancelled, Failed, Skipped],
        ),
        (
            Scheduled,
            &[Running, Requested, Cancelled, Canceling, Abandoned, Failed],
        ),
        (
            Running,
            &[
                Waiting, Requested, Completed, Failed, TimedOut, Canceling, Abandoned,
            ],
        ),
        (
            Waiting,
            &[
                Running, Requested, Completed, Failed, TimedOut, Canceling, Cancelled,
            ],
        ),
        (Canceling, &[Cancelled, Abandoned]),
    ]
};

impl Status {
    /// Whether the state is final. A terminal state never changes.
    pub const fn is_terminal(self) -> bool {
        self.code() >= 10
    }

    /// Whether an execution in this state holds a lease, and so a slot.
    pub const fn holds_lease(self) -> bool {
        matches!(self, Self::Scheduled | Self::Running | Self::Canceling)
    }

    /// Whether the table has an arrow from this state to `next`.
    pub fn may_become(self, next: Self) -> bool {
        TRANSITIONS
            .iter()
            .any(|(from, to)| *from == self && to.contains(&next))
    }
}

/// What an attempt is known by everywhere: a report that names another attempt or epoch is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The execution.
    pub execution: ExecutionId,
    /// Its try, from 1.
    pub attempt: u32,
    /// The lease epoch under which the try was granted.
    pub epoch: i64,
}

/// Why an execution that was asked for has not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BlockedBy {
    /// It may not start before an instant (asked for, or the delay of a retry).
    NotBefore {
        /// The instant.
        until: Timestamp,
    },
    /// Every slot of the workers that could run it is taken.
    Slots {
        /// How many there are.
        capacity: u32,
    },
    /// No worker has the runtime that its action names.
    Runtime {
        /// The runtime.
        runtime: String,
        /// What there is.
        available: Vec<String>,
    },
    /// A named capacity is used up or not offered.
    Resource {
        /// Its name.
        resource: String,
        /// How much the action needs.
        needs: u32,
        /// How much the workers offer in all.
        capacity: u32,
    },
    /// The rule lets one execution run at a time, and this one runs.
    Overlap {
        /// The rule.
        rule: Ref,
        /// The execution before this one.
        holder: ExecutionId,
    },
    /// The run that it is a part of is paused.
    Paused {
        /// The run, or the one above it, that somebody paused.
        run: ExecutionId,
    },
    /// A constraint holds it.
    Constraint(Box<HeldBy>),
    /// Constraints that a broker retains are being fetched.
    Gate,
    /// The engine is shutting down and starts nothing.
    Draining,
}

/// The constraint that holds an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    /// The label of the constraint.
    pub id: String,
    /// By what it is cleared.
    #[serde(flatten)]
    pub key: ConstraintKey,
    /// What it demands, for people.
    pub terms: String,
    /// Who set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When a limit of a rate allows the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
}

impl HeldBy {
    /// The same sentence as that of [`Display`](fmt::Display), of something that is named in it: `it` there.
    pub fn holding(&self, what: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(
                f,
                "Constraint '{}' on {} holds {what}: {}",
                self.id, self.key.scope, self.terms
            )?;
            if let Some(owner) = &self.owner {
                write!(f, ", set by {owner}")?;
            }
            if let Some(reason) = &self.reason {
                write!(f, " ({reason})")?;
            }
            if let Some(at) = self.next_at {
                write!(f, ", next start at {at}")?;
            }
            if let Some(at) = self.expires_at {
                write!(f, ", expires at {at}")?;
            }
            Ok(())
        })
    }
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.holding("it").fmt(f)
    }
}

impl fmt::Display for BlockedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBefore { until } => write!(f, "Not before {until}"),
            Self::Slots { capacity } => write!(f, "All {capacity} slots are taken"),
            Self::Runtime { runtime, available } => {
                write!(
                    f,
                    "Runtime '{runtime}' not found (available: {})",
                    available.join(", ")
                )
            }
            Self::Resource {
                resource,
                needs,
                capacity: 0,
            } => {
                write!(
                    f,
                    "No worker offers the resource '{resource}' ({needs} needed)"
                )
            }
            Self::Resource {
                resource,
                needs,
                capacity,
            } => {
                write!(
                    f,
                    "Not enough of the resource '{resource}' is free ({needs} needed, {capacity} in all)"
                )
            }
            Self::Overlap { rule, holder } => {
                write!(
                    f,
                    "Rule '{rule}' runs one at a time, and {holder} has not ended"
                )
            }
            Self::Paused { run } => write!(f, "The run {run} is paused"),
            Self::Constraint(held) => held.fmt(f),
            Self::Gate => f.write_str("The constraints that the broker holds are being fetched"),
            Self::Draining => f.write_str("The engine is shutting down"),
        }
    }
}

/// What kind of failure ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The process ended with a status other than 0.
    Exit,
    /// The process was killed by a signal that we did not send.
    Signal,
    /// The kernel killed the process for want of memory.
    OutOfMemory,
    /// The action's deadline passed.
    Timeout,
    /// The action wrote nothing for its stall timeout.
    Stalled,
    /// The process could not be started.
    Spawn,
    /// The runtime could not be prepared (a virtual environment, an entry point).
    Runtime,
    /// The parameters do not fit the action's schema, or could not be made.
    Parameters,
    /// The output is not what the action declares.
    Output,
    /// An HTTP action got another answer than it expects, or none.
    Http,
    /// A native action returned an error or panicked.
    Native,
    /// An expression of a workflow could not be evaluated.
    Expression,
    /// A task of the workflow failed, and nothing in the workflow answers that.
    Task,
    /// A person said no.
    Rejected,
    /// Somebody cancelled it.
    Cancelled,
    /// The engine or worker died while the attempt may have been running.
    Interrupted,
    /// Camshaft itself failed.
    Internal,
}

/// Why an attempt, and so perhaps an execution, did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// A sentence for people. Values of secrets are redacted.
    pub message: String,
}

/// Who asked for an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// A rule that matched an event.
    Rule {
        /// The rule.
        rule: Ref,
        /// The event.
        event: EventId,
    },
    /// A request over HTTP or the command line.
    Api,
    /// A program that embeds the library.
    Library,
    /// The workflow that it is a task of.
    Workflow,
    /// A person who asked for an execution to be run once more.
    Retry {
        /// The execution that had ended.
        of: ExecutionId,
    },
}

impl Origin {
    /// The execution that this one runs once more, if it does.
    pub const fn retry_of(&self) -> Option<ExecutionId> {
        match self {
            Self::Retry { of } => Some(*of),
            _ => None,
        }
    }
}

/// A file to be run without a definition: `camshaft run -- ./script.py args`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adhoc {
    /// The file, absolute.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The folder to run it in, absolute.
    pub working_dir: String,
    /// The runtime, resolved when it was asked for.
    pub runtime: String,
    /// Its deadline in milliseconds, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// What was asked for; never changes. A hundred thousand may wait, so what most of them have not is boxed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionSpec {
    /// Its identity.
    pub id: ExecutionId,
    /// The run it belongs to; its own id if it has no parent.
    pub root: ExecutionId,
    /// The execution that it is a part of.
    pub parent: Option<ExecutionId>,
    /// Its place in the run that is its parent, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Box<TaskRef>>,
    /// What to run. `adhoc.<file name>` for a file without a definition.
    pub action: Ref,
    /// The content hash of the pack that the action comes from: a run goes on with the version that
    /// it started with. `None` for ad-hoc files and native actions of an embedding program.
    pub pack_hash: Option<Arc<str>>,
    /// The file, where there is no definition.
    pub adhoc: Option<Box<Adhoc>>,
    /// Parameters as they will be delivered, defaults filled in. Secret ones are in clear here and
    /// must be masked by whoever shows them (see `Action::masked`).
    pub parameters: Arc<Object>,
    /// Higher goes first. From -100 to 100, 0 by default.
    pub priority: i32,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Who asked.
    pub origin: Origin,
    /// At most one execution with the same key is ever recorded.
    pub idempotency_key: Option<String>,
    /// How many executions led to it, one after another; bounds rules that feed themselves.
    pub depth: u32,
    /// W3C trace context that came with the request.
    pub trace_parent: Option<Box<str>>,
}

impl ExecutionSpec {
    /// How the event log names what this execution does: the task of a workflow, else the action.
    pub fn step(&self) -> &str {
        match &self.task {
            Some(task) => &task.name,
            None => self.action.name(),
        }
    }

    /// Whether a request for this is one for that, sent again: the same action or file, with the same
    /// parameters, and a retry of the same execution if it is one.
    pub fn asks_for_the_same(&self, other: &Self) -> bool {
        self.action == other.action
            && self.adhoc == other.adhoc
            && self.parameters == other.parameters
            && self.origin.retry_of() == other.origin.retry_of()
    }

    /// Whether it is a task or an item of one; `None` outside a workflow.
    pub fn step_scope(&self) -> Option<StepScope> {
        self.task.as_ref().map(|task| match task.item {
            Some(_) => StepScope::Item,
            None => StepScope::Task,
        })
    }
}

/// How far an execution has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionState {
    /// Where it is.
    pub status: Status,
    /// The latest try that was admitted, from 1; 0 before the first.
    pub attempt: u32,
    /// The lease epoch of that try.
    pub epoch: i64,
    /// Not to be admitted before this instant.
    pub not_before: Option<Timestamp>,
    /// Why it has not started, as of the last write; `why` computes it anew.
    pub blocked_by: Option<BlockedBy>,
    /// Who holds the lease, or held it last.
    pub worker: Option<String>,
    /// When the lease runs out. `None` while the holder is the process that holds the data
    /// directory's lock: it cannot be lost without the lock being lost.
    pub lease_expires_at: Option<Timestamp>,
    /// When the latest try was admitted.
    pub scheduled_at: Option<Timestamp>,
    /// When the latest try started.
    pub started_at: Option<Timestamp>,
    /// When the execution became terminal.
    pub ended_at: Option<Timestamp>,
    /// What the action returned; `Some(null)` is a result.
    pub result: Option<Arc<Value>>,
    /// Why it did not complete, or why its last try did not.
    pub error: Option<Failure>,
    /// The exit status of the last process.
    pub exit_code: Option<i32>,
    /// The signal that ended the last process.
    pub signal: Option<i32>,
}

impl ExecutionState {
    /// The state of an execution that has just been asked for.
    pub const fn requested(not_before: Option<Timestamp>) -> Self {
        Self {
            status: Status::Requested,
            attempt: 0,
            epoch: 0,
            not_before,
            blocked_by: None,
            worker: None,
            lease_expires_at: None,
            scheduled_at: None,
            started_at: None,
            ended_at: None,
            result: None,
            error: None,
            exit_code: None,
            signal: None,
        }
    }
}

/// An execution as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// What was asked for. Shared: it never changes, and many hold it.
    #[serde(flatten)]
    pub spec: Arc<ExecutionSpec>,
    /// How far it has come.
    #[serde(flatten)]
    pub state: ExecutionState,
}

impl Execution {
    /// What its latest try is known by.
    pub fn key(&self) -> AttemptKey {
        AttemptKey {
            execution: self.spec.id,
            attempt: self.state.attempt,
            epoch: self.state.epoch,
        }
    }
}

/// One change of an execution's state, stored only if the row is still at `from`.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    execution: ExecutionId,
    from: (Status, u32, i64),
    to: ExecutionState,
}

/// A change along an arrow that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution that is {from} cannot become {to}")]
pub struct IllegalTransition {
    /// Where it is.
    pub from: Status,
    /// Where it was to go.
    pub to: Status,
}

impl Transition {
    /// A change from `from` to `to`, by way of `through` where several arrows are taken at once.
    ///
    /// # Errors
    /// One of the steps is not an arrow of [`TRANSITIONS`].
    pub fn new(
        execution: ExecutionId,
        from: &ExecutionState,
        through: &[Status],
        to: ExecutionState,
    ) -> Result<Self, IllegalTransition> {
        let mut at = from.status;
        for next in through.iter().copied().chain([to.status]) {
            if !at.may_become(next) {
                return Err(IllegalTransition { from: at, to: next });
            }
            at = next;
        }
        Ok(Self {
            execution,
            from: (from.status, from.attempt, from.epoch),
            to,
        })
    }

    /// The execution that changes.
    pub const fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// The (status, attempt, epoch) at which the row must still be.
    pub const fn from(&self) -> (Status, u32, i64) {
        self.from
    }

    /// The whole mutable part after the change.
    pub const fn to(&self) -> &ExecutionState {
        &self.to
    }
}

/// What is kept of one output stream of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Output {
    /// Bytes that the process wrote.
    pub bytes: u64,
    /// Bytes that were kept, after redaction.
    pub stored: u64,
    /// Whether anything was left out because of the limit.
    pub truncated: bool,
    /// Whether a secret was replaced.
    pub redacted: bool,
    /// The kept bytes themselves, if they are few. Otherwise they are in the log file.
    #[serde(skip)]
    pub inline: Option<Vec<u8>>,
}

/// An attempt that has ended; written once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which.
    #[serde(flatten)]
    pub key: AttemptKey,
    /// How it ended: a terminal status.
    pub status: Status,
    /// Who ran it.
    pub worker: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Why it did not complete.
    pub error: Option<Failure>,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// Signal.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
    /// Why output that there was cannot be shown, if so.
    pub output_lost: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn terminal_states_have_no_way_out() {
        for from in Status::ALL.iter().filter(|s| s.is_terminal()) {
            for to in Status::ALL {
                assert!(!from.may_become(*to), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn failed_to_failed_cannot_be_written() {
        let mut failed = ExecutionState::requested(None);
        failed.status = Status::Failed;
        let id = ExecutionId::new(Uuid::nil());
        let error = Transition::new(id, &failed, &[], failed.clone()).unwrap_err();
        assert_eq!((error.from, error.to), (Status::Failed, Status::Failed));
    }

    #[test]
    fn every_arrow_on_the_way_is_checked() {
        let requested = ExecutionState::requested(None);
        let mut running = requested.clone();
        running.status = Status::Running;
        let id = ExecutionId::new(Uuid::nil());
        assert!(Transition::new(id, &requested, &[Status::Scheduled], running.clone()).is_ok());
        assert!(Transition::new(id, &requested, &[], running).is_err());
    }

    #[test]
    fn every_state_that_is_not_terminal_leads_somewhere_and_codes_are_stable() {
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(*status));
            assert_eq!(status.as_str().parse(), Ok(*status));
            let leads = TRANSITIONS.iter().any(|(from, _)| from == status);
            assert_eq!(leads, !status.is_terminal(), "{status}");
        }
    }
}
