//! From the clock on the wall to instants. Cron expressions and recurrence rules speak of wall times
//! in a zone; this file alone decides what a wall time means on the two days a year when it is not
//! one instant:
//!
//! - a wall time that does not exist is the next instant that does: the moment of the change;
//! - a wall time that occurs twice is its first occurrence.
//!
//! Under this rule later wall times never are earlier instants, so a sequence of wall times becomes a
//! sequence of instants by mapping each and dropping repetitions (several wall times in a gap are one
//! instant). Neither croner's nor rrule's own treatment is used: the first depends on whether the
//! expression has wildcards, the second skips wall times that do not exist.

use camshaft_model::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// The wall time in `zone` at an instant, in whole seconds.
pub(super) fn wall_at(zone: &TimeZone, instant: Timestamp) -> DateTime {
    let wall = zone.to_datetime(instant.to_jiff());
    wall.with().subsec_nanosecond(0).build().unwrap_or(wall)
}

/// The instant that a wall time means; `None` outside the years that there are.
pub(super) fn instant_of(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the later offset, a wall time in the gap is an instant before the change.
            let before_change = after.to_timestamp(wall).ok()?;
            zone.following(before_change)
                .find(|transition| transition.offset() == after)
                .map(|transition| transition.timestamp())
        }
    }
    .map(Timestamp::from)
}

/// The instants of rising wall times, those after `after` only, each once.
pub(super) fn instants<'a>(
    zone: &'a TimeZone,
    walls: impl Iterator<Item = DateTime> + 'a,
    after: Timestamp,
) -> impl Iterator<Item = Timestamp> + 'a {
    let mut last = after;
    walls
        .map_while(|wall| instant_of(zone, wall))
        .filter(move |instant| {
            let later = *instant > last;
            if later {
                last = *instant;
            }
            later
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(zone: &str, wall: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        instant_of(&zone, wall.parse().unwrap())
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_wall_time_that_does_not_exist_is_the_moment_of_the_change() {
        assert_eq!(
            instant("Europe/Berlin", "2026-03-29T02:00:00"),
            "2026-03-29T01:00:00.000000Z"
        );
        assert_eq!(
            instant("Europe/Berlin", "2026-03-29T02:30:00"),
            "2026-03-29T01:00:00.000000Z"
        );
        assert_eq!(
            instant("Europe/Berlin", "2026-03-29T03:00:00"),
            "2026-03-29T01:00:00.000000Z"
        );
        // Lord Howe moves by half an hour, from 02:00 to 02:30.
        assert_eq!(
            instant("Australia/Lord_Howe", "2026-10-04T02:15:00"),
            "2026-10-03T15:30:00.000000Z"
        );
        // In Sao Paulo, while it changed, midnight did not exist.
        assert_eq!(
            instant("America/Sao_Paulo", "2018-11-04T00:00:00"),
            "2018-11-04T03:00:00.000000Z"
        );
    }

    #[test]
    fn a_wall_time_that_occurs_twice_is_its_first_occurrence() {
        assert_eq!(
            instant("Europe/Berlin", "2026-10-25T02:30:00"),
            "2026-10-25T00:30:00.000000Z"
        );
        assert_eq!(
            instant("America/New_York", "2026-11-01T01:00:00"),
            "2026-11-01T05:00:00.000000Z"
        );
        assert_eq!(
            instant("Australia/Lord_Howe", "2026-04-05T01:45:00"),
            "2026-04-04T14:45:00.000000Z"
        );
    }
}
