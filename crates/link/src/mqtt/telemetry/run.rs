//! What is known of one run that is under way: enough to tell a change from a repetition, and an
//! execution of a workflow from one of an action.

use std::collections::{HashMap, HashSet};

use camshaft_model::{
    BlockedBy, Execution, ExecutionId, HeldBy, Object, Status, StepEvent, StepEventType, StepScope,
    Timestamp,
};
use serde_json::Value;

use super::message::{Lifecycle, State, TaskState, shortened};

/// See the module.
pub(super) struct Run {
    /// From when on it lasts: its start, and until then the request.
    since: Timestamp,
    /// The executions that are under way.
    executions: HashMap<ExecutionId, Known>,
    /// Tasks with items of which one has been seen, by their run and their name.
    fans: HashMap<(ExecutionId, String), Fan>,
}

/// A task with items. Its end is in the event log before the end of its last item is told, and is told
/// after it.
#[derive(Default)]
struct Fan {
    open: HashSet<ExecutionId>,
    end: Option<TaskState>,
}

#[derive(Default)]
struct Known {
    /// What was told last.
    last: Option<State>,
    /// The attempt of which it was.
    attempt: u32,
    /// How often something was told.
    told: u32,
    name: String,
    item: Option<u32>,
    is_workflow: bool,
    /// The constraint that was told to hold it, now or until it was told to wait.
    held_by: Option<Box<str>>,
    /// Why it is held, if that was told because the engine said so: a line that says the same may follow.
    found: Option<Box<str>>,
    /// Whether it waits for its start as an earlier life has left it, and nothing was told of that yet.
    is_left: bool,
}

/// An execution of which it is to be found out what holds it.
pub(super) struct Doubt {
    pub(super) id: ExecutionId,
    /// How often something had been told of it.
    told: u32,
}

impl Known {
    fn of(execution: &Execution) -> Self {
        let spec = &execution.spec;
        Self {
            attempt: execution.state.attempt,
            name: spec.step().to_owned(),
            item: spec.task.as_ref().and_then(|place| place.item),
            ..Self::default()
        }
    }

    /// Notes what is told.
    fn tell(&mut self, state: State, attempt: u32) {
        (self.last, self.attempt) = (Some(state), attempt);
        self.told = self.told.wrapping_add(1);
        (self.held_by, self.found) = (None, None);
        self.is_left = false;
    }
}

impl Run {
    /// The run that an execution is the root of, or a part of if it is heard of first.
    pub(super) fn new(execution: &Execution) -> Self {
        Self {
            since: begin_of(execution),
            executions: HashMap::new(),
            fans: HashMap::new(),
        }
    }

    pub(super) fn lasted_ms(&self, now: Timestamp) -> f64 {
        millis(self.since, now)
    }

    /// An execution as an earlier life has left it. Of a run of a workflow it must be known that it is one,
    /// because its end does not show it; of one that waits for its start nothing may be heard for long.
    pub(super) fn take_up(&mut self, execution: &Execution) {
        let (spec, state) = (&execution.spec, &execution.state);
        let is_workflow = match state.status {
            Status::Waiting => true,
            // What is no run has a worker that it is cancelled by, and one that has ended never ran without.
            Status::Canceling => state.worker.is_none(),
            status if status.is_terminal() => state.worker.is_none() && state.started_at.is_some(),
            _ => false,
        };
        let mut known = Known::of(execution);
        known.is_workflow = is_workflow;
        if is_workflow {
            known.tell(State::Running, state.attempt);
        } else if state.status == Status::Requested {
            known.is_left = true;
        } else {
            return;
        }
        self.executions.insert(spec.id, known);
    }

    /// The executions of which it may not be true any more what was told last: those that one of these
    /// constraints was told to hold, or to have held, and those that an earlier life has left.
    pub(super) fn doubts(&self, changed: &HashSet<String>) -> impl Iterator<Item = Doubt> {
        let is_held_by_them = |known: &Known| {
            let held_by = known.held_by.as_deref();
            held_by.is_some_and(|held_by| changed.contains(held_by))
        };
        let executions = self.executions.iter();
        executions
            .filter(move |(_, known)| known.is_left || is_held_by_them(known))
            .map(|(id, known)| Doubt {
                id: *id,
                told: known.told,
            })
    }

    /// What is to be told of an execution that waits for its start, by all that keeps it from that now.
    /// Nothing if it starts at once, or if something else was told meanwhile.
    pub(super) fn settle(&mut self, doubt: &Doubt, blockers: &[BlockedBy]) -> Option<TaskState> {
        let known = self.executions.get_mut(&doubt.id)?;
        let first = blockers.first()?;
        if known.told != doubt.told {
            return None;
        }
        let mut holding = blockers.iter().filter_map(|blocker| match blocker {
            BlockedBy::Constraint(held) => Some(&**held),
            _ => None,
        });
        let is_told = |held: &&HeldBy| known.held_by.as_deref() == Some(&*held.key.to_string());
        let still = holding.clone().find(is_told);
        let holder = still.or_else(|| holding.next());
        let is_news = match (known.last, holder) {
            (Some(State::Blocked), _) => still.is_none(),
            (Some(State::Pending), None) => false,
            _ => true,
        };
        if !is_news {
            return None;
        }
        let state = match holder {
            Some(_) => State::Blocked,
            None => State::Pending,
        };
        let until_now = known.held_by.take();
        known.tell(state, known.attempt);
        known.held_by = holder.map_or(until_now, |held| Some(held.key.to_string().into()));
        known.found = holder.map(|held| held.to_string().into());
        let mut told = TaskState::new(doubt.id.to_string(), &known.name, state);
        told.attempt = Some(u64::from(known.attempt) + 1);
        told.item = known.item;
        told.constraint = holder.map(|held| held.id.clone());
        let reason = holder.map_or_else(|| first.to_string(), ToString::to_string);
        told.reason = Some(shortened(&reason));
        Some(told)
    }

    /// What a change of an execution tells.
    pub(super) fn execution(&mut self, execution: &Execution) -> Vec<TaskState> {
        let (spec, status) = (&execution.spec, execution.state.status);
        let attempt = execution.state.attempt;
        if spec.parent.is_none() {
            self.since = begin_of(execution);
        }
        let known = self.executions.entry(spec.id);
        let known = known.or_insert_with(|| Known::of(execution));
        known.is_workflow |= status == Status::Waiting;
        let is_run_itself = spec.parent.is_none() && known.is_workflow;
        let state = state_of(execution).filter(|state| {
            // Waiting longer for another reason is nothing new, nor is waiting for the next attempt.
            let waits_longer = *state == State::Pending && known.last.is_some();
            !waits_longer && (known.last, known.attempt) != (Some(*state), attempt)
        });
        if let Some(state) = state {
            known.tell(state, attempt);
        }
        if status.is_terminal() {
            self.executions.remove(&spec.id);
        }
        let (Some(state), false) = (state, is_run_itself) else {
            return Vec::new();
        };
        let own = task_state(execution, state);
        let (begin, end) = self.of_fan(execution);
        begin.into_iter().chain([own]).chain(end).collect()
    }

    /// What the change of an item tells of its task: that it runs, with the first item that is seen, and
    /// that it has ended, with the last one.
    fn of_fan(&mut self, execution: &Execution) -> (Option<TaskState>, Option<TaskState>) {
        let (Some(place), Some(parent)) = (&execution.spec.task, execution.spec.parent) else {
            return (None, None);
        };
        if place.item.is_none() {
            return (None, None);
        }
        let key = (parent, place.name.clone());
        if !execution.state.status.is_terminal() {
            let is_new = !self.fans.contains_key(&key);
            let fan = self.fans.entry(key).or_default();
            fan.open.insert(execution.spec.id);
            let begin = TaskState::new(id_in(parent, &place.name), &place.name, State::Running);
            return (is_new.then_some(begin), None);
        }
        let Some(fan) = self.fans.get_mut(&key) else {
            return (None, None);
        };
        fan.open.remove(&execution.spec.id);
        if fan.open.is_empty() && fan.end.is_some() {
            return (None, self.fans.remove(&key).and_then(|fan| fan.end));
        }
        (None, None)
    }

    /// The ends of tasks whose items were never told to have ended.
    pub(super) fn ends(&mut self) -> Vec<TaskState> {
        self.fans.drain().filter_map(|(_, fan)| fan.end).collect()
    }

    /// What a line of the event log tells that no change of an execution does.
    pub(super) fn step(&mut self, event: &StepEvent) -> Option<TaskState> {
        use StepEventType as Type;
        let payload = &event.payload;
        let about = event.item_id.unwrap_or(event.execution_id);
        let name = event.step.as_deref()?;
        let held_by = text(payload, "constraint");
        let state = match event.event_type {
            Type::StepRetrying => State::Retrying,
            Type::TaskBlocked => State::Blocked,
            Type::StepSkipped => State::Skipped,
            Type::TaskCompleted => State::Completed,
            Type::TaskFailed | Type::TaskCancelled => State::Failed,
            _ => return None,
        };
        let is_of_execution = match event.event_type {
            Type::StepRetrying => true,
            Type::TaskBlocked => held_by.is_some(),
            _ => !self.is_without_execution(event, about, name),
        };
        if is_of_execution && !matches!(state, State::Retrying | State::Blocked) {
            return None;
        }
        let task_id = if is_of_execution {
            // The line may come before the execution itself is told of.
            let known = self.executions.entry(about).or_insert_with(|| Known {
                name: name.to_owned(),
                ..Known::default()
            });
            let key = held_by.and(key_in(payload));
            let found = known.found.take();
            if found.is_some() && found.as_deref() == text(payload, "reason") {
                return None;
            }
            known.tell(state, known.attempt);
            known.held_by = key;
            about.to_string()
        } else {
            id_in(about, name)
        };
        let mut told = TaskState::new(task_id, name, state);
        told.attempt = payload.get("attempt").and_then(Value::as_u64);
        told.duration_ms = payload
            .get("duration_ms")
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        told.constraint = held_by.map(str::to_owned);
        told.reason = text(payload, "reason").map(shortened);
        match state {
            State::Retrying => told.error = told.reason.take().unwrap_or_default(),
            State::Failed => told.error = text(payload, "error").map(shortened).unwrap_or_default(),
            State::Completed if payload.contains_key("taken_from") => {
                let kind = payload["taken_from"].get("kind").and_then(Value::as_str);
                told.reason = kind.map(|kind| format!("taken from the {kind}"));
            }
            _ => {}
        }
        let key = (about, name.to_owned());
        match self.fans.get_mut(&key) {
            Some(fan) if !is_of_execution && !fan.open.is_empty() => {
                fan.end = Some(told);
                None
            }
            _ if is_of_execution => Some(told),
            _ => {
                self.fans.remove(&key);
                Some(told)
            }
        }
    }

    /// Whether a line about the end of a task is about one that has no execution of its own. A line
    /// about one that has names the execution; any other names the run, if that is not the root.
    fn is_without_execution(&self, event: &StepEvent, about: ExecutionId, name: &str) -> bool {
        if event.step_scope != Some(StepScope::Task) {
            return false;
        }
        match self.executions.get(&about) {
            _ if event.item_id.is_none() => true,
            Some(known) => known.is_workflow && known.name != name,
            // It began in an earlier life: only tasks without an execution have these.
            None => {
                event.payload.contains_key("items")
                    || event.event_type == StepEventType::StepSkipped
            }
        }
    }
}

/// A task without an execution that waits for somebody or something.
pub(super) fn waits(run: ExecutionId, name: &str, reason: &str) -> TaskState {
    let mut told = TaskState::new(id_in(run, name), name, State::Blocked);
    told.reason = Some(reason.to_owned());
    told
}

/// The end of a run.
pub(super) fn stopped(root: &Execution) -> Lifecycle {
    let state = &root.state;
    let from = begin_of(root);
    Lifecycle {
        event: "ENGINE_STOPPED",
        resumed: None,
        status: Some(state.status.as_str()),
        duration_ms: Some(state.ended_at.map_or(0.0, |to| millis(from, to))),
        error: Some(error_of(root)),
    }
}

fn begin_of(execution: &Execution) -> Timestamp {
    let started_at = execution.state.started_at;
    started_at.unwrap_or(execution.spec.requested_at)
}

fn state_of(execution: &Execution) -> Option<State> {
    Some(match execution.state.status {
        Status::Requested => State::Pending,
        Status::Running | Status::Waiting => State::Running,
        Status::Completed => State::Completed,
        Status::Skipped => State::Skipped,
        Status::Failed | Status::TimedOut | Status::Cancelled | Status::Abandoned => State::Failed,
        Status::Scheduled | Status::Canceling => return None,
    })
}

fn task_state(execution: &Execution, now: State) -> TaskState {
    let (spec, state) = (&execution.spec, &execution.state);
    let mut told = TaskState::new(spec.id.to_string(), spec.step(), now);
    told.attempt = Some(match now {
        State::Pending => u64::from(state.attempt) + 1,
        _ => u64::from(state.attempt),
    });
    told.item = spec.task.as_ref().and_then(|place| place.item);
    told.worker.clone_from(&state.worker);
    if let (Some(from), Some(to)) = (state.started_at, state.ended_at) {
        told.duration_ms = millis(from, to);
    }
    match now {
        State::Pending => {
            told.reason = state
                .blocked_by
                .as_ref()
                .map(|by| shortened(&by.to_string()));
        }
        State::Failed => {
            told.error = error_of(execution);
            told.reason = (state.status != Status::Failed).then(|| state.status.to_string());
        }
        _ => {}
    }
    told
}

fn error_of(execution: &Execution) -> String {
    let state = &execution.state;
    match &state.error {
        Some(error) if state.status != Status::Completed => shortened(&error.message),
        None if state.status != Status::Completed => state.status.to_string(),
        _ => String::new(),
    }
}

/// A task that has no execution of its own is known by its run and its name.
fn id_in(run: ExecutionId, name: &str) -> String {
    format!("{run}/{name}")
}

/// The constraint that a line names, as its key is written.
fn key_in(payload: &Object) -> Option<Box<str>> {
    let (kind, scope) = (text(payload, "type")?, text(payload, "scope")?);
    Some(format!("{kind} on {scope}").into())
}

fn text<'a>(payload: &'a Object, key: &str) -> Option<&'a str> {
    payload.get(key).and_then(Value::as_str)
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_micros() as f64 / 1_000.0
}
