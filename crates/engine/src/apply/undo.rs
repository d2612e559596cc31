//! Taking back what was decided but not stored.

use camshaft_model::{Execution, ExecutionId};

use crate::constraint::Hold;
use crate::decision::{Decision, Effect, Unit};
use crate::state::{Context, State};

impl State {
    /// Forgets what a unit that was not stored brought into the state; what it would have held is free again.
    pub(crate) fn take_back(&mut self, unit: Unit, context: &Context<'_>) -> Decision {
        for id in unit.fresh {
            self.forget(id);
            self.uncertain.forget(id);
        }
        self.held_events.go_on();
        for effect in unit.effects {
            match effect {
                Effect::Held(event) => self.held_events.forget(event.id),
                Effect::Told => self.untold.answered(),
                _ => {}
            }
        }
        for moved in unit.rates.iter().rev() {
            if self.constraints.take_back_start(moved) {
                self.waiting.open(&Hold::Constraint(moved.key.clone()));
            }
        }
        self.start_what_may(context)
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
