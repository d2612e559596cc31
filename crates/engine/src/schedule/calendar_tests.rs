//! Schedules against the calendar: month ends, leap days, changes of the clock, and what is refused.

use camshaft_model::definition::TriggerKind::{self, Cron, Date, Interval, Rrule};
use camshaft_model::{Object, Timestamp};
use serde_json::{Value, json};

use super::catchup::{MISSED_COUNT_LIMIT, ON_TIME};
use super::{Catchup, Schedule, Watch};

pub(super) fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is not an object"),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(kind: TriggerKind, parameters: Value) -> Schedule {
    Schedule::parse(kind, &object(parameters)).unwrap()
}

/// The first instants after one, without seconds' fractions.
fn next(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    schedule
        .after(at(after))
        .take(count)
        .map(|instant| instant.to_string().replace(".000000Z", "Z"))
        .collect()
}

fn cron(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    next(
        &schedule(Cron, json!({"expression": expression, "timezone": zone})),
        after,
        count,
    )
}

fn rrule(rule: &str, start: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let parameters = json!({"rule": rule, "start": start, "timezone": zone});
    next(&schedule(Rrule, parameters), after, count)
}

#[test]
fn cron_knows_month_ends_leap_days_and_years() {
    assert_eq!(
        cron("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", 3),
        [
            "2026-03-31T00:00:00Z",
            "2026-05-31T00:00:00Z",
            "2026-07-31T00:00:00Z"
        ]
    );
    assert_eq!(
        cron("0 12 29 2 *", "UTC", "2096-03-01T00:00:00Z", 2),
        ["2104-02-29T12:00:00Z", "2108-02-29T12:00:00Z"],
        "2100 is no leap year"
    );
    assert_eq!(
        cron("0 0 L * *", "UTC", "2028-01-31T00:00:00Z", 2),
        ["2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"]
    );
    assert_eq!(
        cron("59 23 31 12 *", "UTC", "2026-12-31T23:59:00Z", 1),
        ["2027-12-31T23:59:00Z"]
    );
    assert_eq!(
        cron("@yearly", "America/New_York", "2026-06-01T00:00:00Z", 1),
        ["2027-01-01T05:00:00Z"]
    );
}

#[test]
fn cron_has_five_or_six_fields_and_nicknames() {
    assert_eq!(
        cron("*/15 9 * * MON-FRI", "UTC", "2026-11-20T09:45:00Z", 2),
        ["2026-11-23T09:00:00Z", "2026-11-23T09:15:00Z"]
    );
    assert_eq!(
        cron("*/20 * * * * *", "UTC", "2026-01-01T00:00:59.5Z", 2),
        ["2026-01-01T00:01:00Z", "2026-01-01T00:01:20Z"]
    );
    assert_eq!(
        cron("@hourly", "UTC", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T01:00:00Z"]
    );
    assert_eq!(
        cron("@daily", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T18:30:00Z"]
    );
    assert_eq!(
        cron("0 0 13 * FRI", "UTC", "2026-11-09T00:00:00Z", 2),
        ["2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"],
        "a day of the month and a weekday are alternatives"
    );
}

#[test]
fn cron_in_spring_fires_skipped_times_at_the_change_and_once() {
    assert_eq!(
        cron("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        cron("*/20 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 3),
        [
            "2026-03-29T00:40:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:20:00Z"
        ]
    );
    assert_eq!(
        cron("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", 2),
        ["2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]
    );
}

#[test]
fn cron_in_autumn_fires_repeated_times_once() {
    assert_eq!(
        cron("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    assert_eq!(
        cron("30 * * * *", "America/New_York", "2026-11-01T05:00:00Z", 2),
        ["2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z"]
    );
    // Asked in the middle of the repeated hour.
    assert_eq!(
        cron("* * * * * *", "America/New_York", "2026-11-01T06:10:00Z", 1),
        ["2026-11-01T07:00:00Z"]
    );
}

#[test]
fn rules_follow_the_same_clock_as_cron() {
    let rule = "FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0";
    assert_eq!(
        rrule(
            rule,
            "2026-01-01T00:00:00",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            2
        ),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        rrule(
            rule,
            "2026-01-01T00:00:00",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            2
        ),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
}

#[test]
fn rules_keep_their_phase_years_after_their_start() {
    assert_eq!(
        rrule(
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR",
            "2020-01-06T09:00:00",
            "UTC",
            "2026-11-21T00:00:00Z",
            3
        ),
        [
            "2026-11-30T09:00:00Z",
            "2026-12-04T09:00:00Z",
            "2026-12-14T09:00:00Z"
        ]
    );
    assert_eq!(
        rrule(
            "FREQ=MONTHLY;INTERVAL=5",
            "2020-01-31T09:00:00",
            "UTC",
            "2026-01-01T00:00:00Z",
            2
        ),
        ["2027-07-31T09:00:00Z", "2027-12-31T09:00:00Z"],
        "every fifth month, those without a 31st left out"
    );
    assert_eq!(
        rrule(
            "RRULE:FREQ=MONTHLY;BYDAY=-1FR",
            "1990-01-01T08:00:00",
            "UTC",
            "2026-11-01T00:00:00Z",
            2
        ),
        ["2026-11-27T08:00:00Z", "2026-12-25T08:00:00Z"]
    );
    assert_eq!(
        rrule(
            "FREQ=YEARLY;INTERVAL=4",
            "1904-02-29T00:00:00",
            "UTC",
            "2025-01-01T00:00:00Z",
            1
        ),
        ["2028-02-29T00:00:00Z"]
    );
}

#[test]
fn rules_end_with_count_and_until() {
    assert_eq!(
        rrule(
            "FREQ=DAILY;COUNT=3",
            "2026-01-30T10:00:00Z",
            "UTC",
            "2026-01-30T09:00:00Z",
            9
        ),
        [
            "2026-01-30T10:00:00Z",
            "2026-01-31T10:00:00Z",
            "2026-02-01T10:00:00Z"
        ]
    );
    let until = |until: &str| {
        let rule = format!("FREQ=HOURLY;UNTIL={until}");
        rrule(
            &rule,
            "2026-06-01T22:00:00",
            "Europe/Berlin",
            "2026-06-01T19:00:00Z",
            9,
        )
        .len()
    };
    assert_eq!(until("20260601T210000Z"), 2, "an instant: 23:00 in Berlin");
    assert_eq!(until("20260601T230000"), 2, "a time on the wall");
    assert_eq!(until("20260601"), 2, "a day, to its end");
}

#[test]
fn a_date_comes_once() {
    let date = schedule(Date, json!({"at": "2026-12-24T18:00:00+01:00"}));
    assert_eq!(
        next(&date, "2026-01-01T00:00:00Z", 5),
        ["2026-12-24T17:00:00Z"]
    );
    assert_eq!(date.next_after(at("2026-12-24T17:00:00Z")), None);
    let local = schedule(
        Date,
        json!({"at": "2026-12-24T18:00:00", "timezone": "Europe/Berlin"}),
    );
    assert_eq!(
        next(&local, "2026-01-01T00:00:00Z", 5),
        ["2026-12-24T17:00:00Z"]
    );
}

#[test]
fn an_interval_counts_from_its_start_or_its_anchor() {
    let started = schedule(
        Interval,
        json!({"every": "1h30m", "start": "2026-01-01T00:00:00Z"}),
    );
    assert_eq!(
        next(&started, "2026-01-02T00:00:01Z", 2),
        ["2026-01-02T01:30:00Z", "2026-01-02T03:00:00Z"]
    );
    assert_eq!(
        next(&started, "2025-06-01T00:00:00Z", 1),
        ["2026-01-01T01:30:00Z"]
    );
    let anchored = schedule(Interval, json!({"every": 10})).anchored(at("2026-01-01T00:00:03Z"));
    assert_eq!(
        next(&anchored, "2026-01-01T00:00:03Z", 1),
        ["2026-01-01T00:00:13Z"]
    );
}

#[test]
fn jitter_is_the_same_for_the_same_instant_and_stays_in_its_bounds() {
    let jittered = schedule(Interval, json!({"every": "10s", "jitter": "4s"}));
    let delays: Vec<_> = jittered
        .after(at("2026-01-01T00:00:00Z"))
        .take(100)
        .map(|instant| {
            assert_eq!(jittered.due_at("a", instant), jittered.due_at("a", instant));
            jittered.due_at("a", instant).since(instant).as_millis()
        })
        .collect();
    assert!(delays.iter().all(|delay| *delay < 4_000));
    assert!(
        delays.iter().max() > Some(&3_500) && delays.iter().min() < Some(&500),
        "{delays:?}"
    );
}

#[test]
fn what_cannot_be_a_schedule_is_refused_with_what_to_write() {
    let cases = [
        (Interval, json!({}), "'every' is missing: write a duration"),
        (
            Interval,
            json!({"every": "soon"}),
            "'every' is \"soon\": 'soon' is not a duration",
        ),
        (Interval, json!({"every": 0}), "at least 1ms"),
        (
            Interval,
            json!({"every": "1s", "jitter": "2s"}),
            "not longer than 'every'",
        ),
        (
            Interval,
            json!({"every": "1s", "start": "noon"}),
            "'start' is \"noon\": write an instant",
        ),
        (
            Interval,
            json!({"every": "1s", "catchup": "some"}),
            "write skip, once or all",
        ),
        (
            Interval,
            json!({"every": "1s", "overlap": 1}),
            "write allow, skip, queue or cancel_previous",
        ),
        (Cron, json!({}), "'expression' is missing: write 5 fields"),
        (Cron, json!({"expression": "* * * *"}), "write 5 fields"),
        (
            Cron,
            json!({"expression": "0 0 0 * * * 2030"}),
            "write 5 fields",
        ),
        (Cron, json!({"expression": "61 * * * *"}), "write 5 fields"),
        (Cron, json!({"expression": "@reboot"}), "write 5 fields"),
        (
            Cron,
            json!({"expression": "0 0 30 2 *"}),
            "never comes to pass",
        ),
        (
            Cron,
            json!({"expression": "* * * * *", "timezone": "Mars/Base"}),
            "there is no such zone",
        ),
        (
            Cron,
            json!({"expression": "* * * * *", "timezone": ""}),
            "there is no such zone",
        ),
        (Date, json!({}), "'at' is missing"),
        (
            Date,
            json!({"at": "2026-02-30T00:00:00Z"}),
            "write an instant",
        ),
        (Rrule, json!({}), "'rule' is missing"),
        (Rrule, json!({"rule": "BYDAY=MO"}), "write one rule"),
        (Rrule, json!({"rule": "FREQ=OFTEN"}), "write one rule"),
        (
            Rrule,
            json!({"rule": "DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY"}),
            "more than one rule",
        ),
        (
            Rrule,
            json!({"rule": "FREQ=DAILY;COUNT=1000000"}),
            "COUNT is more than",
        ),
        (
            Rrule,
            json!({"rule": "FREQ=DAILY;INTERVAL=0"}),
            "INTERVAL is 0",
        ),
        (
            Rrule,
            json!({"rule": "FREQ=DAILY;UNTIL=tomorrow"}),
            "UNTIL=TOMORROW is not a time",
        ),
        (
            Rrule,
            json!({"rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}),
            "never comes to pass",
        ),
        (
            Rrule,
            json!({"rule": "FREQ=DAILY", "timezone": "Mars/Base"}),
            "there is no such zone",
        ),
        (TriggerKind::Webhook, json!({}), "not a timer"),
    ];
    for (kind, parameters, wanted) in cases {
        let error = Schedule::parse(kind, &object(parameters.clone()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{parameters}: {error}");
    }
}

#[test]
fn a_day_of_downtime_is_caught_up_as_declared() {
    let due = |catchup: &str, now: &str| {
        let parameters = json!({"expression": "@hourly", "catchup": catchup});
        let watch = Watch {
            after: at("2026-05-01T00:00:00Z"),
            since: at(now),
        };
        let due = schedule(Cron, parameters).due("a", watch, at(now));
        (
            due.fire.len(),
            due.fire.last().map(ToString::to_string),
            due.missed,
            due.next.unwrap(),
        )
    };
    let newest = Some("2026-05-02T00:00:00.000000Z".to_owned());
    let next = at("2026-05-02T01:00:00Z");
    assert_eq!(due("skip", "2026-05-02T00:00:10Z"), (0, None, 24, next));
    assert_eq!(
        due("once", "2026-05-02T00:00:10Z"),
        (1, newest.clone(), 23, next)
    );
    assert_eq!(due("all", "2026-05-02T00:00:10Z"), (24, newest, 0, next));
}

#[test]
fn skip_fires_what_is_on_time() {
    let hourly = schedule(Cron, json!({"expression": "@hourly", "catchup": "skip"}));
    let watch = Watch {
        after: at("2026-05-01T00:00:00Z"),
        since: at("2026-05-01T00:00:00Z"),
    };
    let one = at("2026-05-01T01:00:00Z");
    assert_eq!(hourly.due("a", watch, one + ON_TIME).fire, [one]);
    let late = hourly.due("a", watch, one + ON_TIME * 2);
    assert_eq!((late.fire.len(), late.missed), (0, 1));
}

#[test]
fn a_backlog_beyond_the_limit_is_counted_to_the_limit_and_ends_with_the_newest() {
    let secondly = schedule(Cron, json!({"expression": "* * * * * *"}));
    assert_eq!(secondly.catchup, Catchup::Once);
    let begin = at("2026-05-01T00:00:00Z");
    let now = at("2036-05-01T00:00:00.7Z");
    let due = secondly.due(
        "a",
        Watch {
            after: begin,
            since: now,
        },
        now,
    );
    assert_eq!(due.fire, [at("2036-05-01T00:00:00Z")]);
    assert_eq!(due.missed, MISSED_COUNT_LIMIT - 1);
    let interval = schedule(Interval, json!({"every": "1s"})).anchored(begin);
    let due = interval.due(
        "a",
        Watch {
            after: begin,
            since: now,
        },
        now,
    );
    assert_eq!((due.fire.len(), due.missed), (1, 315_619_199));
}
