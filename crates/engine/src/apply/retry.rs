//! The next attempt, after one that ended or was cut off.

use std::time::Duration;

use camshaft_model::{
    BlockedBy, ExecutionId, ExecutionState, Object, Status, StepEventType, Transition,
};

use crate::decision::Unit;
use crate::retry;
use crate::state::{Context, State};

impl State {
    /// Puts an execution whose attempt ended in `ended` back to `requested`, to be tried again after
    /// the delay of its policy, or at once after an interruption.
    pub(crate) fn request_next_attempt(
        &mut self,
        id: ExecutionId,
        ended: ExecutionState,
        interrupted: bool,
        unit: &mut Unit,
        context: &Context<'_>,
    ) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.interruptions += u32::from(interrupted);
        let live = &*live;
        let policy = &live.action.retry;
        let delay = if interrupted {
            Duration::ZERO
        } else {
            retry::delay(policy, live.tries(), context.entropy.fraction())
        };
        let not_before = (!delay.is_zero()).then(|| context.now + delay);
        let reason = ended
            .error
            .as_ref()
            .map(|e| e.message.clone())
            .unwrap_or_default();
        let payload = Object::from_iter([
            ("reason".to_owned(), reason.into()),
            (
                "delay_ms".to_owned(),
                u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).into(),
            ),
            ("attempt".to_owned(), live.state.attempt.into()),
            ("max_attempts".to_owned(), policy.max_attempts.into()),
        ]);
        unit.steps
            .push(live.step(StepEventType::StepRetrying, payload, context));
        let state = ExecutionState {
            status: Status::Requested,
            not_before,
            blocked_by: not_before.map(|until| BlockedBy::NotBefore { until }),
            worker: None,
            ended_at: None,
            result: None,
            ..ended
        };
        match Transition::new(id, &live.state, &[], state.clone()) {
            Ok(transition) => {
                unit.record_move(transition);
                self.set_state(id, state);
                if let Some(live) = self.live.get(&id) {
                    unit.tell(live);
                }
                self.enqueue(id);
            }
            Err(error) => tracing::error!(execution = %id, %error, "no next attempt"),
        }
    }
}
