//! The loop that wakes the state when a delay is over, and a slow sweep behind it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Core;

/// At the latest so long after the last look, the state is looked at again: a wake-up that was lost,
/// or a step of the wall clock, costs no more.
const SWEEP: Duration = Duration::from_secs(30);

impl Core {
    /// Runs until `shutdown` says so.
    pub(crate) async fn pulse(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let _alive = Alive::new(self.clone());
        // Its own beat: a wake-up is no reason for a sweep, nor to put one off.
        let mut sweeps = tokio::time::interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*shutdown.borrow() {
            let now = self.clock().now();
            let next = self.read(|state| state.next_due());
            let pause = next.map_or(SWEEP, |at| at.since(now)).min(SWEEP);
            let is_sweep = tokio::select! {
                _ = sweeps.tick() => true,
                () = tokio::time::sleep(pause) => false,
                () = self.wake.notified() => false,
                _ = shutdown.changed() => false,
            };
            let due = self
                .read(|state| state.next_due())
                .is_some_and(|at| at <= self.clock().now());
            if is_sweep {
                self.apply(|state, context| state.sweep(context));
            } else if due {
                self.apply(|state, context| state.due(context));
            }
        }
    }
}

/// Says that the loop lives, for as long as it does.
struct Alive(Arc<Core>);

impl Alive {
    fn new(core: Arc<Core>) -> Self {
        core.pulse_alive.store(true, Ordering::Relaxed);
        Self(core)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.pulse_alive.store(false, Ordering::Relaxed);
    }
}
