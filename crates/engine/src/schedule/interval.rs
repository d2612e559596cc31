//! Every so often, counted from an anchor: the instants are anchor + n * every, n from 1. Counting from
//! an anchor, not from the last occurrence, keeps lateness from adding up, and makes the number of
//! occurrences in any stretch of time arithmetic, not a loop.

use std::time::Duration;

use camshaft_model::{Object, Timestamp};
use jiff::tz::TimeZone;

use super::ScheduleError;
use super::parameters;

/// The shortest interval.
const EVERY_MIN: Duration = Duration::from_millis(1);

#[derive(Debug, Clone)]
pub(super) struct Interval {
    every_micros: i64,
    /// `start`, where the definition has one.
    pub(super) start: Option<Timestamp>,
    /// Where counting began, for an interval without `start`.
    pub(super) anchor: Option<Timestamp>,
    /// The most that an occurrence is late on purpose, in microseconds.
    pub(super) jitter_micros: i64,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Interval {
    pub(super) fn parse(parameters: &Object) -> Result<Self, ScheduleError> {
        let hint = "a duration such as 30s, 5m or 1h30m";
        let every = parameters::duration(parameters, "every")?.ok_or(ScheduleError::Missing {
            parameter: "every",
            hint,
        })?;
        let refuse = |name, hint: &str| {
            let value = parameters.get(name).unwrap_or(&serde_json::Value::Null);
            parameters::invalid(name, value, hint)
        };
        if every < EVERY_MIN {
            return Err(refuse("every", "write a duration of at least 1ms"));
        }
        let jitter = parameters::duration(parameters, "jitter")?.unwrap_or_default();
        if jitter > every {
            return Err(refuse(
                "jitter",
                "write a duration that is not longer than 'every'",
            ));
        }
        Ok(Self {
            every_micros: micros(every),
            start: parameters::instant(parameters, "start", &TimeZone::UTC)?,
            anchor: None,
            jitter_micros: micros(jitter),
        })
    }

    /// Where counting begins; the epoch as long as nobody said.
    fn origin(&self) -> i64 {
        self.start.or(self.anchor).unwrap_or_default().as_micros()
    }

    /// How many instants there are up to and including `until`.
    fn ordinal(&self, until: Timestamp) -> i64 {
        let elapsed = until.as_micros().saturating_sub(self.origin());
        elapsed.div_euclid(self.every_micros).max(0)
    }

    fn nth(&self, n: i64) -> Option<Timestamp> {
        let offset = n.checked_mul(self.every_micros)?;
        self.origin()
            .checked_add(offset)
            .map(Timestamp::from_micros)
    }

    pub(super) fn after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + use<> {
        let this = self.clone();
        (self.ordinal(after).saturating_add(1)..).map_while(move |n| this.nth(n))
    }

    /// The newest instant after `after` and up to `until`, and how many there are.
    pub(super) fn newest(&self, after: Timestamp, until: Timestamp) -> Option<(Timestamp, u64)> {
        let (first, last) = (self.ordinal(after), self.ordinal(until));
        let count = u64::try_from(last.saturating_sub(first))
            .ok()
            .filter(|count| *count > 0)?;
        self.nth(last).map(|instant| (instant, count))
    }
}
