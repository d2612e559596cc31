//! Which items of one task may start.
//!
//! Items start in the order of the list, and only so many at a time, so that a list of ten thousand
//! costs as many executions at a time as one of ten. The list itself and the results are elsewhere:
//! here are numbers.

use std::collections::BTreeSet;
use std::ops::Range;

use camshaft_model::definition::workflow::{Items, OnItemFailure};

/// How far one start of a task with items has come.
#[derive(Debug, Clone)]
pub(crate) struct Fanout {
    total: u32,
    /// The first item that has not started: those before it have.
    next: u32,
    /// Items that have started and not ended. Never more than `concurrency`.
    running: BTreeSet<u32>,
    /// Items that have ended without completing.
    failed: u32,
    /// Whether nothing more starts, for whichever reason.
    closed: bool,
    concurrency: u32,
    on_failure: OnItemFailure,
}

impl Fanout {
    pub(crate) fn new(total: u32, items: &Items) -> Self {
        Self {
            total,
            next: 0,
            running: BTreeSet::new(),
            failed: 0,
            closed: false,
            // None at a time would wait for ever.
            concurrency: items.concurrency.max(1),
            on_failure: items.on_failure,
        }
    }

    /// One that has come so far: each item that has started either ended or runs. Whether it had been
    /// closed is for the caller to know.
    pub(crate) fn restore(
        total: u32,
        items: &Items,
        ended: impl IntoIterator<Item = (u32, bool)>,
        running: impl IntoIterator<Item = u32>,
    ) -> Self {
        let mut fanout = Self::new(total, items);
        let mut started = |item: u32| fanout.next = fanout.next.max(item.saturating_add(1));
        let running: Vec<u32> = running.into_iter().filter(|item| *item < total).collect();
        running.iter().copied().for_each(&mut started);
        let ended = ended.into_iter().filter(|(item, _)| *item < total);
        let failed = ended.map(|(item, completed)| {
            started(item);
            u32::from(!completed)
        });
        fanout.failed = failed.sum();
        fanout.running = running.into_iter().collect();
        fanout.close_if_failed();
        fanout
    }

    /// The items that start now. They run from here on.
    pub(crate) fn start(&mut self) -> Range<u32> {
        if self.closed {
            return self.next..self.next;
        }
        let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let room = self.concurrency.saturating_sub(running);
        let first = self.next;
        self.next = first.saturating_add(room).min(self.total);
        self.running.extend(first..self.next);
        first..self.next
    }

    /// An item has ended. One that does not run changes nothing.
    pub(crate) fn ended(&mut self, item: u32, completed: bool) {
        if self.running.remove(&item) && !completed {
            self.failed += 1;
            self.close_if_failed();
        }
    }

    /// Whether items are left that may start.
    pub(crate) fn has_more(&self) -> bool {
        !self.closed && self.next < self.total
    }

    /// Lets nothing more start.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether nothing runs and nothing more starts.
    pub(crate) fn is_over(&self) -> bool {
        self.running.is_empty() && (self.closed || self.next == self.total)
    }

    /// How many items have ended, whichever way.
    pub(crate) fn done(&self) -> u32 {
        self.next - u32::try_from(self.running.len()).unwrap_or(self.next)
    }

    fn close_if_failed(&mut self) {
        if self.failed > 0 && self.on_failure == OnItemFailure::Stop {
            self.closed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn items(concurrency: u32, on_failure: OnItemFailure) -> Items {
        Items {
            over: Value::Null,
            concurrency,
            on_failure,
        }
    }

    #[test]
    fn no_items_are_over_at_once() {
        let mut fanout = Fanout::new(0, &items(4, OnItemFailure::Stop));
        assert_eq!(fanout.start(), 0..0);
        assert!(fanout.is_over());
    }

    #[test]
    fn a_failed_item_lets_running_ones_finish_and_no_new_ones_start() {
        let mut fanout = Fanout::new(9, &items(3, OnItemFailure::Stop));
        assert_eq!(fanout.start(), 0..3);
        fanout.ended(1, false);
        assert_eq!(fanout.start(), 3..3);
        assert!(!fanout.is_over());
        fanout.ended(0, true);
        fanout.ended(2, true);
        assert!(fanout.is_over());
        assert_eq!((fanout.done(), fanout.failed), (3, 1));
    }

    #[test]
    fn items_that_may_fail_all_run() {
        let mut fanout = Fanout::new(5, &items(2, OnItemFailure::Continue));
        let mut order = Vec::new();
        while !fanout.is_over() {
            for item in fanout.start() {
                order.push(item);
                fanout.ended(item, false);
                fanout.ended(item, false);
            }
        }
        assert_eq!(order, [0, 1, 2, 3, 4]);
        assert_eq!((fanout.done(), fanout.failed), (5, 5));
    }

    #[test]
    fn what_is_closed_waits_for_what_runs() {
        let mut fanout = Fanout::new(9, &items(2, OnItemFailure::Continue));
        fanout.start();
        fanout.close();
        fanout.ended(0, true);
        assert_eq!(fanout.start(), 2..2);
        assert!(!fanout.is_over());
        fanout.ended(1, true);
        assert!(fanout.is_over());
    }

    proptest! {
        /// Whatever the order of ends, and wherever it is made anew.
        #[test]
        fn items_start_in_order_and_never_too_many(
            total in 0..40_u32,
            concurrency in 0..6_u32,
            on in prop_oneof![Just(OnItemFailure::Stop), Just(OnItemFailure::Continue)],
            ends in prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.9)), 50),
        ) {
            let declared = items(concurrency, on);
            let mut fanout = Fanout::new(total, &declared);
            let mut running: Vec<u32> = Vec::new();
            let mut ended: Vec<(u32, bool)> = Vec::new();
            let mut started = 0;
            for (which, completed) in ends {
                let failed = ended.iter().filter(|(_, completed)| !completed).count();
                let stops = on == OnItemFailure::Stop && failed > 0;
                let room = concurrency.max(1) - u32::try_from(running.len()).unwrap();
                let expected = if stops { started } else { total.min(started + room) };
                let mut again = Fanout::restore(total, &declared, ended.clone(), running.clone());
                let next = fanout.start();
                prop_assert_eq!(next.clone(), started..expected);
                prop_assert_eq!(again.start(), next.clone());
                started = expected;
                running.extend(next);
                prop_assert_eq!(fanout.is_over(), running.is_empty());
                prop_assert_eq!(fanout.done() as usize, ended.len());
                prop_assert_eq!(fanout.failed as usize, failed);
                if running.is_empty() {
                    prop_assert!(stops || started == total);
                    break;
                }
                let item = running.swap_remove(which.index(running.len()));
                fanout.ended(item, completed);
                ended.push((item, completed));
            }
        }
    }
}
