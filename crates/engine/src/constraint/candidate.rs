//! What admission knows of an execution, and which executions hold a lease.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use camshaft_model::definition::Action;
use camshaft_model::{ExecutionId, ExecutionSpec, Origin, Ref, ScopeKind};

/// From so many candidates on, those that nothing has any more are looked for.
const FEW: usize = 1_024;

/// The names by which a scope may choose an execution, and what it needs of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// The rule that requested the run.
    rule: Option<Ref>,
    /// The workflows above it, the outermost first, and then its own action.
    chain: Vec<Ref>,
    /// The tasks that it is a part of, the outermost first; outside a workflow the last part of its
    /// action's ref.
    tasks: Vec<String>,
    runtime: String,
    /// Whether a worker must have the runtime: not if the action's pack brings it.
    pub(crate) asks_for_runtime: bool,
    /// Named capacities.
    pub(crate) resources: BTreeMap<String, u32>,
    /// Whether it takes a slot. A run of a workflow does not: its tasks do. What takes none is held by
    /// no constraint.
    pub(crate) takes_slot: bool,
}

/// Executions that are admitted alike. Two candidates with the same number are the same.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) number: u64,
    pub(crate) facts: Facts,
}

impl Candidate {
    /// The action.
    pub(crate) fn action(&self) -> Option<&Ref> {
        self.facts.chain.last()
    }

    pub(crate) fn runtime(&self) -> &str {
        &self.facts.runtime
    }

    /// Every name of a kind by which a scope may choose it. The project and the worker are not here:
    /// they are those of the engine.
    pub(crate) fn names(&self, kind: ScopeKind) -> Vec<&str> {
        let Facts {
            rule,
            chain,
            tasks,
            runtime,
            ..
        } = &self.facts;
        match kind {
            ScopeKind::Global => vec![""],
            ScopeKind::Pack => rule.iter().chain(chain).map(Ref::pack).collect(),
            ScopeKind::Rule => rule.iter().map(Ref::as_str).collect(),
            ScopeKind::Action => chain.iter().map(Ref::as_str).collect(),
            ScopeKind::Workflow => {
                let above = chain.len().saturating_sub(1);
                chain.iter().take(above).map(Ref::as_str).collect()
            }
            ScopeKind::Task => tasks.iter().map(String::as_str).collect(),
            ScopeKind::Runtime => vec![runtime],
            // Nothing runs for a pod yet.
            ScopeKind::Project | ScopeKind::Worker | ScopeKind::Pod => Vec::new(),
        }
    }
}

/// Every candidate that something has, each once.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    known: HashSet<Known>,
    last: u64,
    /// How many there were after they were last looked through.
    kept: usize,
}

#[derive(Debug)]
struct Known(Arc<Candidate>);

impl Borrow<Facts> for Known {
    fn borrow(&self) -> &Facts {
        &self.0.facts
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.facts == other.0.facts
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.facts.hash(state);
    }
}

impl Candidates {
    /// The candidate of an execution; `above` is that of the run that it is a part of.
    pub(crate) fn of(
        &mut self,
        spec: &ExecutionSpec,
        action: &Action,
        above: Option<&Candidate>,
    ) -> Arc<Candidate> {
        let is_run = action.workflow().is_some();
        let own_rule = match &spec.origin {
            Origin::Rule { rule, .. } => Some(rule.clone()),
            _ => None,
        };
        let (rule, mut chain, mut tasks) = above.map_or_else(
            || (own_rule, Vec::with_capacity(1), Vec::with_capacity(1)),
            |above| {
                let Facts {
                    rule, chain, tasks, ..
                } = &above.facts;
                (rule.clone(), chain.clone(), tasks.clone())
            },
        );
        chain.push(spec.action.clone());
        tasks.push(spec.step().to_owned());
        self.intern(Facts {
            rule,
            chain,
            tasks,
            runtime: action.runtime.clone(),
            asks_for_runtime: !is_run && action.runtime_definition.is_none(),
            resources: if is_run {
                BTreeMap::new()
            } else {
                action.resources.clone()
            },
            takes_slot: !is_run,
        })
    }

    fn intern(&mut self, facts: Facts) -> Arc<Candidate> {
        if let Some(Known(known)) = self.known.get(&facts) {
            return known.clone();
        }
        if self.known.len() >= FEW.max(2 * self.kept) {
            self.known
                .retain(|Known(known)| Arc::strong_count(known) > 1);
            self.kept = self.known.len();
        }
        self.last += 1;
        let number = self.last;
        let candidate = Arc::new(Candidate { number, facts });
        self.known.insert(Known(candidate.clone()));
        candidate
    }
}

/// The executions that hold a lease, by candidate. What is in use is computed from them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases {
    candidate: HashMap<ExecutionId, u64>,
    holders: HashMap<u64, (Arc<Candidate>, HashSet<ExecutionId>)>,
}

impl Leases {
    pub(crate) fn insert(&mut self, id: ExecutionId, candidate: &Arc<Candidate>) {
        if self.candidate.insert(id, candidate.number).is_none() {
            let holders = self.holders.entry(candidate.number);
            let (_, holders) = holders.or_insert_with(|| (candidate.clone(), HashSet::new()));
            holders.insert(id);
        }
    }

    /// Whether it held one.
    pub(crate) fn remove(&mut self, id: ExecutionId) -> bool {
        let Some(number) = self.candidate.remove(&id) else {
            return false;
        };
        if let Some((_, holders)) = self.holders.get_mut(&number) {
            holders.remove(&id);
            if holders.is_empty() {
                self.holders.remove(&number);
            }
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.candidate.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.candidate.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, id: &ExecutionId) -> bool {
        self.candidate.contains_key(id)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ExecutionId> + '_ {
        self.candidate.keys().copied()
    }

    /// Those whose candidate is among them.
    pub(crate) fn of(
        &self,
        is_one: impl Fn(&Candidate) -> bool,
    ) -> impl Iterator<Item = ExecutionId> {
        let classes = self.holders.values();
        let chosen = classes.filter(move |(candidate, _)| is_one(candidate));
        chosen.flat_map(|(_, holders)| holders.iter().copied())
    }

    /// How many hold one, of those whose candidate is among them.
    pub(crate) fn count(&self, is_one: impl Fn(&Candidate) -> bool) -> usize {
        let classes = self.holders.values();
        let chosen = classes.filter(|(candidate, _)| is_one(candidate));
        chosen.map(|(_, holders)| holders.len()).sum()
    }

    /// How much of a named capacity is in use.
    pub(crate) fn resource_used(&self, resource: &str) -> u32 {
        let used = self.holders.values().filter_map(|(candidate, holders)| {
            let each = candidate.facts.resources.get(resource)?;
            Some(each.saturating_mul(u32::try_from(holders.len()).unwrap_or(u32::MAX)))
        });
        used.fold(0, u32::saturating_add)
    }
}
