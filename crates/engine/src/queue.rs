//! Work that may start as soon as somebody has room for it, in order.
//!
//! Executions that need the same things wait in one class, ordered by (priority, time of request,
//! id). Whether a class can go on is asked once, not once for each of its members: a hundred
//! thousand executions behind a missing runtime cost the others nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camshaft_model::{ExecutionId, Timestamp};

/// What an execution needs from a worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Needs {
    /// Whether it takes a slot; a run of a workflow does not.
    pub(crate) slot: bool,
    /// The runtime that a worker must have; `None` if the action's pack brings it.
    pub(crate) runtime: Option<Arc<str>>,
    /// Named capacities.
    pub(crate) resources: BTreeMap<String, u32>,
}

/// The place of an execution in its class: lower goes first.
pub(crate) type Place = (Reverse<i32>, Timestamp, ExecutionId);

/// Everything that waits for room.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    classes: BTreeMap<Needs, BTreeSet<Place>>,
}

impl Queue {
    pub(crate) fn push(&mut self, needs: &Needs, place: Place) {
        if let Some(class) = self.classes.get_mut(needs) {
            class.insert(place);
        } else {
            self.classes.insert(needs.clone(), BTreeSet::from([place]));
        }
    }

    pub(crate) fn remove(&mut self, needs: &Needs, place: &Place) {
        if let Some(class) = self.classes.get_mut(needs)
            && class.remove(place)
            && class.is_empty()
        {
            self.classes.remove(needs);
        }
    }

    /// The first of all whose needs `can` be met now.
    pub(crate) fn first(&self, can: impl Fn(&Needs) -> bool) -> Option<ExecutionId> {
        self.classes
            .iter()
            .filter(|(needs, _)| can(needs))
            .filter_map(|(_, class)| class.first())
            .min()
            .map(|(_, _, id)| *id)
    }

    /// How many go before a place, in its class.
    pub(crate) fn ahead(&self, needs: &Needs, place: &Place) -> usize {
        self.classes
            .get(needs)
            .map_or(0, |class| class.range(..place).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn place(priority: i32, at: i64, id: u128) -> Place {
        (
            Reverse(priority),
            Timestamp::from_micros(at),
            ExecutionId::new(Uuid::from_u128(id)),
        )
    }

    fn needs(runtime: &str) -> Needs {
        Needs {
            slot: true,
            runtime: Some(runtime.into()),
            resources: BTreeMap::new(),
        }
    }

    #[test]
    fn priority_goes_before_time_and_time_before_id() {
        let mut queue = Queue::default();
        queue.push(&needs("shell"), place(0, 5, 1));
        queue.push(&needs("shell"), place(0, 4, 2));
        queue.push(&needs("python"), place(1, 9, 3));
        let mut order = Vec::new();
        while let Some(id) = queue.first(|_| true) {
            order.push(id.uuid().as_u128());
            for (runtime, priority, at) in [("shell", 0, 5), ("shell", 0, 4), ("python", 1, 9)] {
                queue.remove(&needs(runtime), &place(priority, at, id.uuid().as_u128()));
            }
        }
        assert_eq!(order, [3, 2, 1]);
        assert!(queue.classes.is_empty());
    }

    #[test]
    fn a_class_that_cannot_go_on_is_passed_over() {
        let mut queue = Queue::default();
        queue.push(&needs("cobol"), place(9, 1, 1));
        queue.push(&needs("shell"), place(0, 2, 2));
        let first = queue
            .first(|n| n.runtime.as_deref() != Some("cobol"))
            .unwrap();
        assert_eq!(first.uuid().as_u128(), 2);
        assert_eq!(queue.ahead(&needs("cobol"), &place(0, 3, 3)), 1);
    }
}
