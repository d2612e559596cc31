//! What a decision consists of: changes to be stored together, and what happens once they are.

use std::time::Duration;

use camshaft_model::notice::Notice;
use camshaft_model::port::dispatch::Job;
use camshaft_model::port::store::Change;
use camshaft_model::{AttemptKey, Event, ExecutionId, StepEventDraft};
use std::sync::Arc;

/// What is performed after the commit, by the driver.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Hand an attempt to a worker.
    Start(Box<Job>),
    /// Stop an attempt.
    Cancel(AttemptKey, Duration),
}

/// Changes that are stored together or not at all, with their effects.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    /// The event that is recorded, if one is. A guard: it comes first.
    pub(crate) event: Option<Arc<Event>>,
    /// The execution that moves, if one does, with the change itself. A guard.
    pub(crate) moved: Option<(ExecutionId, Change)>,
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
    /// An execution that is terminal once this is stored.
    pub(crate) ended: Option<Arc<camshaft_model::Execution>>,
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
        self.units.iter_mut().find(|unit| unit.fresh.contains(&id))
    }
}
