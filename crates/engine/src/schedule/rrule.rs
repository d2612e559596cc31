//! RFC 5545 recurrence rules. The rrule crate reads and expands them; it is only ever given wall times,
//! dressed up as UTC, because it skips wall times that do not exist. [`super::zone`] turns what it
//! finds into instants.
//!
//! The crate always counts from the start of the rule. A rule without `COUNT` is instead started a
//! whole number of its periods later, so that a rule from years ago costs no more than a new one. A rule
//! with `COUNT` is expanded once, which is why `COUNT` has a limit.

use std::sync::Arc;

use camshaft_model::{Object, Timestamp};
use chrono::DateTime as ChronoTime;
use jiff::ToSpan;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rrule::{Frequency, RRule, RRuleSet, Tz, Unvalidated, Validated};
use serde_json::Value;

use super::ScheduleError;
use super::{parameters, zone};

/// The largest `COUNT` that a rule may have.
const COUNT_LIMIT: u32 = 10_000;

/// The most wall times that a rule may have in one of its periods (the crate holds them in memory).
const PER_PERIOD_LIMIT: usize = 100_000;

const HINT: &str = "one rule as in RFC 5545 without RRULE:, such as FREQ=WEEKLY;BYDAY=MO,FR;BYHOUR=9;BYMINUTE=0;BYSECOND=0";

#[derive(Debug, Clone)]
pub(super) struct Rrule {
    text: String,
    pub(super) zone: TimeZone,
    pub(super) start: Option<Timestamp>,
    expansion: Expansion,
}

/// The rule with its start, ready to be asked.
#[derive(Debug, Clone)]
enum Expansion {
    /// Its wall times, all of them.
    Counted(Arc<[DateTime]>),
    /// Expanded anew from near the wall time in question.
    Endless {
        rule: Box<RRule<Validated>>,
        start: DateTime,
    },
}

impl Rrule {
    pub(super) fn parse(parameters: &Object) -> Result<Self, ScheduleError> {
        let text = parameters::expression(parameters, "rule", HINT)?;
        let zone = parameters::zone(parameters)?;
        let start = parameters::instant(parameters, "start", &zone)?;
        let value = Value::from(text);
        let refuse =
            |reason: String| parameters::invalid("rule", &value, format!("{reason}; write {HINT}"));
        let text = wall_rule(text, &zone).map_err(refuse)?;
        let expansion = expand(&text, &zone, start.unwrap_or_default()).map_err(refuse)?;
        let rule = Self {
            text,
            zone,
            start,
            expansion,
        };
        if rule
            .after(Timestamp::from_micros(i64::MIN))
            .next()
            .is_none()
        {
            return Err(ScheduleError::Never {
                parameter: "rule",
                value: parameters::shown(&value),
                hint: "look at UNTIL, the BY parts and 'start'",
            });
        }
        Ok(rule)
    }

    /// The same rule, counted from `anchor` if it has no start of its own. If it has ended by then,
    /// nothing is left of it.
    pub(super) fn anchored(&self, anchor: Timestamp) -> Self {
        let mut anchored = self.clone();
        if self.start.is_none() {
            anchored.expansion = expand(&self.text, &self.zone, anchor)
                .unwrap_or_else(|_| Expansion::Counted(Arc::default()));
        }
        anchored
    }

    pub(super) fn after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let wall = zone::wall_at(&self.zone, after);
        let walls: Box<dyn Iterator<Item = DateTime>> = match &self.expansion {
            Expansion::Counted(walls) => {
                let from = walls.partition_point(|each| *each <= wall);
                Box::new(walls[from..].iter().copied())
            }
            Expansion::Endless { rule, start } => {
                let from = later_start(rule, *start, wall);
                Box::new(walls_from(rule, from).skip_while(move |each| *each <= wall))
            }
        };
        zone::instants(&self.zone, walls, after)
    }
}

/// The rule with `UNTIL` as a wall time. In the RFC it is an instant, or a day, or a wall time already.
fn wall_rule(text: &str, zone: &TimeZone) -> Result<String, String> {
    let text = text.to_ascii_uppercase();
    let text = text.strip_prefix("RRULE:").unwrap_or(&text);
    if text.contains(['\n', '\r', ':']) {
        return Err(
            "it is more than one rule (the start has a parameter of its own, 'start')".into(),
        );
    }
    let parts: Result<Vec<String>, String> = text
        .split(';')
        .filter(|part| !part.trim().is_empty())
        .map(|part| match part.trim().split_once('=') {
            Some(("UNTIL", until)) => wall_until(until, zone),
            Some(("COUNT", count))
                if count.parse::<u32>().is_ok_and(|count| count > COUNT_LIMIT) =>
            {
                Err(format!("COUNT is more than {COUNT_LIMIT}"))
            }
            _ => Ok(part.trim().to_owned()),
        })
        .collect();
    Ok(parts?.join(";"))
}

fn wall_until(until: &str, zone: &TimeZone) -> Result<String, String> {
    let read = |format, text: &str| DateTime::strptime(format, text).ok();
    let wall = if let Some(instant) = until.strip_suffix('Z') {
        read("%Y%m%dT%H%M%S", instant)
            .and_then(|utc| zone::instant_of(&TimeZone::UTC, utc))
            .map(|instant| zone::wall_at(zone, instant))
    } else if until.len() == "20261231".len() {
        // A day is meant to its end.
        read("%Y%m%dT%H%M%S", &format!("{until}T235959"))
    } else {
        read("%Y%m%dT%H%M%S", until)
    };
    wall.map(|wall| format!("UNTIL={}", wall.strftime("%Y%m%dT%H%M%SZ")))
        .ok_or_else(|| format!("UNTIL={until} is not a time: write it as 20261231T235959Z"))
}

fn expand(text: &str, zone: &TimeZone, start: Timestamp) -> Result<Expansion, String> {
    let start = zone::wall_at(zone, start);
    let unvalidated: RRule<Unvalidated> = text
        .parse()
        .map_err(|error: rrule::RRuleError| error.to_string())?;
    let chrono = to_chrono(start).ok_or("its start is out of range")?;
    let rule = unvalidated
        .validate(chrono)
        .map_err(|error| error.to_string())?;
    if rule.get_interval() == 0 {
        return Err("INTERVAL is 0".into());
    }
    if per_period(&rule) > PER_PERIOD_LIMIT {
        return Err(format!(
            "it has more than {PER_PERIOD_LIMIT} times in each of its periods"
        ));
    }
    if rule.get_count().is_some() {
        return Ok(Expansion::Counted(walls_from(&rule, start).collect()));
    }
    Ok(Expansion::Endless {
        rule: Box::new(rule),
        start,
    })
}

/// An upper bound of the wall times in one period.
fn per_period(rule: &RRule<Validated>) -> usize {
    let days = match rule.get_freq() {
        Frequency::Yearly => 366,
        Frequency::Monthly => 31,
        Frequency::Weekly => 7,
        _ => 1,
    };
    let many = |of: &[u8]| of.len().max(1);
    days * many(rule.get_by_hour()) * many(rule.get_by_minute()) * many(rule.get_by_second())
}

fn walls_from(rule: &RRule<Validated>, start: DateTime) -> impl Iterator<Item = DateTime> + use<> {
    let rule = rule.clone();
    // `limit` ends the search for an occurrence that never comes.
    to_chrono(start)
        .map(|start| RRuleSet::new(start).rrule(rule).limit())
        .into_iter()
        .flat_map(|set| (&set).into_iter())
        .map_while(|wall| from_chrono(&wall))
}

/// The start of a period of the rule not long before `wall`, if `start` is much earlier. What the rule
/// took from its start (the time of day, the day of the month) is in the validated rule already.
fn later_start(rule: &RRule<Validated>, start: DateTime, wall: DateTime) -> DateTime {
    let interval = i64::from(rule.get_interval());
    let secs = match rule.get_freq() {
        Frequency::Secondly => 1,
        Frequency::Minutely => 60,
        Frequency::Hourly => 3_600,
        Frequency::Daily => 86_400,
        Frequency::Weekly => 7 * 86_400,
        Frequency::Monthly => return later_month(start, wall, interval),
        Frequency::Yearly => return later_month(start, wall, 12 * interval),
    };
    let elapsed = start.duration_until(wall).as_secs();
    let periods = elapsed / (interval * secs) - 1;
    if periods <= 0 {
        return start;
    }
    start
        .checked_add((periods * interval * secs).seconds())
        .unwrap_or(start)
}

/// The first day of a month that is a whole number of `months` after `start`, but before `wall`.
fn later_month(start: DateTime, wall: DateTime, months: i64) -> DateTime {
    let elapsed = 12 * (i64::from(wall.year()) - i64::from(start.year())) + i64::from(wall.month())
        - i64::from(start.month());
    let periods = elapsed / months - 1;
    if periods <= 0 {
        return start;
    }
    start
        .first_of_month()
        .checked_add((periods * months).months())
        .unwrap_or(start)
}

fn to_chrono(wall: DateTime) -> Option<ChronoTime<Tz>> {
    let secs = TimeZone::UTC.to_timestamp(wall).ok()?.as_second();
    ChronoTime::from_timestamp(secs, 0).map(|utc| utc.with_timezone(&Tz::UTC))
}

fn from_chrono(wall: &ChronoTime<Tz>) -> Option<DateTime> {
    let utc = jiff::Timestamp::from_second(wall.timestamp()).ok()?;
    Some(TimeZone::UTC.to_datetime(utc))
}
