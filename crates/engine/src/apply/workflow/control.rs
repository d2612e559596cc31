//! What a person or a clock does to a run: cancel, deadline, pause, resume, the next lap.

use camshaft_model::run::Ending;
use camshaft_model::{
    ErrorCode, ExecutionId, ExecutionState, Failure, FailureKind, Object, RunRecord, Status,
    StepEventType, Transition,
};

use crate::decision::{Decision, Unit};
use crate::handle::ControlError;
use crate::state::{Context, State};
use crate::workflow::{self, ActiveWork, Alarm, Run, Step};

impl State {
    /// Cancels a run: what runs is stopped, what waits ends at once, `finally` tasks run. Cancelling it
    /// again stops these too.
    pub(crate) fn cancel_run(
        &mut self,
        id: ExecutionId,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let mut unit = Unit::default();
        if live.state.status != Status::Canceling {
            let state = ExecutionState {
                status: Status::Canceling,
                ..(*live.state).clone()
            };
            match Transition::new(id, &live.state, &[], state.clone()) {
                Ok(transition) => unit.record_move(transition),
                Err(error) => {
                    tracing::error!(execution = %id, %error, "not cancelled");
                    return;
                }
            }
            self.set_state(id, state);
            if let Some(live) = self.live.get(&id) {
                unit.tell(live);
            }
        }
        let ending = Ending {
            status: Status::Cancelled,
            error: Failure {
                kind: FailureKind::Cancelled,
                message: "cancelled while it ran".to_owned(),
            },
        };
        self.stop_run(id, ending, unit, decision, context);
    }

    /// Lets nothing new start in a run but `finally` tasks, and stops what runs. Those of them that run
    /// already go on, unless the run was stopped before.
    fn stop_run(
        &mut self,
        id: ExecutionId,
        ending: Ending,
        mut unit: Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let before = decision.units.len();
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        run.record.ending = Some(ending);
        run.dirty = true;
        if let Some(at) = run.record.next_lap_at.take() {
            self.alarms.remove(&(at, Alarm::Lap(id)));
        }
        let stopped = run.stopped_tasks();
        let mut children = Vec::new();
        for task in &stopped {
            let Some(active) = run.active.get_mut(task) else {
                continue;
            };
            children.extend(active.executions());
            if let ActiveWork::Items(fan) = &mut active.work {
                fan.fanout.close();
            }
        }
        // A run that is paused is stopped all the same, and its last tasks are not held.
        run.record.paused = false;
        let mut steps = run.frontier.stop();
        steps.extend(run.frontier.release());
        steps.extend(self.end_waits(id, &stopped, &mut unit, context));
        self.advance(id, steps, &mut unit, decision, context);
        decision.units.push(unit);
        for child in children {
            self.cancel_into(child, decision, context);
        }
        // All or nothing: a run that is recorded as stopped has no child that is not.
        decision.join_after(before);
    }

    /// Lets a run go on, or end, for whose sake an alarm was set.
    pub(crate) fn alarm(&mut self, alarm: Alarm, decision: &mut Decision, context: &Context<'_>) {
        match alarm {
            Alarm::Wait(run, task) => self.wait_is_over(run, task, decision, context),
            Alarm::Deadline(id) => {
                let stopped = self
                    .runs
                    .get(&id)
                    .and_then(|run| run.record.ending.as_ref());
                if stopped.is_some_and(|ending| ending.status != Status::Failed) {
                    return;
                }
                let timeout = self.live.get(&id).and_then(|live| live.action.timeout);
                let secs = timeout.unwrap_or_default().as_secs_f64();
                let ending = Ending {
                    status: Status::TimedOut,
                    error: Failure {
                        kind: FailureKind::Timeout,
                        message: format!("not done within {secs} s"),
                    },
                };
                self.stop_run(id, ending, Unit::default(), decision, context);
            }
            Alarm::Lap(id) => {
                let Some(mut run) = self.runs.remove(&id) else {
                    return;
                };
                let mut unit = Unit::default();
                let steps = self.next_lap(&mut run, &mut unit, context);
                self.runs.insert(id, run);
                self.advance(id, steps, &mut unit, decision, context);
                decision.units.push(unit);
            }
        }
    }

    /// Whether a run, or one above it, is paused.
    pub(super) fn holds(&self, run: &Run) -> bool {
        run.is_paused() || self.is_held_above(run.id())
    }

    /// Whether a run above an execution is paused.
    fn is_held_above(&self, id: ExecutionId) -> bool {
        let live = self.live.get(&id);
        live.is_some_and(|live| self.paused_by(live).is_some())
    }

    /// Holds a run and the runs below it.
    ///
    /// # Errors
    /// It is no run that is under way.
    pub(crate) fn pause(
        &mut self,
        id: ExecutionId,
        context: &Context<'_>,
    ) -> Result<Decision, ControlError> {
        let mut decision = Decision::default();
        let is_ending = |run: &Run| run.record.ending.is_some();
        if self.runs.get(&id).is_some_and(is_ending) {
            return Err(ControlError::new(
                ErrorCode::Conflict,
                format!("{id} is ending; what has failed or was stopped cannot be paused"),
            ));
        }
        let record = self.run_record(id).ok_or_else(|| not_under_way(id))?;
        if std::mem::replace(&mut record.paused, true) {
            return Ok(decision);
        }
        let below = self.below(id);
        for execution in &below {
            if let Some(run) = self.runs.get_mut(execution) {
                run.frontier.hold();
            }
            let waits = self.live.get(execution).is_some_and(|live| {
                live.state.status == Status::Requested && live.state.not_before.is_none()
            });
            if waits {
                self.dequeue(*execution);
            }
        }
        let unit = self.note_pause(id, true, context);
        decision.units.push(unit);
        Ok(decision)
    }

    /// Lets a run and the runs below it go on.
    ///
    /// # Errors
    /// It is no run that is under way.
    pub(crate) fn resume(
        &mut self,
        id: ExecutionId,
        context: &Context<'_>,
    ) -> Result<Decision, ControlError> {
        let mut decision = Decision::default();
        let record = self.run_record(id).ok_or_else(|| not_under_way(id))?;
        if !std::mem::replace(&mut record.paused, false) {
            return Ok(decision);
        }
        let mut unit = self.note_pause(id, false, context);
        for execution in self.below(id) {
            let is_paused = self.runs.get(&execution).is_some_and(Run::is_paused);
            if is_paused || self.is_held_above(execution) {
                continue;
            }
            let steps: Vec<Step> = self
                .runs
                .get_mut(&execution)
                .map(|run| run.frontier.release())
                .unwrap_or_default();
            self.advance(execution, steps, &mut unit, &mut decision, context);
            let waits = self
                .live
                .get(&execution)
                .is_some_and(|live| live.state.status == Status::Requested);
            if waits {
                self.enqueue(execution);
            }
        }
        decision.units.insert(0, unit);
        self.admit(context, &mut decision);
        Ok(decision)
    }

    /// A run and every execution below it that is not terminal, each after the one above it.
    fn below(&self, id: ExecutionId) -> Vec<ExecutionId> {
        let mut found = vec![id];
        let mut next = 0;
        while let Some(run) = found.get(next) {
            let children = self.runs.get(run).map(Run::children);
            found.extend(children.unwrap_or_default());
            next += 1;
        }
        found
    }

    /// What is recorded of a run that has not ended.
    fn run_record(&mut self, id: ExecutionId) -> Option<&mut RunRecord> {
        let run = self.runs.get_mut(&id).map(|run| &mut run.record);
        run.or_else(|| self.between.get_mut(&id))
    }

    fn note_pause(&mut self, id: ExecutionId, paused: bool, context: &Context<'_>) -> Unit {
        let mut unit = Unit::default();
        unit.changes
            .extend(self.run_record(id).map(workflow::progress));
        if let Some(live) = self.live.get(&id) {
            let payload = Object::from_iter([("paused".to_owned(), paused.into())]);
            unit.steps
                .push(live.step(StepEventType::TaskPaused, payload, context));
            unit.tell(live);
        }
        unit
    }
}

fn not_under_way(id: ExecutionId) -> ControlError {
    ControlError::new(
        ErrorCode::RunEnded,
        format!("{id} is no run of a workflow that is under way"),
    )
}
