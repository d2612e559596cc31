//! Runs of workflows: what is recorded of them besides their executions.
//!
//! A run is the execution of an action whose runtime is `workflow`. Its tasks that run actions are
//! child executions, which name their place with a [`TaskRef`]. A [`TaskRecord`] is written when a
//! task starts, is skipped or ends; one that has none has not been decided. Of a task with items only
//! the list and the children are recorded: how far it has come follows from these.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ExecutionId, Failure, InquiryId, Object, Status, Timestamp};

/// The place of a child execution in the run that is its parent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskRef {
    /// The lap of the run, from 1: rises with every cycle of a loop and with every attempt at the run.
    pub lap: u32,
    /// The task.
    pub name: String,
    /// Which start of the task in this lap, from 1: a cycle in the graph starts a task again.
    pub visit: u32,
    /// Which item, from 0, of a task with items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
}

impl TaskRef {
    /// The lap of what a retry keeps of the run before it. A task that is kept has a record of its lap
    /// besides once it has started.
    pub const KEPT_LAP: u32 = 0;
}

/// How far a run has come, its tasks aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The execution of the workflow.
    pub execution: ExecutionId,
    /// See [`TaskRef::lap`].
    pub lap: u32,
    /// The lap among those of the latest attempt, from 1.
    pub cycle: u32,
    /// The variables.
    pub vars: Object,
    /// Whether no new task starts until somebody resumes it.
    pub paused: bool,
    /// Transitions that have arrived at a join which is not met yet: target, sources.
    pub arrivals: BTreeMap<String, Vec<String>>,
    /// Set once it is clear that the run will not complete, while tasks still run.
    pub ending: Option<Ending>,
    /// When the next lap begins, while the run rests between two.
    pub next_lap_at: Option<Timestamp>,
}

/// What a run will end as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// `Failed`, `TimedOut` or `Cancelled`.
    pub status: Status,
    /// Why.
    pub error: Failure,
}

/// What has become of one start of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The run.
    pub run: ExecutionId,
    /// Which start of which task.
    #[serde(flatten)]
    pub task: TaskRef,
    /// `Running`, `Waiting` (for a person or an event), or a terminal status.
    pub status: Status,
    /// The child execution of a task that runs an action without items.
    pub execution: Option<ExecutionId>,
    /// How many items there are.
    pub items: Option<u32>,
    /// Why it was skipped, or what else a reader should know.
    pub reason: Option<String>,
    /// Why it did not complete.
    pub error: Option<Failure>,
    /// The result where no child execution has it: of a question, an awaited event, a cache hit, a
    /// task that was kept from an earlier run.
    pub result: Option<Arc<Value>>,
    /// Where a result comes from that was not made in this run.
    pub taken_from: Option<TakenFrom>,
    /// The key under which its result will be kept for later runs, while it is under way. Not shown:
    /// it may be made of what is secret.
    #[serde(skip)]
    pub cache_key: Option<String>,
    /// Why items did not complete whose executions do not say it: all of a list that was not made in
    /// this run, else those that had none or whose result was too large to be held. Not shown.
    #[serde(skip)]
    pub item_errors: Option<ItemErrors>,
    /// The event that is awaited, with its patterns rendered.
    pub awaited: Option<Value>,
    /// When the wait runs out.
    pub until: Option<Timestamp>,
    /// When it started, or was skipped.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl TaskRecord {
    /// A start of a task of which nothing more is known.
    pub const fn new(
        run: ExecutionId,
        task: TaskRef,
        status: Status,
        started_at: Timestamp,
    ) -> Self {
        Self {
            run,
            task,
            status,
            execution: None,
            items: None,
            reason: None,
            error: None,
            result: None,
            taken_from: None,
            cache_key: None,
            item_errors: None,
            awaited: None,
            until: None,
            started_at,
            ended_at: None,
        }
    }
}

/// In the order of the items of a task why each did not complete; nothing of those that did.
pub type ItemErrors = Vec<Option<String>>;

/// Where a result comes from that was not made in this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TakenFrom {
    /// The cache.
    Cache,
    /// The run of which this one is a retry.
    Run {
        /// That run.
        of: ExecutionId,
    },
}

/// A question to a person that a run waits on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inquiry {
    /// Its identity.
    pub id: InquiryId,
    /// The run that asks, and the one that this is a part of.
    pub run: ExecutionId,
    /// The root of that run.
    pub root: ExecutionId,
    /// The task that asks.
    pub task: TaskRef,
    /// The question.
    pub prompt: String,
    /// JSON Schema of the answer.
    pub schema: Option<Value>,
    /// Who may answer: one of these; anybody if empty.
    pub roles: Vec<String>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Until when it can be answered.
    pub expires_at: Option<Timestamp>,
    /// How far it has come.
    pub status: InquiryStatus,
    /// What was answered.
    pub answer: Option<Value>,
    /// Who answered.
    pub answered_by: Option<String>,
    /// When it was answered, expired or withdrawn.
    pub closed_at: Option<Timestamp>,
}

/// How far a question has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InquiryStatus {
    /// Nobody has answered.
    Open,
    /// Somebody said yes.
    Approved,
    /// Somebody said no.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// The run ended before somebody answered.
    Withdrawn,
}

impl InquiryStatus {
    /// Every status.
    pub const ALL: &'static [Self] = &[
        Self::Open,
        Self::Approved,
        Self::Rejected,
        Self::Expired,
        Self::Withdrawn,
    ];

    /// The name in JSON, on screens and in flags.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A result that later runs may take in place of running a task.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedResult {
    /// Workflow, task and rendered key.
    pub key: String,
    /// The result.
    pub result: Arc<Value>,
    /// Of a task with items: why each did not complete.
    pub item_errors: Option<ItemErrors>,
    /// When it was made.
    pub kept_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
}
