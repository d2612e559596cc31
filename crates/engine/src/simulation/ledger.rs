//! What a store would hold, as plain memory: a fold of the stored changes, with the guards of a store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use camshaft_model::port::store::{Change, Transaction};
use camshaft_model::run::CachedResult;
use camshaft_model::{
    Attempt, BlockedBy, EnforcementOutcome, EventId, Execution, ExecutionId, ExecutionState,
    Inquiry, InquiryId, InquiryStatus, Origin, Ref, RunRecord, Status, StepEvent, TakenFrom,
    TaskRecord, TaskRef, Timestamp,
};
use serde_json::Value;

/// Where a task is: its place in its run, after the places of the runs that this is a part of.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskPath(pub Vec<TaskRef>);

/// A task or item that started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Which.
    pub path: TaskPath,
    /// The topmost run.
    pub root: ExecutionId,
    /// When.
    pub at: Timestamp,
    /// With which commit.
    pub commit: usize,
}

/// Everything that is recorded.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Every execution, in the order in which they were recorded.
    pub executions: Vec<Execution>,
    /// Runs of workflows.
    pub runs: BTreeMap<ExecutionId, RunRecord>,
    /// Starts of tasks, in the order in which they were first recorded.
    pub tasks: Vec<TaskRecord>,
    /// The lists over which tasks fan out.
    pub items: HashMap<(ExecutionId, TaskRef), Arc<Value>>,
    /// Questions.
    pub inquiries: BTreeMap<InquiryId, Inquiry>,
    /// Kept results by key.
    pub cached: BTreeMap<String, CachedResult>,
    /// Attempts that have ended.
    pub attempts: Vec<Attempt>,
    /// The event log.
    pub steps: Vec<StepEvent>,
    /// Tasks and items in the order of their starts.
    pub started: Vec<Started>,
    /// With which commit a start of a task ended.
    pub ended: HashMap<(ExecutionId, TaskRef), usize>,
    /// How many transactions were stored.
    pub commits: usize,
    places: HashMap<ExecutionId, usize>,
    records: HashMap<(ExecutionId, TaskRef), usize>,
    keys: BTreeSet<String>,
    events: BTreeSet<EventId>,
    event_keys: BTreeSet<(Ref, String)>,
    /// Changes that were stored and name what is not.
    adrift: Vec<String>,
}

/// Why a store does not take a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// What is new in it has the key of something that is there.
    Duplicate(String),
    /// An execution is not where it was decided to be.
    Elsewhere(ExecutionId, String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(why) | Self::Elsewhere(_, why) => f.write_str(why),
        }
    }
}

/// Whether this is what a run keeps of an earlier one, and no start of its own.
fn is_kept(task: &TaskRecord) -> bool {
    task.task.lap == TaskRef::KEPT_LAP
}

impl Ledger {
    /// Stores a transaction, or says why a store would refuse it.
    pub(crate) fn store(
        &mut self,
        transaction: Transaction,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let mut moved = HashMap::new();
        for change in &transaction.changes {
            self.guard(change, &mut moved)?;
        }
        self.commits += 1;
        self.note_adrift(&transaction);
        for change in transaction.changes {
            self.apply(change, now);
        }
        Ok(())
    }

    /// `moved`: where executions are after the changes of the same transaction that come before.
    fn guard(
        &self,
        change: &Change,
        moved: &mut HashMap<ExecutionId, (Status, u32, i64)>,
    ) -> Result<(), Refused> {
        match change {
            Change::InsertEvent(event) => {
                let key = event.draft.dedup_key.clone();
                let key = key.map(|key| (event.draft.trigger.clone(), key));
                if key.is_some_and(|key| self.event_keys.contains(&key)) {
                    let why = format!("{} has the key of another event", event.id);
                    return Err(Refused::Duplicate(why));
                }
            }
            Change::InsertExecution(execution) => {
                let id = execution.spec.id;
                let key = execution.spec.idempotency_key.as_ref();
                if self.places.contains_key(&id) {
                    return Err(Refused::Elsewhere(id, format!("{id} is recorded twice")));
                }
                if key.is_some_and(|key| self.keys.contains(key)) {
                    let why = format!("{id} has the idempotency key of another execution");
                    return Err(Refused::Duplicate(why));
                }
            }
            Change::Move(transition) => {
                let of = |state: &ExecutionState| (state.status, state.attempt, state.epoch);
                let id = transition.execution();
                let stored = self.execution(id).map(|execution| of(&execution.state));
                let at = moved.insert(id, of(transition.to())).or(stored);
                if at != Some(transition.from()) {
                    let from = transition.from();
                    let why = format!("{id} was to move from {from:?} and is at {at:?}");
                    return Err(Refused::Elsewhere(id, why));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes what in a transaction belongs to something that is neither in it nor stored.
    fn note_adrift(&mut self, transaction: &Transaction) {
        let mut executions = HashSet::new();
        let mut events = HashSet::new();
        for change in &transaction.changes {
            match change {
                Change::InsertExecution(execution) => drop(executions.insert(execution.spec.id)),
                Change::InsertEvent(event) => drop(events.insert(event.id)),
                _ => {}
            }
        }
        let no_execution =
            |id: &ExecutionId| !executions.contains(id) && !self.places.contains_key(id);
        let no_event = |id: &EventId| !events.contains(id) && !self.events.contains(id);
        let adrift = transaction.changes.iter().filter(|change| match change {
            Change::InsertExecution(execution) => {
                let of_rule = match &execution.spec.origin {
                    Origin::Rule { event, .. } => Some(event),
                    _ => None,
                };
                execution.spec.parent.as_ref().is_some_and(no_execution)
                    || of_rule.is_some_and(no_event)
            }
            Change::RecordAttempt(attempt) => no_execution(&attempt.key.execution),
            Change::AppendStepEvent(step) => {
                no_execution(&step.root) || step.item.as_ref().is_some_and(no_execution)
            }
            Change::PutRun(run) | Change::PutRunProgress(run) => no_execution(&run.execution),
            Change::PutTask(task) => {
                no_execution(&task.run) || task.execution.as_ref().is_some_and(no_execution)
            }
            Change::PutItems { run, .. } => no_execution(run),
            Change::PutInquiry(inquiry) => no_execution(&inquiry.run),
            Change::InsertEnforcement(enforcement) => {
                let requested = match &enforcement.outcome {
                    EnforcementOutcome::Requested { execution } => Some(execution),
                    _ => None,
                };
                no_event(&enforcement.event) || requested.is_some_and(no_execution)
            }
            Change::HoldEvent { event, .. } | Change::ReleaseEvent(event) => no_event(event),
            _ => false,
        });
        let adrift: Vec<String> = adrift
            .map(|change| format!("it belongs to nothing that is recorded: {change:?}"))
            .collect();
        self.adrift.extend(adrift);
    }

    fn apply(&mut self, change: Change, now: Timestamp) {
        match change {
            Change::InsertExecution(execution) => self.insert(*execution, now),
            Change::Move(transition) => {
                if let Some(place) = self.places.get(&transition.execution()).copied() {
                    let before = self.executions[place].state.status;
                    self.executions[place].state = transition.to().clone();
                    self.note_item(place, before, now);
                }
            }
            Change::PutHeldBy { execution, held_by } => {
                if let Some(place) = self.places.get(&execution).copied()
                    && self.executions[place].state.status == Status::Requested
                {
                    let blocked_by = BlockedBy::Constraint(held_by);
                    self.executions[place].state.blocked_by = Some(blocked_by);
                }
            }
            Change::RecordAttempt(attempt) => self.attempts.push(*attempt),
            Change::AppendStepEvent(draft) => {
                let id = i64::try_from(self.steps.len()).unwrap_or(i64::MAX);
                self.steps.push(StepEvent::numbered(id, *draft));
            }
            Change::PutRun(run) => {
                self.runs.insert(run.execution, *run);
            }
            Change::PutRunProgress(mut run) => {
                if let Some(recorded) = self.runs.get_mut(&run.execution) {
                    run.vars = std::mem::take(&mut recorded.vars);
                    *recorded = *run;
                }
            }
            Change::PutTask(task) => self.put_task(*task, now),
            Change::PutItems { run, task, items } => {
                self.items.insert((run, task), items);
            }
            Change::PutInquiry(inquiry) => {
                self.inquiries.insert(inquiry.id, *inquiry);
            }
            Change::PutCached(cached) => {
                self.cached.retain(|_, kept| kept.expires_at > now);
                self.cached.insert(cached.key.clone(), *cached);
            }
            Change::InsertEvent(event) => {
                self.events.insert(event.id);
                let key = event.draft.dedup_key.clone();
                let key = key.map(|key| (event.draft.trigger.clone(), key));
                self.event_keys.extend(key);
            }
            // Nothing of a run follows from these.
            Change::InsertEnforcement(_)
            | Change::PutPackVersion(_)
            | Change::PutSensorState { .. }
            | Change::PutPack(_)
            | Change::RemovePack(_)
            | Change::HoldEvent { .. }
            | Change::ReleaseEvent(_)
            | Change::PutConstraint { .. }
            | Change::RemoveConstraint(_)
            | Change::PutRateInstant { .. }
            | Change::SetRuleEnabled { .. } => {}
        }
    }

    fn insert(&mut self, execution: Execution, now: Timestamp) {
        let place = self.executions.len();
        self.places.insert(execution.spec.id, place);
        self.keys.extend(execution.spec.idempotency_key.clone());
        self.executions.push(execution);
        self.note_item(place, Status::Requested, now);
    }

    /// Notes the start of an item: the first time that it is no longer only asked for.
    fn note_item(&mut self, place: usize, before: Status, now: Timestamp) {
        let execution = &self.executions[place];
        let started = execution.state.status != Status::Requested
            && before == Status::Requested
            && execution.state.attempt <= 1
            && !execution.state.status.is_terminal();
        let is_item = execution
            .spec
            .task
            .as_ref()
            .is_some_and(|task| task.item.is_some());
        if started && is_item {
            let root = execution.spec.root;
            self.started.push(Started {
                path: self.path(execution.spec.id),
                root,
                at: now,
                commit: self.commits,
            });
        }
    }

    fn put_task(&mut self, task: TaskRecord, now: Timestamp) {
        let key = (task.run, task.task.clone());
        let kept = matches!(task.taken_from, Some(TakenFrom::Run { .. }));
        let started = task.status != Status::Skipped && !kept;
        if task.status.is_terminal() {
            self.ended.entry(key.clone()).or_insert(self.commits);
        }
        match self.records.get(&key) {
            Some(place) => self.tasks[*place] = task,
            None => {
                if started {
                    let mut path = self.path(task.run);
                    path.0.push(task.task.clone());
                    self.started.push(Started {
                        path,
                        root: self.root_of(task.run),
                        at: now,
                        commit: self.commits,
                    });
                }
                self.records.insert(key, self.tasks.len());
                self.tasks.push(task);
            }
        }
    }

    /// An execution.
    pub fn execution(&self, id: ExecutionId) -> Option<&Execution> {
        self.places.get(&id).map(|place| &self.executions[*place])
    }

    /// Where an execution is; the root is nowhere.
    pub fn path(&self, id: ExecutionId) -> TaskPath {
        let mut path = Vec::new();
        let mut at = self.execution(id);
        while let Some(execution) = at {
            let Some(task) = &execution.spec.task else {
                break;
            };
            path.push(TaskRef::clone(task));
            at = execution
                .spec
                .parent
                .and_then(|parent| self.execution(parent));
        }
        path.reverse();
        TaskPath(path)
    }

    fn root_of(&self, id: ExecutionId) -> ExecutionId {
        self.execution(id)
            .map_or(id, |execution| execution.spec.root)
    }

    /// The executions whose parent this is, in the order in which they were recorded.
    pub fn children(&self, parent: ExecutionId) -> impl Iterator<Item = &Execution> {
        self.executions
            .iter()
            .filter(move |execution| execution.spec.parent == Some(parent))
    }

    /// The starts of tasks of a run, in the order in which they were first recorded.
    pub fn tasks_of(&self, run: ExecutionId) -> Vec<TaskRecord> {
        let of_it = self.tasks.iter().filter(|task| task.run == run);
        of_it.filter(|task| !is_kept(task)).cloned().collect()
    }

    /// What a run keeps of an earlier one.
    pub fn kept_of(&self, run: ExecutionId) -> Vec<TaskRecord> {
        let of_it = self.tasks.iter().filter(|task| task.run == run);
        of_it.filter(|task| is_kept(task)).cloned().collect()
    }

    /// The result of a start of a task: its own, that of its execution, or the list of those of its
    /// items.
    pub fn result(&self, task: &TaskRecord) -> Option<Value> {
        if let Some(result) = &task.result {
            return Some(Value::clone(result));
        }
        if task.items.is_some() {
            return Some(Value::Array(self.item_results(task)));
        }
        let child = self.execution(task.execution?)?;
        child.state.result.as_deref().cloned()
    }

    /// Every start of every task of a run and of the runs below it.
    pub fn tasks_below(&self, root: ExecutionId) -> impl Iterator<Item = (TaskPath, &TaskRecord)> {
        self.tasks
            .iter()
            .filter(move |task| self.root_of(task.run) == root && !is_kept(task))
            .map(|task| {
                let mut path = self.path(task.run);
                path.0.push(task.task.clone());
                (path, task)
            })
    }

    /// The list that a task with items returns, as far as its items have come; null for those that
    /// have none.
    pub fn item_results(&self, task: &TaskRecord) -> Vec<Value> {
        let mut results = vec![Value::Null; task.items.unwrap_or(0) as usize];
        for child in self.items_of(task) {
            let item = child.spec.task.as_ref().and_then(|task| task.item);
            let place = item.and_then(|item| results.get_mut(item as usize));
            if let (Some(place), Some(result)) = (place, &child.state.result) {
                *place = Value::clone(result);
            }
        }
        results
    }

    /// The executions of the items of a task, in the order in which they were recorded.
    pub fn items_of(&self, record: &TaskRecord) -> impl Iterator<Item = &Execution> {
        self.children(record.run).filter(move |child| {
            child.spec.task.as_ref().is_some_and(|task| {
                task.item.is_some()
                    && (task.lap, &task.name, task.visit)
                        == (record.task.lap, &record.task.name, record.task.visit)
            })
        })
    }

    /// What is broken of the promises that the records of runs must keep.
    pub fn violations(&self) -> Vec<String> {
        let mut broken = self.adrift.clone();
        let mut places = BTreeSet::new();
        for execution in &self.executions {
            let id = execution.spec.id;
            if let Some(parent) = execution.spec.parent {
                let path = self.path(id);
                if !places.insert((parent, path.0.last().cloned())) {
                    broken.push(format!("there are two executions of {path}"));
                }
                let parent_ended = self
                    .execution(parent)
                    .is_none_or(|parent| parent.state.status.is_terminal());
                if parent_ended && !execution.state.status.is_terminal() {
                    broken.push(format!(
                        "{path} is {} and the run that it is a part of has ended",
                        execution.state.status
                    ));
                }
                if !self.runs.contains_key(&parent) {
                    broken.push(format!("{path} has a parent that is no run"));
                }
            }
            let is_run = self.runs.contains_key(&id);
            if is_run
                && execution.state.status.holds_lease()
                && execution.state.status != Status::Canceling
            {
                broken.push(format!(
                    "the run {id} is {} and holds a slot",
                    execution.state.status
                ));
            }
            if execution.state.status.is_terminal() && execution.state.ended_at.is_none() {
                broken.push(format!("{id} has ended at no time"));
            }
            if is_run
                && execution.state.status == Status::Completed
                && execution.state.result.is_none()
            {
                broken.push(format!("the run {id} completed without a result"));
            }
        }
        self.check_tasks(&mut broken);
        broken
    }

    fn check_tasks(&self, broken: &mut Vec<String>) {
        let over = |run| {
            self.execution(run)
                .is_some_and(|run| run.state.status.is_terminal())
        };
        for task in &self.tasks {
            let mut path = self.path(task.run);
            path.0.push(task.task.clone());
            if over(task.run) && !task.status.is_terminal() {
                broken.push(format!(
                    "the task {path} is {} and its run has ended",
                    task.status
                ));
            }
            let child = task.execution.map(|id| self.execution(id));
            if child == Some(None) {
                broken.push(format!(
                    "the task {path} names an execution that is not there"
                ));
            }
            if task.status.is_terminal() && task.ended_at.is_none() {
                broken.push(format!("the task {path} has ended at no time"));
            }
        }
        for inquiry in self.inquiries.values() {
            if over(inquiry.run) && inquiry.status == InquiryStatus::Open {
                broken.push(format!(
                    "the question {} is open and its run has ended",
                    inquiry.id
                ));
            }
        }
    }
}

impl TaskPath {
    /// `sub/inner`: which task it is in the definitions.
    pub fn names(&self) -> String {
        self.joined(|task, _| task.name.clone())
    }

    /// `sub[2]/inner`: the same within the items of the runs above it.
    pub fn within_items(&self) -> String {
        self.joined(|task, last| match task.item {
            Some(item) if !last => format!("{}[{item}]", task.name),
            _ => task.name.clone(),
        })
    }

    /// `sub[2]/inner[1]`: the same item, whichever visit or lap.
    pub(super) fn without_visits(&self) -> String {
        self.joined(|task, _| match task.item {
            Some(item) => format!("{}[{item}]", task.name),
            None => task.name.clone(),
        })
    }

    /// The item, if it is one.
    pub fn item(&self) -> Option<u32> {
        self.0.last()?.item
    }

    fn joined(&self, name: impl Fn(&TaskRef, bool) -> String) -> String {
        let last = self.0.len().saturating_sub(1);
        let names: Vec<String> = self
            .0
            .iter()
            .enumerate()
            .map(|(place, task)| name(task, place == last))
            .collect();
        names.join("/")
    }
}

impl fmt::Display for TaskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(|task, _| {
            let item = task
                .item
                .map(|item| format!("[{item}]"))
                .unwrap_or_default();
            let visit = if task.visit > 1 {
                format!("#{}", task.visit)
            } else {
                String::new()
            };
            format!("{}{item}{visit}", task.name)
        }))
    }
}
