//! The broker's last word about each constraint, and how it stands with this engine. What the engine
//! decided otherwise by its API is kept through restarts, so that it does not come back with what the
//! broker retains.
//!
//! That is one small text, a line for each such word: how it stands, and the message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::{Constraint, ConstraintKey, Timestamp};

use crate::mqtt::message;

/// The most bytes that are kept.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Ends of no more than this apart are one: as seconds on the wire they are not quite exact.
const ONE_INSTANT: Duration = Duration::from_millis(10);

/// Where the text is kept. Neither may take long.
pub trait Notes: Send + Sync {
    /// What was kept last; empty if nothing was.
    fn read(&self) -> String;
    /// Keeps this in its place.
    fn write(&self, text: &str);
}

/// How a word of the broker stands with this engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was put in force, and nobody has ended it; its time may be over.
    InForce,
    /// The API put another in its place here, and nowhere else.
    Overridden,
    /// The API ended it here, which the broker is told.
    Ended,
    /// The broker told its end, but still retains it somewhere.
    Cleared,
}

impl Standing {
    const ALL: [Self; 4] = [Self::InForce, Self::Overridden, Self::Ended, Self::Cleared];

    const fn as_str(self) -> &'static str {
        match self {
            Self::InForce => "in_force",
            Self::Overridden => "overridden",
            Self::Ended => "ended",
            Self::Cleared => "cleared",
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) constraint: Constraint,
    pub(super) standing: Standing,
}

/// All of them.
#[derive(Default)]
pub(super) struct Words {
    pub(super) of: HashMap<ConstraintKey, Word>,
    notes: Option<Arc<dyn Notes>>,
    noted: String,
    /// Whether they have become too many to be noted, which was said.
    is_too_much: bool,
}

impl Words {
    /// Adds what an earlier life has left, where nothing is known that is newer. What cannot be read is
    /// passed over.
    pub(super) fn restore(&mut self, notes: Arc<dyn Notes>, now: Timestamp) {
        let noted = notes.read();
        for line in noted.lines() {
            let (standing, message) = line.split_once(' ').unwrap_or_default();
            let known = Standing::ALL
                .into_iter()
                .find(|one| one.as_str() == standing);
            // Earlier versions noted only what was ended, without a word.
            let (standing, message) = match known {
                Some(standing) => (standing, message),
                None => (Standing::Ended, line),
            };
            if let Ok(constraint) = message::read(message.as_bytes(), now) {
                let word = Word {
                    constraint,
                    standing,
                };
                self.of.entry(word.constraint.key()).or_insert(word);
            }
        }
        self.noted = noted;
        self.notes = Some(notes);
    }

    /// Notes what is not as the broker has it, if that has changed.
    pub(super) fn note(&mut self) {
        let Some(notes) = &self.notes else {
            return;
        };
        let differing = self.of.values();
        let differing = differing.filter(|word| word.standing != Standing::InForce);
        let mut lines: Vec<String> = differing
            .map(|word| {
                let message = message::write_plain(&word.constraint);
                let message = String::from_utf8_lossy(&message);
                format!("{} {message}\n", word.standing.as_str())
            })
            .collect();
        lines.sort_unstable();
        let text = lines.concat();
        if text.len() > MAX_BYTES {
            if !std::mem::replace(&mut self.is_too_much, true) {
                tracing::warn!(
                    "more than {MAX_BYTES} bytes of constraints differ from what the broker retains: what has come last is not kept through a restart"
                );
            }
            return;
        }
        self.is_too_much = false;
        if text != self.noted {
            notes.write(&text);
            self.noted = text;
        }
    }

    /// Puts in a word of the broker.
    pub(super) fn put(&mut self, constraint: Constraint, standing: Standing) {
        let word = Word {
            constraint,
            standing,
        };
        self.of.insert(word.constraint.key(), word);
    }

    pub(super) fn forget_expired(&mut self, now: Timestamp) {
        self.of.retain(|_, word| !word.constraint.is_expired(now));
    }

    /// How a word stands, if there is one.
    pub(super) fn standing(&self, key: &ConstraintKey) -> Option<Standing> {
        self.of.get(key).map(|word| word.standing)
    }
}

/// Whether two messages are of one constraint. Reason and owner are only in some of them.
pub(super) fn is_same(one: &Constraint, other: &Constraint) -> bool {
    let end_as_one = match (one.expires_at, other.expires_at) {
        (Some(one), Some(other)) => {
            one.since(other) <= ONE_INSTANT && other.since(one) <= ONE_INSTANT
        }
        (one, other) => one == other,
    };
    one.id == other.id && one.terms == other.terms && end_as_one
}

/// The constraint with reason and owner of one that is the same, where it has none itself.
pub(super) fn labelled(mut constraint: Constraint, same: Option<&Constraint>) -> Constraint {
    if let Some(same) = same.filter(|same| is_same(same, &constraint)) {
        constraint.reason = constraint.reason.or_else(|| same.reason.clone());
        constraint.owner = constraint.owner.or_else(|| same.owner.clone());
    }
    constraint
}
