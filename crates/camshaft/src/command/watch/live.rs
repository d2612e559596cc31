//! The tree on a terminal: events say that something has changed, the engine says what it is now, and
//! the screen is drawn anew at most ten times a second.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::port::clock::Clock;
use camshaft_model::{ErrorCode, Execution, ExecutionId, Status, StepEvent, StepEventType};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::names::Names;
use super::output::Output;
use super::stream::{Lines, Say};
use crate::clock::SystemClock;
use crate::command::Context;
use crate::exit::CliError;
use crate::render::tree::{Progress, Room, RunView, Watched, draw};

/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// Looking again takes at most this share of the time: one part in so many.
const LOOK_SHARE: u32 = 5;
/// After so long the engine is asked again what holds the parts that are held.
const LOOK_AT_HELD: Duration = Duration::from_secs(1);
/// So many runs below the one that is watched are drawn.
const MAX_RUNS: usize = 8;
/// So many executions are kept in mind beside their rows.
const MAX_PROGRESS: usize = 10_000;
/// The screen if its size is not known.
const USUAL_SIZE: (usize, usize) = (24, 80);

/// A run on a terminal.
pub(super) struct Live<'a> {
    context: &'a Context,
    id: ExecutionId,
    root: ExecutionId,
    watched: Watched,
    output: Output<'a>,
    said: Say,
    /// Lines of the last drawing, which the next one replaces.
    drawn: usize,
    stale: bool,
    look_at: Instant,
}

impl<'a> Live<'a> {
    pub(super) fn new(context: &'a Context, execution: Execution) -> Self {
        Self {
            context,
            id: execution.spec.id,
            root: execution.spec.root,
            watched: Watched {
                execution: Some(execution),
                ..Watched::default()
            },
            output: Output::new(context),
            said: Arc::new(Mutex::new(Vec::new())),
            drawn: 0,
            stale: true,
            look_at: Instant::now(),
        }
    }

    /// Draws until the execution has ended; the last drawing stays.
    pub(super) async fn run(mut self) -> Result<(), CliError> {
        let mut lines = Lines::new(self.context, Some(self.root))
            .after(Some(0))
            .say(&self.said);
        let mut names = Names::new(self.context, self.id);
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = {
                let mut next = pin!(async {
                    let Some(event) = lines.event().await? else {
                        return Ok::<_, CliError>(None);
                    };
                    let about = names.about(&event).await?;
                    Ok(Some((event, about)))
                });
                loop {
                    let is_idle = self.output.is_idle();
                    tokio::select! {
                        event = &mut next => break event?,
                        _ = frames.tick() => self.frame().await?,
                        () = self.output.next(), if !is_idle => {}
                    }
                    if self.has_ended() {
                        break None;
                    }
                }
            };
            let Some((event, about)) = event else {
                break;
            };
            let Some(about) = about else {
                continue;
            };
            self.watched.notice = None;
            self.learn(&event, about.execution, &about.name);
        }
        self.look().await?;
        self.paint()
    }

    fn has_ended(&self) -> bool {
        let execution = self.watched.execution.as_ref();
        !self.stale && execution.is_some_and(|execution| execution.state.status.is_terminal())
    }

    async fn frame(&mut self) -> Result<(), CliError> {
        let now = Instant::now();
        let is_due = self.stale && now >= self.look_at;
        if is_due || (now >= self.look_at + LOOK_AT_HELD && self.is_held()) {
            let begun = Instant::now();
            match self.look().await {
                Ok(()) => self.watched.notice = None,
                // The stream notices too, waits for the engine, and says so.
                Err(error) if is_away(&error) => self.stale = true,
                Err(error) => return Err(error),
            }
            self.look_at = Instant::now() + begun.elapsed() * LOOK_SHARE;
        }
        if let Some(text) = self.said.lock().drain(..).next_back() {
            self.watched.notice = Some(text);
            self.stale = true;
        }
        self.paint()
    }

    /// Takes what an event says of the execution that it is about.
    fn learn(&mut self, event: &StepEvent, execution: ExecutionId, name: &str) {
        self.stale = true;
        if self.watched.progress.len() >= MAX_PROGRESS {
            self.watched.progress.clear();
        }
        let number = |key: &str| event.payload.get(key).and_then(Value::as_u64);
        let attempt = number("attempt").and_then(|n| u32::try_from(n).ok());
        let progress = self.watched.progress.entry(execution).or_default();
        match (&event.event_type, attempt) {
            (StepEventType::StepStarted, Some(attempt)) => {
                *progress = Progress {
                    attempt,
                    ..Progress::default()
                };
                self.output.started(execution, attempt, name);
            }
            (StepEventType::StepRetrying, Some(attempt)) => {
                let delay = Duration::from_millis(number("delay_ms").unwrap_or(0));
                let reason = event.payload.get("reason").and_then(Value::as_str);
                progress.attempt = attempt;
                progress.retry = Some((
                    reason.unwrap_or("it failed").to_owned(),
                    event.created_at + delay,
                ));
            }
            (StepEventType::TaskCompleted | StepEventType::TaskFailed, _) => {
                self.watched.progress.remove(&execution);
            }
            _ => {}
        }
    }

    /// Asks the engine how everything is.
    async fn look(&mut self) -> Result<(), CliError> {
        self.stale = false;
        let client = &self.context.client;
        let path = format!("/executions/{}", self.id);
        self.watched.execution = Some(client.get(&path, &[], Duration::ZERO).await?);
        let mut runs = vec![self.id];
        let (mut looked, mut at) = (HashSet::new(), 0);
        while let Some(id) = runs.get(at).copied().filter(|_| looked.len() <= MAX_RUNS) {
            at += 1;
            if !looked.insert(id) {
                continue;
            }
            let path = format!("/executions/{id}/run");
            match client.get::<RunView>(&path, &[], Duration::ZERO).await {
                Ok(view) => {
                    runs.extend(below(&view));
                    self.watched.runs.insert(id, view);
                }
                Err(error) if error.code == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.watched.runs.retain(|id, _| looked.contains(id));
        Ok(())
    }

    /// Whether something is held: what holds it may change, or go, without any event of this run.
    fn is_held(&self) -> bool {
        let execution = self.watched.execution.as_ref();
        let tasks = self.watched.runs.values().flat_map(|view| &view.tasks);
        execution.is_some_and(|execution| execution.state.status == Status::Requested)
            || tasks.into_iter().any(|task| task.blocked_by.is_some())
    }

    /// Draws over the last drawing.
    fn paint(&mut self) -> Result<(), CliError> {
        let (rows, columns) = size();
        self.watched.output = self.output.lines.iter().cloned().collect();
        let room = Room {
            rows,
            columns,
            colour: self.context.screen.style.colour,
        };
        let mut lines = draw(&self.watched, SystemClock.now(), room);
        // What scrolled away cannot be drawn over.
        lines.truncate(rows.saturating_sub(1).max(1));
        let mut frame = String::new();
        if self.drawn > 0 {
            let _ = write!(frame, "\u{1b}[{}A", self.drawn);
        }
        frame.push('\r');
        for line in &lines {
            frame.push_str(line);
            frame.push_str("\u{1b}[K\n");
        }
        frame.push_str("\u{1b}[J");
        self.drawn = lines.len();
        self.context.screen.data(frame.as_bytes())
    }
}

fn is_away(error: &CliError) -> bool {
    matches!(error.code, ErrorCode::Unreachable | ErrorCode::Unavailable)
}

/// The executions of tasks that are runs themselves and have not ended.
fn below(view: &RunView) -> Vec<ExecutionId> {
    let graph = view.workflow.as_ref().map_or(&[][..], |graph| &graph.tasks);
    let is_run = |name: &str| {
        graph
            .iter()
            .any(|task| task.name == name && task.kind == "workflow")
    };
    let tasks = view.tasks.iter().map(|task| &task.record);
    tasks
        .filter(|record| !record.status.is_terminal() && is_run(&record.task.name))
        .filter_map(|record| record.execution)
        .collect()
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            (usize::from(size.ws_row), usize::from(size.ws_col))
        }
        _ => USUAL_SIZE,
    }
}
