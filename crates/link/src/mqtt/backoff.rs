//! How long to wait before a broker is tried again.
//!
//! That a broker accepts a connection says little: it may end each one again at once, because somebody
//! retains there what is larger than any packet may be, or because another client has our name. So the
//! wait begins anew only after a connection that lasted; and one that at least brought what the broker
//! retains is not made up for by a long silence.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(30);
/// The longest wait after a connection that brought what the broker retains.
const LAST_AFTER_GATHERING: Duration = Duration::from_secs(2);
/// A connection that lasts for so long is none that its broker or a namesake ends at once.
const LASTING: Duration = Duration::from_secs(10);
/// So many connections in a row that did not last are no accident.
const PATTERN: u32 = 3;

/// How the last attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    /// There was no connection.
    Unreached,
    /// There was one for this time, and it brought what the broker retains or did not.
    Lost { after: Duration, gathered: bool },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    in_a_row: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            next: FIRST,
            in_a_row: 0,
        }
    }
}

impl Backoff {
    /// How long to wait now.
    pub(super) fn after(&mut self, went: Went) -> Duration {
        match went {
            Went::Unreached => {}
            Went::Lost { after, .. } if after >= LASTING => *self = Self::default(),
            Went::Lost { gathered, .. } => {
                self.in_a_row += 1;
                if gathered {
                    self.next = self.next.min(LAST_AFTER_GATHERING);
                }
            }
        }
        let wait = self.next;
        self.next = (self.next * 2).min(LAST);
        wait
    }

    /// Whether it is time to say that connections end as soon as they begin: once, until one lasts.
    pub(super) const fn is_a_pattern(&self) -> bool {
        self.in_a_row == PATTERN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(went: Went, count: usize) -> Vec<u128> {
        let mut backoff = Backoff::default();
        (0..count)
            .map(|_| backoff.after(went).as_millis())
            .collect()
    }

    fn lost(secs: u64, gathered: bool) -> Went {
        Went::Lost {
            after: Duration::from_secs(secs),
            gathered,
        }
    }

    #[test]
    fn connections_that_end_at_once_are_made_less_and_less_often() {
        let growing = [
            100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000,
        ];
        assert_eq!(waits(Went::Unreached, 11), growing);
        assert_eq!(waits(lost(0, false), 11), growing);
        assert_eq!(waits(lost(1, true), 7)[4..], [1_600, 2_000, 2_000]);
        assert_eq!(waits(lost(60, true), 3), [100, 100, 100]);
    }

    #[test]
    fn a_pattern_is_told_once() {
        let mut backoff = Backoff::default();
        let told = (0..5).filter(|_| {
            backoff.after(lost(0, true));
            backoff.is_a_pattern()
        });
        assert_eq!(told.count(), 1);
        backoff.after(lost(60, true));
        assert_eq!(backoff.in_a_row, 0);
    }
}
