//! Cron expressions: 5 fields, or 6 with seconds first, or a nickname such as `@hourly`. croner reads
//! them and says which days match (lists, steps, names, `L`, `W`, `#`; a restricted day of the month
//! and a restricted day of the week are alternatives, as ever in cron). The search over days and times
//! is ours: it works on wall times, which [`super::zone`] turns into instants, and it gives up after a
//! bounded number of days instead of three thousand years.

use camshaft_model::{Object, Timestamp};
use croner::Cron as Expression;
use croner::parser::{CronParser, Seconds, Year};
use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::ScheduleError;
use super::{parameters, zone};

/// The longest wait between two occurrences that is looked for, in days. A 29th of February on a
/// given weekday can take 40 years.
const SEARCH_DAYS_LIMIT: u32 = 41 * 366;

const HINT: &str = "5 fields (minute, hour, day of month, month, day of week) such as '*/15 8-17 * * MON-FRI', \
                    6 with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly";

#[derive(Debug, Clone)]
pub(super) struct Cron {
    expression: Expression,
    pub(super) zone: TimeZone,
    hours: Vec<i8>,
    minutes: Vec<i8>,
    seconds: Vec<i8>,
}

impl Cron {
    pub(super) fn parse(parameters: &Object) -> Result<Self, ScheduleError> {
        let text = parameters::expression(parameters, "expression", HINT)?;
        let zone = parameters::zone(parameters)?;
        let value = serde_json::Value::from(text);
        let refuse = |reason: &dyn std::fmt::Display| {
            parameters::invalid("expression", &value, format!("{reason}; write {HINT}"))
        };
        let expression = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build()
            .parse(text)
            .map_err(|error| refuse(&error))?;
        let pattern = &expression.pattern;
        let matching = |last: i8, is: &dyn Fn(u32) -> Result<bool, croner::errors::CronError>| {
            (0..=last)
                .filter_map(|n| match is(u32::from(n.unsigned_abs())) {
                    Ok(true) => Some(Ok(n)),
                    Ok(false) => None,
                    Err(error) => Some(Err(refuse(&error))),
                })
                .collect::<Result<Vec<i8>, _>>()
        };
        let hours = matching(23, &|n| pattern.hour_match(n))?;
        let minutes = matching(59, &|n| pattern.minute_match(n))?;
        let seconds = matching(59, &|n| pattern.second_match(n))?;
        let cron = Self {
            hours,
            minutes,
            seconds,
            expression,
            zone,
        };
        if cron.after(Timestamp::default()).next().is_none() {
            return Err(ScheduleError::Never {
                parameter: "expression",
                value: parameters::shown(&value),
                hint: "look at the day of the month and the month",
            });
        }
        Ok(cron)
    }

    pub(super) fn after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let wall = zone::wall_at(&self.zone, after);
        zone::instants(&self.zone, self.walls_after(wall), after)
    }

    fn walls_after(&self, wall: DateTime) -> impl Iterator<Item = DateTime> + '_ {
        std::iter::successors(self.wall_after(wall), |last| self.wall_after(*last))
    }

    /// The first wall time after this one that the expression matches.
    fn wall_after(&self, wall: DateTime) -> Option<DateTime> {
        let mut date = wall.date();
        if self.matches(date)
            && let Some(time) = self.time_after(wall.time())
        {
            return Some(date.to_datetime(time));
        }
        let midnight = self.first_time()?;
        for _ in 0..SEARCH_DAYS_LIMIT {
            date = date.checked_add(1.day()).ok()?;
            if self.matches(date) {
                return Some(date.to_datetime(midnight));
            }
        }
        None
    }

    fn matches(&self, date: Date) -> bool {
        let month = u32::from(date.month().unsigned_abs());
        let day = u32::from(date.day().unsigned_abs());
        let pattern = &self.expression.pattern;
        pattern.month_match(month).unwrap_or(false)
            && pattern
                .day_match(i32::from(date.year()), month, day)
                .unwrap_or(false)
    }

    fn first_time(&self) -> Option<Time> {
        Time::new(
            *self.hours.first()?,
            *self.minutes.first()?,
            *self.seconds.first()?,
            0,
        )
        .ok()
    }

    /// The first matching time of the day after this one: the next second of the same minute, else the
    /// next minute of the same hour, else the next hour.
    fn time_after(&self, time: Time) -> Option<Time> {
        let next = |of: &[i8], after: i8| of.iter().copied().find(|n| *n > after);
        let has = |of: &[i8], n: i8| of.contains(&n);
        let (first_minute, first_second) = (*self.minutes.first()?, *self.seconds.first()?);
        let (hour, minute) = (time.hour(), time.minute());
        if has(&self.hours, hour) {
            if has(&self.minutes, minute)
                && let Some(second) = next(&self.seconds, time.second())
            {
                return Time::new(hour, minute, second, 0).ok();
            }
            if let Some(minute) = next(&self.minutes, minute) {
                return Time::new(hour, minute, first_second, 0).ok();
            }
        }
        let hour = next(&self.hours, hour)?;
        Time::new(hour, first_minute, first_second, 0).ok()
    }
}
