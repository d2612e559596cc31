//! What is due at one look at the clock, and what becomes of occurrences whose time went by unseen:
//! while the engine was down, the machine asleep, or the clock set forward.
//!
//! All but the newest of what is due at one look were missed. `all` fires each, in order. `once` fires
//! the newest for all of them. `skip` fires the newest too, but only if it is on time: the timer was
//! watched when it came due and that is not long ago.

use std::time::Duration;

use camshaft_model::{Object, Timestamp};

use super::{Recurrence, Schedule, ScheduleError, parameters};

/// The most occurrences that one look fires; the next look goes on with the rest.
pub const FIRE_LIMIT: usize = 1_000;

/// How late an occurrence may be seen and still be on time. Longer than a timer's longest sleep.
pub const ON_TIME: Duration = Duration::from_secs(60);

/// How far missed occurrences of a cron expression or a recurrence rule are counted. Beyond it their
/// number is said to be this one. Intervals are always counted to the end.
pub const MISSED_COUNT_LIMIT: u64 = 100_000;

/// What to do with missed occurrences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Catchup {
    /// Nothing.
    Skip,
    /// Fire once for all of them.
    #[default]
    Once,
    /// Fire each.
    All,
}

impl Catchup {
    pub(super) fn parse(parameters: &Object) -> Result<Self, ScheduleError> {
        let Some(value) = parameters::given(parameters, "catchup") else {
            return Ok(Self::default());
        };
        match value.as_str() {
            Some("skip") => Ok(Self::Skip),
            Some("once") => Ok(Self::Once),
            Some("all") => Ok(Self::All),
            _ => Err(parameters::invalid(
                "catchup",
                value,
                "write skip, once or all",
            )),
        }
    }
}

/// From when on to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Everything up to here has been dealt with.
    pub after: Timestamp,
    /// Since when the timer has been watched without a break.
    pub since: Timestamp,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The instants to fire now, rising, without the jitter; at most [`FIRE_LIMIT`].
    pub fire: Vec<Timestamp>,
    /// When to look again, jitter included; `None` if nothing will ever be due again.
    pub next: Option<Timestamp>,
    /// How many occurrences were due and do not fire.
    pub missed: u64,
}

impl Schedule {
    /// What is due at `now`, and when to look again. `key` is the sensor's: jitter depends on it.
    pub fn due(&self, key: &str, watch: Watch, now: Timestamp) -> Due {
        if self.catchup == Catchup::All {
            let fire: Vec<Timestamp> = self
                .after(watch.after)
                .take_while(|instant| self.due_at(key, *instant) <= now)
                .take(FIRE_LIMIT)
                .collect();
            let last = fire.last().copied().unwrap_or(watch.after);
            return Due {
                fire,
                next: self.next_look(key, last),
                missed: 0,
            };
        }
        let Some((newest, count)) = self.newest(key, watch.after, now) else {
            return Due {
                fire: Vec::new(),
                next: self.next_look(key, watch.after),
                missed: 0,
            };
        };
        let due_at = self.due_at(key, newest);
        let on_time = due_at >= watch.since && now.since(due_at) <= ON_TIME;
        let next = self.next_look(key, newest);
        if self.catchup == Catchup::Once || on_time {
            Due {
                fire: vec![newest],
                next,
                missed: count - 1,
            }
        } else {
            Due {
                fire: Vec::new(),
                next,
                missed: count,
            }
        }
    }

    fn next_look(&self, key: &str, after: Timestamp) -> Option<Timestamp> {
        self.next_after(after)
            .map(|instant| self.due_at(key, instant))
    }

    /// The newest instant after `after` that is due at `now`, and how many are due.
    fn newest(&self, key: &str, after: Timestamp, now: Timestamp) -> Option<(Timestamp, u64)> {
        if let Recurrence::Interval(interval) = &self.recurrence {
            let (newest, count) = interval.newest(after, now)?;
            if self.due_at(key, newest) <= now {
                return Some((newest, count));
            }
            // Jitter is at most one interval: what came before the newest is due.
            return interval.newest(after, newest - Duration::from_micros(1));
        }
        let mut newest = None;
        let mut count = 0;
        for instant in self.after(after).take_while(|instant| *instant <= now) {
            newest = Some(instant);
            count += 1;
            if count == MISSED_COUNT_LIMIT {
                break;
            }
        }
        let newest = newest?;
        Some((
            if count == MISSED_COUNT_LIMIT {
                self.bisect(newest, now)
            } else {
                newest
            },
            count,
        ))
    }

    /// The newest instant in `found..=now`, where `found` is one: halves the stretch in which it lies,
    /// which takes some fifty steps, however many instants there are.
    fn bisect(&self, found: Timestamp, now: Timestamp) -> Timestamp {
        let (mut newest, mut end) = (found, now);
        while newest < end {
            let middle = newest + end.since(newest) / 2;
            match self.next_after(middle).filter(|next| *next <= now) {
                Some(next) => newest = next,
                None if middle == newest => break,
                None => end = middle,
            }
        }
        newest
    }
}
