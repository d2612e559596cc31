//! Constraints that are set, cleared, or over.

use std::sync::Arc;

use camshaft_model::notice::Notice;
use camshaft_model::port::constraint::ControlRefused;
use camshaft_model::port::store::Change;
use camshaft_model::{Constraint, ConstraintChange, ConstraintKey, ConstraintType, Scope};

use crate::constraint::{Hold, InForce, MAX_CONSTRAINTS};
use crate::decision::{Decision, Unit};
use crate::state::{Context, State};

/// What was in force before a change that may have to be taken back.
pub(crate) type Before = Vec<(ConstraintKey, Option<InForce>)>;

impl State {
    /// Puts a constraint in force, and lets start what it lets start.
    ///
    /// # Errors
    /// It is not valid, its time is over, or there are too many.
    pub(crate) fn set_constraint(
        &mut self,
        constraint: Constraint,
        context: &Context<'_>,
    ) -> Result<(Decision, Before), ControlRefused> {
        constraint.check()?;
        if constraint.is_expired(context.now) {
            return Err(ControlRefused::Expired);
        }
        let key = constraint.key();
        let mut decision = Decision::default();
        match self.constraints.get(&key) {
            Some(found) if found.constraint.says_the_same(&constraint) => {
                return Ok((decision, Before::new()));
            }
            None if self.constraints.len() >= MAX_CONSTRAINTS => {
                return Err(ControlRefused::TooMany(MAX_CONSTRAINTS));
            }
            _ => {}
        }
        let constraint = Arc::new(constraint);
        let change = Change::PutConstraint(Box::new((*constraint).clone()));
        let unit = told(change, constraint.clone(), ConstraintChange::Set, context);
        decision.units.push(unit);
        let before = self.constraints.set(constraint, None, context.now);
        let before = vec![(key, before)];
        self.constraints_changed(&before, context, &mut decision);
        Ok((decision, before))
    }

    /// Ends the constraints of exactly a scope: of one type, or of all.
    pub(crate) fn clear_constraints(
        &mut self,
        scope: &Scope,
        kind: Option<ConstraintType>,
        context: &Context<'_>,
    ) -> (Decision, Before) {
        let mut decision = Decision::default();
        let mut before = Before::new();
        let mut unit = Unit::default();
        for known in ConstraintType::ALL {
            let key = ConstraintKey {
                scope: scope.clone(),
                kind: *known,
            };
            if kind.is_none_or(|kind| kind == *known)
                && let Some(found) = self.constraints.remove(&key)
            {
                unit.end_constraint(&found, ConstraintChange::Cleared, context);
                before.push((key, Some(found)));
            }
        }
        if !before.is_empty() {
            decision.units.push(unit);
        }
        self.constraints_changed(&before, context, &mut decision);
        (decision, before)
    }

    /// Ends every constraint whose time is over.
    pub(crate) fn expire_constraints(&mut self, decision: &mut Decision, context: &Context<'_>) {
        let mut unit = Unit::default();
        while let Some(key) = self.constraints.expired(context.now) {
            if let Some(found) = self.constraints.remove(&key) {
                unit.end_constraint(&found, ConstraintChange::Expired, context);
            }
            self.event_pause_changed(&key);
            self.waiting.open(&Hold::Constraint(key));
        }
        if !unit.is_empty() {
            decision.units.push(unit);
        }
    }

    /// Takes back a change that could not be stored, unless another has come since.
    pub(crate) fn restore_constraints(
        &mut self,
        before: Before,
        set: Option<&Constraint>,
        context: &Context<'_>,
    ) -> Decision {
        let mut decision = Decision::default();
        for (key, before) in &before {
            let now_there = self.constraints.get(key).map(|found| &*found.constraint);
            if now_there != set {
                continue;
            }
            match before {
                Some(found) => {
                    let constraint = found.constraint.clone();
                    self.constraints.set(constraint, found.due, context.now);
                }
                None => drop(self.constraints.remove(key)),
            }
        }
        self.constraints_changed(&before, context, &mut decision);
        decision
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
        before: &Before,
        context: &Context<'_>,
        decision: &mut Decision,
    ) {
        for (key, _) in before {
            self.event_pause_changed(key);
            self.waiting.open(&Hold::Constraint(key.clone()));
        }
        self.ask_again(context.now);
        self.admit(context, decision);
    }
}

fn told(
    change: Change,
    constraint: Arc<Constraint>,
    what: ConstraintChange,
    context: &Context<'_>,
) -> Unit {
    Unit {
        changes: vec![change],
        notices: vec![Notice::Constraint {
            constraint,
            change: what,
            at: context.now,
        }],
        ..Unit::default()
    }
}

impl Unit {
    fn end_constraint(&mut self, found: &InForce, what: ConstraintChange, context: &Context<'_>) {
        let constraint = found.constraint.clone();
        let change = Change::RemoveConstraint(constraint.key());
        self.absorb(told(change, constraint, what, context));
    }
}
