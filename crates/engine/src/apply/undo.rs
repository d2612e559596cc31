//! Taking back what was decided but not stored.

use camshaft_model::{Attempt, BlockedBy, Execution, ExecutionId, FailureKind};

use crate::constraint::Hold;
use crate::decision::{Decision, Effect, Unit};
use crate::state::{Context, State};

impl State {
    /// Forgets what a unit that was not stored brought into the state; what it would have held is free again.
    pub(crate) fn take_back(&mut self, unit: Unit, context: &Context<'_>) -> Decision {
        for id in unit.fresh {
            self.forget(id);
        }
        for effect in unit.effects {
            if let Effect::Held(event) = effect {
                self.held_events.forget(event);
            }
        }
        for moved in unit.rates.iter().rev() {
            if self.constraints.take_back_start(moved) {
                self.waiting.open(&Hold::Constraint(moved.key.clone()));
            }
        }
        self.start_what_may(context)
    }

    /// Adds an execution that is recorded. `false` if the definition of its action is gone.
    pub(crate) fn take(&mut self, execution: Execution) -> bool {
        let Some(action) = self.action_of(&execution.spec) else {
            return false;
        };
        let blocked_by = execution.state.blocked_by.clone();
        let mut live = self.alive(execution.spec, execution.state, action);
        // The line about it was stored with the row.
        if let Some(BlockedBy::Constraint(held_by)) = blocked_by {
            let found = self.constraints.get(&held_by.key);
            live.told = found.map(|found| found.constraint.clone());
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

    /// Takes an execution as the database has it, after a change of it was refused.
    pub(crate) fn resync(
        &mut self,
        id: ExecutionId,
        stored: Option<Execution>,
        context: &Context<'_>,
    ) -> Decision {
        self.forget(id);
        if let Some(stored) = stored.filter(|stored| !stored.state.status.is_terminal()) {
            tracing::warn!(execution = %id, status = %stored.state.status, "took an execution as the database has it");
            self.take(stored);
        }
        self.start_what_may(context)
    }
}
