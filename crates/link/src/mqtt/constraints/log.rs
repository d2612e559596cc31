//! Which refused messages are logged: each once, and not too many in a minute.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use camshaft_model::Timestamp;

use crate::mqtt::message::MAX_CONSTRAINT_BYTES;

/// The most refused messages that are remembered, so that a retained one is logged once.
const MAX_REMEMBERED: usize = 1_024;
/// How many refused messages are logged in a minute.
const LOGGED_A_MINUTE: u32 = 10;

/// See the module.
#[derive(Default)]
pub(super) struct Log {
    seen: HashSet<u64>,
    minute: i64,
    written: u32,
    unsaid: u64,
}

impl Log {
    /// Whether a message is logged, and how many were not since the last one that was.
    pub(super) fn may_write(&mut self, topic: &str, payload: &[u8], now: Timestamp) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (topic, &payload[..payload.len().min(MAX_CONSTRAINT_BYTES)]).hash(&mut hasher);
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.clear();
        }
        if !self.seen.insert(hasher.finish()) {
            return None;
        }
        let minute = now.as_micros().div_euclid(60_000_000);
        if minute != self.minute {
            self.minute = minute;
            self.written = 0;
        }
        if self.written >= LOGGED_A_MINUTE {
            self.unsaid += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}
