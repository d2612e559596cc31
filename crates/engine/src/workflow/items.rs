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
