//! From what the bus tells to spans.
//!
//! A span is made when what it tells of has ended, from the record of the execution; only what no record
//! has (lines of the event log, attempts before the last) is remembered until then. So an execution that
//! began in an earlier life of the engine still gets its spans, without the events of that life.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use camshaft_model::{
    Event, EventId, Execution, ExecutionId, FailureKind, Origin, Status, StepEvent, StepEventType,
    TaskRef, Timestamp, TraceContext,
};

use super::message::Span;
use super::span::{self, Events};

/// At most so many executions are remembered before they end; the oldest is forgotten first, and its
/// spans lack what only memory has.
const OPEN: usize = 50_000;
/// So many executions that ended, and events, may still be linked to.
const RECENT: usize = 4_096;
/// So many waits and fan-outs of one run are remembered.
const TASKS: usize = 1_024;

/// What the tracer is told.
#[derive(Debug)]
pub(super) enum Heard {
    Execution(Box<Execution>),
    Step(Arc<StepEvent>),
    /// An event, and the execution whose end it tells of.
    Event(EventId, ExecutionId),
}

impl Heard {
    /// What the tracer has to know of an event: only one that an execution made can be linked to its
    /// cause. A trace that came with an event is the parent already.
    pub(super) fn of_event(event: &Event) -> Option<Self> {
        let source = &event.draft.source;
        if source.kind != "engine" {
            return None;
        }
        let execution = source.name.as_deref()?.parse().ok()?;
        Some(Self::Event(event.id, execution))
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Tracer {
    open: BTreeMap<ExecutionId, Open>,
    ended: Recent<ExecutionId>,
    causes: Recent<EventId>,
}

/// What is remembered of an execution that has not ended.
#[derive(Default)]
struct Open {
    latest: Option<Box<Execution>>,
    /// Whether its latest attempt has a process or the like; a run of a workflow has none.
    ran: bool,
    closed_attempt: u32,
    pid: Option<i64>,
    finished_at: Option<Timestamp>,
    attempt_events: Events,
    events: Events,
    waits: HashMap<String, Arc<StepEvent>>,
    /// By task: which start of it, and when its first item was asked for.
    fan_outs: HashMap<String, (TaskRef, Timestamp)>,
}

impl Tracer {
    /// Takes what happened; adds the spans that have become complete.
    pub(super) fn take(&mut self, heard: Heard, spans: &mut Vec<Span>) {
        match heard {
            Heard::Execution(execution) => self.execution(execution, spans),
            Heard::Step(line) => self.step(&line, spans),
            Heard::Event(event, execution) => {
                if let Some(cause) = self.ended.get(&execution) {
                    self.causes.insert(event, cause);
                }
            }
        }
    }

    /// The execution that a retry is to be linked to, if it is not known here.
    pub(super) fn unknown_cause(&self, heard: &Heard) -> Option<ExecutionId> {
        let Heard::Execution(execution) = heard else {
            return None;
        };
        let of = execution.spec.origin.retry_of()?;
        let ended = execution.state.status.is_terminal();
        (ended && self.ended.get(&of).is_none()).then_some(of)
    }

    /// Makes an execution of long ago known.
    pub(super) fn learn(&mut self, execution: &Execution) {
        let context = TraceContext::of_execution(&execution.spec);
        self.ended.insert(execution.spec.id, context);
    }

    fn open(&mut self, id: ExecutionId) -> &mut Open {
        if self.open.len() >= OPEN && !self.open.contains_key(&id) {
            self.open.pop_first();
        }
        self.open.entry(id).or_default()
    }

    fn execution(&mut self, execution: Box<Execution>, spans: &mut Vec<Span>) {
        let spec = &execution.spec;
        let context = TraceContext::of_execution(spec);
        if !context.is_sampled() {
            return;
        }
        if let (Some(run), Some(task)) = (spec.parent, &spec.task)
            && task.item.is_some()
        {
            self.open(run).item(task, spec.requested_at);
        }
        let state = &execution.state;
        if !state.status.is_terminal() {
            let open = self.open(spec.id);
            open.ran |= state.status == Status::Running;
            open.latest = Some(execution);
            return;
        }
        let mut open = self.open.remove(&spec.id).unwrap_or_default();
        let ended_at = state.ended_at.unwrap_or(spec.requested_at);
        // Between two attempts an execution has no worker, and the last one has its span already.
        if state.worker.is_some() && state.attempt > open.closed_attempt {
            let ended = (state.attempt, state.status);
            let events = std::mem::take(&mut open.attempt_events);
            spans.push(span::of_attempt(
                &execution, ended, ended_at, open.pid, events,
            ));
        }
        let cause = match &spec.origin {
            Origin::Rule { event, .. } => self.causes.get(event).map(|to| (to, "event")),
            Origin::Retry { of } => self.ended.get(of).map(|to| (to, "retry")),
            Origin::Api | Origin::Library | Origin::Workflow => None,
        };
        let links = cause.map(|(to, kind)| span::link(to, kind));
        let links = links.into_iter().collect();
        spans.push(span::of_execution(&execution, open.events, links));
        self.ended.insert(spec.id, context);
    }

    fn step(&mut self, line: &Arc<StepEvent>, spans: &mut Vec<Span>) {
        use StepEventType as T;
        let id = line.item_id.unwrap_or(line.execution_id);
        // Whoever has not been heard of is not sampled, or has ended.
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        match line.event_type {
            T::StepSpawned => open.pid = line.payload.get("pid").and_then(|pid| pid.as_i64()),
            T::StepFinished => open.finished_at = Some(line.created_at),
            T::StepRetrying => {
                spans.extend(open.end_attempt(line));
                open.events.add(line);
            }
            T::StepStarted | T::StepHeartbeat => {}
            T::StepTimeout
            | T::SandboxDenied
            | T::SandboxResourceExceeded
            | T::SandboxNetworkBlocked
            | T::DaemonPidKillBlocked => open.attempt_events.add(line),
            T::TaskBlocked => {
                // Others are held, not waiting: what they do is a span of its own.
                let waits = ["inquiry", "trigger"]
                    .iter()
                    .any(|key| line.payload.contains_key(*key));
                if let Some(step) = line.step.clone()
                    && waits
                    && open.waits.len() < TASKS
                {
                    open.waits.insert(step, line.clone());
                }
                open.events.add(line);
            }
            T::TaskCompleted | T::TaskFailed | T::TaskCancelled => {
                spans.extend(open.end_task(line));
                // How others ended is told by their spans.
                if line.payload.contains_key("taken_from") {
                    open.events.add(line);
                }
            }
            _ => open.events.add(line),
        }
    }
}

impl Open {
    /// Remembers which start of a task an item belongs to.
    fn item(&mut self, task: &TaskRef, requested_at: Timestamp) {
        let full = self.fan_outs.len() >= TASKS;
        match self.fan_outs.get_mut(&task.name) {
            Some((known, first)) if (known.lap, known.visit) == (task.lap, task.visit) => {
                *first = requested_at.min(*first);
            }
            None if full => {}
            _ => {
                let start = (task.clone(), requested_at);
                self.fan_outs.insert(task.name.clone(), start);
            }
        }
    }

    /// The span of an attempt that another one follows.
    fn end_attempt(&mut self, line: &StepEvent) -> Option<Span> {
        let latest = self.latest.as_ref()?;
        let state = &latest.state;
        let failure = state.error.as_ref().map(|error| error.kind);
        let cut_off = failure == Some(FailureKind::Interrupted);
        if !(self.ran || cut_off) || state.attempt <= self.closed_attempt {
            return None;
        }
        let status = match failure {
            Some(FailureKind::Timeout | FailureKind::Stalled) => Status::TimedOut,
            Some(FailureKind::Interrupted) => Status::Abandoned,
            _ => Status::Failed,
        };
        let ended_at = self.finished_at.take().unwrap_or(line.created_at);
        let events = std::mem::take(&mut self.attempt_events);
        let pid = self.pid.take();
        self.closed_attempt = state.attempt;
        self.ran = false;
        Some(span::of_attempt(
            latest,
            (state.attempt, status),
            ended_at,
            pid,
            events,
        ))
    }

    /// The span of a task that is no execution of its own.
    fn end_task(&mut self, line: &StepEvent) -> Option<Span> {
        let step = line.step.as_ref()?;
        let run = self.latest.as_ref()?;
        if let Some(blocked) = self.waits.remove(step) {
            return Some(span::of_wait(run, &blocked, line));
        }
        let (task, started_at) = self.fan_outs.remove(step)?;
        Some(span::of_fan_out(run, &task, line, started_at))
    }
}

/// The last so many contexts by what they belong to.
struct Recent<K> {
    known: HashMap<K, TraceContext>,
    order: VecDeque<K>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Recent<K> {
    fn insert(&mut self, key: K, context: TraceContext) {
        if self.known.insert(key, context).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn get(&self, key: &K) -> Option<TraceContext> {
        self.known.get(key).copied()
    }
}

#[cfg(test)]
mod tests;
