//! What is counted as it happens: a subscriber that only adds to numbers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::{EnforcementOutcome, Execution, Ref, Status, StepEventType};
use parking_lot::RwLock;

/// The bounds of histograms of times, in microseconds: from a trivial command to two hours.
pub(super) const BOUNDS_MICROS: [u64; 13] = [
    5_000,
    10_000,
    25_000,
    100_000,
    250_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    7_200_000_000,
];

/// The name under which actions are counted that have no metrics of their own. No action is called so: the
/// name of one has a dot.
pub(super) const OTHER: &str = "other";

/// Adds up what the bus tells: subscribe it to the bus that the engine publishes on.
#[derive(Debug)]
pub struct Counted {
    pub(super) events: AtomicU64,
    /// Requested, failed, skipped.
    pub(super) enforcements: [AtomicU64; 3],
    /// In the order of [`StepEventType::KNOWN`].
    pub(super) steps: Vec<AtomicU64>,
    /// In the order of [`Status::ALL`].
    pub(super) changes: [AtomicU64; Status::ALL.len()],
    pub(super) wait: Histogram,
    /// By action, for so many of them.
    pub(super) actions: RwLock<HashMap<Ref, Arc<PerAction>>>,
    pub(super) rest: PerAction,
    limit: usize,
}

/// What is counted for each action.
#[derive(Debug, Default)]
pub(super) struct PerAction {
    pub(super) attempts: AtomicU64,
    /// In the order of [`Status::ALL`].
    pub(super) ended: [AtomicU64; Status::ALL.len()],
    pub(super) duration: Histogram,
}

/// How many times were at most so long.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    pub(super) counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    pub(super) sum_micros: AtomicU64,
}

impl Histogram {
    fn add(&self, micros: u64) {
        count(&self.counts[BOUNDS_MICROS.partition_point(|bound| *bound < micros)]);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counted {
    /// Nothing counted yet. The first `limit` actions that run have metrics of their own.
    pub fn new(limit: usize) -> Self {
        Self {
            events: AtomicU64::default(),
            enforcements: Default::default(),
            steps: StepEventType::KNOWN
                .iter()
                .map(|_| AtomicU64::default())
                .collect(),
            changes: Default::default(),
            wait: Histogram::default(),
            actions: RwLock::default(),
            rest: PerAction::default(),
            limit,
        }
    }

    fn execution(&self, execution: &Execution) {
        let state = &execution.state;
        let Some(place) = Status::ALL
            .iter()
            .position(|status| *status == state.status)
        else {
            return;
        };
        count(&self.changes[place]);
        if state.status == Status::Running {
            self.of(&execution.spec.action, |action| count(&action.attempts));
            if let (Some(started), 1) = (state.started_at, state.attempt) {
                self.wait
                    .add(micros(started.since(execution.spec.requested_at)));
            }
        } else if state.status.is_terminal() {
            self.of(&execution.spec.action, |action| {
                count(&action.ended[place]);
                if let (Some(started), Some(ended)) = (state.started_at, state.ended_at) {
                    action.duration.add(micros(ended.since(started)));
                }
            });
        }
    }

    /// Does something with the numbers of an action.
    fn of(&self, action: &Ref, what: impl FnOnce(&PerAction)) {
        if let Some(known) = self.actions.read().get(action) {
            return what(known);
        }
        let mut actions = self.actions.write();
        if actions.len() < self.limit {
            what(actions.entry(action.clone()).or_default());
        } else {
            drop(actions);
            what(&self.rest);
        }
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Subscriber for Counted {
    fn name(&self) -> &str {
        "metrics"
    }

    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Event(_) => count(&self.events),
            Notice::Enforcement(enforcement) => count(match enforcement.outcome {
                EnforcementOutcome::Requested { .. } => &self.enforcements[0],
                EnforcementOutcome::Failed { .. } => &self.enforcements[1],
                EnforcementOutcome::Skipped { .. } => &self.enforcements[2],
            }),
            Notice::Execution(execution) => self.execution(execution),
            Notice::Step(line) => {
                let mut known = StepEventType::KNOWN.iter();
                if let Some(place) = known.position(|known| *known == line.event_type) {
                    count(&self.steps[place]);
                }
            }
            Notice::Constraint { .. } => {}
        }
    }
}
