//! The decision of admission.

use camshaft_model::port::dispatch::Capacity;
use camshaft_model::{BlockedBy, ScopeMatcher, Timestamp};

use super::candidate::{Candidate, Leases};
use super::force::{Constraints, InForce};
use super::waiting::Hold;

/// All that a decision about a candidate depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) now: Timestamp,
    pub(crate) draining: bool,
    /// Whether constraints that hold already may not be known yet.
    pub(crate) gate_closed: bool,
    pub(crate) capacity: &'a Capacity,
    pub(crate) leases: &'a Leases,
    pub(crate) constraints: &'a Constraints,
}

/// Something that keeps a candidate from starting.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blocked<'a> {
    Draining,
    Gate,
    Runtime(&'a str),
    Resource {
        name: &'a str,
        needs: u32,
    },
    Slots,
    /// A constraint, and when a limit of a rate allows the next start.
    Constraint(&'a InForce, Option<Timestamp>),
}

/// What becomes of a candidate now.
#[derive(Debug)]
pub(crate) enum Verdict<'a> {
    /// It starts.
    Start,
    /// All of these keep it.
    Held(Vec<Blocked<'a>>),
}

/// Whether a candidate may start, or everything that keeps it from starting: what somebody set first, in the
/// order of keys, and what there is too little of after it.
pub(crate) fn admit<'a>(candidate: &'a Candidate, world: World<'a>) -> Verdict<'a> {
    let mut blocked = Vec::new();
    if world.draining {
        blocked.push(Blocked::Draining);
    }
    if world.gate_closed {
        blocked.push(Blocked::Gate);
    }
    let first = blocked.len();
    let leases = |scope: &ScopeMatcher| world.constraints.leases_in(scope, world.leases);
    for found in world.constraints.on(candidate) {
        if let Some(next_at) = found.holds(leases, world.now) {
            blocked.push(Blocked::Constraint(found, next_at));
        }
    }
    blocked[first..].sort_by_key(Blocked::key);
    let facts = &candidate.facts;
    let runtime = candidate.runtime();
    if facts.asks_for_runtime
        && !world
            .capacity
            .runtimes
            .iter()
            .any(|offered| offered == runtime)
    {
        blocked.push(Blocked::Runtime(runtime));
    }
    for (name, needs) in &facts.resources {
        let used = world.leases.resource_used(name);
        if used.saturating_add(*needs) > world.capacity_of(name) {
            blocked.push(Blocked::Resource {
                name,
                needs: *needs,
            });
        }
    }
    if facts.takes_slot && world.leases.len() >= world.capacity.slots as usize {
        blocked.push(Blocked::Slots);
    }
    if blocked.is_empty() {
        Verdict::Start
    } else {
        Verdict::Held(blocked)
    }
}

impl World<'_> {
    fn capacity_of(&self, resource: &str) -> u32 {
        self.capacity.resources.get(resource).copied().unwrap_or(0)
    }
}

impl<'a> Blocked<'a> {
    fn key(&self) -> Option<camshaft_model::ConstraintKey> {
        match self {
            Self::Constraint(found, _) => Some(found.constraint.key()),
            _ => None,
        }
    }

    /// The next instant at which it is worth asking again, if time alone will end it.
    pub(crate) fn again_at(&self) -> Option<Timestamp> {
        match self {
            Self::Constraint(found, next_at) => next_at
                .iter()
                .copied()
                .chain(found.constraint.expires_at)
                .min(),
            _ => None,
        }
    }

    /// Under what a class is filed that this keeps; `None` for what keeps everything.
    pub(crate) fn hold(&self) -> Option<Hold> {
        Some(match self {
            Self::Draining | Self::Gate | Self::Slots => return None,
            Self::Runtime(name) => Hold::Runtime((*name).to_owned()),
            Self::Resource { name, needs } => Hold::Resource((*name).to_owned(), *needs),
            Self::Constraint(found, _) => Hold::Constraint(found.constraint.key()),
        })
    }

    /// How an execution tells of it.
    pub(crate) fn told(&self, world: &World<'a>) -> BlockedBy {
        match self {
            Self::Draining => BlockedBy::Draining,
            Self::Gate => BlockedBy::Gate,
            Self::Runtime(name) => BlockedBy::Runtime {
                runtime: (*name).to_owned(),
                available: world.capacity.runtimes.clone(),
            },
            Self::Resource { name, needs } => BlockedBy::Resource {
                resource: (*name).to_owned(),
                needs: *needs,
                capacity: world.capacity_of(name),
            },
            Self::Slots => BlockedBy::Slots {
                capacity: world.capacity.slots,
            },
            Self::Constraint(found, next_at) => {
                BlockedBy::Constraint(Box::new(found.held_by(*next_at)))
            }
        }
    }
}
