//! Delays that are over.

use std::sync::Arc;

use crate::decision::Decision;
use crate::state::{Context, State};

impl State {
    /// Asks again about everything that waits: a wake-up that was lost costs at most the time from one
    /// sweep to the next.
    pub(crate) fn sweep(&mut self, context: &Context<'_>) -> Decision {
        self.waiting.open_all();
        self.due(context)
    }

    /// Lets everything go on whose instant has come.
    pub(crate) fn due(&mut self, context: &Context<'_>) -> Decision {
        let mut decision = Decision::default();
        while let Some((at, id)) = self.delayed.first().copied() {
            if at > context.now {
                break;
            }
            self.delayed.remove(&(at, id));
            if let Some(live) = self.live.get_mut(&id) {
                Arc::make_mut(&mut live.state).not_before = None;
            }
            self.enqueue(id);
        }
        while let Some((at, alarm)) = self.alarms.first().copied() {
            if at > context.now {
                break;
            }
            self.alarms.remove(&(at, alarm));
            self.alarm(alarm, &mut decision, context);
        }
        self.expire_constraints(&mut decision, context);
        self.release_events(&mut decision, context);
        self.admit(context, &mut decision);
        decision
    }
}
