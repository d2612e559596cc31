//! What holds for every schedule, however its instants are looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use camshaft_model::Timestamp;
use camshaft_model::definition::TriggerKind;
use jiff::ToSpan;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::json;

use super::calendar_tests::object;
use super::{Catchup, Schedule, Watch, zone};

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Sao_Paulo",
];

/// Stretches of time in which some zone's clock changes, and a year's end.
const BEGINNINGS: [&str; 8] = [
    "2026-03-28T18:00:00Z",
    "2026-10-24T18:00:00Z",
    "2026-03-07T18:00:00Z",
    "2026-10-31T18:00:00Z",
    "2026-04-04T06:00:00Z",
    "2026-10-03T06:00:00Z",
    "2018-11-03T18:00:00Z",
    "2027-12-31T12:00:00Z",
];

fn cron_expression() -> impl Strategy<Value = String> {
    let field = |last: u32| {
        prop_oneof![
            Just("*".to_owned()),
            (1..=last / 2).prop_map(|step| format!("*/{step}")),
            (0..=last).prop_map(|n| n.to_string()),
            (0..=last, 0..=last).prop_map(|(a, b)| format!("{},{}", a.min(b), a.max(b))),
        ]
    };
    (
        field(59),
        field(23),
        prop_oneof![3 => Just("*"), 1 => Just("MON-FRI"), 1 => Just("SUN")],
    )
        .prop_map(|(minute, hour, days)| format!("{minute} {hour} * * {days}"))
}

fn rule() -> impl Strategy<Value = String> {
    (
        prop_oneof![
            Just("MINUTELY"),
            Just("HOURLY"),
            Just("DAILY"),
            Just("WEEKLY")
        ],
        1..50_u32,
        prop_oneof![3 => Just(""), 1 => Just(";COUNT=40"), 1 => Just(";BYDAY=SA,SU")],
    )
        .prop_map(|(freq, interval, rest)| format!("FREQ={freq};INTERVAL={interval}{rest}"))
}

/// Any timer at all, with `catchup: all`.
fn schedule() -> impl Strategy<Value = Schedule> {
    let zone = || prop::sample::select(&ZONES[..]);
    let parse = |kind, parameters| Schedule::parse(kind, &object(parameters)).unwrap();
    let rule_in_zone =
        (rule(), zone()).prop_filter_map("a rule that never comes", |(rule, zone)| {
            let start = "2018-10-01T01:30:00";
            let parameters =
                json!({"rule": rule, "timezone": zone, "start": start, "catchup": "all"});
            Schedule::parse(TriggerKind::Rrule, &object(parameters)).ok()
        });
    prop_oneof![
        (cron_expression(), zone()).prop_map(move |(expression, zone)| parse(
            TriggerKind::Cron,
            json!({"expression": expression, "timezone": zone, "catchup": "all"})
        )),
        rule_in_zone,
        (60..20_000_u32, 0..60_u32).prop_map(move |(every, jitter)| parse(
            TriggerKind::Interval,
            json!({"every": every, "jitter": jitter, "start": "2018-01-01T00:00:00Z", "catchup": "all"})
        )),
    ]
}

fn beginning() -> impl Strategy<Value = Timestamp> {
    prop::sample::select(&BEGINNINGS[..]).prop_map(|text| text.parse().unwrap())
}

/// Steps of the clock between looks, in seconds; one in five goes backwards.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(prop_oneof![4 => 1..20_000_i64, 1 => -9_000..0_i64], 1..40)
}

/// Looks at the schedule at each of the instants; returns what fired and the latest look.
fn fired(schedule: &Schedule, begin: Timestamp, steps: &[i64]) -> (Vec<Timestamp>, Timestamp) {
    let (mut after, mut now, mut latest) = (begin, begin, begin);
    let mut fired = Vec::new();
    for step in steps {
        now = Timestamp::from_micros(now.as_micros() + step * 1_000_000);
        latest = latest.max(now);
        loop {
            let due = schedule.due(
                "key",
                Watch {
                    after,
                    since: begin,
                },
                now,
            );
            after = due.fire.last().copied().unwrap_or(after);
            fired.extend(due.fire);
            if due.next.is_none_or(|next| next > now) {
                break;
            }
        }
    }
    (fired, latest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn however_the_clock_is_looked_at_each_instant_fires_once_and_in_order(
        schedule in schedule(), begin in beginning(), steps in steps(),
    ) {
        let (fired, latest) = fired(&schedule, begin, &steps);
        prop_assert!(fired.is_sorted_by(|a, b| a < b));
        let all: Vec<_> = schedule
            .after(begin)
            .take_while(|instant| schedule.due_at("key", *instant) <= latest)
            .collect();
        prop_assert_eq!(fired, all);
    }

    #[test]
    fn once_and_skip_fire_some_of_all_and_account_for_the_rest(
        schedule in schedule(), begin in beginning(), steps in steps(), skip: bool,
    ) {
        let (all, _) = fired(&schedule, begin, &steps);
        let mut schedule = schedule;
        schedule.catchup = if skip { Catchup::Skip } else { Catchup::Once };
        let (some, _) = fired(&schedule, begin, &steps);
        prop_assert!(some.is_sorted_by(|a, b| a < b));
        prop_assert!(some.iter().all(|instant| all.contains(instant)));
        if !skip {
            prop_assert_eq!(some.last(), all.last());
        }
        let now = begin + Duration::from_secs(86_400);
        let watch = Watch { after: begin, since: begin };
        let due = schedule.due("key", watch, now);
        schedule.catchup = Catchup::All;
        prop_assert_eq!(
            due.missed + due.fire.len() as u64,
            schedule.after(begin).take_while(|at| schedule.due_at("key", *at) <= now).count() as u64
        );
    }

    #[test]
    fn cron_fires_for_every_wall_time_that_matches(
        minutes in prop::collection::btree_set(0..60_i8, 1..4),
        hours in prop::collection::btree_set(0..24_i8, 1..6),
        zone in prop::sample::select(&ZONES[..]),
        begin in beginning(),
    ) {
        let list = |set: &BTreeSet<i8>| {
            set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let expression = format!("{} {} * * *", list(&minutes), list(&hours));
        let parameters = object(json!({"expression": expression, "timezone": zone}));
        let schedule = Schedule::parse(TriggerKind::Cron, &parameters).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let end = begin + Duration::from_secs(3 * 86_400);
        // Every minute that any clock on the wall could show, one by one.
        let first: DateTime = zone::wall_at(&zone, begin) - 1.day();
        let expected: BTreeSet<Timestamp> = (0..6 * 1_440)
            .map(|minute| first.checked_add(i64::from(minute).minutes()).unwrap())
            .map(|wall| wall.with().second(0).build().unwrap())
            .filter(|wall| minutes.contains(&wall.minute()) && hours.contains(&wall.hour()))
            .filter_map(|wall| zone::instant_of(&zone, wall))
            .filter(|instant| *instant > begin && *instant <= end)
            .collect();
        let found: Vec<_> = schedule.after(begin).take_while(|instant| *instant <= end).collect();
        prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_late_start_of_a_rule_changes_nothing(
        freq in prop::sample::select(&["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"][..]),
        interval in 1..20_u32,
        rest in prop::sample::select(&["", ";BYDAY=MO,TH", ";BYMONTHDAY=1,31", ";BYSETPOS=-1;BYDAY=MO,FR;BYHOUR=7"][..]),
        start in prop::sample::select(&["2019-01-31T10:20:30", "2020-02-29T00:00:00", "2021-07-05T23:59:59"][..]),
        days in 0..2_000_u64,
    ) {
        let rule = format!("FREQ={freq};INTERVAL={interval}{rest}");
        let parameters = object(json!({"rule": rule, "start": start}));
        // Combinations that RFC 5545 refuses or that never come are not the subject here.
        let Ok(schedule) = Schedule::parse(TriggerKind::Rrule, &parameters) else { return Ok(()) };
        let begin: Timestamp = format!("{start}Z").parse().unwrap();
        let after = begin + Duration::from_secs(days * 86_400);
        let end = after + Duration::from_secs(400 * 86_400);
        let until_end = |from| schedule.after(from).take_while(|at| *at <= end).collect::<Vec<_>>();
        let whole: Vec<_> =
            until_end(begin).into_iter().filter(|instant| *instant > after).collect();
        prop_assert_eq!(until_end(after), whole);
    }

    #[test]
    fn any_text_is_a_schedule_or_refused(
        text in "[ -~]{0,40}",
        field in "([0-9*/,LW#?+-]{1,4} ){4,6}[0-9A-Za-z*#L?+]{1,4}",
        rule in "FREQ=(YEARLY|MONTHLY|WEEKLY|DAILY)(;(BYDAY|BYMONTHDAY|BYSETPOS|BYHOUR|BYWEEKNO|BYYEARDAY|INTERVAL|COUNT|BYEASTER|WKST)=-?[0-9]{0,5}(MO|,1|))*",
        any: String,
    ) {
        for text in [&text, &field, &rule, &any] {
            let parameters = object(json!({
                "expression": text, "rule": text, "every": text, "at": text,
                "start": text, "timezone": "Europe/Berlin",
            }));
            let mut unstarted = parameters.clone();
            unstarted.remove("start");
            for kind in [TriggerKind::Interval, TriggerKind::Cron, TriggerKind::Date, TriggerKind::Rrule] {
                for parameters in [&parameters, &unstarted] {
                    if let Ok(schedule) = Schedule::parse(kind, parameters) {
                        let far = Timestamp::from_micros(i64::MAX);
                        let _ = (schedule.next_after(far), schedule.anchored(far).next_after(far));
                        let _ = schedule.after(Timestamp::default()).take(3).count();
                    }
                }
            }
        }
    }
}
