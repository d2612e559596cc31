//! Cancelling an execution.

use camshaft_model::{
    ExecutionId, ExecutionState, Failure, FailureKind, Object, Status, StepEventType, Transition,
};

use crate::decision::{Decision, Effect, Unit};
use crate::state::{Context, State};

impl State {
    /// Cancels an execution that is live. One that waits is terminal at once; one that runs becomes
    /// `canceling`, and terminal when its processes are gone. One that is being cancelled already
    /// changes nothing.
    pub(crate) fn cancel(&mut self, id: ExecutionId, context: &Context<'_>) -> Decision {
        let mut decision = Decision::default();
        self.cancel_into(id, &mut decision, context);
        self.admit(context, &mut decision);
        decision
    }

    /// The same as a part of a larger decision.
    pub(crate) fn cancel_into(
        &mut self,
        id: ExecutionId,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        if self.runs.contains_key(&id) {
            return self.cancel_run(id, decision, context);
        }
        match live.state.status {
            Status::Requested | Status::Waiting => {
                let state = ExecutionState {
                    status: Status::Cancelled,
                    not_before: None,
                    blocked_by: None,
                    ended_at: Some(context.now),
                    error: Some(Failure {
                        kind: FailureKind::Cancelled,
                        message: "cancelled before it ran".to_owned(),
                    }),
                    ..(*live.state).clone()
                };
                let mut unit = Unit::default();
                // Of a task its run tells.
                if live.spec.parent.is_none() {
                    unit.steps.push(live.step(
                        StepEventType::TaskCancelled,
                        Object::new(),
                        context,
                    ));
                }
                if self.terminate(id, &[], state, &mut unit, decision, context) {
                    decision.units.push(unit);
                }
            }
            Status::Scheduled | Status::Running => {
                let state = ExecutionState {
                    status: Status::Canceling,
                    ..(*live.state).clone()
                };
                let key = live.key();
                match Transition::new(id, &live.state, &[], state.clone()) {
                    Ok(transition) => {
                        let mut unit = Unit::moving(transition);
                        unit.effects
                            .push(Effect::Cancel(key, self.settings.cancel_grace));
                        self.set_state(id, state);
                        if let Some(live) = self.live.get(&id) {
                            unit.tell(live);
                        }
                        decision.units.push(unit);
                    }
                    Err(error) => tracing::error!(execution = %id, %error, "not cancelled"),
                }
            }
            _ => {}
        }
    }
}
