//! What a timer remembers in the store.

use camshaft_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The state of a timer, stored with each of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Where it began to count.
    pub(super) anchor: Timestamp,
    /// Everything up to here has been dealt with: the last instant that fired, or the beginning.
    pub(super) after: Timestamp,
    /// How many events it has emitted.
    pub(super) count: u64,
}

impl Memory {
    /// What a timer remembers at its first activation. Occurrences before it are nobody's.
    pub(super) fn beginning(start: Option<Timestamp>, now: Timestamp) -> Self {
        Self {
            anchor: start.unwrap_or(now),
            after: now,
            count: 0,
        }
    }

    /// What it remembers once it has fired for `instant`.
    pub(super) fn fired(self, instant: Timestamp) -> Self {
        Self {
            after: instant,
            count: self.count + 1,
            ..self
        }
    }

    pub(super) fn to_value(self) -> Value {
        serde_json::json!({ "anchor": self.anchor, "after": self.after, "count": self.count })
    }

    pub(super) fn from_value(value: Value) -> Option<Self> {
        serde_json::from_value(value).ok()
    }
}
