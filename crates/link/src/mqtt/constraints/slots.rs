//! What the broker retains, as far as a connection has shown: on each topic the constraint that is there.
//! A topic without any, or with one that is long over, has no place here.

use std::collections::HashMap;

use camshaft_model::{Constraint, ConstraintKey, MAX_CONSTRAINTS, Timestamp};

use super::word::labelled;
use crate::mqtt::topic::ConstraintTopic;

/// The most topics: each constraint has its own and that of its scope.
pub(super) const MAX_TOPICS: usize = 2 * MAX_CONSTRAINTS;

/// What a topic retains.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) constraint: Constraint,
    /// An engine put it there: it is nobody's wish.
    pub(super) is_kept: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Slots(HashMap<ConstraintTopic, Slot>);

impl Slots {
    /// `false` if there are too many.
    pub(super) fn put(&mut self, about: ConstraintTopic, slot: Slot, now: Timestamp) -> bool {
        if self.0.len() >= MAX_TOPICS && !self.0.contains_key(&about) {
            self.0.retain(|_, slot| !slot.constraint.is_expired(now));
            if self.0.len() >= MAX_TOPICS {
                return false;
            }
        }
        self.0.insert(about, slot);
        true
    }

    /// Whether another topic may have no place.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_TOPICS
    }

    pub(super) fn remove(&mut self, about: &ConstraintTopic) {
        self.0.remove(about);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The constraints that it has something of, in order.
    pub(super) fn keys(&self) -> Vec<ConstraintKey> {
        let mut keys: Vec<_> = self.0.values().map(|slot| slot.constraint.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// On the topic of its type.
    pub(super) fn typed(&self, key: &ConstraintKey) -> Option<&Slot> {
        self.0.get(&ConstraintTopic::of(key))
    }

    /// On the topic of its scope, if that has one of its type.
    pub(super) fn plain(&self, key: &ConstraintKey) -> Option<&Slot> {
        let slot = self.0.get(&ConstraintTopic::of_scope(&key.scope))?;
        (slot.constraint.terms.kind() == key.kind).then_some(slot)
    }

    /// Whether either topic has it.
    pub(super) fn has(&self, key: &ConstraintKey) -> bool {
        self.typed(key).is_some() || self.plain(key).is_some()
    }

    /// What holds by both topics. Every client writes that of the scope, and writes it last, so it is the
    /// later word.
    pub(super) fn stated(&self, key: &ConstraintKey, now: Timestamp) -> Option<Slot> {
        let holding = |slot: &&Slot| !slot.constraint.is_expired(now);
        let typed = self.typed(key).filter(holding);
        match self.plain(key) {
            Some(plain) if holding(&plain) => Some(Slot {
                constraint: labelled(plain.constraint.clone(), typed.map(|slot| &slot.constraint)),
                is_kept: false,
            }),
            // What engines have copied was there before one that has expired.
            Some(_) => typed.filter(|slot| !slot.is_kept).cloned(),
            None => typed.cloned(),
        }
    }
}
