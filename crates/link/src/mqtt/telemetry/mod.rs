//! Telemetry: what is committed becomes messages for the broker.
//!
//! [`Telemetry`] is a subscriber of the bus. It turns notices into messages at once and puts them into
//! a bounded queue, and the connector takes them from there; so a broker that is slow or away costs the
//! engine nothing. What the messages mean is in [`message`].
//!
//! A run is a root execution. If that is an action, the run has one task, which is the execution
//! itself; if it is a workflow, its tasks are the executions below it, and those tasks without one
//! (skipped, answered, awaited, taken from the cache, or the whole of a task with items), which only the
//! event log tells of. Their `task_id` is the run's id, a slash and their name.

pub mod message;
pub mod noted;
mod outbox;
mod run;

use std::collections::{HashMap, HashSet};

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::port::clock::Clock;
use camshaft_model::port::constraint::ConstraintControl;
use camshaft_model::{BlockedBy, Execution, ExecutionId, StepEvent, Timestamp};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

use super::session::Message;
use super::topic::Topics;
pub use message::Identity;
pub(crate) use message::Queued;
use message::{Body, Lifecycle};
use outbox::Outbox;
use run::{Doubt, Run};

/// What a run that is not over is told to have come to when the engine stops.
const INTERRUPTED: &str = "interrupted";
/// Of so many executions it is found out what holds them before others may ask the engine.
const SETTLED_AT_ONCE: usize = 256;

/// See the module.
pub struct Telemetry {
    identity: Identity,
    topics: Topics,
    clock: Arc<dyn Clock>,
    /// Runs that were asked for before this instant began in an earlier life.
    began_at: Timestamp,
    inner: Mutex<Inner>,
    filled: Notify,
    doubtful: Notify,
    went_on: Notify,
}

#[derive(Default)]
struct Inner {
    runs: HashMap<ExecutionId, Run>,
    outbox: Outbox,
    /// The constraints that have changed since it was last found out what holds executions.
    changed: HashSet<String>,
    /// The line of the event log that was heard of last, and the newest of all.
    line: i64,
    newest_line: i64,
    is_closed: bool,
}

impl Telemetry {
    /// A subscriber that has heard nothing yet.
    pub fn new(identity: Identity, topics: Topics, clock: Arc<dyn Clock>) -> Self {
        Self {
            identity,
            topics,
            began_at: clock.now(),
            clock,
            inner: Mutex::default(),
            filled: Notify::new(),
            doubtful: Notify::new(),
            went_on: Notify::new(),
        }
    }

    /// How many messages were given up because the broker was too slow or away.
    pub fn dropped(&self) -> u64 {
        self.inner.lock().outbox.dropped()
    }

    /// Tells of runs that an earlier life has left and this one goes on with. What is below them that is a run
    /// of a workflow or waits for its start is to follow them. How what waits is held is told by
    /// [`settle`](Self::settle).
    pub fn resume<'a>(&self, left: impl IntoIterator<Item = &'a Execution>) {
        let mut inner = self.inner.lock();
        for execution in left {
            let root = execution.spec.root;
            let run = inner.run(root, self.began_at, execution, self.clock.now());
            run.take_up(execution);
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Tells of a task without an execution that a run, of one that was [taken up](Self::resume), has left waiting
    /// for somebody or something.
    pub fn resume_task(&self, root: ExecutionId, run: ExecutionId, name: &str, reason: &str) {
        let at = self.clock.now();
        let mut inner = self.inner.lock();
        if inner.runs.contains_key(&root) {
            let body = Body::TaskStateEvent(Box::new(run::waits(run, name, reason)));
            inner.outbox.push(root, at, body);
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Begins after a line of the event log: what is before it has been told.
    pub fn begin_after(&self, line: i64) {
        self.inner.lock().newest_line = line;
        self.went_on.notify_one();
    }

    /// Tells once more of a run that ended in an earlier life, whose last line in the event log is given: the
    /// broker may not have heard it.
    pub fn end_again(&self, ended: &Execution, line: i64) {
        let at = self.clock.now();
        let mut inner = self.inner.lock();
        inner.line = line;
        let run = inner.run(ended.spec.root, self.began_at, ended, at);
        run.take_up(ended);
        inner.execution(ended, self.began_at, at);
        drop(inner);
        self.filled.notify_one();
    }

    /// The line of the event log up to which the broker has acknowledged the ends of runs.
    pub(crate) fn told_up_to(&self) -> i64 {
        let inner = self.inner.lock();
        let before_an_end = inner.outbox.first_end().map(|line| line - 1);
        before_an_end.unwrap_or(inner.newest_line)
    }

    /// Returns once that may be another one.
    pub(crate) async fn went_on(&self) {
        self.went_on.notified().await;
    }

    /// Has it found out what holds those that an earlier life has left.
    pub fn doubt(&self) {
        self.doubtful.notify_one();
    }

    /// Tells what became of those whose constraint has changed, and of those that an earlier life has left,
    /// for ever. An execution that constraints hold no more and that does not start is told of by no line of
    /// the event log, which would be a line for each of a hundred thousand, so the engine is asked.
    pub(super) async fn settle(self: Arc<Self>, control: Arc<dyn ConstraintControl>) {
        loop {
            self.doubtful.notified().await;
            let doubts = self.inner.lock().doubts();
            for some in doubts.chunks(SETTLED_AT_ONCE) {
                let ids: Vec<ExecutionId> = some.iter().map(|(_, doubt)| doubt.id).collect();
                let blockers = control.blockers(&ids);
                let at = self.clock.now();
                self.inner.lock().settle(some, &blockers, at);
                self.filled.notify_one();
                tokio::task::yield_now().await;
            }
        }
    }

    /// Tells that the engine stops, of every run that is not over; nothing is told after that.
    pub(crate) fn close(&self) {
        let at = self.clock.now();
        let mut inner = self.inner.lock();
        inner.is_closed = true;
        let mut open: Vec<(ExecutionId, Run)> = inner.runs.drain().collect();
        open.sort_by_key(|(id, _)| *id);
        for (id, run) in open {
            let stopped = Lifecycle {
                event: "ENGINE_STOPPED",
                resumed: None,
                status: Some(INTERRUPTED),
                duration_ms: Some(run.lasted_ms(at)),
                error: Some("the engine stopped before the run was over; its next start takes the run up again".to_owned()),
            };
            inner.outbox.push(id, at, Body::LifecycleEvent(stopped));
            inner.outbox.end(id, None);
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Forgets what has not been delivered, and says how much that was.
    pub(crate) fn give_up(&self) -> u64 {
        self.inner.lock().outbox.give_up()
    }

    /// Returns once there may be something to send.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().outbox.is_empty()
    }

    pub(crate) fn pop(&self) -> Option<Queued> {
        self.inner.lock().outbox.pop()
    }

    pub(crate) fn delivered(&self, run: ExecutionId) {
        self.inner.lock().outbox.delivered(run);
        self.went_on.notify_one();
    }

    pub(crate) fn put_back(&self, messages: Vec<Queued>) {
        self.inner.lock().outbox.put_back(messages);
    }

    /// A message as the broker gets it.
    pub(crate) fn written(&self, queued: &Queued) -> Message {
        let Identity {
            org_id, project_id, ..
        } = &self.identity;
        Message::passing(
            self.topics.telemetry(org_id, project_id, queued.run),
            queued.write(&self.identity),
        )
    }
}

impl Inner {
    /// The run of a root, which begins with what is told of it first.
    fn run(
        &mut self,
        root: ExecutionId,
        began_at: Timestamp,
        execution: &Execution,
        at: Timestamp,
    ) -> &mut Run {
        let outbox = &mut self.outbox;
        self.runs.entry(root).or_insert_with(|| {
            // Only the root says when its run was asked for; its parts came later.
            let resumed = execution.spec.id != root || execution.spec.requested_at < began_at;
            let started = Lifecycle {
                event: "ENGINE_STARTED",
                resumed: resumed.then_some(true),
                ..Lifecycle::default()
            };
            outbox.push(root, at, Body::LifecycleEvent(started));
            Run::new(execution)
        })
    }

    fn execution(&mut self, execution: &Execution, began_at: Timestamp, at: Timestamp) {
        let root = execution.spec.root;
        let states = self.run(root, began_at, execution, at).execution(execution);
        for state in states {
            let body = Body::TaskStateEvent(Box::new(state));
            self.outbox.push(root, at, body);
        }
        if execution.spec.id == root && execution.state.status.is_terminal() {
            let ends = self.runs.remove(&root).map(|mut run| run.ends());
            for state in ends.into_iter().flatten() {
                let body = Body::TaskStateEvent(Box::new(state));
                self.outbox.push(root, at, body);
            }
            let body = Body::LifecycleEvent(run::stopped(execution));
            self.outbox.push(root, at, body);
            // The lines about an end are told right before it.
            self.outbox.end(root, Some(self.line));
        }
    }

    fn doubts(&mut self) -> Vec<(ExecutionId, Doubt)> {
        let changed = std::mem::take(&mut self.changed);
        let runs = self.runs.iter();
        runs.flat_map(|(root, run)| run.doubts(&changed).map(|doubt| (*root, doubt)))
            .collect()
    }

    fn settle(
        &mut self,
        doubts: &[(ExecutionId, Doubt)],
        blockers: &HashMap<ExecutionId, Vec<BlockedBy>>,
        at: Timestamp,
    ) {
        for (root, doubt) in doubts {
            let run = self.runs.get_mut(root);
            if let (Some(run), Some(blockers)) = (run, blockers.get(&doubt.id))
                && let Some(state) = run.settle(doubt, blockers)
            {
                let body = Body::TaskStateEvent(Box::new(state));
                self.outbox.push(*root, at, body);
            }
        }
    }

    fn step(&mut self, event: &StepEvent, at: Timestamp) {
        let root = event.execution_id;
        // Of a run that nothing is known of the next change of an execution will tell.
        let Some(run) = self.runs.get_mut(&root) else {
            return;
        };
        if let Some(state) = run.step(event) {
            let body = Body::TaskStateEvent(Box::new(state));
            self.outbox.push(root, at, body);
        }
    }
}

impl Subscriber for Telemetry {
    fn name(&self) -> &str {
        "mqtt telemetry"
    }

    fn dropped(&self) -> u64 {
        self.inner.lock().outbox.dropped()
    }

    fn notice(&self, notice: &Notice) {
        let at = self.clock.now();
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return;
        }
        match notice {
            Notice::Execution(execution) => inner.execution(execution, self.began_at, at),
            Notice::Step(event) => {
                inner.line = event.id;
                inner.newest_line = inner.newest_line.max(event.id);
                inner.step(event, at);
                self.went_on.notify_one();
            }
            Notice::Constraint { constraint, .. } => {
                inner.changed.insert(constraint.key().to_string());
                return self.doubtful.notify_one();
            }
            Notice::Event(_) | Notice::Enforcement(_) => return,
        }
        drop(inner);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests;
