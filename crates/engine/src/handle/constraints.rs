//! Constraints, as everybody outside of the engine reaches them: set, cleared, listed with what they hold,
//! and tried before they are set.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use camshaft_model::port::constraint::{ConstraintControl, ControlRefused};
use camshaft_model::port::store::{Outcome, StoreError};
use camshaft_model::{
    BlockedBy, Constraint, ConstraintKey, ConstraintType, ExecutionId, Ref, Scope, Status, Terms,
    Timestamp,
};
use tokio::sync::oneshot;

use super::Engine;
use crate::constraint::{Candidate, InForce};
use crate::state::State;

/// So many executions that hold a lease are named for each constraint.
const MAX_HOLDERS: usize = 20;

/// So much work is looked at, for all constraints together, before others may decide.
const LOOKED_AT_AT_ONCE: usize = 20_000;

/// What a constraint would hold if it were in force now, in place of the one of its type on its scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConstraintPreview {
    /// How many executions in its scope run. It does not touch them.
    pub running: u64,
    /// How many executions in its scope are in line for their start.
    pub waiting: u64,
    /// How many of those would wait for it, whatever else they wait for: none as long as its limit is not
    /// reached, and none that would start.
    pub held: u64,
    /// The same by action, where it is not 0.
    pub by_action: BTreeMap<Ref, u64>,
}

/// A constraint in force and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintUse {
    /// The constraint.
    pub constraint: Constraint,
    /// How many executions in its scope hold a lease.
    pub leases: u64,
    /// Some of them.
    pub holders: Vec<ExecutionId>,
    /// How many executions in its scope are in line for their start; of a pause of events, how many events
    /// it holds.
    pub waiting: u64,
    /// How many more may start now, as far as this constraint goes; `None` if it sets no limit.
    pub room: Option<u64>,
    /// When a limit of a rate allows the next start, if not now.
    pub next_at: Option<Timestamp>,
}

#[async_trait]
impl ConstraintControl for Engine {
    async fn set(&self, constraint: Constraint) -> Result<(), ControlRefused> {
        let (answer, stored) = oneshot::channel();
        self.core.apply_with(
            |state, context| {
                Ok::<_, ControlRefused>((state.set_constraint(constraint, context)?, ()))
            },
            |outcome| drop(answer.send(outcome)),
        )?;
        is_stored(stored).await
    }

    async fn clear(
        &self,
        scope: &Scope,
        kind: Option<ConstraintType>,
    ) -> Result<Vec<ConstraintKey>, ControlRefused> {
        let (answer, stored) = oneshot::channel();
        let cleared = self.core.apply_with(
            |state, context| Ok::<_, ControlRefused>(state.clear_constraints(scope, kind, context)),
            |outcome| drop(answer.send(outcome)),
        )?;
        is_stored(stored).await?;
        Ok(cleared)
    }

    fn constraint(&self, key: &ConstraintKey) -> Option<Constraint> {
        self.core.read(|state| {
            let found = state.constraints.get(key)?;
            Some((*found.constraint).clone())
        })
    }

    fn constraints(&self) -> Vec<Constraint> {
        self.core.read(|state| {
            let all = state.constraints.all();
            all.map(|found| (*found.constraint).clone()).collect()
        })
    }

    fn blockers(&self, ids: &[ExecutionId]) -> HashMap<ExecutionId, Vec<BlockedBy>> {
        let now = self.core.clock().now();
        self.core.read(|state| {
            let live = ids.iter().filter_map(|id| state.live.get(id));
            live.filter(|live| live.state.status == Status::Requested)
                .map(|live| (live.spec.id, state.blockers(live, now)))
                .collect()
        })
    }

    fn set_gate(&self, closed: bool) {
        self.core.apply(|state, context| {
            state.gate_closed = closed;
            state.start_what_may(context)
        });
    }
}

/// What a writer that has stopped leaves unanswered is not stored.
async fn is_stored(
    answer: oneshot::Receiver<Result<Outcome, StoreError>>,
) -> Result<(), ControlRefused> {
    let gone = || Err(StoreError::Unavailable("the writer has stopped".to_owned()));
    answer.await.unwrap_or_else(|_| gone())?;
    Ok(())
}

impl Engine {
    /// The constraints in force that are asked for, with what they do, in the order of scopes and types:
    /// the first so many after a key. Others decide between any few of them.
    pub fn constraint_use(
        &self,
        after: Option<ConstraintKey>,
        limit: usize,
        is_asked_for: impl Fn(&Constraint) -> bool,
    ) -> Vec<ConstraintUse> {
        let now = self.now();
        let (mut found, mut after) = (Vec::new(), after);
        while found.len() < limit {
            let some = self.core.read(|state| {
                let rest = state.constraints.after(after.as_ref());
                rest.filter(|one| is_asked_for(&one.constraint))
                    .take(state.counted_at_once().min(limit - found.len()))
                    .map(|one| state.use_of(one, now))
                    .collect::<Vec<_>>()
            });
            let Some(last) = some.last() else {
                break;
            };
            after = Some(last.constraint.key());
            found.extend(some);
        }
        found
    }

    /// The time by which constraints expire.
    pub fn now(&self) -> Timestamp {
        self.core.clock().now()
    }

    /// What a constraint would hold if it were in force now. It is not set.
    pub fn preview(&self, constraint: &Constraint) -> ConstraintPreview {
        let now = self.core.clock().now();
        self.core.read(|state| state.preview(constraint, now))
    }

    /// What holds these executions now: those that wait for their start, and runs of workflows that a
    /// constraint holds wholly. What the database says of them may be older.
    pub fn blocked_by(&self, ids: &[ExecutionId]) -> HashMap<ExecutionId, BlockedBy> {
        let now = self.core.clock().now();
        self.core.read(|state| {
            let live = ids.iter().filter_map(|id| state.live.get(id));
            live.filter_map(|live| Some((live.spec.id, state.held_now(live, now)?)))
                .collect()
        })
    }
}

impl State {
    fn use_of(&self, found: &InForce, now: Timestamp) -> ConstraintUse {
        let is_in = |candidate: &Candidate| self.constraints.chooses(&found.scope, candidate);
        let leases = self.leases.count(is_in);
        let mut holders: Vec<ExecutionId> = self.leases.of(is_in).collect();
        holders.sort_unstable();
        holders.truncate(MAX_HOLDERS);
        let is_of_events = matches!(found.constraint.terms, Terms::EventPause { .. });
        let in_scope = self
            .waiting
            .classes()
            .filter(|class| class.candidate.facts.takes_slot && is_in(&class.candidate));
        ConstraintUse {
            constraint: (*found.constraint).clone(),
            leases: leases as u64,
            holders,
            waiting: if is_of_events {
                self.events_held_by(&found.scope)
            } else {
                in_scope.map(|class| class.len() as u64).sum()
            },
            room: found.room(leases, now),
            next_at: found.holds(|_| leases, now).flatten(),
        }
    }

    /// Of so many constraints it is counted at once what they do, so that nobody waits long for that.
    fn counted_at_once(&self) -> usize {
        let each =
            self.waiting.classes().len() + self.leases.len() + self.held_events.kinds().len();
        (LOOKED_AT_AT_ONCE / each.max(1)).max(1)
    }
}
