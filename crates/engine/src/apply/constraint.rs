//! Constraints that are set, cleared, or over.

use std::sync::Arc;

use camshaft_model::notice::Notice;
use camshaft_model::port::constraint::ControlRefused;
use camshaft_model::port::store::Change;
use camshaft_model::{
    Constraint, ConstraintChange, ConstraintKey, ConstraintType, MAX_CONSTRAINTS, Scope,
};

use crate::constraint::Hold;
use crate::decision::{Decision, Unit};
use crate::state::{Context, State};

impl State {
    /// Puts a constraint in force, and lets start what it lets start.
    ///
    /// # Errors
    /// It is not valid, its time is over, or there are too many.
    pub(crate) fn set_constraint(
        &mut self,
        mut constraint: Constraint,
        context: &Context<'_>,
    ) -> Result<Decision, ControlRefused> {
        constraint.check()?;
        if constraint.is_expired(context.now) {
            return Err(ControlRefused::Expired);
        }
        let key = constraint.key();
        let mut decision = Decision::default();
        match self.constraints.get(&key) {
            Some(found)
                if found.constraint.via == constraint.via
                    && found.constraint.says_the_same(&constraint) =>
            {
                return Ok(decision);
            }
            None if self.constraints.len() >= MAX_CONSTRAINTS => {
                return Err(ControlRefused::TooMany(MAX_CONSTRAINTS));
            }
            _ => {}
        }
        // Not when somebody asked for it: what was decided until now was decided without it.
        constraint.set_at = context.now;
        let constraint = Arc::new(constraint);
        (self.constraints).set(constraint.clone(), None, context.now);
        let found = self.constraints.get(&key);
        let change = Change::PutConstraint {
            constraint: Box::new((*constraint).clone()),
            since: found.map_or(constraint.set_at, |found| found.since),
        };
        let mut unit = Unit::default();
        unit.change_constraint(change, &constraint, ConstraintChange::Set, context);
        decision.units.push(unit);
        self.constraints_changed(&[key], context, &mut decision);
        Ok(decision)
    }

    /// Ends the constraints of exactly a scope: of one type, or of all. Gives those that were in force.
    pub(crate) fn clear_constraints(
        &mut self,
        scope: &Scope,
        kind: Option<ConstraintType>,
        context: &Context<'_>,
    ) -> (Decision, Vec<ConstraintKey>) {
        let mut decision = Decision::default();
        let mut unit = Unit::default();
        let kinds = ConstraintType::ALL.iter().copied();
        let asked_for = kinds.filter(|known| kind.is_none_or(|kind| kind == *known));
        let keys = asked_for.map(|kind| ConstraintKey {
            scope: scope.clone(),
            kind,
        });
        let cleared: Vec<ConstraintKey> = keys
            .filter(|key| self.end_constraint(key, ConstraintChange::Cleared, &mut unit, context))
            .collect();
        if !unit.is_empty() {
            decision.units.push(unit);
        }
        self.constraints_changed(&cleared, context, &mut decision);
        (decision, cleared)
    }

    /// Ends every constraint whose time is over.
    pub(crate) fn expire_constraints(&mut self, decision: &mut Decision, context: &Context<'_>) {
        let mut unit = Unit::default();
        let mut expired = Vec::new();
        while let Some(key) = self.constraints.expired(context.now) {
            self.end_constraint(&key, ConstraintChange::Expired, &mut unit, context);
            self.event_pause_changed(&key);
            self.waiting.open(&Hold::Constraint(key.clone()));
            expired.push(key);
        }
        if !unit.is_empty() {
            decision.units.push(unit);
            self.ask_again(&expired, context.now);
        }
    }

    /// Ends them before anything else is decided.
    pub(crate) fn end_expired(&mut self, context: &Context<'_>) -> Decision {
        let mut decision = Decision::default();
        self.expire_constraints(&mut decision, context);
        decision
    }

    /// `false` if it is not in force.
    fn end_constraint(
        &mut self,
        key: &ConstraintKey,
        what: ConstraintChange,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> bool {
        let Some(found) = self.constraints.remove(key) else {
            return false;
        };
        let change = Change::RemoveConstraint(key.clone());
        unit.change_constraint(change, &found.constraint, what, context);
        true
    }

    /// Events that a pause held are answered soon, in decisions of their own.
    fn event_pause_changed(&mut self, key: &ConstraintKey) {
        if key.kind == ConstraintType::EventPause {
            self.held_events.look_through();
        }
    }

    /// Lets start what changes of these constraints let start. All of them are opened first, so that what
    /// several held keeps its order.
    fn constraints_changed(
        &mut self,
        keys: &[ConstraintKey],
        context: &Context<'_>,
        decision: &mut Decision,
    ) {
        for key in keys {
            self.event_pause_changed(key);
            self.waiting.open(&Hold::Constraint(key.clone()));
        }
        self.ask_again(keys, context.now);
        self.admit(context, decision);
    }
}

impl Unit {
    fn change_constraint(
        &mut self,
        change: Change,
        constraint: &Arc<Constraint>,
        what: ConstraintChange,
        context: &Context<'_>,
    ) {
        self.changes.push(change);
        self.notices.push(Notice::Constraint {
            constraint: constraint.clone(),
            change: what,
            at: context.now,
        });
    }
}
