//! Limits of the rate of starts, by the generic cell rate algorithm: all that is kept of a limit is one
//! instant, at which the next start would be due if they came evenly.

use std::time::Duration;

use camshaft_model::{Rate, Timestamp};

/// From when on a start is allowed. `due` is the instant that is kept; none yet, and all of the burst is
/// there.
pub(crate) fn allowed_at(rate: &Rate, burst: u32, due: Option<Timestamp>) -> Timestamp {
    due.unwrap_or_default() - tolerance(rate, burst)
}

/// The instant to be kept after a start.
pub(crate) fn after_start(rate: &Rate, due: Option<Timestamp>, now: Timestamp) -> Timestamp {
    due.unwrap_or_default().max(now) + rate.interval()
}

/// How many starts are allowed now, one after another.
pub(crate) fn allowed_now(rate: &Rate, burst: u32, due: Option<Timestamp>, now: Timestamp) -> u64 {
    let due = due.unwrap_or_default().max(now);
    let latest = now + tolerance(rate, burst);
    if due > latest {
        return 0;
    }
    let interval = rate.interval().as_micros().max(1);
    u64::try_from(latest.since(due).as_micros() / interval).map_or(u64::MAX, |more| more + 1)
}

/// The instant to be kept, no further in the future than starts can take it. Where it is further, the rate
/// has become faster since, or the clock was set back.
pub(crate) fn settled(
    rate: &Rate,
    burst: u32,
    due: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    due.map(|due| due.min(now + tolerance(rate, burst) + rate.interval()))
}

/// How much before it is due a start may come.
fn tolerance(rate: &Rate, burst: u32) -> Duration {
    rate.interval().saturating_mul(burst.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

    /// The instants of the starts, in milliseconds from the first look, if there is always one to start.
    fn starts(rate: &str, burst: u32, for_ms: u64) -> Vec<u64> {
        let rate: Rate = rate.parse().unwrap();
        let (mut due, mut at) = (None, Vec::new());
        let mut now = START;
        while now <= START + Duration::from_millis(for_ms) {
            let allowed = allowed_at(&rate, burst, due);
            if allowed <= now {
                due = Some(after_start(&rate, due, now));
                at.push(u64::try_from(now.since(START).as_millis()).unwrap());
            } else {
                now = allowed;
            }
        }
        at
    }

    #[test]
    fn ten_a_minute_is_one_every_six_seconds() {
        assert_eq!(starts("10/m", 1, 20_000), [0, 6_000, 12_000, 18_000]);
        assert_eq!(starts("300/h", 1, 25_000), [0, 12_000, 24_000]);
    }

    #[test]
    fn a_burst_goes_first_and_the_rate_after_it() {
        assert_eq!(starts("5/s", 5, 600), [0, 0, 0, 0, 0, 200, 400, 600]);
    }

    #[test]
    fn a_faster_rate_does_not_wait_for_the_slower_one_before_it() {
        let (slow, fast): (Rate, Rate) = ("1/h".parse().unwrap(), "10/s".parse().unwrap());
        let due = after_start(&slow, None, START);
        let due = settled(&fast, 1, Some(due), START);
        assert_eq!(
            allowed_at(&fast, 1, due),
            START + Duration::from_millis(100)
        );
    }

    #[test]
    fn a_clock_that_was_set_back_delays_by_one_interval_at_most() {
        let rate: Rate = "1/m".parse().unwrap();
        let due = after_start(&rate, None, START + Duration::from_secs(86_400));
        let due = settled(&rate, 1, Some(due), START);
        assert_eq!(allowed_at(&rate, 1, due), START + Duration::from_secs(60));
    }

    proptest! {
        #[test]
        fn no_window_has_more_starts_than_the_rate_and_the_burst(
            count in 1u32..50, burst in 1u32..8, gaps in prop::collection::vec(0u64..400, 1..60),
        ) {
            let rate: Rate = format!("{count}/s").parse().unwrap();
            let (mut now, mut due) = (START, None);
            let mut started: Vec<Timestamp> = Vec::new();
            for gap in gaps {
                now = now + Duration::from_millis(gap);
                let promised = allowed_now(&rate, burst, due, now);
                let mut came = 0;
                while allowed_at(&rate, burst, due) <= now {
                    due = Some(after_start(&rate, due, now));
                    prop_assert_eq!(settled(&rate, burst, due, now), due);
                    started.push(now);
                    came += 1;
                }
                prop_assert_eq!(promised, came);
            }
            for (first, from) in started.iter().enumerate() {
                for (last, to) in started.iter().enumerate().skip(first) {
                    let room = to.since(*from).as_micros() / rate.interval().as_micros();
                    prop_assert!((last - first + 1) as u128 <= room + u128::from(burst));
                }
            }
        }
    }
}
