//! The pipeline on a console while it runs: one line for each event, each rule's answer and each
//! change of an execution, and at the end a line that counts them.
//!
//! Every execution that ends is an event itself. Such an event is shown only if a rule answers it:
//! otherwise it would say again what the line above it says.
//!
//! The bus calls [`Console::notice`] on whoever publishes, so it must return at once: it puts the
//! notice into a bounded queue, and a thread turns notices into lines and writes them. That thread lets
//! a few milliseconds go by first: what is told together is written together, and an execution that is
//! about to start does not share its processor with the lines about it. A terminal that is too slow
//! loses lines, and is told how many; the pipeline never waits for it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::step_event::LogLevel;
use camshaft_model::{
    BlockedBy, Constraint, ConstraintChange, Enforcement, EnforcementOutcome, Event, Execution,
    ExecutionId, ExecutionSpec, Status, StepEvent, StepEventType, StepScope, Timestamp, duration,
};
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use serde_json::Value;

use super::tree::task_label;
use super::{catalogue, escape, step, watched};

/// Notices that wait for a slow terminal.
const QUEUE_LEN: usize = 1_024;
/// From the first notice to the lines about it and about those that came meanwhile. Nobody reads faster.
const TOGETHER: Duration = Duration::from_millis(5);
/// The most executions whose names are kept in mind.
const MAX_NAMES: usize = 10_000;
/// So many places are kept for the parts of runs, which have no other name.
const PLACES_FOR_PARTS: usize = 5_000;
/// The most characters of a payload or a result in a line.
const SUMMARY_CHARS: usize = 72;
/// The source of events that the engine makes itself.
const ENGINE_SOURCE: &str = "engine";

/// How lines look.
#[derive(Debug, Clone)]
pub struct LineStyle {
    /// Failures in red, what completed in green, ids dim; for terminals only.
    pub colour: bool,
    /// The zone of the times that are shown.
    pub zone: TimeZone,
}

/// A subscriber of the bus that writes lines.
pub struct Console {
    queue: Mutex<Option<SyncSender<Notice>>>,
    dropped: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Console {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(out: Box<dyn Write + Send>, style: LineStyle) -> io::Result<Self> {
        let (queue, notices) = sync_channel(QUEUE_LEN);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        let writer = thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || write_lines(&notices, &lost, out, &style))?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            dropped,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Writes what is queued and stops; later notices are ignored.
    pub fn finish(&self) {
        drop(self.queue.lock().take());
        if let Some(writer) = self.writer.lock().take() {
            // A panic of the writer has nothing left to lose.
            let _ = writer.join();
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Subscriber for Console {
    fn name(&self) -> &str {
        "console"
    }

    fn notice(&self, notice: &Notice) {
        if let Some(queue) = &*self.queue.lock()
            && queue.try_send(notice.clone()).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_lines(
    notices: &Receiver<Notice>,
    dropped: &AtomicU64,
    mut out: Box<dyn Write + Send>,
    style: &LineStyle,
) {
    let mut write = |text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush());
    let mut held = None;
    let mut names = Names::default();
    let mut tally = Tally::default();
    while let Ok(first) = notices.recv() {
        thread::sleep(TOGETHER);
        let lost = dropped.swap(0, Ordering::Relaxed);
        tally.lost += lost;
        let mut text = if lost == 0 {
            String::new()
        } else {
            overflow(lost)
        };
        for notice in iter::once(first).chain(notices.try_iter().take(QUEUE_LEN)) {
            tally.count(&notice);
            names.learn(&notice);
            let ended = ended(&notice);
            text.extend(lines(notice, &mut held, &names, style));
            if let Some(id) = ended {
                names.forget(id);
            }
        }
        // Nobody reads any more: the queue fills up and further notices are dropped.
        if !text.is_empty() && write(&text).is_err() {
            return;
        }
    }
    let lost = dropped.load(Ordering::Relaxed);
    if lost > 0 {
        tally.lost += lost;
        let _ = write(&overflow(lost));
    }
    if let Some(text) = tally.text() {
        let _ = write(&text);
    }
}

/// The lines that a notice leads to; `held` is an event that waits for the answer of a rule.
fn lines(
    notice: Notice,
    held: &mut Option<Arc<Event>>,
    names: &Names,
    style: &LineStyle,
) -> Vec<String> {
    let earlier = held.take();
    match notice {
        Notice::Event(event) if tells_of_an_end(&event) => {
            *held = Some(event);
            Vec::new()
        }
        Notice::Enforcement(enforcement) => {
            let cause = earlier
                .filter(|event| event.id == enforcement.event)
                .map(Notice::Event);
            let all = [cause, Some(Notice::Enforcement(enforcement))];
            all.into_iter()
                .flatten()
                .filter_map(|notice| line(&notice, names, style))
                .collect()
        }
        other => line(&other, names, style).into_iter().collect(),
    }
}

fn ended(notice: &Notice) -> Option<ExecutionId> {
    match notice {
        Notice::Execution(execution) if execution.state.status.is_terminal() => {
            Some(execution.spec.id)
        }
        _ => None,
    }
}

/// What executions that are under way are called: `pack.action`, and `pack.workflow/task` as parts of runs.
#[derive(Debug, Default)]
pub struct Names(HashMap<ExecutionId, Known>);

#[derive(Debug)]
struct Known {
    name: String,
    is_run: bool,
    /// The task of another run that it is.
    task: Option<String>,
}

struct About {
    name: String,
    /// Whether the line is about an execution rather than about a task without one.
    is_execution: bool,
}

impl Names {
    fn learn(&mut self, notice: &Notice) {
        let Notice::Execution(execution) = notice else {
            return;
        };
        let (spec, status) = (&execution.spec, execution.state.status);
        let is_run = status == Status::Waiting || self.is_run(spec.id);
        let places = match spec.task.is_some() || is_run {
            true => MAX_NAMES,
            false => MAX_NAMES - PLACES_FOR_PARTS,
        };
        if self.0.len() < places || self.0.contains_key(&spec.id) {
            let known = Known {
                name: self.of(spec),
                is_run,
                task: spec.task.as_ref().map(|task| task.name.clone()),
            };
            self.0.insert(spec.id, known);
        }
    }

    fn forget(&mut self, id: ExecutionId) {
        self.0.remove(&id);
    }

    fn is_run(&self, id: ExecutionId) -> bool {
        self.0.get(&id).is_some_and(|known| known.is_run)
    }

    fn of(&self, spec: &ExecutionSpec) -> String {
        if let Some(known) = self.0.get(&spec.id) {
            return known.name.clone();
        }
        let Some((task, parent)) = spec.task.as_ref().zip(spec.parent) else {
            return spec.action.to_string();
        };
        let above = match self.0.get(&parent) {
            Some(known) => known.name.clone(),
            // It began before this console did.
            None => format!("…{}", watched::short_id(&parent.to_string())),
        };
        format!("{above}/{}", task_label(task))
    }

    fn about(&self, event: &StepEvent) -> About {
        let step = event.step.as_deref().unwrap_or("-");
        let known = self.0.get(&event.item_id.unwrap_or(event.execution_id));
        let is_task = event.step_scope == Some(StepScope::Task);
        match known {
            // A task without an execution is told of under the run.
            Some(known) if known.is_run && is_task && known.task.as_deref() != Some(step) => {
                About {
                    name: format!("{}/{step}", known.name),
                    is_execution: false,
                }
            }
            Some(known) => About {
                name: known.name.clone(),
                is_execution: true,
            },
            None => About {
                name: step.to_owned(),
                is_execution: true,
            },
        }
    }
}

fn tells_of_an_end(event: &Event) -> bool {
    event.draft.source.kind == ENGINE_SOURCE
}

/// What went by.
#[derive(Default)]
struct Tally {
    events: u64,
    matches: u64,
    completed: u64,
    failed: u64,
    lost: u64,
}

impl Tally {
    fn count(&mut self, notice: &Notice) {
        match notice {
            Notice::Event(event) if !tells_of_an_end(event) => self.events += 1,
            Notice::Enforcement(enforcement)
                if matches!(enforcement.outcome, EnforcementOutcome::Requested { .. }) =>
            {
                self.matches += 1;
            }
            Notice::Execution(execution) => match execution.state.status {
                Status::Completed => self.completed += 1,
                Status::Failed | Status::TimedOut | Status::Abandoned => self.failed += 1,
                _ => {}
            },
            Notice::Event(_)
            | Notice::Enforcement(_)
            | Notice::Step(_)
            | Notice::Constraint { .. } => {}
        }
    }

    /// `None` if nothing happened, or if not all of it was seen: a wrong count is worse than none.
    fn text(&self) -> Option<String> {
        let Self {
            events,
            matches,
            completed,
            failed,
            lost,
        } = self;
        (*lost == 0 && events + matches + completed + failed > 0).then(|| {
            let (events, matches) = (
                counted(*events, "event", "events"),
                counted(*matches, "rule match", "rule matches"),
            );
            let completed = counted(*completed, "execution", "executions");
            format!("          {events}, {matches}, {completed} completed, {failed} failed\n")
        })
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn overflow(lost: u64) -> String {
    format!(
        "          … {lost} lines are not shown: the terminal was too slow (all of it is in the event log)\n"
    )
}

struct Line {
    at: Timestamp,
    kind: &'static str,
    text: String,
    /// The id to ask further with.
    id: String,
    tone: Tone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Bad,
}

/// The line for a notice, with its line break; `None` if the console does not show it.
pub fn line(notice: &Notice, names: &Names, style: &LineStyle) -> Option<String> {
    let line = match notice {
        Notice::Event(event) => of_event(event),
        Notice::Enforcement(enforcement) => of_enforcement(enforcement),
        Notice::Execution(execution) => of_execution(execution, names)?,
        Notice::Step(event) => of_step(event, names)?,
        Notice::Constraint {
            constraint,
            change,
            at,
        } => of_constraint(constraint, *change, *at),
    };
    let at = line
        .at
        .to_jiff()
        .to_zoned(style.zone.clone())
        .strftime("%H:%M:%S")
        .to_string();
    let text = escape::line(&line.text);
    let (begin, dim, end) = match (style.colour, line.tone) {
        (false, _) => ("", "", ""),
        (true, Tone::Plain) => ("", "\u{1b}[2m", "\u{1b}[0m"),
        (true, Tone::Good) => ("\u{1b}[32m", "\u{1b}[0;2m", "\u{1b}[0m"),
        (true, Tone::Bad) => ("\u{1b}[31m", "\u{1b}[0;2m", "\u{1b}[0m"),
    };
    Some(format!(
        "{at}  {begin}{:<10} {text}{dim}  {}{end}\n",
        line.kind, line.id
    ))
}

fn of_event(event: &Event) -> Line {
    let draft = &event.draft;
    let mut text = draft.trigger.to_string();
    if let Some(summary) = summary(event) {
        text.push_str("  ");
        text.push_str(&summary);
    }
    Line {
        at: event.received_at,
        kind: "event",
        text,
        id: event.id.to_string(),
        tone: Tone::Plain,
    }
}

/// What the payload says, in a few words. Nothing of a webhook but its method and path: headers and
/// bodies hold what strangers and their secrets wrote.
fn summary(event: &Event) -> Option<String> {
    let payload = &event.draft.payload;
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    match &*event.draft.source.kind {
        "timer" => {
            let count = payload.get("count")?;
            let missed = payload
                .get("missed")
                .and_then(Value::as_u64)
                .filter(|missed| *missed > 0);
            Some(missed.map_or_else(
                || format!("#{count}"),
                |missed| format!("#{count} after {missed} missed"),
            ))
        }
        "webhook" => Some(format!("{} {}", text("method")?, text("path")?)),
        "file" => Some(format!("{} {}", text("event")?, text("name")?)),
        ENGINE_SOURCE => Some(format!("{} {}", text("action")?, text("status")?)),
        _ => None,
    }
}

/// The beginning of a value.
fn shortened(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SUMMARY_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn of_enforcement(enforcement: &Enforcement) -> Line {
    let rule = &enforcement.rule;
    let (text, id, tone) = match &enforcement.outcome {
        EnforcementOutcome::Requested { execution } => (
            format!("{rule} matched"),
            execution.to_string(),
            Tone::Plain,
        ),
        EnforcementOutcome::Failed { reason } => (
            format!("{rule} could not be evaluated: {reason}"),
            enforcement.event.to_string(),
            Tone::Bad,
        ),
        EnforcementOutcome::Skipped { reason } => (
            format!("{rule} matched, skipped: {reason}"),
            enforcement.event.to_string(),
            Tone::Plain,
        ),
    };
    Line {
        at: enforcement.created_at,
        kind: "rule",
        text,
        id,
        tone,
    }
}

fn of_constraint(constraint: &Constraint, change: ConstraintChange, at: Timestamp) -> Line {
    let (scope, terms) = (&constraint.scope, &constraint.terms);
    let mut text = match change {
        ConstraintChange::Set => format!("{scope}: {terms}"),
        ConstraintChange::Cleared => format!("{scope}: {terms} cleared"),
        ConstraintChange::Expired => format!("{scope}: {terms} expired"),
    };
    if change == ConstraintChange::Set {
        if let Some(until) = constraint.expires_at {
            text.push_str(" for ");
            text.push_str(&duration::display(until.since(at)));
        }
        if let Some(owner) = &constraint.owner {
            text.push_str(&format!(", set by {owner}"));
        }
        if let Some(reason) = &constraint.reason {
            text.push_str(&format!(" ({reason})"));
        }
    }
    Line {
        at,
        kind: "constraint",
        text,
        id: constraint.id.clone(),
        tone: Tone::Plain,
    }
}

/// `None` for one that is tried again or that a constraint holds: the event log tells that with the
/// reason and the delay.
fn of_execution(execution: &Execution, names: &Names) -> Option<Line> {
    let (spec, state) = (&execution.spec, &execution.state);
    if state.status == Status::Requested && state.attempt > 0 {
        return None;
    }
    let is_held = matches!(state.blocked_by, Some(BlockedBy::Constraint(_)));
    if state.status == Status::Requested && is_held {
        return None;
    }
    let mut text = format!("{} {}", names.of(spec), verb(execution));
    let tone = match state.status {
        Status::Completed => Tone::Good,
        Status::Failed | Status::TimedOut | Status::Abandoned => Tone::Bad,
        _ => Tone::Plain,
    };
    if state.status.is_terminal()
        && let (Some(from), Some(to)) = (state.started_at, state.ended_at)
    {
        text.push_str(" in ");
        text.push_str(&duration::display(to.since(from)));
    }
    if let Some(error) = state.error.as_ref().filter(|_| tone == Tone::Bad) {
        text.push_str(": ");
        text.push_str(&error.message);
    }
    if let Some(blocked) = state
        .blocked_by
        .as_ref()
        .filter(|_| state.status == Status::Requested)
    {
        text.push_str(": ");
        text.push_str(&blocked.to_string());
    }
    if let Some(result) = state
        .result
        .as_ref()
        .filter(|result| tone == Tone::Good && !is_empty(result))
    {
        text.push_str(": ");
        text.push_str(&shortened(result));
    }
    let at = match state.status {
        Status::Requested => None,
        Status::Scheduled => state.scheduled_at,
        status if status.is_terminal() => state.ended_at,
        _ => state.started_at.or(state.scheduled_at),
    };
    Some(Line {
        at: at.unwrap_or(spec.requested_at),
        kind: if names.is_run(spec.id) {
            "run"
        } else {
            "execution"
        },
        text,
        id: spec.id.to_string(),
        tone,
    })
}

fn is_empty(result: &Value) -> bool {
    matches!(result, Value::Null) || result.as_str() == Some("")
}

fn verb(execution: &Execution) -> &'static str {
    let state = &execution.state;
    match state.status {
        Status::Requested if state.blocked_by.is_some() => "waits",
        // A run of a workflow waits for its tasks from its start to its end.
        Status::Running | Status::Waiting => "started",
        status => status.as_str(),
    }
}

/// Of the event log only what the changes of state do not say.
fn of_step(event: &StepEvent, names: &Names) -> Option<Line> {
    use StepEventType as Type;
    let about = names.about(event);
    let bad = event.event_type.level() >= LogLevel::Warn;
    let text = match event.event_type {
        Type::StepRetrying => retrying(&about.name, event),
        Type::StepSkipped | Type::CycleStarted | Type::TaskPaused | Type::TaskBlocked => {
            format!("{} {}", about.name, watched::sentence(event))
        }
        // The end of an execution is a change of its state; other tasks have no state but this.
        Type::TaskFailed if about.is_execution && !event.payload.contains_key("items") => {
            return None;
        }
        Type::TaskFailed => format!("{} {}", about.name, watched::sentence(event)),
        _ if bad => {
            let value = serde_json::to_value(event).unwrap_or_default();
            let name = about.name;
            format!("{name} {} {}", event.event_type, step::details(&value))
        }
        _ => return None,
    };
    Some(Line {
        at: event.created_at,
        kind: "step",
        text,
        id: event.execution_id.to_string(),
        tone: if bad { Tone::Bad } else { Tone::Plain },
    })
}

/// What the catalogue of messages says of a retry.
fn retrying(name: &str, event: &StepEvent) -> String {
    let number = |key: &str| event.payload.get(key).and_then(Value::as_u64).unwrap_or(0);
    let error = event.payload.get("reason").and_then(Value::as_str);
    catalogue::text(
        "task.retrying",
        &[
            ("task_name", name),
            ("attempt", &number("attempt").to_string()),
            ("max_attempts", &number("max_attempts").to_string()),
            (
                "delay",
                &format!("{:.2}", number("delay_ms") as f64 / 1_000.0),
            ),
            ("error", error.unwrap_or("-")),
        ],
    )
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
