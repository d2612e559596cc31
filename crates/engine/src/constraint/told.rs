//! Of which constraints something was told.

use std::num::NonZeroU32;

/// So many are remembered. Of limits that hold in turn each is told of once, up to as many; and a hundred
/// thousand may wait, so it takes no more room than this.
const REMEMBERED: usize = 8;

/// The last constraints that something was told of, by their numbers, the latest first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told([Option<NonZeroU32>; REMEMBERED]);

impl Told {
    pub(crate) fn has(&self, number: NonZeroU32) -> bool {
        self.0.contains(&Some(number))
    }

    /// Notes one as the latest. If there is no room, the one that was the latest longest ago is forgotten.
    pub(crate) fn note(&mut self, number: NonZeroU32) {
        let before = self.0.iter().position(|told| *told == Some(number));
        let before = before.unwrap_or(REMEMBERED - 1);
        self.0[..=before].rotate_right(1);
        self.0[0] = Some(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_the_latest_longest_ago_is_forgotten() {
        let number = |n: usize| NonZeroU32::new(u32::try_from(n).unwrap()).unwrap();
        let mut told = Told::default();
        (1..=REMEMBERED).for_each(|n| told.note(number(n)));
        told.note(number(1));
        assert!((1..=REMEMBERED).all(|n| told.has(number(n))));
        told.note(number(REMEMBERED + 1));
        let forgotten: Vec<_> = (1..=REMEMBERED + 1)
            .filter(|n| !told.has(number(*n)))
            .collect();
        assert_eq!(forgotten, [2]);
    }
}
