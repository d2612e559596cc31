//! Timers: the sensors that watch the clock.
//!
//! [`Timers::reconcile`] is told which timers ought to exist and keeps a [`Slot`] for each.
//! [`Timers::run`] sleeps until the earliest of them wants to be looked at, and looks: [`Timers::tick`].
//! A look at one timer (`look.rs`) reads what it remembers from the store, asks its
//! [`Schedule`](crate::schedule::Schedule) what is due, and emits one event after another; each event
//! is stored together with what the timer remembers next, so a crash repeats or loses nothing. Timers
//! are looked at side by side, a bounded number at once, so one that waits for the database does not
//! hold up the others; the loop does not wait for any of them.
//!
//! What a timer remembers is read anew at each look instead of being kept in memory. That costs a read
//! for each occurrence, and makes a second engine on the same database harmless: it sees what the first
//! has fired, and where both are at it in the same instant, the deduplication key leaves one event.

mod look;
mod memory;
mod slot;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camshaft_model::Timestamp;
use camshaft_model::port::clock::Clock;
use camshaft_model::port::sensor::{Intake, SensorHealth, SensorHost, SensorSpec};
use camshaft_model::port::store::Store;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::schedule::Schedule;
use slot::{Slot, Turn};

/// The longest sleep of the loop: a clock that was set forward is noticed after so long.
const SLEEP_LIMIT: Duration = Duration::from_secs(30);

/// How many timers emit at once.
const EMIT_CONCURRENCY: usize = 64;

/// How long the end of the loop waits for events that are on their way. What is cut off then is
/// either stored with its event or due again at the next start.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The host of all timers. See the module's documentation.
pub struct Timers {
    intake: Arc<dyn Intake>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    /// Woken when a timer came, went, or has been looked at.
    changed: Arc<Notify>,
    emitting: Arc<Semaphore>,
    /// Whether the loop has run and ended.
    stopped: AtomicBool,
}

impl Timers {
    /// A host without timers yet.
    pub fn new(intake: Arc<dyn Intake>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            intake,
            store,
            clock,
            slots: Mutex::default(),
            changed: Arc::default(),
            emitting: Arc::new(Semaphore::new(EMIT_CONCURRENCY)),
            stopped: AtomicBool::new(false),
        })
    }

    /// Looks at the clock whenever a timer wants it, until `shutdown` is true or its sender is gone.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let _stopped = StoppedOnDrop(&self.stopped);
        let mut looks = JoinSet::new();
        loop {
            let now = self.clock.now();
            self.spawn_looks(&mut looks, self.begin(now), now);
            let sleep = self
                .next_look()
                .map_or(SLEEP_LIMIT, |at| at.since(now).min(SLEEP_LIMIT));
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.changed.notified() => {}
                Some(_) = looks.join_next() => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
        }
        let ended = async { while looks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
            tracing::warn!("timers still waited for the database when they were stopped");
        }
    }

    /// Looks at every timer that wants it at `now`, and waits until each has emitted what is due.
    pub async fn tick(self: &Arc<Self>, now: Timestamp) {
        let mut looks = JoinSet::new();
        self.spawn_looks(&mut looks, self.begin(now), now);
        looks.join_all().await;
    }

    /// When the next timer wants to be looked at; `None` if none does. Timers that are being looked at
    /// do not count.
    pub fn next_look(&self) -> Option<Timestamp> {
        self.slots
            .lock()
            .values()
            .filter_map(|slot| slot.next_look())
            .min()
    }

    /// Takes the timers that want to be looked at.
    fn begin(&self, now: Timestamp) -> Vec<Turn> {
        let slots = self.slots.lock();
        slots
            .values()
            .filter_map(|slot| Turn::take(slot, now, &self.changed))
            .collect()
    }

    fn spawn_looks(self: &Arc<Self>, looks: &mut JoinSet<()>, turns: Vec<Turn>, now: Timestamp) {
        for turn in turns {
            let this = Arc::clone(self);
            looks.spawn(async move {
                let Ok(_permit) = Arc::clone(&this.emitting).acquire_owned().await else {
                    return;
                };
                let outcome = this.look(turn.slot(), now).await;
                turn.end(outcome, now);
            });
        }
    }
}

impl SensorHost for Timers {
    fn reconcile(&self, desired: &[SensorSpec]) {
        let now = self.clock.now();
        let mut slots = self.slots.lock();
        let mut former = std::mem::take(&mut *slots);
        for spec in desired.iter().filter(|spec| Schedule::is_timer(spec.kind)) {
            if former.get(&spec.key).is_some_and(|slot| slot.is_for(spec)) {
                slots.extend(former.remove_entry(&spec.key));
            } else {
                slots
                    .entry(spec.key.clone())
                    .or_insert_with(|| Arc::new(Slot::new(spec.clone(), now)));
            }
        }
        // What is left over is not wanted any more, or has made room for its successor.
        former.values().for_each(|slot| slot.remove());
        drop(slots);
        self.changed.notify_one();
    }

    fn health(&self) -> Vec<SensorHealth> {
        let stopped = self.stopped.load(Ordering::Acquire);
        let slots = self.slots.lock();
        slots
            .values()
            .map(|slot| {
                let mut health = slot.health();
                if stopped && health.problem.is_none() {
                    health.problem = Some("the loop that looks at the clock has ended".to_owned());
                }
                health
            })
            .collect()
    }
}

struct StoppedOnDrop<'a>(&'a AtomicBool);

impl Drop for StoppedOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
