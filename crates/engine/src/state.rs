//! What the engine knows: every execution that is not terminal, what waits, who holds leases, and the
//! definitions in force.
//!
//! It mirrors the database, ahead of it by the decisions that are on their way to the disk. Slots
//! and resources in use are computed from the executions that hold a lease; nothing is counted up or
//! down, so nothing can leak.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::{Action, Catalog, Pack, Rule};
use camshaft_model::port::clock::Entropy;
use camshaft_model::port::dispatch::Capacity;
use camshaft_model::{
    AttemptKey, BlockedBy, Execution, ExecutionId, ExecutionSpec, ExecutionState, InquiryId,
    Origin, Ref, Status, Timestamp,
};

use crate::queue::{Needs, Place, Queue};
use crate::rule::RuleIndex;
use crate::schedule::{self, Overlap};
use crate::token::TokenSigner;
use crate::workflow::{Alarm, Kept, Programs, ResultCache, Run};

/// What the engine is told at its start and does not change.
pub struct Settings {
    /// Executions that lead to events that lead to executions: at most so many in a row.
    pub max_depth: u32,
    /// TERM to KILL, when an execution is cancelled.
    pub cancel_grace: Duration,
    /// Secrets by name, for expressions and for redaction.
    pub secrets: BTreeMap<String, String>,
    /// Variables that expressions may read.
    pub env: BTreeMap<String, String>,
    /// Signs attempt tokens.
    pub signer: TokenSigner,
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
    pub(crate) state: ExecutionState,
    pub(crate) action: Arc<Action>,
    /// The rule of which only one execution may run at a time, if it came from such a rule.
    pub(crate) one_of: Option<Ref>,
    /// How many of its attempts were cut off by the end of an engine. These are no tries.
    pub(crate) interruptions: u32,
    /// The last lap of a run of a workflow; see [`camshaft_model::TaskRef::lap`].
    pub(crate) lap: u32,
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
            state: self.state.clone(),
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

    pub(crate) fn needs(&self) -> Needs {
        if self.is_run() {
            return Needs {
                slot: false,
                runtime: None,
                resources: BTreeMap::new(),
            };
        }
        let runtime = self
            .action
            .runtime_definition
            .is_none()
            .then(|| self.action.runtime.as_str().into());
        Needs {
            slot: true,
            runtime,
            resources: self.action.resources.clone(),
        }
    }

    pub(crate) fn place(&self) -> Place {
        (
            Reverse(self.spec.priority),
            self.spec.requested_at,
            self.spec.id,
        )
    }
}

/// The engine's knowledge.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) epoch: i64,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) rules: Arc<RuleIndex>,
    pub(crate) rule_overrides: BTreeMap<Ref, bool>,
    /// Every version of a pack that was loaded since the start, by hash.
    pub(crate) versions: HashMap<String, Arc<Pack>>,
    pub(crate) capacity: Capacity,
    pub(crate) draining: bool,
    /// The runs whose executions start, if not all do.
    pub(crate) focus: Option<HashSet<ExecutionId>>,
    pub(crate) live: HashMap<ExecutionId, Live>,
    /// The executions that hold a lease: those of `live` whose status says so.
    pub(crate) leases: HashSet<ExecutionId>,
    pub(crate) queue: Queue,
    pub(crate) delayed: BTreeSet<(Timestamp, ExecutionId)>,
    /// Per rule that runs one at a time, its executions that are not terminal, oldest first. Only
    /// the first of them is ever in the queue.
    pub(crate) one_at_a_time: BTreeMap<Ref, BTreeSet<ExecutionId>>,
    /// Runs of workflows that have started and not ended.
    pub(crate) runs: HashMap<ExecutionId, Run>,
    /// What runs of workflows look forward to.
    pub(crate) alarms: BTreeSet<(Timestamp, Alarm)>,
    /// Which tasks wait for an event of a trigger.
    pub(crate) awaited: BTreeMap<Ref, BTreeSet<(ExecutionId, usize)>>,
    /// Which task asked an open question.
    pub(crate) inquiries: HashMap<InquiryId, (ExecutionId, usize)>,
    /// What retried runs keep of the runs before them, until they start.
    pub(crate) kept: HashMap<ExecutionId, Kept>,
    /// Results that later runs may take.
    pub(crate) cache: ResultCache,
    /// Compiled workflows of the runs that there are.
    pub(crate) programs: Programs,
}

impl State {
    pub(crate) fn new(settings: Settings, worker: &str) -> Self {
        Self {
            settings,
            epoch: 0,
            catalog: Arc::default(),
            rules: Arc::default(),
            rule_overrides: BTreeMap::new(),
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
            leases: HashSet::new(),
            queue: Queue::default(),
            delayed: BTreeSet::new(),
            one_at_a_time: BTreeMap::new(),
            runs: HashMap::new(),
            alarms: BTreeSet::new(),
            awaited: BTreeMap::new(),
            inquiries: HashMap::new(),
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
        self.queue.push(&live.needs(), live.place());
    }

    /// Takes an execution out of wherever it waits.
    pub(crate) fn dequeue(&mut self, id: ExecutionId) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        self.queue.remove(&live.needs(), &live.place());
        if let Some(until) = live.state.not_before {
            self.delayed.remove(&(until, id));
        }
    }

    /// Replaces the state of a live execution and keeps the set of leases equal to what the states say.
    pub(crate) fn set_state(&mut self, id: ExecutionId, state: ExecutionState) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.state = state;
        if live.holds_lease() {
            self.leases.insert(id);
        } else {
            self.leases.remove(&id);
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
            self.leases.insert(id);
        }
        self.live.insert(id, live);
        if waits {
            self.enqueue(id);
        }
    }

    /// Forgets an execution: it is terminal, or was never recorded. The next of its rule moves up.
    pub(crate) fn forget(&mut self, id: ExecutionId) -> Option<Live> {
        self.dequeue(id);
        self.leases.remove(&id);
        self.forget_run(id);
        let live = self.live.remove(&id)?;
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

    /// How much of a named capacity is held by live leases.
    pub(crate) fn resource_used(&self, resource: &str) -> u32 {
        self.leases
            .iter()
            .filter_map(|id| self.live.get(id)?.action.resources.get(resource))
            .sum()
    }

    /// Everything that keeps these needs from being met now; empty if they can be.
    pub(crate) fn unmet(&self, needs: &Needs) -> Vec<BlockedBy> {
        let mut unmet = Vec::new();
        if self.draining {
            unmet.push(BlockedBy::Draining);
        }
        if let Some(runtime) = &needs.runtime
            && !self.capacity.runtimes.iter().any(|r| **r == **runtime)
        {
            unmet.push(BlockedBy::Runtime {
                runtime: runtime.to_string(),
                available: self.capacity.runtimes.clone(),
            });
        }
        for (resource, needed) in &needs.resources {
            let capacity = self.capacity.resources.get(resource).copied().unwrap_or(0);
            if self.resource_used(resource).saturating_add(*needed) > capacity {
                unmet.push(BlockedBy::Resource {
                    resource: resource.clone(),
                    needs: *needed,
                    capacity,
                });
            }
        }
        if needs.slot && self.leases.len() >= self.capacity.slots as usize {
            unmet.push(BlockedBy::Slots {
                capacity: self.capacity.slots,
            });
        }
        unmet
    }

    /// The run above an execution that somebody paused, if there is one.
    pub(crate) fn paused_by(&self, live: &Live) -> Option<ExecutionId> {
        let mut above = live.spec.parent;
        while let Some(id) = above {
            if self.runs.get(&id).is_some_and(Run::is_paused) {
                return Some(id);
            }
            above = self.live.get(&id)?.spec.parent;
        }
        None
    }

    /// The first reason for which an execution that waits has not started.
    pub(crate) fn blocked_by(&self, live: &Live) -> Option<BlockedBy> {
        if let Some(until) = live.state.not_before {
            return Some(BlockedBy::NotBefore { until });
        }
        if let Some(run) = self.paused_by(live) {
            return Some(BlockedBy::Paused { run });
        }
        if let Some(rule) = &live.one_of
            && let Some(holder) = self.one_at_a_time.get(rule).and_then(BTreeSet::first)
            && *holder != live.spec.id
        {
            return Some(BlockedBy::Overlap {
                rule: rule.clone(),
                holder: *holder,
            });
        }
        self.unmet(&live.needs()).into_iter().next()
    }

    /// When something is due that no command will announce.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let delayed = self.delayed.first().map(|(at, _)| *at);
        let alarm = self.alarms.first().map(|(at, _)| *at);
        delayed.into_iter().chain(alarm).min()
    }
}
