//! What tests need and the product does not: clocks that stand still, chance that can be replayed.
//! Never shipped.

pub mod store_contract;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use camshaft_model::Timestamp;
use camshaft_model::port::clock::{Clock, Entropy};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

/// A clock that only moves when it is told to.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `start` (RFC 3339).
    ///
    /// # Panics
    /// `start` is not an instant.
    #[expect(
        clippy::expect_used,
        reason = "a test that writes no instant must fail"
    )]
    pub fn at(start: &str) -> Self {
        let start: Timestamp = start.parse().expect("an RFC 3339 instant");
        Self(AtomicI64::new(start.as_micros()))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Ids and jitter that repeat with their seed.
#[derive(Debug)]
pub struct SeededEntropy {
    rng: Mutex<StdRng>,
    made: AtomicU64,
}

impl SeededEntropy {
    /// The same ids for the same seed.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            made: AtomicU64::new(0),
        }
    }

    /// A seed from `TEST_SEED`, or a fixed one. Tests print it so that a failure can be replayed.
    pub fn from_env() -> (u64, Self) {
        let seed = std::env::var("TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(1);
        (seed, Self::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn uuid(&self, now: Timestamp) -> Uuid {
        let mut bytes: [u8; 10] = self.rng.lock().random();
        let count = self.made.fetch_add(1, Ordering::SeqCst);
        // The counter comes first so that ids of one millisecond sort as they were made. The version
        // takes the place of the first four bits and the variant that of two in the third byte.
        let [high, low] = [(count >> 14) & 0xFFF, count & 0x3FFF]
            .map(|part| u16::try_from(part).unwrap_or_default().to_be_bytes());
        bytes[..2].copy_from_slice(&high);
        bytes[2..4].copy_from_slice(&low);
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

    fn fraction(&self) -> f64 {
        self.rng.lock().random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_millisecond_rise_however_many_there_are() {
        let entropy = SeededEntropy::new(1);
        let ids: Vec<_> = (0..40_000)
            .map(|_| entropy.uuid(Timestamp::default()))
            .collect();
        assert!(ids.is_sorted_by(|one, other| one < other));
    }
}
