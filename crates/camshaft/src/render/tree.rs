//! A run as a tree that fits a screen: what has ended, what is under way and why it waits, what has
//! not started.
//!
//! A tree of a thousand tasks stays readable because what is done, and what has not started, is
//! gathered into one line each as soon as there is no room for all of it. What is under way, and what
//! failed, is shown first.

use std::collections::{BTreeMap, HashMap};

use camshaft_model::{
    BlockedBy, Execution, ExecutionId, Failure, Inquiry, RunRecord, Status, TaskRecord, TaskRef,
    Timestamp, duration,
};
use serde::Deserialize;

use super::escape;

/// How wide the bar of a task with items is.
const BAR_CHARS: usize = 20;
/// A tree has at least so many lines for tasks, however small the screen.
const MIN_LINES: usize = 6;

/// How a start of a task is called.
pub fn task_label(task: &TaskRef) -> String {
    let visit = match task.visit {
        0 | 1 => String::new(),
        visit => format!("#{visit}"),
    };
    match task.item {
        Some(item) => format!("{}{visit}[{item}]", task.name),
        None => format!("{}{visit}", task.name),
    }
}

/// What the engine says of a run.
#[derive(Debug, Clone, Deserialize)]
pub struct RunView {
    /// How far it has come.
    pub run: RunRecord,
    /// Its tasks that have started.
    pub tasks: Vec<TaskView>,
    /// What it asks.
    pub inquiries: Vec<Inquiry>,
    /// Its graph, where it is known.
    pub workflow: Option<GraphView>,
}

/// One start of a task.
#[derive(Debug, Clone, Deserialize)]
pub struct TaskView {
    /// What is recorded of it.
    #[serde(flatten)]
    pub record: TaskRecord,
    /// How many items are in each status.
    #[serde(default)]
    pub item_counts: Option<BTreeMap<String, u32>>,
    /// What holds it, if nothing of it runs.
    #[serde(default)]
    pub blocked_by: Option<BlockedBy>,
}

/// The tasks of a graph.
#[derive(Debug, Clone, Deserialize)]
pub struct GraphView {
    /// In the order of the file.
    pub tasks: Vec<GraphTask>,
}

/// One task of a graph.
#[derive(Debug, Clone, Deserialize)]
pub struct GraphTask {
    /// Its name.
    pub name: String,
    /// `action`, `workflow`, `inquiry`, `wait_for` or `nothing`.
    #[serde(default)]
    pub kind: String,
}

/// What the event log says of an execution that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Which try is the latest to have started; 0 if none has.
    pub attempt: u32,
    /// Why it was tried again, and when the next try comes.
    pub retry: Option<(String, Timestamp)>,
}

/// Everything that a tree is drawn from.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// The execution that is watched.
    pub execution: Option<Execution>,
    /// The runs among it and those below it.
    pub runs: HashMap<ExecutionId, RunView>,
    /// What is known of executions beside their rows.
    pub progress: HashMap<ExecutionId, Progress>,
    /// The last lines that its steps wrote, oldest first.
    pub output: Vec<String>,
    /// What the connection is up to, if it is lost.
    pub notice: Option<String>,
}

/// How much room there is.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Lines.
    pub rows: usize,
    /// Characters in a line.
    pub columns: usize,
    /// Whether colours may be used.
    pub colour: bool,
}

/// The lines of the tree.
pub fn draw(watched: &Watched, now: Timestamp, room: Room) -> Vec<String> {
    let Some(execution) = &watched.execution else {
        return Vec::new();
    };
    let mut drawing = Drawing {
        watched,
        now,
        lines: Vec::new(),
    };
    drawing.head(execution);
    let below = watched.output.len() + usize::from(watched.notice.is_some()) + 2;
    let budget = room.rows.saturating_sub(below).max(MIN_LINES);
    match watched.runs.get(&execution.spec.id) {
        Some(run) => drawing.run(run, "  ", budget),
        None => drawing.single(execution),
    }
    let mut lines = drawing.lines;
    if !watched.output.is_empty() {
        let output = watched
            .output
            .iter()
            .map(|line| (Tone::Dim, format!("    {line}")));
        lines.extend(output);
    }
    lines.extend(watched.notice.iter().map(|text| (Tone::Bad, text.clone())));
    let shown = lines
        .into_iter()
        .map(|(tone, text)| finish(&text, tone, room));
    shown.collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Bad,
    Dim,
}

fn finish(text: &str, tone: Tone, room: Room) -> String {
    let text = escape::line(text);
    let cut: String = if text.chars().count() > room.columns {
        let kept = text.chars().take(room.columns.saturating_sub(1));
        kept.chain(['…']).collect()
    } else {
        text.into_owned()
    };
    let code = match tone {
        _ if !room.colour => return cut,
        Tone::Plain => return cut,
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Dim => "2",
    };
    format!("\u{1b}[{code}m{cut}\u{1b}[0m")
}

struct Drawing<'a> {
    watched: &'a Watched,
    now: Timestamp,
    lines: Vec<(Tone, String)>,
}

/// What matters most is drawn first, if there is no room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Failed,
    Active,
    Queued,
    Skipped,
    Done,
}

impl Drawing<'_> {
    fn took(&self, from: Timestamp, to: Option<Timestamp>) -> String {
        duration::display(to.unwrap_or(self.now).since(from))
    }

    fn say(&mut self, tone: Tone, text: impl Into<String>) {
        self.lines.push((tone, text.into()));
    }

    fn head(&mut self, execution: &Execution) {
        let (spec, state) = (&execution.spec, &execution.state);
        let run = self.watched.runs.get(&spec.id).map(|view| &view.run);
        let status = match state.status {
            _ if is_blocked(execution) => "blocked",
            Status::Waiting if run.is_some() => "runs",
            other => other.as_str(),
        };
        let mut text = format!(
            "{} {}  {status} {}",
            spec.action,
            spec.id,
            self.took(spec.requested_at, state.ended_at)
        );
        if let Some(run) = run.filter(|run| run.cycle > 1) {
            text.push_str(&format!("  cycle {}", run.cycle));
        }
        let tone = match state.status {
            Status::Completed => Tone::Good,
            Status::Failed | Status::TimedOut | Status::Abandoned => Tone::Bad,
            _ => Tone::Plain,
        };
        text.push_str(&because(state.error.as_ref()));
        self.say(tone, text);
        let Some(run) = run.filter(|_| !state.status.is_terminal()) else {
            return;
        };
        if run.paused {
            let id = spec.id;
            let text =
                format!("  paused: no new task starts; go on with: camshaft execution resume {id}");
            self.say(Tone::Bad, text);
        }
        if let Some(ending) = &run.ending {
            let text = format!("  will end {}: {}", ending.status, ending.error.message);
            self.say(Tone::Bad, text);
        }
        if let Some(at) = run.next_lap_at {
            let text = format!("  next cycle in {}", duration::display(at.since(self.now)));
            self.say(Tone::Plain, text);
        }
    }

    fn single(&mut self, execution: &Execution) {
        if !execution.state.status.is_terminal() {
            let text = self.progress(Some(execution.spec.id), execution.state.blocked_by.as_ref());
            self.say(Tone::Plain, format!("  {text}"));
        }
    }

    /// The tasks of a run, in at most so many lines.
    fn run(&mut self, view: &RunView, indent: &str, budget: usize) {
        let lap = view.run.lap;
        let tasks: Vec<&TaskView> = view
            .tasks
            .iter()
            .filter(|task| task.record.task.lap == lap)
            .collect();
        let graph = view.workflow.as_ref().map_or(&[][..], |graph| &graph.tasks);
        let ahead: Vec<&str> = graph
            .iter()
            .map(|task| task.name.as_str())
            .filter(|name| !tasks.iter().any(|task| task.record.task.name == *name))
            .collect();
        let names = tasks
            .iter()
            .map(|task| task_label(&task.record.task).chars().count());
        let names = names.chain(ahead.iter().map(|name| name.chars().count()));
        let width = names.max().unwrap_or(0).min(32);
        let room = budget.saturating_sub(2).max(1);
        let all_fit = tasks.len() + ahead.len() <= budget;
        let mut ranks: Vec<(Rank, usize)> = tasks
            .iter()
            .enumerate()
            .map(|(at, task)| (self.rank(task), at))
            .collect();
        ranks.sort_unstable();
        let chosen: Vec<usize> = if all_fit {
            (0..tasks.len()).collect()
        } else {
            let first = ranks
                .iter()
                .filter(|(rank, _)| *rank <= Rank::Active)
                .take(room);
            let mut chosen: Vec<usize> = first.map(|(_, at)| *at).collect();
            chosen.sort_unstable();
            chosen
        };
        let hidden = ranks
            .iter()
            .filter(|(_, at)| chosen.binary_search(at).is_err());
        let mut counts: BTreeMap<Rank, usize> = BTreeMap::new();
        hidden.for_each(|(rank, _)| *counts.entry(*rank).or_default() += 1);
        for (rank, count) in &counts {
            let text = match rank {
                Rank::Failed => format!("{indent}✗ {count} more failed"),
                Rank::Active => format!("{indent}▸ {count} more under way"),
                Rank::Queued => format!("{indent}▹ {count} have not had their turn"),
                Rank::Skipped => format!("{indent}↷ {count} skipped"),
                Rank::Done => format!("{indent}✓ {count} completed"),
            };
            self.say(Tone::Dim, text);
        }
        let each = budget.saturating_sub(chosen.len() + counts.len());
        for at in chosen {
            if let Some(task) = tasks.get(at) {
                self.task(task, view, indent, width, each);
            }
        }
        if all_fit {
            for name in &ahead {
                self.say(Tone::Dim, format!("{indent}· {name:<width$}  not started"));
            }
        } else if !ahead.is_empty() {
            self.say(Tone::Dim, format!("{indent}· {} not started", ahead.len()));
        }
    }

    fn task(&mut self, task: &TaskView, view: &RunView, indent: &str, width: usize, room: usize) {
        let record = &task.record;
        let name = task_label(&record.task);
        let took = self.took(record.started_at, record.ended_at);
        let (sign, tone) = match record.status {
            Status::Completed => ('✓', Tone::Good),
            Status::Skipped => ('↷', Tone::Dim),
            Status::Cancelled => ('■', Tone::Dim),
            status if status.is_terminal() => ('✗', Tone::Bad),
            Status::Waiting => ('?', Tone::Plain),
            Status::Requested => ('▹', Tone::Plain),
            _ => ('▸', Tone::Plain),
        };
        let mut text = format!("{indent}{sign} {name:<width$}  ");
        match record.status {
            Status::Skipped => text.push_str("skipped"),
            Status::Completed if record.taken_from.is_some() => text.push_str("kept result"),
            status if status.is_terminal() && status != Status::Completed => {
                text.push_str(&format!("{status} {took}"));
            }
            _ => text.push_str(&took),
        }
        if let Some(total) = record.items {
            text.push_str(&items(total, task.item_counts.as_ref()));
        }
        if let Some(reason) = record.reason.as_ref().filter(|_| record.error.is_none()) {
            text.push_str(&format!(": {reason}"));
        }
        text.push_str(&because(record.error.as_ref()));
        let below = record.execution.and_then(|id| self.watched.runs.get(&id));
        if !record.status.is_terminal() && below.is_none() {
            let progress = self.progress(record.execution, task.blocked_by.as_ref());
            if !progress.is_empty() {
                text.push_str(&format!("  {progress}"));
            }
        }
        self.say(tone, text);
        if record.status == Status::Waiting {
            self.wait(record, view, indent);
        }
        if let Some(below) = below.filter(|_| !record.status.is_terminal()) {
            self.run(below, &format!("{indent}  "), room.clamp(MIN_LINES, 24));
        }
    }

    /// What a task waits for, and how to answer it.
    fn wait(&mut self, record: &TaskRecord, view: &RunView, indent: &str) {
        let until = record.until.map_or_else(String::new, |until| {
            format!(" ({} left)", duration::display(until.since(self.now)))
        });
        if let Some(awaited) = &record.awaited {
            let trigger = awaited.get("trigger").and_then(|trigger| trigger.as_str());
            let text = format!(
                "{indent}  waits for an event of {}{until}",
                trigger.unwrap_or("?")
            );
            return self.say(Tone::Plain, text);
        }
        let asked = view
            .inquiries
            .iter()
            .find(|inquiry| inquiry.task == record.task);
        if let Some(inquiry) = asked {
            self.say(
                Tone::Plain,
                format!("{indent}  asks: {}{until}", inquiry.prompt),
            );
            let text = format!(
                "{indent}  answer with: camshaft inquiry answer {} --approve (or --reject)",
                inquiry.id
            );
            self.say(Tone::Plain, text);
        }
    }

    fn rank(&self, task: &TaskView) -> Rank {
        let record = &task.record;
        let has_begun = |id: &ExecutionId| {
            let progress = self.watched.progress.get(id);
            self.watched.runs.contains_key(id) || progress.is_some_and(|at| at.attempt > 0)
        };
        match record.status {
            Status::Completed => Rank::Done,
            Status::Skipped | Status::Cancelled => Rank::Skipped,
            status if status.is_terminal() => Rank::Failed,
            Status::Requested if !record.execution.as_ref().is_some_and(has_begun) => Rank::Queued,
            _ => Rank::Active,
        }
    }

    /// Which try it is at, when the next one comes, or what holds it.
    fn progress(&self, id: Option<ExecutionId>, held: Option<&BlockedBy>) -> String {
        let progress = id.and_then(|id| self.watched.progress.get(&id));
        let rests = matches!(held, None | Some(BlockedBy::NotBefore { .. }));
        if let Some(progress) = progress
            && let Some((reason, at)) = progress.retry.as_ref().filter(|_| rests)
        {
            let wait = duration::display(at.since(self.now));
            let next = progress.attempt + 1;
            return format!("attempt {next} in {wait}: {reason}");
        }
        match (held, progress.map_or(0, |progress| progress.attempt)) {
            (Some(held @ BlockedBy::Constraint(_)), _) => format!("blocked: {held}"),
            (Some(held), _) => format!("requested: {held}"),
            (None, 0 | 1) => String::new(),
            (None, attempt) => format!("attempt {attempt}"),
        }
    }
}

/// Whether a constraint holds all of it.
fn is_blocked(execution: &Execution) -> bool {
    let state = &execution.state;
    !state.status.is_terminal() && matches!(state.blocked_by, Some(BlockedBy::Constraint(_)))
}

fn because(error: Option<&Failure>) -> String {
    error.map_or_else(String::new, |error| format!(": {}", error.message))
}

/// The bar of a task with items, with what is in it.
fn items(total: u32, counts: Option<&BTreeMap<String, u32>>) -> String {
    let count = |statuses: &[Status]| -> u32 {
        let of = |status: &Status| counts.and_then(|counts| counts.get(status.as_str()));
        statuses.iter().filter_map(of).sum()
    };
    let done = count(&[Status::Completed]);
    let failed = count(&[Status::Failed, Status::TimedOut, Status::Abandoned]);
    let cancelled = count(&[Status::Cancelled]);
    let running = count(&[
        Status::Scheduled,
        Status::Running,
        Status::Waiting,
        Status::Canceling,
    ]);
    let columns = |part: u32| {
        let scaled = u64::from(part) * BAR_CHARS as u64 / u64::from(total.max(1));
        usize::try_from(scaled).unwrap_or(0).min(BAR_CHARS)
    };
    let ended = done.saturating_add(failed).saturating_add(cancelled);
    let good = columns(done);
    let bad = columns(ended).saturating_sub(good);
    let rest = BAR_CHARS - good - bad;
    let bar = format!(
        "{}{}{}",
        "█".repeat(good),
        "▒".repeat(bad),
        "░".repeat(rest)
    );
    let mut text = format!("  {bar} {done}/{total}");
    for (number, word) in [
        (failed, "failed"),
        (cancelled, "cancelled"),
        (running, "running"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {word}"));
        }
    }
    text
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
