//! How busy the engine is, in numbers: what metrics show.

use std::collections::BTreeMap;

use camshaft_model::{ConstraintKey, Timestamp};

use super::Engine;
use crate::constraint::Hold;
use crate::state::State;

/// At most so many constraints are counted one by one.
pub const COUNTED_CONSTRAINTS: usize = 200;

/// How busy the engine is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// How many attempts the worker runs at once.
    pub slots: u64,
    /// How many of those slots are taken.
    pub slots_used: u64,
    /// Named capacities: how much there is, and how much of it is taken.
    pub resources: BTreeMap<String, (u64, u64)>,
    /// How many executions are not terminal.
    pub live: u64,
    /// How many may start as soon as there is a slot.
    pub ready: u64,
    /// How many wait for an instant: a delay that was asked for, or that of a retry.
    pub delayed: u64,
    /// How many wait for a runtime or a named capacity.
    pub unprovided: u64,
    /// How many a constraint holds.
    pub held: u64,
    /// When the one that waits longest in line was asked for.
    pub oldest: Option<Timestamp>,
    /// How many constraints are in force.
    pub constraints: u64,
    /// What the first [`COUNTED_CONSTRAINTS`] of them do, in the order of scopes and types.
    pub by_constraint: Vec<(ConstraintKey, ConstraintLoad)>,
}

/// What one constraint does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConstraintLoad {
    /// How many executions in its scope hold a lease.
    pub leases: u64,
    /// How many more may start, as far as this constraint goes; `None` if it sets no limit.
    pub room: Option<u64>,
    /// How many executions wait for it and for nothing before it.
    pub held: u64,
}

impl Engine {
    /// How busy the engine is now.
    pub fn current_load(&self) -> Load {
        let now = self.core.clock().now();
        self.core.read(|state| state.load(now))
    }
}

impl State {
    pub(crate) fn load(&self, now: Timestamp) -> Load {
        let capacity = &self.capacity;
        let resources = capacity.resources.iter().map(|(name, amount)| {
            let used = self.leases.resource_used(name);
            (name.clone(), (u64::from(*amount), u64::from(used)))
        });
        let mut load = Load {
            slots: capacity.slots.into(),
            slots_used: self.leases.len() as u64,
            resources: resources.collect(),
            live: self.live.len() as u64,
            delayed: self.delayed.len() as u64,
            constraints: self.constraints.len() as u64,
            ..Load::default()
        };
        let mut held: BTreeMap<&ConstraintKey, u64> = BTreeMap::new();
        for class in self.waiting.classes() {
            let count = class.len() as u64;
            match self.waiting.hold_of(class) {
                None => load.ready += count,
                Some(Hold::Constraint(key)) => {
                    load.held += count;
                    *held.entry(key).or_default() += count;
                }
                Some(Hold::Runtime(_) | Hold::Resource(..)) => load.unprovided += count,
            }
            load.oldest = load.oldest.into_iter().chain(class.oldest()).min();
        }
        let shown = self.constraints.all().take(COUNTED_CONSTRAINTS);
        let shown = shown.map(|found| {
            let leases = self.constraints.leases_in(&found.scope, &self.leases);
            let key = found.constraint.key();
            let load = ConstraintLoad {
                leases: leases as u64,
                room: found.room(leases, now),
                held: held.get(&key).copied().unwrap_or(0),
            };
            (key, load)
        });
        load.by_constraint = shown.collect();
        load
    }
}
