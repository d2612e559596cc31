//! Timers: when they are due. Pure: parameters and instants in, instants out.
//!
//! [`Schedule::parse`] reads a timer's parameters into a [`Schedule`]. Each kind of schedule knows one
//! thing, the rising sequence of its instants after a given one; [`catchup`] decides from that sequence
//! what fires at one look at the clock. Cron expressions and recurrence rules speak of wall times;
//! `zone` says which instants those are. [`crate::driver::timers`] looks at the clock.

pub mod catchup;
mod cron;
mod date;
mod error;
mod interval;
mod overlap;
mod parameters;
mod rrule;
mod zone;

#[cfg(test)]
mod calendar_tests;
#[cfg(test)]
mod documented_tests;
#[cfg(test)]
mod property_tests;

use std::time::Duration;

use camshaft_model::definition::TriggerKind;
use camshaft_model::{Object, Timestamp};
use sha2::{Digest, Sha256};

pub use catchup::{Catchup, Due, Watch};
pub use error::ScheduleError;
pub use overlap::{Overlap, overlap};

/// When a timer is due.
#[derive(Debug, Clone)]
pub struct Schedule {
    recurrence: Recurrence,
    catchup: Catchup,
}

#[derive(Debug, Clone)]
enum Recurrence {
    Interval(interval::Interval),
    Cron(Box<cron::Cron>),
    Date(date::Date),
    Rrule(rrule::Rrule),
}

impl Schedule {
    /// Whether triggers of this kind are timers.
    pub const fn is_timer(kind: TriggerKind) -> bool {
        matches!(
            kind,
            TriggerKind::Interval | TriggerKind::Cron | TriggerKind::Date | TriggerKind::Rrule
        )
    }

    /// Reads the parameters of a timer.
    ///
    /// # Errors
    /// A parameter is missing or cannot be read, or no instant satisfies the schedule. The message says
    /// what to write.
    pub fn parse(kind: TriggerKind, parameters: &Object) -> Result<Self, ScheduleError> {
        let recurrence = match kind {
            TriggerKind::Interval => Recurrence::Interval(interval::Interval::parse(parameters)?),
            TriggerKind::Cron => Recurrence::Cron(Box::new(cron::Cron::parse(parameters)?)),
            TriggerKind::Date => Recurrence::Date(date::Date::parse(parameters)?),
            TriggerKind::Rrule => Recurrence::Rrule(rrule::Rrule::parse(parameters)?),
            other => {
                return Err(ScheduleError::NotATimer(
                    format!("{other:?}").to_lowercase(),
                ));
            }
        };
        overlap::Overlap::parse(parameters)?;
        Ok(Self {
            recurrence,
            catchup: Catchup::parse(parameters)?,
        })
    }

    /// The same schedule for a timer that began at `anchor`. Intervals and recurrence rules without a
    /// `start` count from there (until then from the Unix epoch); others do not change.
    #[must_use]
    pub fn anchored(&self, anchor: Timestamp) -> Self {
        let mut schedule = self.clone();
        match &mut schedule.recurrence {
            Recurrence::Interval(interval) => interval.anchor = Some(anchor),
            Recurrence::Rrule(rule) => *rule = rule.anchored(anchor),
            Recurrence::Cron(_) | Recurrence::Date(_) => {}
        }
        schedule
    }

    /// The instant from which the definition says to count.
    pub fn start(&self) -> Option<Timestamp> {
        match &self.recurrence {
            Recurrence::Interval(interval) => interval.start,
            Recurrence::Rrule(rule) => rule.start,
            Recurrence::Cron(_) | Recurrence::Date(_) => None,
        }
    }

    /// The zone of the wall times that the definition speaks of, if it does.
    pub fn timezone(&self) -> Option<&str> {
        match &self.recurrence {
            Recurrence::Cron(cron) => cron.zone.iana_name(),
            Recurrence::Rrule(rule) => rule.zone.iana_name(),
            Recurrence::Interval(_) | Recurrence::Date(_) => None,
        }
    }

    /// The instants after `after`, rising, without jitter.
    pub fn after(&self, after: Timestamp) -> Box<dyn Iterator<Item = Timestamp> + '_> {
        match &self.recurrence {
            Recurrence::Interval(interval) => Box::new(interval.after(after)),
            Recurrence::Cron(cron) => Box::new(cron.after(after)),
            Recurrence::Date(date) => Box::new(date.after(after)),
            Recurrence::Rrule(rule) => Box::new(rule.after(after)),
        }
    }

    /// The first instant after `after`, without jitter.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.after(after).next()
    }

    /// When the occurrence of `instant` fires: then, or later by its jitter. The jitter is a hash of the
    /// sensor's key and the instant, so that a restart does not move it.
    pub fn due_at(&self, key: &str, instant: Timestamp) -> Timestamp {
        let limit = match &self.recurrence {
            Recurrence::Interval(interval) => interval.jitter_micros.unsigned_abs(),
            _ => 0,
        };
        if limit == 0 {
            return instant;
        }
        let hash = Sha256::new()
            .chain_update(key)
            .chain_update(instant.as_micros().to_be_bytes())
            .finalize();
        let number = hash
            .iter()
            .take(8)
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        instant + Duration::from_micros(number % limit)
    }
}
