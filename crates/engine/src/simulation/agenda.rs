//! What is going to happen, by virtual instant, and the two things that a decision is not given by its
//! command: the time and chance.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use camshaft_model::port::clock::Entropy;
use camshaft_model::{ExecutionId, Timestamp};
use uuid::{Builder, Uuid};

/// Something that is going to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coming {
    /// An attempt at an execution ends.
    End(ExecutionId),
    /// The act at this place of the scenario.
    Act(usize),
}

/// A queue by instant; what is due at the same instant happens in the order in which it was planned.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    queue: BTreeMap<(Timestamp, u64), Coming>,
    planned: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Timestamp, coming: Coming) {
        self.queue.insert((at, self.planned), coming);
        self.planned += 1;
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Coming> {
        self.queue.pop_first().map(|(_, coming)| coming)
    }

    /// Takes out the end of an execution.
    pub(super) fn forget(&mut self, id: ExecutionId) {
        self.queue.retain(|_, coming| *coming != Coming::End(id));
    }
}

/// Ids that rise and repeat. There is no chance: jitter is always in the middle.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Entropy for Counter {
    fn uuid(&self, now: Timestamp) -> Uuid {
        let mut bytes = [0; 10];
        let count = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes[..8].copy_from_slice(&count);
        // The version and variant take the places of six bits of the first and third byte, which are
        // zero for any count that a simulation can reach.
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

    fn fraction(&self) -> f64 {
        0.5
    }
}
