//! What a constraint would hold if it were in force now.
//!
//! A preview runs the one decision of admission on a copy of the world in which the constraint is in force, in
//! the order of the dispatcher, and counts what then waits for it. It asks whom the change may let start and
//! nobody else. What is left is counted by class, so it matters little how much waits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use camshaft_model::{Constraint, Timestamp};

use super::{Candidate, Class, Constraints, Hold, Leases, Verdict, World, admit};
use crate::handle::ConstraintPreview;
use crate::state::State;

/// What admission depends on, in a world in which something else is in force.
struct Trial {
    constraints: Constraints,
    leases: Leases,
    /// How many members of each class have left the line there, the first ones, by the number of its candidate.
    gone: HashMap<u64, usize>,
}

impl State {
    /// What a constraint would hold if it were in force now, in place of the one of its type on its scope.
    pub(crate) fn preview(&self, constraint: &Constraint, now: Timestamp) -> ConstraintPreview {
        let key = constraint.key();
        // Alone, since most do not let anything start, and all that are in force may be many.
        let mut alone = Constraints::new(self.constraints.home().clone());
        let before = self.constraints.get(&key);
        let lasting = before.filter(|before| !before.constraint.is_expired(now));
        let due = lasting.and_then(|before| before.due);
        alone.set(Arc::new(constraint.clone()), due, now);
        let Some(found) = alone.get(&key) else {
            return ConstraintPreview::default();
        };
        let is_in = |candidate: &Candidate| alone.chooses(&found.scope, candidate);
        let in_line: Vec<&Class> = self
            .waiting
            .classes()
            .filter(|class| class.candidate.facts.takes_slot && is_in(&class.candidate))
            .collect();
        let running = self.leases.count(is_in);
        let mut preview = ConstraintPreview {
            running: running as u64,
            waiting: in_line.iter().map(|class| class.len() as u64).sum(),
            ..ConstraintPreview::default()
        };
        let mut gone = HashMap::new();
        if found.holds(|_| running, now).is_none() {
            let Some(trial) = self.try_with(constraint, now) else {
                return preview;
            };
            let leases = |_: &_| trial.leases.count(is_in);
            let after = trial.constraints.get(&key);
            if after.is_none_or(|after| after.holds(leases, now).is_none()) {
                return preview;
            }
            gone = trial.gone;
        }
        for class in in_line {
            let gone = gone.get(&class.candidate.number).copied().unwrap_or(0);
            let held = class.len().saturating_sub(gone) as u64;
            preview.held += held;
            if let Some(action) = class.candidate.action().filter(|_| held > 0) {
                *preview.by_action.entry(action.clone()).or_default() += held;
            }
        }
        preview
    }

    /// Lets start what would start if a constraint were in force now; `None` if it is nothing, whatever that
    /// says.
    fn try_with(&self, constraint: &Constraint, now: Timestamp) -> Option<Trial> {
        let hold = Hold::Constraint(constraint.key());
        let mut lines: Vec<_> = self
            .waiting
            .unheld_but_for(&hold, now)
            .filter(|class| class.candidate.facts.takes_slot)
            .map(|class| (&class.candidate, class.after(None)))
            .collect();
        if lines.is_empty() || !self.has_slot(&self.leases) {
            return None;
        }
        let mut trial = Trial {
            constraints: self.constraints.clone(),
            leases: self.leases.clone(),
            gone: HashMap::new(),
        };
        let constraint = Arc::new(constraint.clone());
        trial.constraints.set(constraint, None, now);
        let heads = lines.iter_mut().enumerate();
        let heads = heads.filter_map(|(line, (_, members))| Some(Reverse((members.next()?, line))));
        let mut heads: BinaryHeap<_> = heads.collect();
        while self.has_slot(&trial.leases)
            && let Some(Reverse(((_, _, id), line))) = heads.pop()
        {
            let (candidate, members) = &mut lines[line];
            let world = World {
                leases: &trial.leases,
                constraints: &trial.constraints,
                ..self.world(now)
            };
            // Every start takes something and gives nothing back, so what is held stays held.
            if matches!(admit(candidate, world), Verdict::Held(_)) {
                continue;
            }
            *trial.gone.entry(candidate.number).or_default() += 1;
            heads.extend(members.next().map(|place| Reverse((place, line))));
            // A paused run takes back at its turn what was in line already.
            let live = self.live.get(&id);
            if live.is_none_or(|live| self.paused_by(live).is_some()) {
                continue;
            }
            trial.leases.insert(id, candidate);
            trial.constraints.started(candidate, now);
        }
        Some(trial)
    }
}
