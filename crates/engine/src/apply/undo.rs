//! Taking back what was decided but not stored.

use camshaft_model::{Attempt, Execution, ExecutionId, FailureKind};

use crate::decision::Decision;
use crate::state::{Context, Live, State};

impl State {
    /// Forgets executions that were never recorded; what they would have held is free again.
    pub(crate) fn undo_fresh(&mut self, ids: &[ExecutionId], context: &Context<'_>) -> Decision {
        let mut decision = Decision::default();
        for id in ids {
            self.forget(*id);
        }
        self.admit(context, &mut decision);
        decision
    }

    /// Adds an execution that is recorded. `false` if the definition of its action is gone.
    pub(crate) fn take(&mut self, execution: Execution) -> bool {
        let Some(action) = self.action_of(&execution.spec) else {
            return false;
        };
        let one_of = self.one_of(&execution.spec.origin);
        self.insert(Live {
            spec: execution.spec,
            state: execution.state,
            action,
            one_of,
            interruptions: 0,
            lap: 0,
        });
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
        let mut decision = Decision::default();
        self.forget(id);
        if let Some(stored) = stored.filter(|stored| !stored.state.status.is_terminal()) {
            tracing::warn!(execution = %id, status = %stored.state.status, "took an execution as the database has it");
            self.take(stored);
        }
        self.admit(context, &mut decision);
        decision
    }
}
