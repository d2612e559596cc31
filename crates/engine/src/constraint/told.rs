//! Of which constraints something was told.

use std::num::NonZeroU32;

/// The last two constraints that something was told of, by their numbers. Two that hold in turn are told of
/// once each, so it takes more than the last one; and a hundred thousand may wait, so it takes no more.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told([Option<NonZeroU32>; 2]);

impl Told {
    pub(crate) fn has(&self, number: NonZeroU32) -> bool {
        self.0.contains(&Some(number))
    }

    /// Notes one as the latest; of the others the latest stays.
    pub(crate) fn note(&mut self, number: NonZeroU32) {
        let [latest, _] = self.0;
        if latest != Some(number) {
            self.0 = [Some(number), latest];
        }
    }
}
