//! Runs of workflows: what starts, what an end leads to, what a person or a clock does to a run.
//!
//! A run is taken out of the state while it moves on (`advance`), because its tasks become executions
//! of that state. Everything that one cause leads to within a run, and up to the run above it when it
//! ends, is in the unit of that cause: a task's result, what it published, the executions that follow
//! from it and the end of the run are stored together or not at all.

mod control;
mod end;
mod restore;
mod start;
mod wait;

use std::collections::VecDeque;

use camshaft_model::port::store::Change;
use camshaft_model::run::Ending;
use camshaft_model::{
    Attempt, ExecutionId, ExecutionState, Object, Output, RunRecord, Status, StepEventDraft,
    StepEventType, StepScope, TaskRecord, TaskRef, Timestamp, Transition,
};

pub(crate) use restore::{Absent, ResultPlace, RunRows, Taken};
pub(crate) use start::overridden;

use crate::decision::{Decision, Unit};
use crate::retry;
use crate::state::{Context, State};
use crate::workflow::{self, Alarm, Beginning, Lap, NextLap, Run, Step, TaskEnd};

/// A run that takes so many steps in one decision begins its next lap in another one.
const STEPS_AT_ONCE: usize = 1_000;

impl State {
    /// Starts a run that was admitted: it takes no slot, and waits for its tasks from the first
    /// instant.
    pub(crate) fn start_run(
        &mut self,
        id: ExecutionId,
        context: &Context<'_>,
        decision: &mut Decision,
    ) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        let state = ExecutionState {
            status: Status::Waiting,
            attempt: live.state.attempt + 1,
            epoch: self.epoch,
            not_before: None,
            blocked_by: None,
            scheduled_at: Some(context.now),
            started_at: Some(context.now),
            ..(*live.state).clone()
        };
        let through = [Status::Scheduled, Status::Running];
        let transition = match Transition::new(id, &live.state, &through, state.clone()) {
            Ok(transition) => transition,
            Err(error) => {
                tracing::error!(execution = %id, %error, "a waiting run was not started");
                return;
            }
        };
        self.between.remove(&id);
        live.lap += 1;
        let record = workflow::first_record(id, live.lap);
        self.set_state(id, state);
        let place = decision.place_of_fresh(id);
        let mut unit = match place {
            Some(place) => std::mem::take(&mut decision.units[place]),
            None => Unit::moving(transition),
        };
        if let Some(live) = self.live.get(&id) {
            let mut payload = Object::new();
            payload.insert("step".into(), live.spec.step().into());
            payload.insert("attempt".into(), live.state.attempt.into());
            unit.steps
                .push(live.step(StepEventType::StepStarted, payload, context));
        }
        self.begin_run(record, &mut unit, decision, context);
        match place {
            Some(place) => decision.units[place] = unit,
            None => {
                if let Some(live) = self.live.get(&id) {
                    unit.tell(live);
                }
                decision.units.push(unit);
            }
        }
    }

    fn begin_run(
        &mut self,
        record: RunRecord,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let id = record.execution;
        let mut run = match self.new_run(record) {
            Ok(run) => run,
            Err(message) => {
                let end = TaskEnd::expression(message);
                self.conclude(id, Status::Failed, end, unit, decision, context);
                return;
            }
        };
        if let Some(at) = run.deadline {
            self.alarms.insert((at, Alarm::Deadline(id)));
        }
        run.kept = self.kept.get(&id).cloned().unwrap_or_default();
        let steps = match run.make_vars() {
            Ok(()) => {
                run.announce_cycle(unit, context);
                run.frontier.begin()
            }
            Err(error) => {
                run.record.ending = Some(Ending {
                    status: Status::Failed,
                    error,
                });
                run.frontier.give_up()
            }
        };
        self.runs.insert(id, run);
        self.advance(id, steps, unit, decision, context);
    }

    /// A run as its record says, with no task under way.
    pub(super) fn new_run(&mut self, record: RunRecord) -> Result<Run, String> {
        let gone = || "its definition is gone".to_owned();
        let live = self.live.get(&record.execution).ok_or_else(gone)?;
        let program = self.programs.of(live.action.workflow().ok_or_else(gone)?)?;
        let started_at = live.state.started_at.unwrap_or(live.spec.requested_at);
        let deadline = live.action.timeout.map(|timeout| started_at + timeout);
        let beginning = Beginning {
            spec: live.spec.clone(),
            program,
            started_at,
            hidden: self.hidden_of(&live.spec, Some(&live.action)),
            secrets: &self.settings.secrets,
            env: &self.settings.env,
            memory_bytes: self.settings.run_memory_bytes,
        };
        let mut run = Run::new(beginning, record);
        run.deadline = deadline;
        Ok(run)
    }

    /// Performs what the planner says, and what follows from that, until the run waits for something
    /// or has ended.
    pub(crate) fn advance(
        &mut self,
        id: ExecutionId,
        steps: Vec<Step>,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Some(mut run) = self.runs.remove(&id) else {
            return;
        };
        let mut queue = VecDeque::from(steps);
        let mut taken = 0;
        let end = loop {
            while let Some(step) = queue.pop_front() {
                taken += 1;
                match step {
                    Step::Skip { task, reason } => run.skip(task, reason, unit, context),
                    Step::Start { task, visit } => {
                        let ended = self.start_task(&mut run, task, visit, unit, context);
                        if let Some(ended) = ended {
                            queue.extend(self.settle(&mut run, task, ended, unit, context));
                        }
                    }
                }
            }
            match self.lap_end(&mut run, context) {
                LapEnd::Open => break None,
                LapEnd::Again if taken < STEPS_AT_ONCE => {
                    queue.extend(self.next_lap(&mut run, unit, context));
                }
                // Others have their turn in between.
                LapEnd::Again => {
                    self.rest_until(&mut run, context.now);
                    break None;
                }
                LapEnd::Over(status, end) => break Some((status, end)),
            }
        };
        run.note_arrivals();
        run.note_failure();
        run.drop_unread();
        unit.changes.extend(run.change());
        self.runs.insert(id, run);
        if let Some((status, end)) = end {
            self.conclude(id, status, end, unit, decision, context);
        }
    }

    /// Begins the next lap of a run, which starts nothing while the run is held.
    fn next_lap(&mut self, run: &mut Run, unit: &mut Unit, context: &Context<'_>) -> Vec<Step> {
        run.turn();
        if let Some(live) = self.live.get_mut(&run.id()) {
            live.lap = run.record.lap;
        }
        run.announce_cycle(unit, context);
        if self.holds(run) {
            run.frontier.hold();
        }
        run.frontier.begin()
    }

    fn rest_until(&mut self, run: &mut Run, at: Timestamp) {
        run.record.next_lap_at = Some(at);
        run.dirty = true;
        self.alarms.insert((at, Alarm::Lap(run.id())));
    }

    /// What the run does now that no step is left.
    fn lap_end(&mut self, run: &mut Run, context: &Context<'_>) -> LapEnd {
        let Some(lap) = run.frontier.over() else {
            return LapEnd::Open;
        };
        let stopped = run.record.ending.clone();
        let ending = match (stopped, lap) {
            (Some(ending), _) => ending,
            (None, Lap::Failed(cause)) => run.ending(&cause),
            (None, Lap::Completed) if run.record.next_lap_at.is_some() => return LapEnd::Open,
            (None, Lap::Completed) => match run.after_lap() {
                NextLap::Ends(result) => {
                    return LapEnd::Over(Status::Completed, TaskEnd::completed(result));
                }
                NextLap::Fails(ending) => ending,
                NextLap::Begins => {
                    let delay = run.program.workflow.cycles.delay;
                    if delay.is_zero() {
                        return LapEnd::Again;
                    }
                    self.rest_until(run, context.now + delay);
                    return LapEnd::Open;
                }
            },
        };
        let end = TaskEnd::ended(ending.status, ending.error.kind, ending.error.message);
        LapEnd::Over(ending.status, end)
    }

    /// Ends an attempt at a run: the next attempt follows if its policy allows one, else it is
    /// terminal.
    fn conclude(
        &mut self,
        id: ExecutionId,
        status: Status,
        mut end: TaskEnd,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        if let Some(error) = &mut end.error {
            let hidden = self.hidden_of(&live.spec, Some(&live.action));
            hidden.text(&mut error.message);
        }
        let cancelled = live.state.status == Status::Canceling;
        let status = if cancelled { Status::Cancelled } else { status };
        let completed = status == Status::Completed;
        let state = ExecutionState {
            status,
            ended_at: Some(context.now),
            result: completed.then_some(end.result),
            error: end.error,
            ..(*live.state).clone()
        };
        unit.changes.push(Change::RecordAttempt(Box::new(Attempt {
            key: live.key(),
            status,
            worker: None,
            started_at: state.started_at,
            ended_at: context.now,
            error: state.error.clone(),
            exit_code: None,
            signal: None,
            stdout: Output::default(),
            stderr: Output::default(),
            output_lost: None,
        })));
        if !completed && !cancelled && retry::allows(&live.action.retry, state.attempt, status) {
            // What it keeps of an earlier run and whether it is paused hold for the next attempt too.
            if let Some(run) = self.leave_run(id) {
                self.between.insert(id, run.record);
            }
            self.request_next_attempt(id, state, false, unit, context);
        } else {
            let ended = match status {
                Status::Completed => StepEventType::TaskCompleted,
                Status::Cancelled => StepEventType::TaskCancelled,
                _ => StepEventType::TaskFailed,
            };
            if live.spec.parent.is_none() {
                let payload = end_payload(status, state.error.as_ref(), state.started_at, context);
                unit.steps.push(live.step(ended, payload, context));
            }
            self.terminate(id, &[], state, unit, decision, context);
        }
    }

    /// Forgets a run and everything that it looks forward to.
    pub(crate) fn forget_run(&mut self, id: ExecutionId) {
        self.kept.remove(&id);
        self.between.remove(&id);
        self.leave_run(id);
    }

    /// Takes a run whose attempt is over out of the state.
    fn leave_run(&mut self, id: ExecutionId) -> Option<Run> {
        let run = self.runs.remove(&id)?;
        if let Some(at) = run.deadline {
            self.alarms.remove(&(at, Alarm::Deadline(id)));
        }
        if let Some(at) = run.record.next_lap_at {
            self.alarms.remove(&(at, Alarm::Lap(id)));
        }
        for (task, active) in &run.active {
            self.forget_wait(id, *task, active);
        }
        Some(run)
    }
}

/// What a run does when no step is left.
enum LapEnd {
    /// It waits for its tasks, or for its next lap.
    Open,
    /// The next lap begins.
    Again,
    /// The attempt is over.
    Over(Status, TaskEnd),
}

/// What an end looks like in the event log.
fn end_payload(
    status: Status,
    error: Option<&camshaft_model::Failure>,
    started_at: Option<Timestamp>,
    context: &Context<'_>,
) -> Object {
    let mut payload = Object::new();
    payload.insert("status".into(), status.as_str().into());
    if let Some(error) = error {
        payload.insert("error".into(), error.message.clone().into());
    }
    if let Some(at) = started_at {
        let millis = u64::try_from(context.now.since(at).as_millis()).unwrap_or(u64::MAX);
        payload.insert("duration_ms".into(), millis.into());
    }
    payload
}

impl Run {
    /// The place of a start of a task.
    pub(crate) fn place(&self, name: &str, visit: u32) -> TaskRef {
        TaskRef {
            lap: self.record.lap,
            name: name.to_owned(),
            visit,
            item: None,
        }
    }

    /// A line of the event log about a task of the run.
    pub(crate) fn step(
        &self,
        record: &TaskRecord,
        event_type: StepEventType,
        mut payload: Object,
        context: &Context<'_>,
    ) -> StepEventDraft {
        self.hidden.words(&mut payload);
        let (root, own) = (self.spec.root, self.spec.id);
        StepEventDraft {
            root,
            item: record.execution.or((own != root).then_some(own)),
            event_type,
            step: Some(record.task.name.clone()),
            step_scope: Some(StepScope::Task),
            payload,
            created_at: context.now,
        }
    }

    /// A record of a task that starts now.
    pub(crate) fn record_of(
        &self,
        name: &str,
        visit: u32,
        status: Status,
        context: &Context<'_>,
    ) -> TaskRecord {
        TaskRecord::new(self.id(), self.place(name, visit), status, context.now)
    }

    /// Says in the event log that a lap begins, where there may be more than one.
    fn announce_cycle(&self, unit: &mut Unit, context: &Context<'_>) {
        use camshaft_model::definition::workflow::LoopMode;
        if self.program.workflow.cycles.mode == LoopMode::Once {
            return;
        }
        let (root, own) = (self.spec.root, self.spec.id);
        unit.steps.push(StepEventDraft {
            root,
            item: (own != root).then_some(own),
            event_type: StepEventType::CycleStarted,
            step: Some(self.spec.step().to_owned()),
            step_scope: None,
            payload: Object::from_iter([("cycle".to_owned(), self.record.cycle.into())]),
            created_at: context.now,
        });
    }
}
