//! Taking up what an earlier engine left: executions that are recorded, and attempts that its end cut off.

use camshaft_model::port::store::Change;
use camshaft_model::{
    Attempt, BlockedBy, Execution, ExecutionId, ExecutionState, Failure, FailureKind, Object,
    Output, Status, StepEventType,
};

use crate::decision::{Decision, Unit};
use crate::retry;
use crate::state::{Context, State};

impl State {
    /// Adds an execution that is recorded. `false` if the definition of its action is gone.
    pub(crate) fn take(&mut self, execution: Execution) -> bool {
        let Some(action) = self.action_of(&execution.spec) else {
            return false;
        };
        let blocked_by = execution.state.blocked_by.clone();
        let mut live = self.alive(execution.spec, execution.state, action);
        // The row names what the event log says to hold it.
        if let Some(BlockedBy::Constraint(told)) = blocked_by {
            let found = self.constraints.get(&told.key);
            if let Some(found) = found.filter(|found| found.is(&told)) {
                live.told.note(found.number);
            }
        }
        self.insert(live);
        true
    }

    /// Counts the attempts of an execution, all of which are recorded, that were cut off.
    pub(crate) fn count_interruptions(&mut self, id: ExecutionId, attempts: &[Attempt]) {
        let cut_off = |attempt: &&Attempt| {
            let error = attempt.error.as_ref();
            error.is_some_and(|error| error.kind == FailureKind::Interrupted)
        };
        if let Some(live) = self.live.get_mut(&id) {
            let count = attempts.iter().filter(cut_off).count();
            live.interruptions = u32::try_from(count).unwrap_or(u32::MAX);
        }
    }

    /// Records that the attempt of an execution was cut off by the end of an earlier engine, and
    /// lets its policy decide what follows.
    pub(crate) fn interrupted(
        &mut self,
        id: ExecutionId,
        outputs: (Output, Output),
        context: &Context<'_>,
    ) -> Decision {
        let mut decision = Decision::default();
        let Some(live) = self.live.get(&id) else {
            return decision;
        };
        let canceling = live.state.status == Status::Canceling;
        let status = if canceling {
            Status::Cancelled
        } else {
            Status::Abandoned
        };
        let message = if canceling {
            "cancelled; the engine was killed before it could see the end".to_owned()
        } else {
            "the engine was killed while it may have been running; what was left of it was killed at the next start".to_owned()
        };
        let kind = if canceling {
            FailureKind::Cancelled
        } else {
            FailureKind::Interrupted
        };
        let error = Some(Failure { kind, message });
        let nothing_kept = outputs.0.stored == 0 && outputs.1.stored == 0;
        let mut unit = Unit::default();
        unit.changes.push(Change::RecordAttempt(Box::new(Attempt {
            key: live.key(),
            status,
            worker: live.state.worker.clone(),
            started_at: live.state.started_at,
            ended_at: context.now,
            error: error.clone(),
            exit_code: None,
            signal: None,
            stdout: outputs.0,
            stderr: outputs.1,
            output_lost: nothing_kept
                .then(|| "the engine was killed before it had written any output".to_owned()),
        })));
        let payload = Object::from_iter([
            ("attempt".to_owned(), live.state.attempt.into()),
            ("success".to_owned(), false.into()),
            // Nobody saw its end: it is known only that it is gone.
            ("confidence".to_owned(), "inferred".into()),
            (
                "reason".to_owned(),
                error
                    .as_ref()
                    .map(|e| e.message.clone())
                    .unwrap_or_default()
                    .into(),
            ),
        ]);
        unit.steps
            .push(live.step(StepEventType::StepFinished, payload, context));
        let state = ExecutionState {
            status,
            lease_expires_at: None,
            ended_at: Some(context.now),
            error,
            ..(*live.state).clone()
        };
        if !canceling && retry::allows_after_interruption(&live.action, live.state.attempt) {
            self.request_next_attempt(id, state, true, &mut unit, context);
        } else {
            self.terminate(id, &[], state, &mut unit, &mut decision, context);
        }
        decision.units.push(unit);
        decision
    }
}
