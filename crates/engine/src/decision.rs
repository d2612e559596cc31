//! What a decision consists of: changes to be stored together, and what happens once they are.

use std::collections::HashMap;
use std::time::Duration;

use camshaft_model::definition::Pack;
use camshaft_model::notice::Notice;
use camshaft_model::port::dispatch::Job;
use camshaft_model::port::store::Change;
use camshaft_model::{AttemptKey, Event, Execution, ExecutionId, Ref, StepEventDraft, Transition};
use std::sync::Arc;

use crate::constraint::RateMoved;
use crate::state::Live;
use crate::uncertain::Receipt;

/// What is performed after the commit, by the driver.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Hand an attempt to a worker.
    Start(Box<Job>),
    /// Stop an attempt.
    Cancel(AttemptKey, Duration),
    /// Note that the database has an event that is held.
    Held(Arc<Event>),
    /// Note that the database has what is told of executions that a constraint holds.
    Told,
    /// Look again at which sensors are wanted. The driver adds it where that has changed.
    Sensors,
    /// Take up definitions, which are recorded now.
    Definitions(Definitions),
}

/// A change of the definitions in force.
#[derive(Debug)]
pub(crate) enum Definitions {
    /// Packs that are current from now on.
    Put(Vec<Arc<Pack>>),
    /// A pack that is gone.
    Remove(String),
    /// Whether a rule is enabled; `None` goes back to what its definition says.
    Enable(Ref, Option<bool>),
}

/// Changes that are stored together or not at all, with their effects.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    /// Events that are recorded. Guards: they come first.
    pub(crate) events: Vec<Arc<Event>>,
    /// Executions that move, in order. Guards. None of them is new in this unit.
    moved: Vec<Transition>,
    /// Executions that are new. They are written as they stand at the end of the decision: one that
    /// was admitted at once is inserted as `running`.
    pub(crate) fresh: Vec<ExecutionId>,
    /// Everything that is not guarded, except step events.
    pub(crate) changes: Vec<Change>,
    /// Lines for the event log.
    pub(crate) steps: Vec<StepEventDraft>,
    /// Performed after the commit, in order.
    pub(crate) effects: Vec<Effect>,
    /// Told to everybody after the commit, besides the step events, new executions and the end.
    pub(crate) notices: Vec<Notice>,
    /// Executions that are terminal once this is stored, in the order of their ends.
    pub(crate) ended: Vec<Arc<Execution>>,
    /// Those of them that are told of otherwise than they are stored, without their secrets.
    pub(crate) shown: Vec<Arc<Execution>>,
    /// Limits of a rate that its starts moved on, in order.
    pub(crate) rates: Vec<RateMoved>,
    /// Of what is new in it, if it may be refused.
    pub(crate) receipts: Vec<Arc<Receipt>>,
}

impl Unit {
    /// A unit in which an execution moves.
    pub(crate) fn moving(transition: Transition) -> Self {
        Self {
            moved: vec![transition],
            ..Self::default()
        }
    }

    /// Records that an execution moves. One that is new in this unit has no row that could: it is written as
    /// it stands in the end.
    pub(crate) fn record_move(&mut self, transition: Transition) {
        if !self.fresh.contains(&transition.execution()) {
            self.moved.push(transition);
        }
    }

    /// The executions that move, in order.
    pub(crate) fn moved(&self) -> &[Transition] {
        &self.moved
    }

    /// Whether there is nothing to store and nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.moved.is_empty()
            && self.fresh.is_empty()
            && self.changes.is_empty()
            && self.steps.is_empty()
            && self.effects.is_empty()
            && self.notices.is_empty()
    }

    /// Takes up everything of a unit that comes after this one, so that both are stored together.
    pub(crate) fn absorb(&mut self, later: Self) {
        let Self {
            events,
            moved,
            fresh,
            changes,
            steps,
            effects,
            notices,
            ended,
            shown,
            rates,
            receipts,
        } = later;
        self.events.extend(events);
        moved.into_iter().for_each(|moved| self.record_move(moved));
        self.fresh.extend(fresh);
        self.changes.extend(changes);
        self.steps.extend(steps);
        self.effects.extend(effects);
        self.notices.extend(notices);
        self.ended.extend(ended);
        self.shown.extend(shown);
        self.rates.extend(rates);
        self.receipts.extend(receipts);
    }

    /// Tells everybody how an execution stands once the unit is stored. Of one that is new, it is told how it
    /// stands in the end.
    pub(crate) fn tell(&mut self, live: &Live) {
        if !self.fresh.contains(&live.spec.id) {
            self.notices
                .push(Notice::Execution(Arc::new(live.record())));
        }
    }
}

/// What a command leads to. Units are independent of each other: one that is refused does not take
/// the others with it.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) units: Vec<Unit>,
}

impl Decision {
    /// The unit in which an execution is new, if it is in this decision.
    pub(crate) fn unit_with_fresh(&mut self, id: ExecutionId) -> Option<&mut Unit> {
        let place = self.place_of_fresh(id)?;
        self.units.get_mut(place)
    }

    /// Makes one unit of all that come after the first so many.
    pub(crate) fn join_after(&mut self, first: usize) {
        let mut later = self.units.drain(first.min(self.units.len())..);
        let joined = later.next().map(|mut unit| {
            later.by_ref().for_each(|more| unit.absorb(more));
            unit
        });
        drop(later);
        self.units.extend(joined);
    }

    /// Records where a start in the unit at a place has moved limits of a rate. What is stored last is what a
    /// restart finds, so the units after it, whose starts came before this one, say the same: without it, if
    /// it is refused, they are one start too strict until the next one.
    pub(crate) fn record_rates(&mut self, place: usize, moved: Vec<RateMoved>) {
        let (until, after) = self.units.split_at_mut(place + 1);
        for RateMoved { key, at, .. } in &moved {
            let later = after.iter_mut().flat_map(|unit| &mut unit.changes);
            for change in later {
                if let Change::PutRateInstant { key: same, at: put } = change
                    && same == key
                {
                    *put = *at;
                }
            }
        }
        if let Some(unit) = until.last_mut() {
            let put = moved.iter().map(|moved| Change::PutRateInstant {
                key: moved.key.clone(),
                at: moved.at,
            });
            unit.changes.extend(put);
            unit.rates.extend(moved);
        }
    }

    /// The place of that unit.
    pub(crate) fn place_of_fresh(&self, id: ExecutionId) -> Option<usize> {
        self.units.iter().position(|unit| unit.fresh.contains(&id))
    }

    /// An execution that is new in one unit and moves or ends in another, if there is one: it is written as
    /// it stands at the end of the decision, and the other unit would not find it where it was. There is
    /// never one.
    pub(crate) fn torn(&self) -> Option<ExecutionId> {
        let units = || self.units.iter().enumerate();
        let fresh = units().flat_map(|(place, unit)| unit.fresh.iter().map(move |id| (*id, place)));
        let fresh: HashMap<ExecutionId, usize> = fresh.collect();
        units().find_map(|(place, unit)| {
            let moved = unit.moved.iter().map(Transition::execution);
            let ended = unit.ended.iter().map(|ended| ended.spec.id);
            let mut touched = moved.chain(ended);
            touched.find(|id| fresh.get(id).is_some_and(|new| *new != place))
        })
    }
}
