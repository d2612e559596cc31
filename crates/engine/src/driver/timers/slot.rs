//! One timer: what it is, when it wants to be looked at, and how it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camshaft_model::Timestamp;
use camshaft_model::port::sensor::{SensorHealth, SensorSpec};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::schedule::{Due, Schedule, Watch};

/// The first wait after a failure; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_millis(250);

/// The longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Why a look could not be ended. The timer is looked at again after a while.
#[derive(Debug, thiserror::Error)]
pub(super) enum Setback {
    /// What the timer remembers cannot be read or written now.
    #[error("what the timer remembers is out of reach: {0}")]
    Memory(String),
    /// The engine cannot record events now.
    #[error("{0}")]
    Intake(String),
}

/// One occurrence that has been found due and waits to be recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occurrence {
    pub(super) instant: Timestamp,
    /// How many before it were missed and do not fire.
    pub(super) missed: u64,
}

pub(super) struct Slot {
    pub(super) spec: SensorSpec,
    pub(super) schedule: Result<Schedule, String>,
    /// When this engine began to watch.
    pub(super) activated_at: Timestamp,
    removed: AtomicBool,
    progress: Mutex<Progress>,
}

struct Progress {
    /// Whether it is being looked at.
    busy: bool,
    /// When to look; `None` if nothing will ever be due.
    look_at: Option<Timestamp>,
    /// Since when it has been watched without a break.
    since: Timestamp,
    /// Everything up to here has been dealt with, also what the store does not know of.
    passed: Timestamp,
    pending: VecDeque<Occurrence>,
    /// The schedule, counted from an anchor.
    anchored: Option<(Timestamp, Arc<Schedule>)>,
    failures: u32,
    failed_at: Timestamp,
    /// Why the last look could not be ended.
    setback: Option<String>,
    /// Why the last occurrence was refused.
    refusal: Option<String>,
}

impl Slot {
    pub(super) fn new(spec: SensorSpec, now: Timestamp) -> Self {
        let schedule =
            Schedule::parse(spec.kind, &spec.parameters).map_err(|error| error.to_string());
        let progress = Progress {
            busy: false,
            look_at: schedule.is_ok().then_some(now),
            since: now,
            passed: Timestamp::from_micros(i64::MIN),
            pending: VecDeque::new(),
            anchored: None,
            failures: 0,
            failed_at: now,
            setback: None,
            refusal: None,
        };
        Self {
            spec,
            schedule,
            activated_at: now,
            removed: AtomicBool::new(false),
            progress: Mutex::new(progress),
        }
    }

    /// Whether it is what `spec` asks for. Which rules need it makes no difference.
    pub(super) fn is_for(&self, spec: &SensorSpec) -> bool {
        self.spec.trigger == spec.trigger
            && self.spec.kind == spec.kind
            && self.spec.parameters == spec.parameters
    }

    pub(super) fn remove(&self) {
        self.removed.store(true, Ordering::Release);
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let progress = self.progress.lock();
        progress.look_at.filter(|_| !progress.busy)
    }

    pub(super) fn health(&self) -> SensorHealth {
        let problem = match &self.schedule {
            Ok(_) => {
                let progress = self.progress.lock();
                progress
                    .setback
                    .as_ref()
                    .or(progress.refusal.as_ref())
                    .cloned()
            }
            Err(problem) => Some(problem.clone()),
        };
        SensorHealth {
            key: self.spec.key.clone(),
            trigger: self.spec.trigger.clone(),
            problem,
        }
    }

    /// The schedule counted from `anchor`. Kept, because it does not change from look to look.
    pub(super) fn anchored(&self, schedule: &Schedule, anchor: Timestamp) -> Arc<Schedule> {
        let mut progress = self.progress.lock();
        match &progress.anchored {
            Some((from, anchored)) if *from == anchor => Arc::clone(anchored),
            _ => {
                let anchored = Arc::new(schedule.anchored(anchor));
                progress.anchored = Some((anchor, Arc::clone(&anchored)));
                anchored
            }
        }
    }

    /// From when on to look for what is due, after what waits already.
    pub(super) fn watch(&self, remembered: Timestamp, now: Timestamp) -> Watch {
        let mut progress = self.progress.lock();
        // A clock that was set back makes no break: the timer has been watched all along.
        progress.since = progress.since.min(now);
        progress
            .pending
            .retain(|occurrence| occurrence.instant > remembered);
        let waiting = progress.pending.back().map(|occurrence| occurrence.instant);
        let after = waiting.unwrap_or(remembered).max(progress.passed);
        Watch {
            after,
            since: progress.since,
        }
    }

    /// Keeps what is due until it has been recorded.
    pub(super) fn keep(&self, due: &Due) {
        let mut missed = due.missed;
        let occurrences = due.fire.iter().map(|instant| Occurrence {
            instant: *instant,
            missed: std::mem::take(&mut missed),
        });
        self.progress.lock().pending.extend(occurrences);
    }

    pub(super) fn first_pending(&self) -> Option<Occurrence> {
        self.progress.lock().pending.front().copied()
    }

    /// The first of what waits has been dealt with: recorded, or refused for a reason.
    pub(super) fn pass(&self, occurrence: Occurrence, refusal: Option<String>) {
        let mut progress = self.progress.lock();
        progress.pending.pop_front();
        progress.passed = progress.passed.max(occurrence.instant);
        progress.refusal = refusal;
    }

    fn fail(&self, problem: &str, now: Timestamp) {
        let mut progress = self.progress.lock();
        let wait = RETRY_MIN
            .saturating_mul(1 << progress.failures.min(16))
            .min(RETRY_MAX);
        progress.failures = progress.failures.saturating_add(1);
        progress.failed_at = now;
        progress.look_at = Some(now + wait);
        if progress.setback.as_deref() != Some(problem) {
            tracing::warn!(sensor = %self.spec.key, problem, "a timer could not go on");
            progress.setback = Some(problem.to_owned());
        }
    }
}

/// The right to look at a timer. Dropped without an end, as when a look panics, it is a failure.
pub(super) struct Turn {
    slot: Arc<Slot>,
    changed: Arc<Notify>,
    began_at: Timestamp,
    ended: bool,
}

impl Turn {
    /// Takes the turn if the timer wants to be looked at and nobody does.
    pub(super) fn take(slot: &Arc<Slot>, now: Timestamp, changed: &Arc<Notify>) -> Option<Self> {
        let mut progress = slot.progress.lock();
        // A wait after a failure is not prolonged by a clock that is set back meanwhile.
        let retry = progress.failures > 0 && now < progress.failed_at;
        let wanted = progress.look_at.is_some_and(|at| at <= now || retry);
        if progress.busy || !wanted {
            return None;
        }
        progress.busy = true;
        drop(progress);
        let (slot, changed) = (Arc::clone(slot), Arc::clone(changed));
        Some(Self {
            slot,
            changed,
            began_at: now,
            ended: false,
        })
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Ends the turn with when to look next, or with why it could not be ended.
    pub(super) fn end(mut self, outcome: Result<Option<Timestamp>, Setback>, now: Timestamp) {
        self.ended = true;
        match outcome {
            Ok(next) => {
                let mut progress = self.slot.progress.lock();
                progress.look_at = next;
                progress.failures = 0;
                progress.setback = None;
            }
            Err(setback) => self.slot.fail(&setback.to_string(), now),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            self.slot
                .fail("a look at the timer was broken off", self.began_at);
        }
        self.slot.progress.lock().busy = false;
        self.changed.notify_one();
    }
}
