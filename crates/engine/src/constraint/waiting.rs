//! Work that waits to start: classes of equal candidates, filed under what holds them.
//!
//! A class that may start as far as anybody knows is *ready*. One that something holds is filed under that
//! [`Hold`], where nobody looks at it until the hold is opened: because a lease in its scope ended, an
//! instant came, a constraint changed. From an open hold classes are asked again in the order of their
//! first members, beside those that are ready, until one of them is held by it once more: what holds one
//! holds all that are filed under it. So no order is lost, nothing is asked in vain, and a change costs
//! what it frees.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use camshaft_model::{ConstraintKey, ExecutionId, Timestamp};

use super::candidate::Candidate;
use super::told::Told;

/// The place of an execution in the order of starts: lower goes first.
pub(crate) type Place = (Reverse<i32>, Timestamp, ExecutionId);

/// What holds every class that is filed under it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// No worker has this runtime.
    Runtime(String),
    /// Less than so much of a named capacity is free.
    Resource(String, u32),
    /// A constraint.
    Constraint(ConstraintKey),
}

/// One time through the members of a class, to tell them of a constraint that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) class: u64,
    /// The number of the constraint.
    pub(crate) by: NonZeroU32,
    /// The last member that was told; `None` before the first.
    pub(crate) after: Option<Place>,
}

/// Executions with equal candidates.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) candidate: Arc<Candidate>,
    members: BTreeSet<Place>,
    /// Under what it is filed, open or not.
    under: Option<Hold>,
    /// The number of the constraint that held it when it was filed there.
    by: Option<NonZeroU32>,
    /// The last constraints of which all its members were told, or will be: in a pass that is in line, or in
    /// one that was put aside.
    told: Told,
    /// The passes that something else cut short, each to go on once that constraint holds the class again.
    aside: Vec<Pass>,
    /// Whether it has members that came since the last of them began to hold it: they are told of what holds
    /// them as they come, and of nothing else.
    has_late: bool,
}

impl Class {
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn has(&self, place: &Place) -> bool {
        self.members.contains(place)
    }

    /// Its members after a place, in order.
    pub(crate) fn after(&self, place: Option<Place>) -> impl Iterator<Item = Place> + '_ {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = place.map_or(Unbounded, Excluded);
        self.members.range((from, Unbounded)).copied()
    }

    /// When the one that waits longest was asked for. Asked once for each priority that there is, because
    /// within one the first has waited longest.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        let mut oldest = None;
        let mut first = self.members.first();
        while let Some((Reverse(priority), at, _)) = first {
            oldest = oldest.into_iter().chain([*at]).min();
            let Some(below) = priority.checked_sub(1) else {
                break;
            };
            let from = (
                Reverse(below),
                Timestamp::from_micros(i64::MIN),
                ExecutionId::from_bytes([0; 16]),
            );
            first = self.members.range(from..).next();
        }
        oldest
    }

    fn before(&self, place: &Place) -> usize {
        self.members.range(..place).count()
    }
}

type Order = BTreeSet<(Place, u64)>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    classes: HashMap<u64, Class>,
    /// Classes that take a slot and may start once there is one.
    ready: Order,
    /// Classes that take none.
    ready_without_slot: Order,
    held: HashMap<Hold, Order>,
    /// Which constraint held what is filed under a hold when that was closed last, by its number.
    numbers: HashMap<Hold, NonZeroU32>,
    open: HashSet<Hold>,
    /// The first of what is filed under each open hold.
    fronts: Order,
    /// When to open what time alone opens.
    wakes: BTreeSet<(Timestamp, Hold)>,
}

impl Waiting {
    pub(crate) fn push(&mut self, candidate: &Arc<Candidate>, place: Place) {
        let number = candidate.number;
        let class = self.classes.entry(number).or_insert_with(|| Class {
            candidate: candidate.clone(),
            members: BTreeSet::new(),
            under: None,
            by: None,
            told: Told::default(),
            aside: Vec::new(),
            has_late: false,
        });
        class.has_late = true;
        let first = class.members.first().copied();
        class.members.insert(place);
        if first.is_none_or(|first| place < first) {
            self.refile(number, first);
        }
    }

    pub(crate) fn remove(&mut self, candidate: &Candidate, place: &Place) {
        let number = candidate.number;
        let Some(class) = self.classes.get_mut(&number) else {
            return;
        };
        let first = class.members.first().copied();
        if !class.members.remove(place) || first != Some(*place) {
            return;
        }
        self.refile(number, first);
        if self
            .classes
            .get(&number)
            .is_some_and(|class| class.members.is_empty())
        {
            self.classes.remove(&number);
        }
    }

    /// Puts a class where its first member belongs, after that has changed.
    fn refile(&mut self, number: u64, old_first: Option<Place>) {
        let Some(class) = self.classes.get(&number) else {
            return;
        };
        let new_first = class.members.first().copied();
        let refile = |order: &mut Order| {
            if let Some(old) = old_first {
                order.remove(&(old, number));
            }
            if let Some(new) = new_first {
                order.insert((new, number));
            }
        };
        match class.under.clone() {
            Some(hold) => self.alter(&hold, refile),
            None if class.candidate.facts.takes_slot => refile(&mut self.ready),
            None => refile(&mut self.ready_without_slot),
        }
    }

    /// Changes what is filed under a hold.
    fn alter(&mut self, hold: &Hold, change: impl FnOnce(&mut Order)) {
        let order = self.held.entry(hold.clone()).or_default();
        let before = order.first().copied();
        change(order);
        let after = order.first().copied();
        if before != after && self.open.contains(hold) {
            if let Some(front) = before {
                self.fronts.remove(&front);
            }
            self.fronts.extend(after);
        }
        if after.is_none() {
            self.held.remove(hold);
            self.numbers.remove(hold);
            self.open.remove(hold);
        }
    }

    fn close(&mut self, hold: &Hold) {
        if self.open.remove(hold)
            && let Some(front) = self.held.get(hold).and_then(|order| order.first())
        {
            self.fronts.remove(front);
        }
    }

    /// The class to be asked next, if there is a slot or if there is none.
    pub(crate) fn next(&self, has_slot: bool) -> Option<&Class> {
        let without = self.ready_without_slot.first();
        let ready = self.ready.first();
        let open = self.fronts.first();
        let with_slot = ready.into_iter().chain(open).filter(|_| has_slot);
        let (_, number) = without.into_iter().chain(with_slot).min()?;
        self.classes.get(number)
    }

    /// Files a class under what holds it. That holds all that are filed there, until it is opened: at
    /// `wake_at` at the latest, if time alone does. Gives a pass through each class that the constraint of
    /// that number has just begun to hold and that has members that were not told of it: this one, and where
    /// another constraint of the same key held them before, all that are filed there.
    pub(crate) fn hold(
        &mut self,
        candidate: &Candidate,
        hold: Hold,
        by: Option<NonZeroU32>,
        wake_at: Option<Timestamp>,
    ) -> Vec<Pass> {
        self.close(&hold);
        if let Some(at) = wake_at {
            self.wakes.insert((at, hold.clone()));
        }
        self.file(candidate.number, Some(hold.clone()));
        let is_another = by.is_some_and(|by| self.numbers.insert(hold.clone(), by) != Some(by));
        let held: Vec<u64> = match self.held.get(&hold) {
            Some(order) if is_another => order.iter().map(|(_, class)| *class).collect(),
            _ => vec![candidate.number],
        };
        let passes = held.into_iter().filter_map(|class| self.held_by(class, by));
        passes.collect()
    }

    /// Notes by which constraint a class is held. Gives the pass that tells those of its members that were
    /// not told of that one.
    fn held_by(&mut self, number: u64, by: Option<NonZeroU32>) -> Option<Pass> {
        let class = self.classes.get_mut(&number)?;
        let has_begun = std::mem::replace(&mut class.by, by) != by;
        let by = by.filter(|_| has_begun)?;
        if std::mem::take(&mut class.has_late) {
            class.told = Told::default();
            class.aside.clear();
        }
        if class.told.has(by) {
            let rest = class.aside.iter().position(|pass| pass.by == by)?;
            return Some(class.aside.swap_remove(rest));
        }
        class.told.note(by);
        let Class { told, aside, .. } = class;
        aside.retain(|pass| pass.by != by && told.has(pass.by));
        Some(Pass {
            class: number,
            by,
            after: None,
        })
    }

    /// Keeps the rest of a pass until its constraint holds the class again: something else does, or nothing.
    pub(crate) fn put_aside(&mut self, pass: Pass) {
        let Some(class) = self.classes.get_mut(&pass.class) else {
            return;
        };
        // If it was forgotten meanwhile, all of the class will be told anew.
        if !class.told.has(pass.by) {
            return;
        }
        match class.aside.iter_mut().find(|other| other.by == pass.by) {
            Some(other) => other.after = other.after.min(pass.after),
            None => class.aside.push(pass),
        }
        // The same constraint may hold it again under the same hold, and is then to be noticed.
        if class.by == Some(pass.by) {
            class.by = None;
            if let Some(hold) = &class.under {
                self.numbers.remove(hold);
            }
        }
    }

    /// Nothing holds a class, as was found out when it was asked: it waits for a slot and for nothing else.
    pub(crate) fn free(&mut self, candidate: &Candidate) {
        self.file(candidate.number, None);
    }

    fn file(&mut self, number: u64, under: Option<Hold>) {
        let Some(class) = self.classes.get_mut(&number) else {
            return;
        };
        let Some(first) = class.members.first().copied() else {
            return;
        };
        if class.under == under {
            return;
        }
        let before = std::mem::replace(&mut class.under, under.clone());
        class.by = None;
        let takes_slot = class.candidate.facts.takes_slot;
        let entry = (first, number);
        match before {
            Some(hold) => self.alter(&hold, |order| {
                order.remove(&entry);
            }),
            None if takes_slot => drop(self.ready.remove(&entry)),
            None => drop(self.ready_without_slot.remove(&entry)),
        }
        match under {
            Some(hold) => self.alter(&hold, |order| {
                order.insert(entry);
            }),
            None if takes_slot => drop(self.ready.insert(entry)),
            None => drop(self.ready_without_slot.insert(entry)),
        }
    }

    /// What holds a class, as far as anybody knows. What is filed under an open hold may start as soon as
    /// there is a slot, and is held only if it turns out to be when it is asked.
    pub(crate) fn hold_of<'a>(&self, class: &'a Class) -> Option<&'a Hold> {
        class
            .under
            .as_ref()
            .filter(|hold| !self.open.contains(hold))
    }

    /// Classes that nothing holds, as far as anybody knows, and that are not filed under one of these.
    pub(crate) fn unheld_beside<'a>(
        &'a self,
        holds: &'a [Hold],
    ) -> impl Iterator<Item = &'a Class> {
        self.lined_up(self.open.iter().filter(|open| !holds.contains(open)))
    }

    /// Classes that nothing holds as far as anybody knows, or nothing but what time has ended and this hold.
    pub(crate) fn unheld_but_for<'a>(
        &'a self,
        hold: &'a Hold,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Class> {
        let over = self.wakes.iter().take_while(move |(at, _)| *at <= now);
        let holds: HashSet<&Hold> = over
            .map(|(_, hold)| hold)
            .chain(&self.open)
            .chain([hold])
            .collect();
        self.lined_up(holds.into_iter())
    }

    /// Classes that are filed under a hold, open or not.
    pub(crate) fn under(&self, hold: &Hold) -> impl Iterator<Item = &Class> {
        self.in_order(self.held.get(hold).into_iter().flatten())
    }

    /// Those that are ready, and those that are filed under these holds.
    fn lined_up<'a>(
        &'a self,
        holds: impl Iterator<Item = &'a Hold>,
    ) -> impl Iterator<Item = &'a Class> {
        let under = holds.filter_map(|hold| self.held.get(hold));
        let ready = [&self.ready, &self.ready_without_slot];
        self.in_order(ready.into_iter().chain(under).flatten())
    }

    fn in_order<'a>(
        &'a self,
        order: impl Iterator<Item = &'a (Place, u64)>,
    ) -> impl Iterator<Item = &'a Class> {
        order.filter_map(|(_, number)| self.classes.get(number))
    }

    /// What is filed under a hold is asked again.
    pub(crate) fn open(&mut self, hold: &Hold) {
        if let Some(front) = self.held.get(hold).and_then(|order| order.first())
            && self.open.insert(hold.clone())
        {
            self.fronts.insert(*front);
        }
    }

    /// What waits for some of a named capacity is asked again.
    pub(crate) fn open_resource(&mut self, resource: &str) {
        let waits = |hold: &&Hold| matches!(hold, Hold::Resource(name, _) if name == resource);
        let holds: Vec<Hold> = self.held.keys().filter(waits).cloned().collect();
        holds.iter().for_each(|hold| self.open(hold));
    }

    /// Whether what is filed under a hold is to be asked.
    pub(crate) fn is_open(&self, hold: &Hold) -> bool {
        self.open.contains(hold)
    }

    /// Everything is asked again.
    pub(crate) fn open_all(&mut self) {
        self.open = self.held.keys().cloned().collect();
        let fronts = self.held.values().filter_map(BTreeSet::first);
        self.fronts = fronts.copied().collect();
        self.wakes.clear();
    }

    /// Opens everything whose instant has come.
    pub(crate) fn wake(&mut self, now: Timestamp) {
        while let Some((at, hold)) = self.wakes.first() {
            if *at > now {
                break;
            }
            let hold = hold.clone();
            self.wakes.pop_first();
            self.open(&hold);
        }
    }

    /// When something opens by time alone.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Every class.
    pub(crate) fn classes(&self) -> impl ExactSizeIterator<Item = &Class> {
        self.classes.values()
    }

    pub(crate) fn class(&self, number: u64) -> Option<&Class> {
        self.classes.get(&number)
    }

    /// How many go before a place, of those that wait for the same.
    pub(crate) fn ahead(&self, candidate: &Candidate, place: &Place) -> usize {
        let Some(class) = self.classes.get(&candidate.number) else {
            return 0;
        };
        let hold = self.hold_of(class);
        let alike = self.classes.values().filter(|other| {
            self.hold_of(other) == hold
                && other.candidate.facts.takes_slot == class.candidate.facts.takes_slot
        });
        alike.map(|other| other.before(place)).sum()
    }
}
