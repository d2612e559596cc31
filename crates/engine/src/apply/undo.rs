//! Taking back what was decided but not stored.

use camshaft_model::{Attempt, Execution, ExecutionId, FailureKind};

use crate::decision::Decision;
use crate::state::{Context, State};

impl State {
    /// Forgets executions that were never recorded; what they would have held is free again.
    pub(crate) fn undo_fresh(&mut self, ids: &[ExecutionId], context: &Context<'_>) -> Decision {
        for id in ids {
            self.forget(*id);
        }
        self.start_what_may(context)
    }

    /// Adds an execution that is recorded. `false` if the definition of its action is gone.
    pub(crate) fn take(&mut self, execution: Execution) -> bool {
        let Some(action) = self.action_of(&execution.spec) else {
            return false;
        };
        let live = self.alive(execution.spec, execution.state, action);
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
