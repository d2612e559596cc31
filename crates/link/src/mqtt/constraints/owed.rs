//! What a broker has still to forget, kept through restarts of the engine: a constraint that ended while
//! the broker was away must not come back with it.
//!
//! It is one small text, the messages of the constraints one a line, and it is written only while there
//! is no connection or while it is not empty: with a connection the broker forgets within moments.

use std::collections::HashMap;
use std::sync::Arc;

use camshaft_model::{Constraint, ConstraintKey, Timestamp};

use crate::mqtt::message;

/// The most bytes that are kept.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Where the text is kept. Neither may take long.
pub trait Notes: Send + Sync {
    /// What was kept last; empty if nothing was.
    fn read(&self) -> String;
    /// Keeps this in its place.
    fn write(&self, text: &str);
}

/// See the module.
#[derive(Default)]
pub(super) struct Owed {
    pub(super) constraints: HashMap<ConstraintKey, Constraint>,
    notes: Option<Arc<dyn Notes>>,
    noted: String,
}

impl Owed {
    /// What an earlier life has left. What cannot be read is passed over.
    pub(super) fn restore(notes: Arc<dyn Notes>, now: Timestamp) -> Self {
        let noted = notes.read();
        let left = noted.lines().take_while(|_| noted.len() <= MAX_BYTES);
        let left = left.filter_map(|line| message::read(line.as_bytes(), now).ok());
        Self {
            constraints: left.map(|left| (left.key(), left)).collect(),
            notes: Some(notes),
            noted,
        }
    }

    /// Notes what is owed, if there is need to.
    pub(super) fn note(&mut self, is_connected: bool) {
        let Some(notes) = &self.notes else {
            return;
        };
        if is_connected && self.noted.is_empty() {
            return;
        }
        let mut lines: Vec<String> = self
            .constraints
            .values()
            .map(|owed| String::from_utf8_lossy(&message::write_plain(owed)).into_owned() + "\n")
            .collect();
        lines.sort_unstable();
        let text = lines.concat();
        if text != self.noted && text.len() <= MAX_BYTES {
            notes.write(&text);
            self.noted = text;
        }
    }
}
