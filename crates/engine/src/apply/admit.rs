//! Admission: starting what may start, in order, until nothing more may.

use camshaft_model::definition::Action;
use camshaft_model::port::dispatch::Job;
use camshaft_model::port::store::Change;
use camshaft_model::{
    BlockedBy, ConstraintKey, ExecutionId, ExecutionSpec, ExecutionState, HeldBy, Object,
    ScopeMatcher, Status, StepEventDraft, StepEventType, Timestamp, TraceContext, Transition,
};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::constraint::{self, Candidate, Class, Hold, InForce, Pass, Place, Told, Verdict};
use crate::decision::{Decision, Effect, Unit};
use crate::hidden::text_of;
use crate::state::{Context, Live, State};
use crate::uncertain::PutOff;

/// What no instant ends.
const FOR_EVER: Timestamp = Timestamp::from_micros(i64::MAX);
/// So many executions that a constraint holds are told of in one decision; the rest follows at once, so
/// that nobody waits for a pause of a hundred thousand.
const TOLD_AT_ONCE: usize = 256;

impl State {
    /// Starts everything that may start now.
    pub(crate) fn admit(&mut self, context: &Context<'_>, decision: &mut Decision) {
        let now = context.now;
        if self.constraints.look(now) {
            self.ask_all_again(now);
        }
        self.waiting.wake(now);
        let mut last_run = None;
        // The units in which a run that is new has begun.
        let mut begun = BTreeSet::new();
        while !self.draining && !self.gate_closed {
            let has_slot = self.has_slot(&self.leases);
            let Some(class) = self.waiting.next(has_slot) else {
                break;
            };
            let candidate = class.candidate.clone();
            if let Some((hold, again_at)) = self.held(&candidate, now) {
                self.file(&candidate, hold, again_at);
                continue;
            }
            let Some((_, _, id)) = class.after(None).next() else {
                break;
            };
            self.dequeue(id);
            // Asked for while its run was paused, or taken up before that was known: whoever resumes
            // the run puts it back.
            if self
                .live
                .get(&id)
                .is_some_and(|live| self.paused_by(live).is_some())
            {
                continue;
            }
            if self.live.get(&id).is_some_and(|live| live.is_run()) {
                let place = decision.place_of_fresh(id);
                if self.is_uncertain(id, decision) && self.is_end_awaited() {
                    self.uncertain.put_off(PutOff::Execution(id));
                    continue;
                }
                // What it leads to may follow from what another run has just led to, and would be stored
                // before that.
                if place.is_some_and(|place| last_run.is_some_and(|last| place < last)) {
                    self.uncertain.put_off_to_the_next(PutOff::Execution(id));
                    continue;
                }
                // One that is new and waits for an end must not hear of one that another unit records: it
                // would move there, and is not there before its own. So this is for the next decision, and so
                // is what comes after it.
                if begun.iter().any(|at| Some(*at) != place) && self.is_end_awaited() {
                    self.uncertain.put_off_to_the_next(PutOff::Execution(id));
                    break;
                }
                self.start_run(id, context, decision);
                match place {
                    Some(place) if self.runs.contains_key(&id) => drop(begun.insert(place)),
                    Some(_) => {}
                    None => last_run = decision.units.len().checked_sub(1),
                }
            } else {
                self.start(id, context, decision);
            }
        }
        self.tell_what_is_held(context, decision);
    }

    /// The same, as a decision of its own.
    pub(crate) fn start_what_may(&mut self, context: &Context<'_>) -> Decision {
        let mut decision = Decision::default();
        self.admit(context, &mut decision);
        decision
    }

    /// Asks again about what constraints choose that were set, changed or ended, and whose holds are open: what
    /// they hold now, and what holds those that they held.
    pub(crate) fn ask_again(&mut self, changed: &[ConstraintKey], now: Timestamp) {
        let holds: Vec<Hold> = changed.iter().cloned().map(Hold::Constraint).collect();
        for hold in &holds {
            let filed = self.waiting.under(hold);
            let filed: Vec<_> = filed.map(|class| class.candidate.clone()).collect();
            for candidate in filed {
                if !self.waiting.is_open(hold) {
                    break;
                }
                self.ask_class(&candidate, now);
            }
        }
        let in_force = changed.iter().filter_map(|key| self.constraints.get(key));
        let scopes: Vec<&ScopeMatcher> = in_force.map(|found| &found.scope).collect();
        // One that ended holds nothing of what was ready.
        if scopes.is_empty() {
            return;
        }
        let ready = self.waiting.unheld_beside(&holds).filter(|class| {
            let mut scopes = scopes.iter();
            scopes.any(|scope| self.constraints.chooses(scope, &class.candidate))
        });
        let ready = ready.map(|class| class.candidate.clone()).collect();
        self.ask_classes(ready, now);
    }

    /// Asks again about everything that waits.
    pub(crate) fn ask_all_again(&mut self, now: Timestamp) {
        self.waiting.open_all();
        let all = self.waiting.classes();
        let all = all.map(|class| class.candidate.clone()).collect();
        self.ask_classes(all, now);
    }

    fn ask_classes(&mut self, mut asked: Vec<Arc<Candidate>>, now: Timestamp) {
        // In one order, so that the same commands lead to the same decisions.
        asked.sort_unstable_by_key(|candidate| candidate.number);
        for candidate in asked {
            self.ask_class(&candidate, now);
        }
    }

    /// Files a class anew if something holds it.
    fn ask_class(&mut self, candidate: &Candidate, now: Timestamp) {
        if let Some((hold, again_at)) = self.held(candidate, now) {
            self.file(candidate, hold, again_at);
        }
    }

    /// Asks about executions that have just got in line. While there is no slot nobody else does, and what
    /// holds them besides that is to be told at once.
    fn ask_about(&mut self, arrived: &[ExecutionId], now: Timestamp) {
        if self.constraints.len() == 0 {
            return;
        }
        for id in arrived {
            let Some(candidate) = self.live.get(id).map(|live| live.candidate.clone()) else {
                continue;
            };
            let class = self.waiting.class(candidate.number);
            if class.is_none_or(|class| self.waiting.hold_of(class).is_some()) {
                continue;
            }
            match self.held(&candidate, now) {
                Some((hold, again_at)) => self.file(&candidate, hold, again_at),
                None => self.waiting.free(&candidate),
            }
        }
    }

    /// Under what a candidate is to be filed, and when it is to be asked again: of all that holds it, what
    /// holds it longest. `None` if there is nothing but what holds everything.
    fn held(&self, candidate: &Candidate, now: Timestamp) -> Option<(Hold, Option<Timestamp>)> {
        let Verdict::Held(blocked) = constraint::admit(candidate, self.world(now)) else {
            return None;
        };
        let holds = blocked
            .iter()
            .filter_map(|blocked| Some((blocked.hold()?, blocked.again_at())));
        holds.min_by_key(|(_, again_at)| Reverse(again_at.unwrap_or(FOR_EVER)))
    }

    fn file(&mut self, candidate: &Candidate, hold: Hold, again_at: Option<Timestamp>) {
        let constraint = match &hold {
            Hold::Constraint(key) => self.constraints.get(key).map(|found| found.number),
            Hold::Runtime(_) | Hold::Resource(..) => None,
        };
        for pass in self.waiting.hold(candidate, hold, constraint, again_at) {
            self.untold.class_is_held(pass);
        }
    }

    /// Writes into the event log what constraints have begun to hold.
    fn tell_what_is_held(&mut self, context: &Context<'_>, decision: &mut Decision) {
        let has_unit = |id| decision.place_of_fresh(id).is_some();
        let mut held = self.untold.next_arrived(TOLD_AT_ONCE, has_unit);
        self.ask_about(&held, context.now);
        let mut room = TOLD_AT_ONCE - held.len();
        while room > 0
            && let Some(pass) = self.untold.next_pass()
        {
            let class = self.waiting.class(pass.class);
            let Some(class) = class.filter(|class| self.is_held_by(class, pass.by)) else {
                self.waiting.put_aside(pass);
                continue;
            };
            let members: Vec<Place> = class.after(pass.after).take(room).collect();
            if members.len() == room {
                let after = members.last().copied();
                self.untold.passes.push_front(Pass { after, ..pass });
            }
            room -= members.len();
            held.extend(members.into_iter().map(|(_, _, id)| id));
        }
        let mut told = Unit::default();
        for id in held {
            if decision.place_of_fresh(id).is_none() && self.uncertain.has(id) {
                if self.constraints.len() > 0 {
                    self.uncertain.put_off(PutOff::Execution(id));
                }
                continue;
            }
            let Some((step, held_by)) = self.tell_that_held(id, context) else {
                continue;
            };
            // One that is new is written as it stands.
            if let Some(unit) = decision.unit_with_fresh(id) {
                unit.steps.push(step);
                continue;
            }
            told.changes.push(Change::PutHeldBy {
                execution: id,
                held_by: Box::new(held_by),
            });
            told.steps.push(step);
        }
        if !told.is_empty() {
            told.effects.push(Effect::Told);
            self.untold.told();
            decision.units.push(told);
        }
    }

    /// Whether the constraint of a number holds a class.
    fn is_held_by(&self, class: &Class, number: NonZeroU32) -> bool {
        match self.waiting.hold_of(class) {
            Some(Hold::Constraint(key)) => {
                let found = self.constraints.get(key);
                found.is_some_and(|found| found.number == number)
            }
            _ => false,
        }
    }

    /// The constraint that holds an execution where it waits for its start.
    fn held_in_line(&self, live: &Live) -> Option<&InForce> {
        let class = self.waiting.class(live.candidate.number)?;
        match self.waiting.hold_of(class)? {
            Hold::Constraint(key) if class.has(&live.place()) => self.constraints.get(key),
            _ => None,
        }
    }

    /// What the row of an execution says of what holds it: a constraint only if the event log says so too. A
    /// restart goes by that.
    pub(crate) fn recorded(&self, live: &Live, held: Option<BlockedBy>) -> Option<BlockedBy> {
        let told = self
            .held_in_line(live)
            .filter(|found| live.told.has(found.number));
        told.map(|found| BlockedBy::Constraint(Box::new(found.held_by(None))))
            .or_else(|| held.filter(|held| !matches!(held, BlockedBy::Constraint(_))))
    }

    /// The line that says by which constraint an execution is held, if one does and no line says so yet.
    fn tell_that_held(
        &mut self,
        id: ExecutionId,
        context: &Context<'_>,
    ) -> Option<(StepEventDraft, HeldBy)> {
        let live = self.live.get(&id)?;
        let found = self.held_in_line(live)?;
        let number = found.number;
        if live.told.has(number) {
            // In the order in which its class was gone through, so that both forget the same ones.
            self.live.get_mut(&id)?.told.note(number);
            return None;
        }
        let held_by = found.held_by(None);
        let key = &held_by.key;
        let payload = Object::from_iter([
            ("status".to_owned(), "blocked".into()),
            ("reason".to_owned(), held_by.to_string().into()),
            ("constraint".to_owned(), held_by.id.as_str().into()),
            ("scope".to_owned(), key.scope.to_string().into()),
            ("type".to_owned(), key.kind.as_str().into()),
        ]);
        let step = live.step(StepEventType::TaskBlocked, payload, context);
        self.live.get_mut(&id)?.told.note(number);
        Some((step, held_by))
    }

    fn start(&mut self, id: ExecutionId, context: &Context<'_>, decision: &mut Decision) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let state = ExecutionState {
            status: Status::Running,
            attempt: live.state.attempt + 1,
            epoch: self.epoch,
            not_before: None,
            blocked_by: None,
            worker: Some(self.capacity.worker.clone()),
            lease_expires_at: None,
            scheduled_at: Some(context.now),
            started_at: Some(context.now),
            ..(*live.state).clone()
        };
        let transition = match Transition::new(id, &live.state, &[Status::Scheduled], state.clone())
        {
            Ok(transition) => transition,
            Err(error) => {
                tracing::error!(execution = %id, %error, "a waiting execution was not admitted");
                return;
            }
        };
        self.set_state(id, state);
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.told = Told::default();
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let started = self.step_started(live, context);
        let job = Effect::Start(Box::new(self.job(live)));
        let candidate = live.candidate.clone();
        let moved = self.constraints.started(&candidate, context.now);
        let place = decision.place_of_fresh(id).unwrap_or_else(|| {
            let mut unit = Unit::moving(transition);
            unit.tell(live);
            decision.units.push(unit);
            decision.units.len() - 1
        });
        let unit = &mut decision.units[place];
        unit.steps.push(started);
        unit.effects.push(job);
        decision.record_rates(place, moved);
    }

    fn step_started(&self, live: &Live, context: &Context<'_>) -> StepEventDraft {
        let mut payload = Object::new();
        payload.insert("step".into(), live.spec.step().into());
        payload.insert("agent_id".into(), self.capacity.worker.clone().into());
        payload.insert("attempt".into(), live.state.attempt.into());
        live.step(StepEventType::StepStarted, payload, context)
    }

    /// The values that must not be seen in what an execution writes or computes: those of its secret
    /// parameters and those of the configuration.
    pub(crate) fn secrets_of(&self, spec: &ExecutionSpec, action: &Action) -> Vec<String> {
        let mut secrets: Vec<String> = action
            .parameters
            .secret
            .iter()
            .filter_map(|name| text_of(spec.parameters.get(name)?))
            .collect();
        secrets.extend(self.settings.secrets.values().cloned());
        secrets
    }

    fn job(&self, live: &Live) -> Job {
        let spec = &live.spec;
        let adhoc = spec.adhoc.as_ref();
        let secrets = self.secrets_of(spec, &live.action);
        let key = live.key();
        Job {
            key,
            root: spec.root,
            step: spec.step().to_owned(),
            step_scope: spec.step_scope(),
            action: live.action.clone(),
            args: adhoc.map(|a| a.args.clone()).unwrap_or_default(),
            working_dir: adhoc.map(|a| a.working_dir.clone().into()),
            parameters: spec.parameters.clone(),
            secrets,
            timeout: live.action.timeout,
            token: self.settings.signer.sign(&key),
            trace_parent: TraceContext::of_attempt(spec, live.state.attempt).to_string(),
            idempotency_key: spec
                .idempotency_key
                .clone()
                .unwrap_or_else(|| spec.id.to_string()),
        }
    }
}

impl Live {
    /// A line of the run's event log about this execution.
    pub(crate) fn step(
        &self,
        event_type: StepEventType,
        payload: Object,
        context: &Context<'_>,
    ) -> StepEventDraft {
        StepEventDraft {
            root: self.spec.root,
            item: (self.spec.root != self.spec.id).then_some(self.spec.id),
            event_type,
            step: Some(self.spec.step().to_owned()),
            step_scope: self.spec.step_scope(),
            payload,
            created_at: context.now,
        }
    }
}
