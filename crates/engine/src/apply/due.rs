//! Delays that are over.

use std::sync::Arc;

use crate::decision::Decision;
use crate::state::{Context, State};
use crate::uncertain::PutOff;

impl State {
    /// Asks again about everything that waits: a wake-up that was lost costs at most the time from one
    /// sweep to the next.
    pub(crate) fn sweep(&mut self, context: &Context<'_>) -> Decision {
        self.ask_all_again(context.now);
        self.due(context)
    }

    /// Lets everything go on whose instant has come, but of alarms and of events that nothing holds any more
    /// one: what follows from it is decided and handed over before the next is looked at. The next one is
    /// due at once.
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
        self.take_up_what_was_put_off();
        self.expire_constraints(&mut decision, context);
        let next = self.alarms.first().copied();
        if let Some((at, alarm)) = next.filter(|(at, _)| *at <= context.now) {
            self.alarms.remove(&(at, alarm));
            if self.uncertain.has(alarm.run()) {
                self.uncertain.put_off(PutOff::Alarm(at, alarm));
            } else {
                self.alarm(alarm, &mut decision, context);
            }
        } else {
            self.release_event(&mut decision, context);
        }
        self.admit(context, &mut decision);
        decision
    }
}
