//! Where the time of a run went: its timeline, what is odd about it, and the critical path.
//!
//! [`trace`] is a pure function over what is recorded, so that it says the same of a run tomorrow as
//! while it runs. Data flows one way:
//!
//! ```text
//! executions, attempts, tasks, event log -> nodes (build) -> path back from the end (path) -> parts
//!                                              |-> timeline, anomalies (anomaly)
//! ```
//! Every instant between the request of a run and its end belongs to one part of the critical path,
//! so the sum of the parts is the duration of the run. Instants that contradict each other (a clock
//! that was set back) are clamped to their neighbours; they shift time between parts, never lose it.

mod anomaly;
mod build;
mod gather;
mod path;
mod timing;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::Workflow;
use camshaft_model::{
    Attempt, BlockedBy, Execution, ExecutionId, Ref, Status, StepEvent, TaskRecord, TaskRef,
    Timestamp,
};
use serde::Serialize;

pub use anomaly::{Anomaly, AnomalyKind};

/// What is recorded of one execution and everything below it.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The execution that is asked about, and those below it.
    pub executions: Vec<Execution>,
    /// What holds tasks of theirs that are under way.
    pub held: HashMap<(ExecutionId, TaskRef), BlockedBy>,
    /// Ended attempts of those that were tried more than once; of others, if there are any.
    pub attempts: Vec<Attempt>,
    /// The tasks of those that are runs.
    pub tasks: Vec<TaskRecord>,
    /// The graph of those that are runs, where it is known.
    pub workflows: HashMap<ExecutionId, Arc<Workflow>>,
    /// The event log of the run, oldest first.
    pub events: Vec<StepEvent>,
    /// How long the latest completed executions of an action took, before this run.
    pub usual: HashMap<Ref, Vec<Duration>>,
    /// How many executions below it are not here, because there are too many.
    pub left_out: usize,
}

/// Where an instant of a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Asked for, and waiting for a slot.
    Queue,
    /// Held by a pause, a resource that was used up, or another execution of the same rule.
    Constraint,
    /// Not to start before an instant: the delay of a retry, of a lap, or one that was asked for.
    Delay,
    /// Admitted, until its process was there.
    Spawn,
    /// At work.
    Run,
    /// Between an end and what it led to: reporting, deciding and storing.
    Commit,
    /// Waiting for an answer.
    Person,
    /// Waiting for an event.
    Event,
}

impl Part {
    /// Every part, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Queue,
        Self::Constraint,
        Self::Delay,
        Self::Spawn,
        Self::Run,
        Self::Commit,
        Self::Person,
        Self::Event,
    ];
}

/// A stretch of time that went one way. Offsets count from the request of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Which way.
    pub part: Part,
    /// When it began.
    pub offset_us: u64,
    /// How long it was.
    pub duration_us: u64,
}

/// What a line of the timeline is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// One attempt at an execution, or the wait for the first one.
    Attempt,
    /// A task without an execution: a question, an awaited event, a skip, a result that was kept.
    Task,
    /// A task with items, from the first to the last.
    Items,
    /// A run below this one.
    Run,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceStep {
    /// What it is about.
    pub kind: StepKind,
    /// The way to it from the run: `task`, `task[3]` for an item, `task#2` for a second visit,
    /// `run/task` below another run.
    pub step: String,
    /// The lap of its run.
    pub lap: u32,
    /// The execution, if there is one.
    pub execution: Option<ExecutionId>,
    /// Its action.
    pub action: Option<Ref>,
    /// Which try, from 1.
    pub attempt: Option<u32>,
    /// Where it ended, or is.
    pub status: Status,
    /// What holds it, if it has not started; of a run, what holds all that it has to do.
    pub blocked_by: Option<BlockedBy>,
    /// From the request of the run.
    pub offset_us: u64,
    /// Until its end, or until now.
    pub duration_us: u64,
    /// Where its time went.
    pub phases: Vec<Phase>,
    /// Why it did not complete, or why it was skipped.
    pub reason: Option<String>,
    /// Whether the critical path goes through it.
    pub critical: bool,
}

/// One stretch of the critical path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathPhase {
    /// The step; `None` between two.
    pub step: Option<String>,
    /// Which try of it.
    pub attempt: Option<u32>,
    /// Which way the time went.
    #[serde(flatten)]
    pub phase: Phase,
}

/// Where the time of an execution and everything below it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The execution.
    pub execution: ExecutionId,
    /// Its action.
    pub action: Ref,
    /// Where it is.
    pub status: Status,
    /// What holds it, as of a step.
    pub blocked_by: Option<BlockedBy>,
    /// What the offsets count from.
    pub requested_at: Timestamp,
    /// When it ended; offsets go up to now if it has not.
    pub ended_at: Option<Timestamp>,
    /// From the request to the end, or to now.
    pub duration_us: u64,
    /// Oldest first.
    pub steps: Vec<TraceStep>,
    /// What is odd.
    pub anomalies: Vec<Anomaly>,
    /// From the request to the end without a gap.
    pub critical_path: Vec<PathPhase>,
    /// The critical path in sum; the sum of these is the duration.
    pub parts_us: BTreeMap<Part, u64>,
    /// How many executions below it are not in the timeline, because there are too many.
    pub left_out: usize,
}

/// Traces one of the executions of `material`; `None` if it is not among them.
pub fn trace(material: &Material, subject: ExecutionId, now: Timestamp) -> Option<Trace> {
    let built = build::build(material, subject, now)?;
    let path = path::critical(&built);
    let anomalies = anomaly::find(material, &built);
    let execution = material.executions.iter().find(|e| e.spec.id == subject)?;
    let mut steps = built.steps;
    let mut parts_us: BTreeMap<Part, u64> = Part::ALL.into_iter().map(|part| (part, 0)).collect();
    let mut critical_path = Vec::with_capacity(path.len());
    for piece in path {
        let step = piece.step.and_then(|at| steps.get_mut(at));
        *parts_us.entry(piece.part).or_default() += piece.duration_us();
        let mut phase = PathPhase {
            step: None,
            attempt: None,
            phase: piece.phase(),
        };
        if let Some(step) = step {
            step.critical = true;
            phase.step = Some(step.step.clone());
            phase.attempt = step.attempt;
        }
        critical_path.push(phase);
    }
    // Stable: what began at the same instant stays in the order of the graph.
    steps.sort_by_key(|step| step.offset_us);
    Some(Trace {
        execution: subject,
        action: execution.spec.action.clone(),
        status: execution.state.status,
        blocked_by: held_by(execution).cloned(),
        requested_at: execution.spec.requested_at,
        ended_at: execution.state.ended_at,
        duration_us: critical_path.iter().map(|at| at.phase.duration_us).sum(),
        steps,
        anomalies,
        critical_path,
        parts_us,
        left_out: material.left_out,
    })
}

/// What holds an execution that has not ended.
fn held_by(execution: &Execution) -> Option<&BlockedBy> {
    let held = execution.state.blocked_by.as_ref();
    held.filter(|_| !execution.state.status.is_terminal())
}
