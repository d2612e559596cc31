//! How many times the transitions that lead to a join have met it.
//!
//! A join is met in rounds: the k-th arrival from a source belongs to round k, and the round is met
//! once as many sources as the join asks for are in it. Sources that come to a round which is met
//! already change nothing. So how often a join is met, and whether a round is left unmet at the end,
//! follow from how often each source arrived, and never from the order in which they did.

use std::collections::BTreeMap;

/// The arrivals at one join.
#[derive(Debug, Clone)]
pub(super) struct Gather {
    /// From how many sources a round needs an arrival.
    quorum: usize,
    /// Rounds at the beginning to which every source has come. They are not in `rounds`.
    base: u32,
    /// By source, the arrivals after those of the base.
    counts: BTreeMap<usize, u32>,
    /// By round after the base: how many sources are in it. Never rises along the list.
    rounds: Vec<usize>,
}

impl Gather {
    /// A join that has been met so many times, by every source each time.
    pub(super) fn new(quorum: usize, met: u32) -> Self {
        Self {
            quorum: quorum.max(1),
            base: met,
            counts: BTreeMap::new(),
            rounds: Vec::new(),
        }
    }

    /// The join whose [`arrivals`](Self::arrivals) these are and whose task has started so often.
    pub(super) fn restore(quorum: usize, arrivals: &[usize], started: u32) -> Self {
        let mut gather = Self::new(quorum, 0);
        for source in arrivals {
            gather.arrive(*source);
        }
        // A list with more rounds than starts is one from the beginning, and has no base.
        gather.base = started.saturating_sub(gather.met());
        gather
    }

    /// Takes an arrival; true if it meets a round.
    pub(super) fn arrive(&mut self, source: usize) -> bool {
        let count = self.counts.entry(source).or_default();
        let round = *count as usize;
        *count += 1;
        if round == self.rounds.len() {
            self.rounds.push(0);
        }
        self.rounds[round] += 1;
        self.rounds[round] == self.quorum
    }

    /// How many rounds have been met.
    pub(super) fn met(&self) -> u32 {
        self.base + self.rounds_of(self.quorum)
    }

    /// The sources that are not in the round that has begun and is not met; `None` without such a
    /// round.
    pub(super) fn missing(&self, sources: &[usize]) -> Option<Vec<usize>> {
        let met = self.rounds_of(self.quorum);
        let arrived = |source: &usize| self.counts.get(source).is_some_and(|count| *count > met);
        let begun = self.rounds_of(1) > met;
        begun.then(|| {
            sources
                .iter()
                .copied()
                .filter(|source| !arrived(source))
                .collect()
        })
    }

    /// What has to be kept of it besides how often its task started: one entry for each arrival.
    /// Rounds to which all sources have come are left out, so that the list stays short however often
    /// a cycle leads here. Only while a start is outstanding all is listed from the beginning: rounds
    /// that are met and not started could not be told from those that were, otherwise.
    pub(super) fn arrivals(&self, sources: &[usize], started: u32) -> Vec<usize> {
        let (before, complete) = if self.met() > started {
            (self.base, 0)
        } else {
            (0, self.rounds_of(sources.len().max(self.quorum)))
        };
        let listed = |source: &usize| {
            let count = self.counts.get(source).copied().unwrap_or(0);
            std::iter::repeat_n(*source, (before + count).saturating_sub(complete) as usize)
        };
        sources.iter().flat_map(listed).collect()
    }

    /// In how many rounds after the base there are so many sources.
    fn rounds_of(&self, sources: usize) -> u32 {
        let rounds = self.rounds.partition_point(|there| *there >= sources);
        // As many as the starts of a task, which are limited far below this.
        u32::try_from(rounds).unwrap_or(u32::MAX)
    }
}
