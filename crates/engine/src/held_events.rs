//! Events that wait for their rules, and which of them go next.
//!
//! A hundred thousand may wait, each with a payload of any size. So one is known here by what a pause must
//! know of it to hold it, and by no more. What it says is read from the database when it may go: a few at a
//! time and in their order, and none goes before they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use camshaft_model::port::store::HeldEvent;
use camshaft_model::{Event, EventId, Ref};

/// So many that may go are read at once.
pub(crate) const READ_AT_ONCE: usize = 256;
/// And of those so many as fit in so many bytes of payload, but at least one.
pub(crate) const READ_BYTES: u64 = 4 * 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct HeldEvents {
    waiting: BTreeMap<EventId, Held>,
    /// The same events by what a pause must know of them to hold them. There are few kinds.
    kinds: BTreeMap<Arc<Kind>, BTreeSet<EventId>>,
    /// After which one to look for some that nothing holds any more; `None` if there are none.
    release: Option<Option<EventId>>,
    /// Whether the next of them is put off until it is known if an execution is recorded.
    is_put_off: bool,
    /// Some that go next, whole.
    whole: BTreeMap<EventId, Arc<Event>>,
    reading: Reading,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) kind: Arc<Kind>,
    /// Whether the database has it. What it may yet refuse must lead to nothing.
    is_stored: bool,
}

/// What events have in common that the same pauses hold.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) trigger: Ref,
    /// The rules that have not been asked; `None` if nobody has.
    pub(crate) rules: Option<Vec<Ref>>,
}

/// Whether those that go next are read from the database.
#[derive(Debug, Default)]
enum Reading {
    #[default]
    No,
    Wanted(Vec<EventId>),
    UnderWay,
}

impl HeldEvents {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The kinds of them, each with how many there are of it.
    pub(crate) fn kinds(&self) -> impl ExactSizeIterator<Item = (&Kind, usize)> {
        let kinds = self.kinds.iter();
        kinds.map(|(kind, of_kind)| (&**kind, of_kind.len()))
    }

    /// What a pause must know of one.
    pub(crate) fn kind_of(&self, id: EventId) -> Option<&Kind> {
        self.waiting.get(&id).map(|held| &*held.kind)
    }

    /// Takes up one that the database is about to have.
    pub(crate) fn hold(&mut self, event: &Event, rules: Option<Vec<Ref>>) {
        self.insert(event.id, event.draft.trigger.clone(), rules, false);
    }

    /// Takes up one that an earlier engine held.
    pub(crate) fn restore(&mut self, held: HeldEvent) {
        self.insert(held.event, held.trigger, held.rules, true);
        self.look_through();
    }

    fn insert(&mut self, id: EventId, trigger: Ref, rules: Option<Vec<Ref>>, is_stored: bool) {
        self.forget(id);
        let kind = Kind { trigger, rules };
        let known = self.kinds.get_key_value(&kind);
        let known = known.map(|(kind, _)| kind.clone());
        let kind = known.unwrap_or_else(|| Arc::new(kind));
        self.kinds.entry(kind.clone()).or_default().insert(id);
        self.waiting.insert(id, Held { kind, is_stored });
    }

    /// Forgets one: the database has not taken it, or it goes.
    pub(crate) fn forget(&mut self, id: EventId) {
        self.whole.remove(&id);
        let Some(held) = self.waiting.remove(&id) else {
            return;
        };
        if let Some(of_kind) = self.kinds.get_mut(&held.kind) {
            of_kind.remove(&id);
            if of_kind.is_empty() {
                self.kinds.remove(&held.kind);
            }
        }
    }

    /// Notes that the database has one. One that goes next is kept as it is, if it would have to be read alone.
    pub(crate) fn stored(&mut self, event: Arc<Event>) {
        let id = event.id;
        if let Some(held) = self.waiting.get_mut(&id) {
            held.is_stored = true;
        }
        if self.whole.is_empty() && self.next().is_some_and(|(next, _)| next == id) {
            self.whole.insert(id, event);
        }
    }

    /// Something has ended that may have held some of them.
    pub(crate) fn look_through(&mut self) {
        if !self.waiting.is_empty() {
            self.release = Some(None);
        }
    }

    /// Lets one go as soon as it is stored, and those that come behind it after it.
    pub(crate) fn answer_once_stored(&mut self, id: EventId) {
        if self.release.is_none() {
            let before = self.waiting.range(..id).next_back();
            self.release = Some(before.map(|(before, _)| *before));
        }
    }

    /// Whether older ones may go first.
    pub(crate) const fn is_releasing(&self) -> bool {
        self.release.is_some()
    }

    /// The next one is not looked at before it is known whether an execution is recorded.
    pub(crate) const fn put_off(&mut self) {
        self.is_put_off = true;
    }

    /// The next one may be looked at again, if it was put off.
    pub(crate) const fn go_on(&mut self) {
        self.is_put_off = false;
    }

    /// Whether there is something to look at now. What is not stored yet, or is being read, is waited for.
    pub(crate) fn has_next(&self) -> bool {
        self.is_releasing()
            && !self.is_put_off
            && matches!(self.reading, Reading::No)
            && self.next().is_none_or(|(_, held)| held.is_stored)
    }

    /// The next one to look at.
    pub(crate) fn next(&self) -> Option<(EventId, &Held)> {
        self.rest().next()
    }

    fn rest(&self) -> impl Iterator<Item = (EventId, &Held)> {
        let after = self.release.map(|after| after.map_or(Unbounded, Excluded));
        let rest = after.map(|from| self.waiting.range((from, Unbounded)));
        rest.into_iter().flatten().map(|(id, held)| (*id, held))
    }

    /// Looks at those after one from now on. That one stays, or has gone.
    pub(crate) fn go_on_after(&mut self, id: EventId) {
        self.whole.remove(&id);
        self.release = Some(Some(id));
    }

    /// All have been looked at.
    pub(crate) fn end_release(&mut self) {
        self.whole.clear();
        self.release = None;
    }

    /// One that goes next, if it is known whole.
    pub(crate) fn whole(&self, id: EventId) -> Option<Arc<Event>> {
        self.whole.get(&id).cloned()
    }

    /// The next ones that may be read, without those that stay.
    pub(crate) fn to_read(&self, stays: impl Fn(&Kind) -> bool) -> Vec<EventId> {
        let next = self.rest().take(READ_AT_ONCE);
        let stored = next.take_while(|(_, held)| held.is_stored);
        let go = stored.filter(|(_, held)| !stays(&held.kind));
        go.map(|(id, _)| id).collect()
    }

    /// Wants these to be read, which go next.
    pub(crate) fn want(&mut self, ids: Vec<EventId>) {
        self.reading = Reading::Wanted(ids);
    }

    /// Which ones are to be read now; whoever asks reads them.
    pub(crate) fn take_wanted(&mut self) -> Option<Vec<EventId>> {
        match std::mem::replace(&mut self.reading, Reading::UnderWay) {
            Reading::Wanted(ids) => Some(ids),
            other => {
                self.reading = other;
                None
            }
        }
    }

    /// Some that were wanted, the first of them in any case if the database has it.
    pub(crate) fn supply(&mut self, wanted: &[EventId], read: Vec<Event>) {
        self.reading = Reading::No;
        let read = read.into_iter().map(|event| (event.id, Arc::new(event)));
        self.whole = read.collect();
        if let Some(first) = wanted.first().filter(|id| !self.whole.contains_key(id)) {
            tracing::error!(event = %first, "an event that was held is not recorded; no rule answers it");
            self.forget(*first);
        }
    }
}
