//! The constraints in force, found by the names of a candidate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

use camshaft_model::port::store::ConstraintRecord;
use camshaft_model::{
    Constraint, ConstraintKey, ConstraintType, HeldBy, ScopeKind, ScopeMatcher, Terms, Timestamp,
};

use super::candidate::{Candidate, Leases};
use super::rate;

/// A constraint and how far its rate is.
#[derive(Debug, Clone)]
pub(crate) struct InForce {
    pub(crate) constraint: Arc<Constraint>,
    /// Which one it is, until it ends or is replaced by one of another id, owner or reason. Whoever was told
    /// of it need not hear that its limit or its end was moved.
    pub(crate) number: NonZeroU32,
    pub(crate) scope: ScopeMatcher,
    /// Of a limit of the rate; see [`rate`].
    pub(crate) due: Option<Timestamp>,
    /// Since when there is one that says this, without a break.
    pub(crate) since: Timestamp,
}

/// A limit of a rate that a start moved on.
#[derive(Debug)]
pub(crate) struct RateMoved {
    pub(crate) key: ConstraintKey,
    before: Option<Timestamp>,
    /// From when on it allows the next start, if there were no burst.
    pub(crate) at: Timestamp,
}

/// The project and the worker that an engine works for: scopes choose by these too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Home {
    pub(crate) project: String,
    pub(crate) worker: String,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Constraints {
    home: Home,
    in_force: BTreeMap<ConstraintKey, InForce>,
    /// Those whose scope may be found by its name as it stands.
    named: HashMap<ScopeKind, HashMap<Arc<str>, Vec<ConstraintKey>>>,
    /// Those whose name is a pattern.
    patterns: BTreeSet<ConstraintKey>,
    /// Those that hold events.
    of_events: BTreeSet<ConstraintKey>,
    expiries: BTreeSet<(Timestamp, ConstraintKey)>,
    /// How many numbers were given.
    numbers: u32,
    /// The latest instant at which somebody looked.
    seen: Timestamp,
}

impl Constraints {
    pub(crate) fn new(home: Home) -> Self {
        Self {
            home,
            ..Self::default()
        }
    }

    /// What the engine works for.
    pub(crate) const fn home(&self) -> &Home {
        &self.home
    }

    /// Puts a constraint in force and returns the one that it replaces. A limit of a rate goes on from
    /// where the one before it was, or from `due`.
    pub(crate) fn set(
        &mut self,
        constraint: Arc<Constraint>,
        due: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<InForce> {
        let key = constraint.key();
        let before = self.remove(&key);
        // One that is over holds nothing any more, whether or not somebody has ended it yet.
        let lasting = before
            .as_ref()
            .filter(|before| !before.constraint.is_expired(now));
        let same = lasting.filter(|before| {
            let (before, new) = (&before.constraint, &constraint);
            (&before.id, &before.owner, &before.reason) == (&new.id, &new.owner, &new.reason)
        });
        let number = same.map_or_else(|| self.next_number(), |same| same.number);
        let due = lasting.and_then(|before| before.due).or(due);
        let goes_on = lasting.filter(|before| before.constraint.terms == constraint.terms);
        let since = goes_on.map_or(constraint.set_at, |before| before.since);
        let scope = constraint.scope.matcher();
        if scope.is_pattern() {
            self.patterns.insert(key.clone());
        } else {
            let of_kind = self.named.entry(scope.kind()).or_default();
            let of_name = of_kind.entry(constraint.scope.name().into()).or_default();
            of_name.push(key.clone());
        }
        if let Some(at) = constraint.expires_at {
            self.expiries.insert((at, key.clone()));
        }
        if key.kind == ConstraintType::EventPause {
            self.of_events.insert(key.clone());
        }
        let due = settled(&constraint.terms, due, now);
        let in_force = InForce {
            constraint,
            number,
            scope,
            due,
            since,
        };
        self.in_force.insert(key, in_force);
        before
    }

    /// Puts a constraint in force that an earlier engine left.
    pub(crate) fn restore(&mut self, record: ConstraintRecord, now: Timestamp) {
        let key = record.constraint.key();
        self.set(Arc::new(record.constraint), record.rate_at, now);
        if let Some(found) = self.in_force.get_mut(&key) {
            found.since = record.since;
        }
    }

    fn next_number(&mut self) -> NonZeroU32 {
        self.numbers = self.numbers.wrapping_add(1);
        NonZeroU32::new(self.numbers).unwrap_or(NonZeroU32::MIN)
    }

    pub(crate) fn remove(&mut self, key: &ConstraintKey) -> Option<InForce> {
        let removed = self.in_force.remove(key)?;
        if !self.patterns.remove(key)
            && let Some(of_kind) = self.named.get_mut(&key.scope.kind())
            && let Some(of_name) = of_kind.get_mut(key.scope.name())
        {
            of_name.retain(|other| other != key);
            if of_name.is_empty() {
                of_kind.remove(key.scope.name());
            }
        }
        if let Some(at) = removed.constraint.expires_at {
            self.expiries.remove(&(at, key.clone()));
        }
        self.of_events.remove(key);
        Some(removed)
    }

    /// The pause of events among those that are chosen: the oldest that drops them, if there is one. One
    /// whose time is over holds nothing, though it may still be there.
    pub(crate) fn event_pause(
        &self,
        now: Timestamp,
        chooses: impl Fn(&ScopeMatcher) -> bool,
    ) -> Option<&InForce> {
        self.event_pauses()
            .filter(|found| !found.constraint.is_expired(now) && chooses(&found.scope))
            .max_by_key(|found| (found.drops_events(), Reverse(found.since)))
    }

    /// Whether the time of a pause of events is over and nobody has ended it yet.
    pub(crate) fn is_event_pause_over(&self, now: Timestamp) -> bool {
        self.event_pauses()
            .any(|found| found.constraint.is_expired(now))
    }

    fn event_pauses(&self) -> impl Iterator<Item = &InForce> {
        let keys = self.of_events.iter();
        keys.filter_map(|key| self.in_force.get(key))
    }

    pub(crate) fn get(&self, key: &ConstraintKey) -> Option<&InForce> {
        self.in_force.get(key)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &InForce> {
        self.in_force.values()
    }

    /// Those after a key, in the order of scopes and types.
    pub(crate) fn after(&self, key: Option<&ConstraintKey>) -> impl Iterator<Item = &InForce> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.in_force.range((from, Bound::Unbounded));
        rest.map(|(_, found)| found)
    }

    pub(crate) fn len(&self) -> usize {
        self.in_force.len()
    }

    /// When the next one expires.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// One whose time is over.
    pub(crate) fn expired(&self, now: Timestamp) -> Option<ConstraintKey> {
        let (at, key) = self.expiries.first()?;
        (*at <= now).then(|| key.clone())
    }

    /// Those that a candidate falls under, whether or not they hold it.
    pub(crate) fn on<'a>(&'a self, candidate: &'a Candidate) -> impl Iterator<Item = &'a InForce> {
        let named = self.named.iter().flat_map(move |(kind, of_kind)| {
            let mut names = self.names(candidate, *kind);
            names.sort_unstable();
            names.dedup();
            names.into_iter().filter_map(|name| of_kind.get(name))
        });
        let patterns = self.patterns.iter().filter(move |key| {
            let scope = self.in_force.get(*key).map(|found| &found.scope);
            scope.is_some_and(|scope| self.chooses(scope, candidate))
        });
        let keys = named.flatten().chain(patterns);
        let takes_slot = candidate.facts.takes_slot;
        keys.filter(move |_| takes_slot)
            .filter_map(|key| self.in_force.get(key))
    }

    /// Whether a scope chooses a candidate.
    pub(crate) fn chooses(&self, scope: &ScopeMatcher, candidate: &Candidate) -> bool {
        let names = self.names(candidate, scope.kind());
        names.into_iter().any(|name| scope.is_match(name))
    }

    fn names<'a>(&'a self, candidate: &'a Candidate, kind: ScopeKind) -> Vec<&'a str> {
        match kind {
            ScopeKind::Project => vec![&self.home.project],
            ScopeKind::Worker => vec![&self.home.worker],
            kind => candidate.names(kind),
        }
    }

    /// Notes a start, and returns the limits of a rate that it moved on.
    pub(crate) fn started(&mut self, candidate: &Candidate, now: Timestamp) -> Vec<RateMoved> {
        if self.in_force.is_empty() {
            return Vec::new();
        }
        let limits = self.on(candidate).filter_map(|found| {
            let Terms::RateLimit { rate, .. } = &found.constraint.terms else {
                return None;
            };
            Some(RateMoved {
                key: found.constraint.key(),
                before: found.due,
                at: rate::after_start(rate, found.due, now),
            })
        });
        let moved: Vec<_> = limits.collect();
        for RateMoved { key, at, .. } in &moved {
            if let Some(found) = self.in_force.get_mut(key) {
                found.due = Some(*at);
            }
        }
        moved
    }

    /// Takes back what a start that did not come about did to a limit, unless another start has come since.
    /// Whether it did.
    pub(crate) fn take_back_start(&mut self, moved: &RateMoved) -> bool {
        let found = self.in_force.get_mut(&moved.key);
        let found = found.filter(|found| found.due == Some(moved.at));
        found.is_some_and(|found| {
            found.due = moved.before;
            true
        })
    }

    /// Notes the time. Whether the clock was set back, so that every rate must be asked again.
    pub(crate) fn look(&mut self, now: Timestamp) -> bool {
        let set_back = now < self.seen;
        self.seen = now;
        if set_back {
            for found in self.in_force.values_mut() {
                found.due = settled(&found.constraint.terms, found.due, now);
            }
        }
        set_back
    }

    /// How many executions hold a lease in a scope.
    pub(crate) fn leases_in(&self, scope: &ScopeMatcher, leases: &Leases) -> usize {
        leases.count(|candidate| self.chooses(scope, candidate))
    }
}

fn settled(terms: &Terms, due: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    match terms {
        Terms::RateLimit { rate, burst } => rate::settled(rate, *burst, due, now),
        _ => None,
    }
}

impl InForce {
    /// Whether it keeps one more execution of its scope from starting, and if so from when on a limit of
    /// a rate does no more; `leases` says how many hold one in its scope.
    pub(crate) fn holds(
        &self,
        leases: impl FnOnce(&ScopeMatcher) -> usize,
        now: Timestamp,
    ) -> Option<Option<Timestamp>> {
        if self.constraint.is_expired(now) {
            return None;
        }
        match &self.constraint.terms {
            Terms::Pause => Some(None),
            Terms::Concurrency { limit } => {
                (leases(&self.scope) >= *limit as usize).then_some(None)
            }
            Terms::RateLimit { rate, burst } => {
                let at = rate::allowed_at(rate, *burst, self.due);
                (at > now).then_some(Some(at))
            }
            Terms::EventPause { .. } => None,
        }
    }

    /// How many more executions of its scope may start now; `None` if it sets no limit to that.
    pub(crate) fn room(&self, leases: usize, now: Timestamp) -> Option<u64> {
        match &self.constraint.terms {
            Terms::Pause => Some(0),
            Terms::Concurrency { limit } => Some(u64::from(*limit).saturating_sub(leases as u64)),
            Terms::RateLimit { rate, burst } => {
                Some(rate::allowed_now(rate, *burst, self.due, now))
            }
            Terms::EventPause { .. } => None,
        }
    }

    /// How a blocked execution tells of it.
    pub(crate) fn held_by(&self, next_at: Option<Timestamp>) -> HeldBy {
        let constraint = &self.constraint;
        HeldBy {
            id: constraint.id.clone(),
            key: constraint.key(),
            terms: constraint.terms.to_string(),
            owner: constraint.owner.clone(),
            reason: constraint.reason.clone(),
            expires_at: constraint.expires_at,
            next_at,
        }
    }

    /// Whether it is a pause of events that drops them.
    pub(crate) fn drops_events(&self) -> bool {
        self.constraint.terms == Terms::EventPause { drop: true }
    }

    /// Whether it is what something was told of.
    pub(crate) fn is(&self, told: &HeldBy) -> bool {
        let constraint = &self.constraint;
        (&constraint.id, &constraint.owner, &constraint.reason)
            == (&told.id, &told.owner, &told.reason)
    }

    /// Whether a lease that ends may let something go on.
    pub(crate) fn counts_leases(&self) -> bool {
        self.constraint.terms.kind() == ConstraintType::Concurrency
    }
}
