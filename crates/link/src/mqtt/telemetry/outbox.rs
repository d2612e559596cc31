//! Messages that wait for the broker: a bounded queue that gives up the oldest, and counts for each
//! run how many, so that the next message of the run can say so.

use std::collections::{BTreeSet, HashMap, VecDeque};

use camshaft_model::{ExecutionId, Timestamp};

use super::message::{Body, Queued};

/// The most messages that wait.
const MAX_QUEUED: usize = 50_000;
/// The most bytes of them, more or less: errors may be long.
const MAX_QUEUED_BYTES: usize = 32 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: VecDeque<Queued>,
    bytes: usize,
    runs: HashMap<ExecutionId, Count>,
    /// Runs of whose end something waits or is on its way, by the last line of the event log about them.
    ends: BTreeSet<(i64, ExecutionId)>,
    limit: usize,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Count {
    seq: u64,
    /// How many are in the queue or on their way.
    pending: usize,
    /// How many were given up since the last one that left.
    dropped: u64,
    is_over: bool,
    /// The last line of the event log about it, if it is over for good.
    ended_at: Option<i64>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::with_limit(MAX_QUEUED)
    }
}

impl Outbox {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            runs: HashMap::new(),
            ends: BTreeSet::new(),
            limit,
            dropped: 0,
        }
    }

    pub(super) fn push(&mut self, run: ExecutionId, at: Timestamp, body: Body) {
        let count = self.runs.entry(run).or_default();
        count.seq += 1;
        count.pending += 1;
        let queued = Queued {
            run,
            seq: count.seq,
            at,
            dropped: 0,
            body,
        };
        self.bytes += queued.bytes();
        self.queue.push_back(queued);
        self.trim();
    }

    /// Nothing more will come of a run; it is forgotten once all of it has left. If it has ended, `line` is the
    /// last one of the event log about it.
    pub(super) fn end(&mut self, run: ExecutionId, line: Option<i64>) {
        if let Some(count) = self.runs.get_mut(&run) {
            count.is_over = true;
            count.ended_at = line;
            self.ends.extend(line.map(|line| (line, run)));
        }
        self.forget(run);
    }

    /// The first line about a run that has ended and of which not everything has left.
    pub(super) fn first_end(&self) -> Option<i64> {
        self.ends.first().map(|(line, _)| *line)
    }

    /// The oldest message, which is on its way now.
    pub(super) fn pop(&mut self) -> Option<Queued> {
        let mut queued = self.queue.pop_front()?;
        self.bytes -= queued.bytes();
        if let Some(count) = self.runs.get_mut(&queued.run) {
            queued.dropped += std::mem::take(&mut count.dropped);
        }
        Some(queued)
    }

    /// The broker has it.
    pub(super) fn delivered(&mut self, run: ExecutionId) {
        if let Some(count) = self.runs.get_mut(&run) {
            count.pending = count.pending.saturating_sub(1);
        }
        self.forget(run);
    }

    /// Takes back what was on its way, oldest first.
    pub(super) fn put_back(&mut self, messages: Vec<Queued>) {
        for message in messages.into_iter().rev() {
            self.bytes += message.bytes();
            self.queue.push_front(message);
        }
        self.trim();
    }

    /// Gives up everything that waits or is on its way, and says how much that was.
    pub(super) fn give_up(&mut self) -> u64 {
        let left = self.runs.values().map(|count| count.pending as u64).sum();
        self.dropped += left;
        self.queue.clear();
        self.runs.clear();
        self.ends.clear();
        self.bytes = 0;
        left
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many messages were given up in all.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn trim(&mut self) {
        while self.queue.len() > self.limit || self.bytes > MAX_QUEUED_BYTES {
            let Some(oldest) = self.queue.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
            self.dropped += 1;
            if let Some(count) = self.runs.get_mut(&oldest.run) {
                count.dropped += 1 + oldest.dropped;
                count.pending = count.pending.saturating_sub(1);
            }
            self.forget(oldest.run);
        }
    }

    fn forget(&mut self, run: ExecutionId) {
        let is_done = |count: &Count| count.is_over && count.pending == 0;
        if self.runs.get(&run).is_some_and(is_done) {
            let ended_at = self.runs.remove(&run).and_then(|count| count.ended_at);
            if let Some(line) = ended_at {
                self.ends.remove(&(line, run));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Lifecycle;
    use super::*;
    use uuid::Uuid;

    fn run(number: u128) -> ExecutionId {
        ExecutionId::new(Uuid::from_u128(number))
    }

    fn push(outbox: &mut Outbox, number: u128) {
        let body = Body::LifecycleEvent(Lifecycle::default());
        outbox.push(run(number), Timestamp::default(), body);
    }

    fn all(outbox: &mut Outbox) -> Vec<(ExecutionId, u64, u64)> {
        std::iter::from_fn(|| outbox.pop())
            .map(|queued| (queued.run, queued.seq, queued.dropped))
            .collect()
    }

    #[test]
    fn the_oldest_are_given_up_and_the_next_of_the_run_says_how_many() {
        let mut outbox = Outbox::with_limit(3);
        for number in [1, 1, 2, 1, 2] {
            push(&mut outbox, number);
        }
        assert_eq!(outbox.dropped(), 2);
        assert_eq!(
            all(&mut outbox),
            [(run(2), 1, 0), (run(1), 3, 2), (run(2), 2, 0)]
        );
    }

    #[test]
    fn long_errors_are_bounded_by_their_bytes() {
        let mut outbox = Outbox::default();
        let long = "x".repeat(1024 * 1024);
        for _ in 0..100 {
            let body = Body::LifecycleEvent(Lifecycle {
                error: Some(long.clone()),
                ..Lifecycle::default()
            });
            outbox.push(run(1), Timestamp::default(), body);
        }
        let left = all(&mut outbox);
        assert!(left.len() < 33, "{}", left.len());
        assert_eq!(left[0].2 + left.len() as u64, 100);
        assert_eq!(outbox.bytes, 0);
    }

    #[test]
    fn what_is_put_back_leaves_first_and_tells_again_what_was_given_up() {
        let mut outbox = Outbox::with_limit(2);
        for _ in 0..3 {
            push(&mut outbox, 1);
        }
        let first = outbox.pop().unwrap();
        assert_eq!((first.seq, first.dropped), (2, 1));
        outbox.put_back(vec![first]);
        assert_eq!(all(&mut outbox), [(run(1), 2, 1), (run(1), 3, 0)]);
        let late = Queued {
            run: run(1),
            seq: 2,
            at: Timestamp::default(),
            dropped: 1,
            body: Body::LifecycleEvent(Lifecycle::default()),
        };
        push(&mut outbox, 1);
        push(&mut outbox, 1);
        outbox.put_back(vec![late]);
        assert_eq!(
            all(&mut outbox),
            [(run(1), 4, 2), (run(1), 5, 0)],
            "one that was put back into a full queue is given up with what it told of"
        );
    }

    #[test]
    fn what_is_given_up_at_the_end_is_counted_with_what_is_on_its_way() {
        let mut outbox = Outbox::default();
        for number in [1, 1, 2] {
            push(&mut outbox, number);
        }
        let first = outbox.pop().unwrap();
        outbox.delivered(first.run);
        outbox.pop();
        assert_eq!(outbox.give_up(), 2);
        assert_eq!((outbox.dropped(), outbox.is_empty()), (2, true));
        assert_eq!(outbox.give_up(), 0);
    }

    #[test]
    fn a_run_is_forgotten_when_all_of_it_has_left() {
        let mut outbox = Outbox::default();
        push(&mut outbox, 1);
        outbox.end(run(1), Some(7));
        let message = outbox.pop().unwrap();
        assert_eq!((outbox.runs.len(), outbox.first_end()), (1, Some(7)));
        outbox.delivered(message.run);
        assert!(outbox.runs.is_empty());
        assert_eq!(outbox.first_end(), None);
        let mut outbox = Outbox::with_limit(0);
        push(&mut outbox, 1);
        outbox.end(run(1), Some(7));
        assert!(outbox.runs.is_empty());
    }
}
