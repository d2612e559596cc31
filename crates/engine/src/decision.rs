//! What a decision consists of: changes to be stored together, and what happens once they are.

use std::time::Duration;

use camshaft_model::definition::Pack;
use camshaft_model::notice::Notice;
use camshaft_model::port::dispatch::Job;
use camshaft_model::port::store::Change;
use camshaft_model::{
    AttemptKey, Event, EventId, Execution, ExecutionId, Ref, StepEventDraft, Transition,
};
use std::sync::Arc;

use crate::constraint::RateMoved;
use crate::state::Live;

/// What is performed after the commit, by the driver.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Hand an attempt to a worker.
    Start(Box<Job>),
    /// Stop an attempt.
    Cancel(AttemptKey, Duration),
    /// Note that the database has an event that is held.
    Held(EventId),
    /// Look again at which sensors are wanted: a run waits for an event, or does so no more.
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
    /// Executions that move, in order. Guards.
    pub(crate) moved: Vec<Transition>,
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
}

impl Unit {
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
        } = later;
        self.events.extend(events);
        self.moved.extend(moved);
        self.fresh.extend(fresh);
        self.changes.extend(changes);
        self.steps.extend(steps);
        self.effects.extend(effects);
        self.notices.extend(notices);
        self.ended.extend(ended);
        self.shown.extend(shown);
        self.rates.extend(rates);
    }

    /// Tells everybody how an execution stands once the unit is stored.
    pub(crate) fn tell(&mut self, live: &Live) {
        self.notices
            .push(Notice::Execution(Arc::new(live.record())));
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

    /// The place of that unit.
    pub(crate) fn place_of_fresh(&self, id: ExecutionId) -> Option<usize> {
        self.units.iter().position(|unit| unit.fresh.contains(&id))
    }
}
