//! Spans as they are sent: what an execution, an attempt, a wait and a fan-out look like in a trace.

use camshaft_model::{
    Execution, ExecutionId, ExecutionState, FailureKind, Object, Origin, Status, StepEvent,
    TaskRef, Timestamp, TraceContext,
};
use serde_json::Value;

use super::message::{
    self, ERROR, Event, INTERNAL, KeyValue, Link, Scalar, Span, SpanStatus, attribute, cut,
};

/// The most events that one span carries; how many more there were is said.
const EVENTS: usize = 128;

/// Events of a span that is not at its end.
#[derive(Debug, Default)]
pub(super) struct Events {
    kept: Vec<Event>,
    more: u32,
}

impl Events {
    /// Adds a line of the event log, with what is plain in it.
    pub(super) fn add(&mut self, line: &StepEvent) {
        if self.kept.len() == EVENTS {
            self.more = self.more.saturating_add(1);
            return;
        }
        let mut attributes = plain(&line.payload);
        if let Some(step) = &line.step
            && !line.payload.contains_key("step")
        {
            attributes.push(attribute("camshaft.step", step.as_str()));
        }
        self.kept.push(Event {
            time_unix_nano: nanos(line.created_at),
            name: line.event_type.as_str().to_owned(),
            attributes,
        });
    }
}

/// The members of a payload that are texts, numbers or truths.
pub(super) fn plain(payload: &Object) -> Vec<KeyValue> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(Scalar::from(text.as_str())),
        Value::Bool(truth) => Some(Scalar::Bool(*truth)),
        Value::Number(number) => number
            .as_i64()
            .map(Scalar::Int)
            .or_else(|| number.as_f64().map(Scalar::Double)),
        _ => None,
    };
    let member = |(key, value): (&String, &Value)| {
        Some(attribute(format!("camshaft.{key}"), scalar(value)?))
    };
    payload.iter().filter_map(member).collect()
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros())
        .unwrap_or(0)
        .saturating_mul(1_000)
}

/// The flags of a span or a link: the low byte of the trace context.
fn flags(context: TraceContext) -> u32 {
    u32::from(context.is_sampled())
}

pub(super) fn link(to: TraceContext, kind: &str) -> Link {
    Link {
        trace_id: to.trace_id().into(),
        span_id: to.span_id().into(),
        attributes: vec![attribute("camshaft.link", kind)],
        flags: flags(to),
    }
}

/// A span without details.
pub(super) fn bare(
    context: TraceContext,
    parent: Option<TraceContext>,
    name: String,
    (from, to): (Timestamp, Timestamp),
) -> Span {
    Span {
        trace_id: context.trace_id().into(),
        span_id: context.span_id().into(),
        parent_span_id: parent
            .map(|parent| parent.span_id().into())
            .unwrap_or_default(),
        name,
        kind: INTERNAL,
        start_time_unix_nano: nanos(from),
        end_time_unix_nano: nanos(to.max(from)),
        flags: flags(context),
        ..Span::default()
    }
}

fn with_events(mut span: Span, events: Events) -> Span {
    span.events = events.kept;
    span.dropped_events_count = events.more;
    span
}

/// What people call an execution: its task, or else its action.
fn name(execution: &Execution) -> String {
    match &execution.spec.task {
        Some(task) => task.name.clone(),
        None => execution.spec.action.to_string(),
    }
}

/// The span of an execution that has ended.
pub(super) fn of_execution(execution: &Execution, events: Events, links: Vec<Link>) -> Span {
    let (spec, state) = (&execution.spec, &execution.state);
    let context = TraceContext::of_execution(spec);
    let parent = match (spec.parent, &spec.task) {
        (Some(run), Some(task)) if task.item.is_some() => {
            Some(context.with_span(fan_out_id(run, task)))
        }
        _ => TraceContext::parent(spec),
    };
    let ended = state.ended_at.unwrap_or(spec.requested_at);
    let mut span = bare(context, parent, name(execution), (spec.requested_at, ended));
    span.attributes = identity(execution);
    let attributes = &mut span.attributes;
    attributes.push(attribute("camshaft.attempts", state.attempt));
    attributes.push(attribute("camshaft.priority", spec.priority));
    let origin = match &spec.origin {
        Origin::Rule { rule, event } => {
            attributes.push(attribute("camshaft.rule", rule.to_string()));
            attributes.push(attribute("camshaft.event.id", event.to_string()));
            "rule"
        }
        Origin::Api => "api",
        Origin::Library => "library",
        Origin::Workflow => "workflow",
        Origin::Retry { of } => {
            attributes.push(attribute("camshaft.retry_of", of.to_string()));
            "retry"
        }
    };
    attributes.push(attribute("camshaft.origin", origin));
    if let Some(key) = &spec.idempotency_key {
        attributes.push(attribute("camshaft.idempotency_key", key.as_str()));
    }
    span.links = links;
    end(&mut span, state.status, state);
    with_events(span, events)
}

/// The span of an attempt that has ended: the parent of whatever its processes make.
pub(super) fn of_attempt(
    execution: &Execution,
    (attempt, status): (u32, Status),
    ended_at: Timestamp,
    pid: Option<i64>,
    events: Events,
) -> Span {
    let (spec, state) = (&execution.spec, &execution.state);
    let context = TraceContext::of_attempt(spec, attempt);
    let parent = TraceContext::of_execution(spec);
    let started = state.started_at.unwrap_or(ended_at);
    let name = format!("{} attempt", name(execution));
    let mut span = bare(context, Some(parent), name, (started, ended_at));
    span.attributes = identity(execution);
    let attributes = &mut span.attributes;
    attributes.push(attribute("camshaft.attempt", attempt));
    if let Some(worker) = &state.worker {
        attributes.push(attribute("camshaft.worker", worker.as_str()));
    }
    attributes.extend(pid.map(|pid| attribute("process.pid", pid)));
    let code = state
        .exit_code
        .map(|code| attribute("process.exit.code", code));
    attributes.extend(code);
    let signal = state
        .signal
        .map(|signal| attribute("camshaft.signal", signal));
    attributes.extend(signal);
    end(&mut span, status, state);
    with_events(span, events)
}

/// The span of a task with items, which is the parent of theirs.
pub(super) fn of_fan_out(
    run: &Execution,
    task: &TaskRef,
    line: &StepEvent,
    started_at: Timestamp,
) -> Span {
    let parent = TraceContext::of_execution(&run.spec);
    let context = parent.with_span(fan_out_id(run.spec.id, task));
    told(run, context, line, started_at)
}

/// The span of a task that waited for a person or an event.
pub(super) fn of_wait(run: &Execution, blocked: &StepEvent, line: &StepEvent) -> Span {
    let parent = TraceContext::of_execution(&run.spec);
    let context = parent.with_span(mix(run.spec.id, &format!("{}", blocked.id)));
    let mut span = told(run, context, line, blocked.created_at);
    span.attributes.extend(plain(&blocked.payload));
    span
}

/// A span of a run that only its event log tells of, with the line about its end.
fn told(run: &Execution, context: TraceContext, line: &StepEvent, started_at: Timestamp) -> Span {
    let parent = TraceContext::of_execution(&run.spec);
    let name = line.step.clone().unwrap_or_default();
    let mut span = bare(context, Some(parent), name, (started_at, line.created_at));
    span.attributes = vec![
        attribute("camshaft.run.id", run.spec.root.to_string()),
        attribute("camshaft.task", span.name.as_str()),
    ];
    span.attributes.extend(plain(&line.payload));
    if line.event_type == camshaft_model::StepEventType::TaskFailed {
        let reason = ["error", "reason"]
            .iter()
            .find_map(|key| line.payload.get(*key)?.as_str());
        span.status = Some(SpanStatus {
            code: ERROR,
            message: cut(reason.unwrap_or_default()),
        });
    }
    span
}

/// What every span of an execution says of it.
fn identity(execution: &Execution) -> Vec<KeyValue> {
    let spec = &execution.spec;
    let mut attributes = vec![
        attribute("camshaft.run.id", spec.root.to_string()),
        attribute("camshaft.execution.id", spec.id.to_string()),
        attribute("camshaft.action", spec.action.to_string()),
    ];
    if let Some(task) = &spec.task {
        attributes.push(attribute("camshaft.task", task.name.as_str()));
        attributes.extend(task.item.map(|item| attribute("camshaft.item", item)));
    }
    attributes
}

/// How it ended.
fn end(span: &mut Span, status: Status, state: &ExecutionState) {
    span.attributes
        .push(attribute("camshaft.status", status.as_str()));
    if !matches!(
        status,
        Status::Failed | Status::TimedOut | Status::Abandoned
    ) {
        return;
    }
    let error = state.error.as_ref();
    let kind = error.map_or("_OTHER", |error| kind(error.kind));
    span.attributes.push(attribute("error.type", kind));
    span.status = Some(message::SpanStatus {
        code: ERROR,
        message: error.map(|error| cut(&error.message)).unwrap_or_default(),
    });
}

/// The name that JSON has for it.
const fn kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Exit => "exit",
        FailureKind::Signal => "signal",
        FailureKind::OutOfMemory => "out_of_memory",
        FailureKind::Timeout => "timeout",
        FailureKind::Stalled => "stalled",
        FailureKind::Spawn => "spawn",
        FailureKind::Runtime => "runtime",
        FailureKind::Parameters => "parameters",
        FailureKind::Output => "output",
        FailureKind::Http => "http",
        FailureKind::Native => "native",
        FailureKind::Expression => "expression",
        FailureKind::Task => "task",
        FailureKind::Rejected => "rejected",
        FailureKind::Cancelled => "cancelled",
        FailureKind::Interrupted => "interrupted",
        FailureKind::Internal => "internal",
    }
}

/// The name of the span of one start of a task with items.
fn fan_out_id(run: ExecutionId, task: &TaskRef) -> u64 {
    mix(run, &format!("{}/{}/{}", task.lap, task.visit, task.name))
}

/// A name that follows from a run and something of it (FNV-1a), the same after every restart.
fn mix(run: ExecutionId, of_it: &str) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = run.bytes().iter().chain(of_it.as_bytes());
    let hash = bytes.fold(BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    hash.max(1)
}
