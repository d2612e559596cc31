//! What keeps an execution from going on, for people: every reason, who has what it waits for, until when,
//! and how many go before it. All of it is asked anew of what is known at an instant.

use std::collections::BTreeSet;

use camshaft_model::{BlockedBy, ConstraintType, ExecutionId, Status, Timestamp};

use super::{Candidate, Verdict, admit};
use crate::handle::Blocker;
use crate::state::{Live, State};
use crate::workflow::{Active, ActiveWork, Run};

/// So many holders of what an execution waits for are named, and so many tasks of a run.
const MAX_NAMED: usize = 20;

/// Of which reasons a run of a workflow is held if each of its children is held by one.
type Counts = fn(&BlockedBy) -> bool;

impl State {
    /// The first reason for which an execution that waits has not started.
    pub(crate) fn blocked_by(&self, live: &Live, now: Timestamp) -> Option<BlockedBy> {
        self.blockers(live, now).into_iter().next()
    }

    /// Every reason for which an execution that waits has not started.
    pub(crate) fn blockers(&self, live: &Live, now: Timestamp) -> Vec<BlockedBy> {
        let mut blockers: Vec<BlockedBy> = self.out_of_line(live).into_iter().collect();
        let world = self.world(now);
        if let Verdict::Held(blocked) = admit(&live.candidate, world) {
            blockers.extend(blocked.iter().map(|blocked| blocked.told(&world)));
        }
        blockers
    }

    /// Why an execution that waits is not in line for its start yet.
    fn out_of_line(&self, live: &Live) -> Option<BlockedBy> {
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
        None
    }

    /// What holds an execution now: one that waits for its start, or a run of a workflow if constraints hold
    /// all that it has to do.
    pub(crate) fn held_now(&self, live: &Live, now: Timestamp) -> Option<BlockedBy> {
        self.held_by_what_counts(live, now, |held| matches!(held, BlockedBy::Constraint(_)))
    }

    fn held_by_what_counts(
        &self,
        live: &Live,
        now: Timestamp,
        counts: Counts,
    ) -> Option<BlockedBy> {
        match live.state.status {
            Status::Requested => self.blocked_by(live, now),
            Status::Waiting => {
                let mut first = None;
                for active in self.runs.get(&live.spec.id)?.active.values() {
                    let held = self.task_held(active, now, counts)?;
                    first.get_or_insert(held);
                }
                first
            }
            _ => None,
        }
    }

    /// What holds the first execution of a task that has started, if something that counts holds all of them.
    fn task_held(&self, active: &Active, now: Timestamp, counts: Counts) -> Option<BlockedBy> {
        let children = active.executions();
        let first = children.iter().min()?;
        let mut reason = None;
        for child in &children {
            let held = self.held_by_what_counts(self.live.get(child)?, now, counts);
            let held = held.filter(counts)?;
            if child == first {
                reason = Some(held);
            }
        }
        reason
    }

    /// Everything that an execution waits for, and how many go before it.
    pub(crate) fn waits_for(&self, live: &Live, now: Timestamp) -> (Vec<Blocker>, usize) {
        if let Some(run) = self.runs.get(&live.spec.id) {
            return (self.outstanding(run, now), 0);
        }
        if live.state.status != Status::Requested {
            return (Vec::new(), 0);
        }
        let reasons = self.blockers(live, now).into_iter();
        let blockers = reasons.map(|reason| self.blocker(reason)).collect();
        let ahead = self.waiting.ahead(&live.candidate, &live.place());
        (blockers, ahead)
    }

    fn blocker(&self, reason: BlockedBy) -> Blocker {
        let holders: Vec<ExecutionId> = match &reason {
            BlockedBy::Slots { .. } => self.leases.iter().collect(),
            BlockedBy::Resource { resource, .. } => {
                let has = |candidate: &Candidate| candidate.facts.resources.contains_key(resource);
                self.leases.of(has).collect()
            }
            BlockedBy::Constraint(held) if held.key.kind == ConstraintType::Concurrency => {
                let scope = held.key.scope.matcher();
                let is_in = |candidate: &Candidate| self.constraints.chooses(&scope, candidate);
                self.leases.of(is_in).collect()
            }
            BlockedBy::Overlap { holder, .. } => vec![*holder],
            BlockedBy::Paused { run } => vec![*run],
            _ => Vec::new(),
        };
        blocker(reason.to_string(), holders, until(&reason))
    }

    /// What a run of a workflow waits for.
    fn outstanding(&self, run: &Run, now: Timestamp) -> Vec<Blocker> {
        let mut found = Vec::new();
        if run.is_paused() {
            let text = "the run is paused: nothing new starts until it is resumed".to_owned();
            found.push(blocker(text, vec![run.id()], None));
        }
        if let Some(at) = run.record.next_lap_at {
            let text = format!("cycle {} begins at {at}", run.record.cycle + 1);
            found.push(blocker(text, Vec::new(), Some(at)));
        }
        let named = run.active.values().take(MAX_NAMED);
        found.extend(named.map(|active| self.task_outstanding(active, now)));
        let more = run.active.len().saturating_sub(MAX_NAMED);
        if more > 0 {
            let text = format!("{more} more tasks have not ended");
            found.push(blocker(text, Vec::new(), None));
        }
        found
    }

    fn task_outstanding(&self, active: &Active, now: Timestamp) -> Blocker {
        let name = &active.record.task.name;
        let progress = match &active.work {
            ActiveWork::Child(_) => format!("task '{name}' has not ended"),
            ActiveWork::Items(fan) => {
                let (done, total) = (fan.fanout.done(), fan.results.len());
                format!("task '{name}' has done {done} of {total} items")
            }
            ActiveWork::Inquiry(inquiry) => {
                let text = format!("task '{name}' asks {}: {}", inquiry.id, inquiry.prompt);
                return blocker(text, Vec::new(), active.record.until);
            }
            ActiveWork::Event(awaited) => {
                let text = format!("task '{name}' waits for an event of {}", awaited.trigger());
                return blocker(text, Vec::new(), active.record.until);
            }
        };
        let held = self.task_held(active, now, |_| true);
        let text = match (&held, &active.work) {
            (None, _) => progress,
            (Some(BlockedBy::Constraint(held)), ActiveWork::Child(_)) => {
                held.holding(&format!("task '{name}'")).to_string()
            }
            (Some(BlockedBy::Constraint(held)), _) => {
                format!("{progress}. {}", held.holding("the rest"))
            }
            (Some(held), _) => format!("{progress}: {held}"),
        };
        blocker(text, active.executions(), held.as_ref().and_then(until))
    }
}

fn until(reason: &BlockedBy) -> Option<Timestamp> {
    match reason {
        BlockedBy::NotBefore { until } => Some(*until),
        BlockedBy::Constraint(held) => held.next_at.or(held.expires_at),
        _ => None,
    }
}

fn blocker(text: String, mut holders: Vec<ExecutionId>, until: Option<Timestamp>) -> Blocker {
    let holder_count = holders.len();
    holders.sort_unstable();
    holders.truncate(MAX_NAMED);
    Blocker {
        text,
        holders,
        holder_count,
        until,
    }
}
