//! Time and chance, as parameters.

use uuid::Uuid;

use crate::Timestamp;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// Where ids and jitter come from.
pub trait Entropy: Send + Sync {
    /// A new UUID version 7 that sorts at `now`, and after every earlier one of this source.
    fn uuid(&self, now: Timestamp) -> Uuid;

    /// A number from 0 (inclusive) to 1 (exclusive), for jitter.
    fn fraction(&self) -> f64;
}
