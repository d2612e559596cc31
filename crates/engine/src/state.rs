//! What the engine knows: every execution that is not terminal, what waits, who holds leases, and the
//! definitions in force.
//!
//! It mirrors the database, ahead of it by the decisions that are on their way to the disk. Slots
//! and resources in use are computed from the executions that hold a lease; nothing is counted up or
//! down, so nothing can leak.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::{Action, Catalog, Pack, Rule};
use camshaft_model::port::clock::Entropy;
use camshaft_model::port::dispatch::Capacity;
use camshaft_model::{
    AttemptKey, Execution, ExecutionId, ExecutionSpec, ExecutionState, InquiryId, Object, Origin,
    Ref, RunRecord, Status, Timestamp,
};

use crate::catalog::{AwaitedSensor, RuleSensors};
use crate::constraint::{
    Candidate, Candidates, Constraints, Hold, Home, Leases, Pass, Place, Told, Waiting, World,
};
use crate::held_events::HeldEvents;
use crate::rule::RuleIndex;
use crate::schedule::{self, Overlap};
use crate::token::TokenSigner;
use crate::uncertain::Uncertain;
use crate::workflow::{Alarm, Kept, Programs, ResultCache, Run};

/// What the engine is told at its start and does not change.
pub struct Settings {
    /// Executions that lead to events that lead to executions: at most so many in a row.
    pub max_depth: u32,
    /// The most bytes that the results, variables and lists of items of one run take in memory.
    pub run_memory_bytes: u64,
    /// TERM to KILL, when an execution is cancelled.
    pub cancel_grace: Duration,
    /// Secrets by name, for expressions and for redaction.
    pub secrets: BTreeMap<String, String>,
    /// Variables that expressions may read.
    pub env: BTreeMap<String, String>,
    /// Signs attempt tokens.
    pub signer: TokenSigner,
    /// What the engine works for: the scope `project:<id>` chooses by it.
    pub project: String,
}

/// Time and chance for one decision.
pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) entropy: &'a dyn Entropy,
}

/// An execution that is not terminal.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) spec: Arc<ExecutionSpec>,
    /// Shared by all that have just been asked for: a hundred thousand may wait.
    pub(crate) state: Arc<ExecutionState>,
    pub(crate) action: Arc<Action>,
    /// The rule of which only one execution may run at a time, if it came from such a rule.
    pub(crate) one_of: Option<Ref>,
    /// How many of its attempts were cut off by the end of an engine. These are no tries.
    pub(crate) interruptions: u32,
    /// The last lap of a run of a workflow; see [`camshaft_model::TaskRef::lap`].
    pub(crate) lap: u32,
    /// What admission knows of it.
    pub(crate) candidate: Arc<Candidate>,
    /// The last constraints that the event log says to hold it.
    pub(crate) told: Told,
}

impl Live {
    pub(crate) fn key(&self) -> AttemptKey {
        AttemptKey {
            execution: self.spec.id,
            attempt: self.state.attempt,
            epoch: self.state.epoch,
        }
    }

    /// How many tries there have been, as its policy counts them.
    pub(crate) fn tries(&self) -> u32 {
        self.state.attempt.saturating_sub(self.interruptions)
    }

    pub(crate) fn record(&self) -> Execution {
        Execution {
            spec: self.spec.clone(),
            state: (*self.state).clone(),
        }
    }

    /// Whether it is a run of a workflow.
    pub(crate) fn is_run(&self) -> bool {
        self.action.workflow().is_some()
    }

    /// Whether it holds a lease, and so a slot. A run of a workflow never does: its tasks do.
    pub(crate) fn holds_lease(&self) -> bool {
        self.state.status.holds_lease() && !self.is_run()
    }

    pub(crate) fn place(&self) -> Place {
        (
            Reverse(self.spec.priority),
            self.spec.requested_at,
            self.spec.id,
        )
    }
}

/// What a constraint holds and the event log does not say yet.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    /// Executions that have just got in line.
    pub(crate) arrived: VecDeque<ExecutionId>,
    /// Passes through classes that a constraint has just begun to hold.
    pub(crate) passes: VecDeque<Pass>,
    /// The classes and constraints of those that begin at the first member, so that none is in line twice.
    whole: HashSet<(u64, NonZeroU32)>,
    /// Whether a unit that tells is on its way to the disk. The next is decided once it is there, so that a
    /// pause over a hundred thousand does not put hundreds of them before everybody else.
    is_under_way: bool,
}

impl Untold {
    /// A constraint has begun to hold a class.
    pub(crate) fn class_is_held(&mut self, pass: Pass) {
        if pass.after.is_some() || self.whole.insert((pass.class, pass.by)) {
            self.passes.push_back(pass);
        }
    }

    /// Takes out so many executions that have just got in line. While a unit that tells is under way, only
    /// those of the latest that have a unit of their own, which tells of them: the others wait for the next.
    pub(crate) fn next_arrived(
        &mut self,
        limit: usize,
        has_unit: impl Fn(ExecutionId) -> bool,
    ) -> Vec<ExecutionId> {
        let arrived = &mut self.arrived;
        if !self.is_under_way {
            return arrived.drain(..arrived.len().min(limit)).collect();
        }
        let latest = arrived.split_off(arrived.len().saturating_sub(limit));
        let (now, later): (Vec<_>, Vec<_>) = latest.into_iter().partition(|id| has_unit(*id));
        arrived.extend(later);
        now
    }

    /// The next pass; `None` while a unit that tells is under way.
    pub(crate) fn next_pass(&mut self) -> Option<Pass> {
        if self.is_under_way {
            return None;
        }
        let next = self.passes.pop_front()?;
        if next.after.is_none() {
            self.whole.remove(&(next.class, next.by));
        }
        Some(next)
    }

    /// A unit that tells is on its way to the disk.
    pub(crate) const fn told(&mut self) {
        self.is_under_way = true;
    }

    /// The disk has it, or will never have it.
    pub(crate) const fn answered(&mut self) {
        self.is_under_way = false;
    }

    /// Whether there is more to tell than one decision tells, and nothing that comes before it.
    fn has_rest(&self) -> bool {
        !self.is_under_way && (!self.passes.is_empty() || !self.arrived.is_empty())
    }
}

/// The engine's knowledge.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) epoch: i64,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) rules: Arc<RuleIndex>,
    pub(crate) rule_overrides: BTreeMap<Ref, bool>,
    /// What the enabled rules want of sensors.
    pub(crate) rule_sensors: Arc<RuleSensors>,
    /// Whether other sensors are wanted than when somebody last took them.
    pub(crate) sensors_changed: bool,
    /// Every version of a pack that was loaded since the start, by hash.
    pub(crate) versions: HashMap<Arc<str>, Arc<Pack>>,
    pub(crate) capacity: Capacity,
    pub(crate) draining: bool,
    /// The runs whose executions start, if not all do.
    pub(crate) focus: Option<HashSet<ExecutionId>>,
    pub(crate) live: HashMap<ExecutionId, Box<Live>>,
    /// The state of an execution that has just been asked for, and the parameters of one that has none.
    usual: (Arc<ExecutionState>, Arc<Object>),
    /// Whether constraints that hold already may not be known yet.
    pub(crate) gate_closed: bool,
    pub(crate) constraints: Constraints,
    pub(crate) candidates: Candidates,
    /// The executions that hold a lease: those of `live` whose status says so.
    pub(crate) leases: Leases,
    pub(crate) waiting: Waiting,
    /// What a constraint holds since the last decision and the event log does not say yet.
    pub(crate) untold: Untold,
    pub(crate) held_events: HeldEvents,
    /// Executions whose unit may be refused.
    pub(crate) uncertain: Uncertain,
    pub(crate) delayed: BTreeSet<(Timestamp, ExecutionId)>,
    /// Per rule that runs one at a time, its executions that are not terminal, oldest first. Only
    /// the first of them is ever in the queue.
    pub(crate) one_at_a_time: BTreeMap<Ref, BTreeSet<ExecutionId>>,
    /// Runs of workflows that have started and not ended.
    pub(crate) runs: HashMap<ExecutionId, Run>,
    /// What runs of workflows look forward to.
    pub(crate) alarms: BTreeSet<(Timestamp, Alarm)>,
    /// Which tasks wait for an event of a trigger, by the key of its sensor.
    pub(crate) awaited: BTreeMap<Ref, BTreeMap<String, AwaitedSensor>>,
    /// Which task asked an open question.
    pub(crate) inquiries: HashMap<InquiryId, (ExecutionId, usize)>,
    /// Runs of workflows that have not begun, or wait for their next attempt, as they are recorded.
    pub(crate) between: HashMap<ExecutionId, RunRecord>,
    /// What retried runs keep of the runs before them.
    pub(crate) kept: HashMap<ExecutionId, Kept>,
    /// Results that later runs may take.
    pub(crate) cache: ResultCache,
    /// Compiled workflows of the runs that there are.
    pub(crate) programs: Programs,
}

impl State {
    pub(crate) fn new(settings: Settings, worker: &str) -> Self {
        let home = Home {
            project: settings.project.clone(),
            worker: worker.to_owned(),
        };
        Self {
            settings,
            epoch: 0,
            catalog: Arc::default(),
            rules: Arc::default(),
            rule_overrides: BTreeMap::new(),
            rule_sensors: Arc::default(),
            sensors_changed: false,
            versions: HashMap::new(),
            capacity: Capacity {
                worker: worker.to_owned(),
                slots: 0,
                runtimes: Vec::new(),
                resources: BTreeMap::new(),
            },
            draining: false,
            focus: None,
            live: HashMap::new(),
            usual: (Arc::new(ExecutionState::requested(None)), Arc::default()),
            gate_closed: false,
            constraints: Constraints::new(home),
            candidates: Candidates::default(),
            leases: Leases::default(),
            waiting: Waiting::default(),
            untold: Untold::default(),
            held_events: HeldEvents::default(),
            uncertain: Uncertain::default(),
            delayed: BTreeSet::new(),
            one_at_a_time: BTreeMap::new(),
            runs: HashMap::new(),
            alarms: BTreeSet::new(),
            awaited: BTreeMap::new(),
            inquiries: HashMap::new(),
            between: HashMap::new(),
            kept: HashMap::new(),
            cache: ResultCache::default(),
            programs: Programs::default(),
        }
    }

    /// Whether a rule is enabled, overrides included.
    pub(crate) fn rule_enabled(&self, rule: &Rule) -> bool {
        self.rule_overrides
            .get(&rule.reference)
            .copied()
            .unwrap_or(rule.enabled)
    }

    /// The overlap policy of a rule: a parameter of its timer.
    pub(crate) fn overlap(&self, rule: &Ref) -> Overlap {
        self.catalog.rule(rule).map_or(Overlap::Allow, |rule| {
            schedule::overlap(&rule.trigger_parameters)
        })
    }

    /// The rule whose executions this one must not run beside, if there is one.
    pub(crate) fn one_of(&self, origin: &Origin) -> Option<Ref> {
        match origin {
            Origin::Rule { rule, .. } => {
                (self.overlap(rule) != Overlap::Allow).then(|| rule.clone())
            }
            _ => None,
        }
    }

    /// Puts an execution that waits where it waits: behind its instant, behind the one before it, or
    /// in the queue.
    pub(crate) fn enqueue(&mut self, id: ExecutionId) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        if let Some(until) = live.state.not_before {
            self.delayed.insert((until, id));
            return;
        }
        let is_aside = |focus: &HashSet<_>| !focus.contains(&live.spec.root);
        if self.focus.as_ref().is_some_and(is_aside) || self.paused_by(live).is_some() {
            return;
        }
        if let Some(rule) = &live.one_of {
            let group = self.one_at_a_time.entry(rule.clone()).or_default();
            group.insert(id);
            if group.first() != Some(&id) {
                return;
            }
        }
        let (candidate, place) = (live.candidate.clone(), live.place());
        self.waiting.push(&candidate, place);
        self.untold.arrived.push_back(id);
    }

    /// Takes an execution out of wherever it waits.
    pub(crate) fn dequeue(&mut self, id: ExecutionId) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        self.waiting.remove(&live.candidate, &live.place());
        if let Some(until) = live.state.not_before {
            self.delayed.remove(&(until, id));
        }
    }

    /// Replaces the state of a live execution and keeps the set of leases equal to what the states say.
    pub(crate) fn set_state(&mut self, id: ExecutionId, state: ExecutionState) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.state = Arc::new(state);
        if live.holds_lease() {
            self.leases.insert(id, &live.candidate);
        } else {
            let candidate = live.candidate.clone();
            self.release(id, &candidate);
        }
    }

    /// Ends the lease of an execution, if it has one: what waits for it is asked again.
    fn release(&mut self, id: ExecutionId, candidate: &Candidate) {
        if !self.leases.remove(id) {
            return;
        }
        for resource in candidate.facts.resources.keys() {
            self.waiting.open_resource(resource);
        }
        for found in self.constraints.on(candidate) {
            if found.counts_leases() {
                self.waiting.open(&Hold::Constraint(found.constraint.key()));
            }
        }
    }

    /// Parameters to be kept for as long as an execution waits.
    pub(crate) fn shared(&self, parameters: Object) -> Arc<Object> {
        if parameters.is_empty() {
            self.usual.1.clone()
        } else {
            Arc::new(parameters)
        }
    }

    /// Makes an execution that is not terminal from its parts.
    pub(crate) fn alive(
        &mut self,
        spec: Arc<ExecutionSpec>,
        mut state: ExecutionState,
        action: Arc<Action>,
    ) -> Live {
        // Why it waits is asked anew whenever somebody wants to know.
        if state.status == Status::Requested {
            state.blocked_by = None;
        }
        let state = if state == *self.usual.0 {
            self.usual.0.clone()
        } else {
            Arc::new(state)
        };
        let above = spec.parent.and_then(|id| self.live.get(&id));
        let above = above.map(|live| live.candidate.clone());
        let candidate = self.candidates.of(&spec, &action, above.as_deref());
        let one_of = self.one_of(&spec.origin);
        Live {
            spec,
            state,
            action,
            one_of,
            interruptions: 0,
            lap: 0,
            candidate,
            told: Told::default(),
        }
    }

    /// Adds an execution that is not terminal.
    pub(crate) fn insert(&mut self, live: Live) {
        let id = live.spec.id;
        if let Some(rule) = &live.one_of {
            self.one_at_a_time
                .entry(rule.clone())
                .or_default()
                .insert(id);
        }
        let waits = live.state.status == Status::Requested;
        if live.holds_lease() {
            self.leases.insert(id, &live.candidate);
        }
        self.live.insert(id, Box::new(live));
        if waits {
            self.enqueue(id);
        }
    }

    /// Forgets an execution: it is terminal, or was never recorded. The next of its rule moves up.
    pub(crate) fn forget(&mut self, id: ExecutionId) -> Option<Box<Live>> {
        self.dequeue(id);
        self.forget_run(id);
        let live = self.live.remove(&id)?;
        self.release(id, &live.candidate);
        if let Some(rule) = &live.one_of {
            let next = self.one_at_a_time.get_mut(rule).and_then(|group| {
                group.remove(&id);
                group.first().copied()
            });
            match next {
                Some(next)
                    if self
                        .live
                        .get(&next)
                        .is_some_and(|l| l.state.status == Status::Requested) =>
                {
                    self.enqueue(next);
                }
                Some(_) => {}
                None => {
                    self.one_at_a_time.remove(rule);
                }
            }
        }
        Some(live)
    }

    /// All that admission depends on, at an instant.
    pub(crate) fn world(&self, now: Timestamp) -> World<'_> {
        World {
            now,
            draining: self.draining,
            gate_closed: self.gate_closed,
            capacity: &self.capacity,
            leases: &self.leases,
            constraints: &self.constraints,
        }
    }

    /// Whether one more attempt may run beside those that hold these leases.
    pub(crate) fn has_slot(&self, leases: &Leases) -> bool {
        leases.len() < self.capacity.slots as usize
    }

    /// The run above an execution that somebody paused, if there is one; or the execution itself, if it
    /// is a run that was paused and has not begun its next attempt.
    pub(crate) fn paused_by(&self, live: &Live) -> Option<ExecutionId> {
        let own = self.between.get(&live.spec.id);
        if own.is_some_and(|record| record.paused) {
            return Some(live.spec.id);
        }
        let mut above = live.spec.parent;
        while let Some(id) = above {
            if self.runs.get(&id).is_some_and(Run::is_paused) {
                return Some(id);
            }
            above = self.live.get(&id)?.spec.parent;
        }
        None
    }

    /// When something is due that no command will announce.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let delayed = self.delayed.first().map(|(at, _)| *at);
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let constraint = self.constraints.next_expiry().into_iter();
        let constraint = constraint.chain(self.waiting.next_wake());
        let has_rest =
            self.untold.has_rest() || self.held_events.has_next() || self.uncertain.has_next();
        let rest = has_rest.then(Timestamp::default);
        delayed
            .into_iter()
            .chain(alarm)
            .chain(constraint)
            .chain(rest)
            .min()
    }
}
