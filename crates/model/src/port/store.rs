//! The truth. One write method that takes a list of typed changes and says what became of it, and
//! the reads that the engine, the API and the command line need.
//!
//! A [`Transaction`] is all or nothing. Its guarded changes (marked *guard*) come first; if one does
//! not apply, nothing of the transaction is stored and the outcome says which and why. Transactions
//! are applied in the order in which they are handed over, and many share one durable commit.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::CachedResult;
use crate::{
    Attempt, Constraint, ConstraintKey, Enforcement, Event, EventId, Execution, ExecutionId,
    HeldBy, Inquiry, InquiryId, InquiryStatus, Ref, RunRecord, Status, StepEvent, StepEventDraft,
    StepEventType, TaskRecord, TaskRef, Timestamp, Transition,
};

/// One change.
#[derive(Debug, Clone)]
pub enum Change {
    /// *Guard.* Records an event; refused if its (trigger, dedup_key) is recorded already.
    InsertEvent(std::sync::Arc<Event>),
    /// *Guard.* Records an execution; refused if its idempotency key is recorded already.
    InsertExecution(Box<Execution>),
    /// *Guard.* Moves an execution; refused if it is not at (status, attempt, epoch) any more.
    Move(Box<Transition>),
    /// Records which constraint the event log says to hold an execution. Nothing happens if that does not
    /// wait for its start any more.
    PutHeldBy {
        /// The execution.
        execution: ExecutionId,
        /// The constraint.
        held_by: Box<HeldBy>,
    },
    /// Records a rule's answer.
    InsertEnforcement(Box<Enforcement>),
    /// Records an attempt that has ended, with its small outputs. Ignored if it is there already.
    RecordAttempt(Box<Attempt>),
    /// Adds a line to the event log of a run.
    AppendStepEvent(Box<StepEventDraft>),
    /// Records how far a run of a workflow has come; replaces what was recorded of it before.
    PutRun(Box<RunRecord>),
    /// The same of a run that is recorded, but for its variables: they are as they were, and none are in
    /// the record.
    PutRunProgress(Box<RunRecord>),
    /// Records what became of one start of a task; replaces what was recorded of it before.
    PutTask(Box<TaskRecord>),
    /// Records the list over which a task fans out.
    PutItems {
        /// The run.
        run: ExecutionId,
        /// Which start of which task.
        task: TaskRef,
        /// A JSON array.
        items: std::sync::Arc<Value>,
    },
    /// Records a question or what became of it.
    PutInquiry(Box<Inquiry>),
    /// Keeps a result for later runs; replaces that of the same key and forgets what has expired when
    /// this one was made.
    PutCached(Box<CachedResult>),
    /// Records a version of a pack without making it current: for runs that are pinned to it.
    PutPackVersion(PackRecord),
    /// Keeps what a sensor must remember, such as a timer's last instant.
    PutSensorState {
        /// The sensor.
        key: String,
        /// A JSON object.
        state: Value,
    },
    /// Makes a version of a pack the current one.
    PutPack(PackRecord),
    /// Forgets that a pack is current. Its versions stay for the runs that are pinned to them.
    RemovePack(String),
    /// Records that an event was not answered by rules yet: by none, or not by these.
    HoldEvent {
        /// The event.
        event: EventId,
        /// The rules; `None` if nobody was asked.
        rules: Option<Vec<Ref>>,
    },
    /// Forgets that an event is held.
    ReleaseEvent(EventId),
    /// Records a constraint; one of the same key is replaced, and the instant of its rate kept.
    PutConstraint {
        /// The constraint.
        constraint: Box<Constraint>,
        /// Since when there is one that says this, without a break.
        since: Timestamp,
    },
    /// Forgets a constraint.
    RemoveConstraint(ConstraintKey),
    /// Records from when on a limit of a rate allows its next start, if there were no burst.
    PutRateInstant {
        /// The constraint, of which nothing happens if it is not recorded any more.
        key: ConstraintKey,
        /// The instant.
        at: Timestamp,
    },
    /// Overrides whether a rule is enabled; `None` goes back to what its definition says.
    SetRuleEnabled {
        /// The rule.
        rule: Ref,
        /// On, off, or as defined.
        enabled: Option<bool>,
    },
}

/// Changes that are stored together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// In the order in which they are applied; guards first.
    pub changes: Vec<Change>,
}

/// Why a guarded change did not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// An event with this trigger and deduplication key is there.
    DuplicateEvent(EventId),
    /// An execution with this idempotency key is there.
    DuplicateExecution(ExecutionId),
    /// The execution is elsewhere: where, if it exists.
    Moved {
        /// The execution.
        execution: ExecutionId,
        /// Its status, attempt and epoch.
        at: Option<(Status, u32, i64)>,
    },
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, durably.
    Applied {
        /// The id of its first step event; the others follow without a gap.
        first_step_event: i64,
    },
    /// Nothing of it is stored.
    Refused(Refusal),
}

/// By how many transactions that share a commit the sizes of commits are told apart.
pub const COMMIT_SIZES: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 500, 1_000];

/// What has been committed since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Commits {
    /// Transactions that were committed.
    pub transactions: u64,
    /// Commits that had more transactions than the bound before and at most so many as this one of
    /// [`COMMIT_SIZES`]; the last is of those that had more than all.
    pub by_size: [u64; COMMIT_SIZES.len() + 1],
    /// Commits that failed.
    pub failed: u64,
}

/// Why the store did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It may work again later: a full disk, a lock, a lost connection. Nothing was stored.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It is not stored yet, and will be as soon as the store can: see [`Store::submit`].
    #[error("not stored yet, but as soon as this is over: {0}")]
    Delayed(String),
    /// It will not work again by itself: corruption, a schema of a newer version.
    #[error("the database cannot be used: {0}")]
    Broken(String),
}

/// Hears what becomes of a transaction, on the writer's thread. Must not block.
pub trait Submitted: Send {
    /// The store can take nothing now. The transaction keeps its place, and is stored as soon as it can. Said
    /// once at most.
    fn delayed(&mut self, why: &StoreError) {
        let _ = why;
    }

    /// The last call, and the only one of its kind.
    fn done(self: Box<Self>, outcome: Result<Outcome, StoreError>);
}

/// Who only wants to know how it ends, however long that takes.
impl<F: FnOnce(Result<Outcome, StoreError>) + Send> Submitted for F {
    fn done(self: Box<Self>, outcome: Result<Outcome, StoreError>) {
        self(outcome);
    }
}

/// Hears what becomes of a transaction; see [`Store::submit`].
pub type OnCommit = Box<dyn Submitted>;

/// For who would rather hear that a transaction is delayed than wait for its end.
pub struct AtOnce<F>(Option<F>);

impl<F: FnOnce(Result<Outcome, StoreError>) + Send> AtOnce<F> {
    /// `told` is called once: with what became of it, or with why it is delayed.
    pub fn new(told: F) -> Box<Self> {
        Box::new(Self(Some(told)))
    }

    fn tell(&mut self, outcome: Result<Outcome, StoreError>) {
        if let Some(told) = self.0.take() {
            told(outcome);
        }
    }
}

impl<F: FnOnce(Result<Outcome, StoreError>) + Send> Submitted for AtOnce<F> {
    fn delayed(&mut self, why: &StoreError) {
        self.tell(Err(why.clone()));
    }

    fn done(mut self: Box<Self>, outcome: Result<Outcome, StoreError>) {
        self.tell(outcome);
    }
}

/// A version of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRecord {
    /// The pack's ref.
    pub pack: String,
    /// The version that its `pack.yaml` says.
    pub version: String,
    /// The hash of its files.
    pub hash: String,
    /// The folder with its files, inside the data directory.
    pub dir: String,
    /// When it was made current.
    pub applied_at: Timestamp,
}

/// A constraint, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintRecord {
    /// The constraint.
    pub constraint: Constraint,
    /// Since when there is one that says this, without a break.
    pub since: Timestamp,
    /// Of a limit of a rate: the instant that was last recorded.
    pub rate_at: Option<Timestamp>,
}

/// An event that is held, by what a pause must know of it to hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEvent {
    /// The event.
    pub event: EventId,
    /// Its kind.
    pub trigger: Ref,
    /// The rules that have not answered it; `None` if nobody was asked.
    pub rules: Option<Vec<Ref>>,
}

/// Whether a read takes in results and parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Values {
    /// As many of the large ones as a list that somebody looks at may have; in the place of the others, and
    /// of those that cannot be read, is an object that says so.
    #[default]
    Bounded,
    /// In the place of each large one is an object that says so.
    Named,
    /// It does.
    Read,
    /// In the place of a result is nothing, and parameters there are none.
    LeaveOut,
}

/// Of which laps of a run to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Laps {
    /// Of every lap that has begun.
    All,
    /// Of those up to this one.
    Until(u32),
    /// Of this lap; [`TaskRef::KEPT_LAP`] is what the run keeps of an earlier one.
    Only(u32),
}

/// Where a page begins and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<C> {
    /// The last row of the page before; `None` for the first.
    pub after: Option<C>,
    /// At most so many rows.
    pub limit: u32,
}

/// Which executions to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// In one of these states; all if empty.
    pub statuses: Vec<Status>,
    /// Of this action.
    pub action: Option<Ref>,
    /// Requested by this rule.
    pub rule: Option<Ref>,
    /// Only runs: those that are no part of another execution.
    pub roots: bool,
    /// What becomes of large values.
    pub values: Values,
}

/// Which questions to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InquiryFilter {
    /// In one of these states; all if empty.
    pub statuses: Vec<InquiryStatus>,
    /// Of this run.
    pub run: Option<ExecutionId>,
    /// Of the runs below that one too.
    pub below: bool,
}

/// Which events to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this trigger.
    pub trigger: Option<Ref>,
}

/// Which enforcements to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnforcementFilter {
    /// On this event.
    pub event: Option<EventId>,
    /// Of this rule.
    pub rule: Option<Ref>,
}

/// Which lines of the event log to list, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepEventFilter {
    /// Of this run; of all runs if `None`.
    pub root: Option<ExecutionId>,
    /// About this execution of the run.
    pub item: Option<ExecutionId>,
    /// Of these types; all if empty.
    pub types: Vec<StepEventType>,
    /// Of this step.
    pub step: Option<String>,
}

/// A broken promise that the database itself shows (`camshaft doctor --check`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which promise.
    pub invariant: String,
    /// What breaks it: ids and values.
    pub detail: String,
}

/// The database.
#[async_trait]
pub trait Store: Send + Sync {
    /// Hands a transaction to the writer. Never blocks.
    ///
    /// Transactions are stored in the order of these calls. While nothing can be stored (a full disk) all of
    /// them keep their places. One ends with an error only if it is refused for its own sake, which is a
    /// defect of who made it, or if the store is closed.
    fn submit(&self, transaction: Transaction, done: OnCommit);

    /// Whether the writer is alive, its last commit worked, and not too much waits for it.
    ///
    /// # Errors
    /// What is wrong.
    fn health(&self) -> Result<(), StoreError>;

    /// What has been committed since the start; nothing where nobody counts.
    fn commits(&self) -> Commits {
        Commits::default()
    }

    /// One execution.
    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, StoreError>;

    /// A page of executions, newest first. Results and parameters are included.
    async fn executions(
        &self,
        filter: ExecutionFilter,
        page: PageRequest<ExecutionId>,
    ) -> Result<Vec<Execution>, StoreError>;

    /// Every execution that is not terminal, oldest first. For taking up work at the start.
    async fn unfinished(&self) -> Result<Vec<Execution>, StoreError>;

    /// What executions returned, in the order in which they are asked for; nothing of one that has
    /// no result.
    async fn results(&self, of: Vec<ExecutionId>) -> Result<Vec<Option<Value>>, StoreError>;

    /// The executions whose parent this is, oldest first.
    async fn children(
        &self,
        parent: ExecutionId,
        laps: Laps,
        page: PageRequest<ExecutionId>,
        values: Values,
    ) -> Result<Vec<Execution>, StoreError>;

    /// How many items of each task of a run are in each status, without reading them. The places have
    /// no item.
    async fn item_counts(
        &self,
        run: ExecutionId,
        laps: Laps,
    ) -> Result<Vec<(TaskRef, Status, u32)>, StoreError>;

    /// How far a run of a workflow has come.
    async fn run(&self, id: ExecutionId) -> Result<Option<RunRecord>, StoreError>;

    /// What became of the tasks of a run, in the order in which they started.
    async fn tasks(
        &self,
        run: ExecutionId,
        laps: Laps,
        values: Values,
    ) -> Result<Vec<TaskRecord>, StoreError>;

    /// The result that the record of a task has itself.
    async fn task_result(
        &self,
        run: ExecutionId,
        task: TaskRef,
    ) -> Result<Option<Value>, StoreError>;

    /// The list over which a task fans out.
    async fn task_items(
        &self,
        run: ExecutionId,
        task: TaskRef,
    ) -> Result<Option<Value>, StoreError>;

    /// One question.
    async fn inquiry(&self, id: InquiryId) -> Result<Option<Inquiry>, StoreError>;

    /// A page of questions, newest first.
    async fn inquiries(
        &self,
        filter: InquiryFilter,
        page: PageRequest<InquiryId>,
    ) -> Result<Vec<Inquiry>, StoreError>;

    /// The kept results that are good after this instant, the one that expires last first, leaving out
    /// those that would take their JSON past so many bytes.
    async fn cached(&self, now: Timestamp, max_bytes: u64)
    -> Result<Vec<CachedResult>, StoreError>;

    /// The attempts of an execution that have ended, in order, with their small outputs.
    async fn attempts(&self, id: ExecutionId) -> Result<Vec<Attempt>, StoreError>;

    /// One event.
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError>;

    /// The events of these ids that there are, in this order, as long as their payloads fit in so many bytes
    /// of JSON; the first of them in any case.
    async fn events_by_id(
        &self,
        ids: Vec<EventId>,
        max_bytes: u64,
    ) -> Result<Vec<Event>, StoreError>;

    /// A page of events, newest first.
    async fn events(
        &self,
        filter: EventFilter,
        page: PageRequest<EventId>,
    ) -> Result<Vec<Event>, StoreError>;

    /// A page of enforcements, newest first; the cursor is the event's id.
    async fn enforcements(
        &self,
        filter: EnforcementFilter,
        page: PageRequest<EventId>,
    ) -> Result<Vec<Enforcement>, StoreError>;

    /// A page of the event log, oldest first.
    async fn step_events(
        &self,
        filter: StepEventFilter,
        page: PageRequest<i64>,
    ) -> Result<Vec<StepEvent>, StoreError>;

    /// The number of the newest line of the event log; 0 if there is none.
    async fn newest_step_event(&self) -> Result<i64, StoreError>;

    /// What a sensor last remembered.
    async fn sensor_state(&self, key: String) -> Result<Option<Value>, StoreError>;

    /// The current version of every pack.
    async fn packs(&self) -> Result<Vec<PackRecord>, StoreError>;

    /// A version of a pack by its hash, current or not.
    async fn pack_version(&self, hash: String) -> Result<Option<PackRecord>, StoreError>;

    /// Every constraint that is recorded, also such as have expired.
    async fn constraints(&self) -> Result<Vec<ConstraintRecord>, StoreError>;

    /// Every event that is held, oldest first.
    async fn held_events(&self) -> Result<Vec<HeldEvent>, StoreError>;

    /// The rules whose definition is overridden, and how.
    async fn rule_overrides(&self) -> Result<Vec<(Ref, bool)>, StoreError>;

    /// Raises the lease epoch durably and returns the new one. Called once at each start.
    async fn next_epoch(&self) -> Result<i64, StoreError>;

    /// Checks the promises of 1-product.md and R1 from the database alone: one enforcement per
    /// (rule, event), one execution per enforcement and back, terminal executions with an end and no
    /// lease, leases only on executions that hold one, attempts without gaps, step events that name
    /// executions that exist, at most one start per attempt. Of runs: what has ended has no child,
    /// task or question that has not; at most one child at each place; no lease; an output where it
    /// completed; children and tasks belong to runs that exist.
    async fn check(&self) -> Result<Vec<Violation>, StoreError>;

    /// Moves what is in the write-ahead log into the database file and gives the log's space back.
    async fn checkpoint(&self) -> Result<(), StoreError>;
}
