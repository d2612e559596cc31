//! What may yet be refused leads to nothing that would be stored without it; see [`crate::uncertain`].

use std::collections::BTreeMap;

use camshaft_model::definition::Rule;
use camshaft_model::{Event, ExecutionId, Ref, Status};

use super::end::EXECUTION_TRIGGER;
use crate::decision::{Decision, Unit};
use crate::schedule::Overlap;
use crate::state::State;
use crate::uncertain::PutOff;

impl State {
    /// Takes up what was put off for executions that are recorded now.
    pub(super) fn take_up_what_was_put_off(&mut self) {
        while let Some(next) = self.uncertain.next() {
            match next {
                PutOff::Execution(id) => {
                    let live = self.live.get(&id);
                    if live.is_some_and(|live| live.state.status == Status::Requested) {
                        self.enqueue(id);
                    }
                }
                PutOff::Alarm(at, alarm) => {
                    if self.runs.contains_key(&alarm.run()) {
                        self.alarms.insert((at, alarm));
                    }
                }
                PutOff::HeldEvents(_) => self.held_events.go_on(),
            }
        }
    }

    /// Whether an execution may turn out never to have been recorded.
    pub(super) fn is_uncertain(&self, id: ExecutionId, decision: &Decision) -> bool {
        let place = decision.place_of_fresh(id);
        let own = place.and_then(|place| decision.units.get(place));
        match own {
            Some(unit) => self.may_be_refused(unit),
            None => self.uncertain.has(id),
        }
    }

    /// Whether a run waits for the end of an execution: an end would change what is recorded of others.
    pub(super) fn is_end_awaited(&self) -> bool {
        let trigger = EXECUTION_TRIGGER.parse::<Ref>();
        trigger.is_ok_and(|trigger| self.awaited.contains_key(&trigger))
    }

    /// An execution on which the answer to an event depends, and which may turn out never to have been recorded:
    /// a run that waits for an event of this kind, or the execution before this one of a rule that does not
    /// run beside it.
    pub(super) fn meets_uncertain(&self, event: &Event) -> Option<ExecutionId> {
        if !self.uncertain.has_any() {
            return None;
        }
        let sensors = self.awaited.get(&event.draft.trigger);
        let sensors = sensors.into_iter().flat_map(BTreeMap::values);
        let waiting = sensors.flat_map(|sensor| &sensor.tasks);
        let mut waiting = waiting.map(|(run, _)| *run);
        let is_uncertain = |id: &ExecutionId| self.uncertain.has(*id);
        waiting.find(is_uncertain).or_else(|| {
            let candidates = self.rules.candidates(&event.draft);
            let mut before = candidates.flat_map(|compiled| self.in_the_way(compiled.rule()));
            before.find(is_uncertain)
        })
    }

    /// The executions before this one for which a rule would request none, or which it would cancel.
    fn in_the_way(&self, rule: &Rule) -> impl Iterator<Item = ExecutionId> {
        let before = match self.overlap(&rule.reference) {
            Overlap::Skip | Overlap::CancelPrevious => self.one_at_a_time.get(&rule.reference),
            Overlap::Allow | Overlap::Queue => None,
        };
        before.into_iter().flatten().copied()
    }

    /// Whether the database may have what is new in a unit already, or not have what moves in it.
    fn may_be_refused(&self, unit: &Unit) -> bool {
        // The key of an end is the execution's own.
        let is_keyed_event = |event: &Event| {
            event.draft.dedup_key.is_some() && event.draft.trigger.as_str() != EXECUTION_TRIGGER
        };
        let has_key = |id: &ExecutionId| {
            let live = self.live.get(id);
            live.is_some_and(|live| live.spec.idempotency_key.is_some())
        };
        let ended_with_key = || {
            let mut ended = unit.ended.iter();
            let is_new = |id| unit.fresh.contains(id);
            ended.any(|ended| ended.spec.idempotency_key.is_some() && is_new(&ended.spec.id))
        };
        unit.events.iter().any(|event| is_keyed_event(event))
            || unit.fresh.iter().any(has_key)
            || ended_with_key()
            || unit
                .moved()
                .iter()
                .any(|moved| self.uncertain.has(moved.execution()))
    }

    /// Notes, as a unit is handed to the store, that what is new in it may be refused with it.
    pub(crate) fn expect_receipts(&mut self, unit: &mut Unit) {
        // What was put off in between goes by its receipt, even if the unit is not refused any more.
        let is_expected = || unit.fresh.iter().any(|id| self.uncertain.has(*id));
        if !unit.fresh.is_empty() && (self.may_be_refused(unit) || is_expected()) {
            let receipts = unit.fresh.iter().map(|id| self.uncertain.receipt(*id));
            unit.receipts = receipts.collect();
        }
    }
}
