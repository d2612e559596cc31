//! Pauses of events: what comes is recorded, and answered once they end.

use super::*;

/// What a process that was killed ends with.
const KILLED: i32 = 137;

/// Two rules on one trigger.
fn site_with_rules() -> Site {
    let site = site();
    site.pack_file("t/triggers/go.yaml", "ref: t.go\n");
    for name in ["first", "second"] {
        let rule = format!("ref: t.{name}\ntrigger: {{ ref: t.go }}\naction: {{ ref: t.say }}\n");
        site.pack_file(&format!("t/rules/{name}.yaml"), &rule);
    }
    site
}

/// The rules that answered an event, with their outcomes, in the order of their refs.
#[track_caller]
fn answers(site: &Site, event: &str) -> Vec<(String, String)> {
    let page = site.get(&format!("/api/v1/enforcements?event={event}"));
    let items = page["items"].as_array().expect("a list").iter();
    let text = |item: &Value, key: &str| item[key].as_str().expect("a text").to_owned();
    let mut answers: Vec<_> = items
        .map(|item| (text(item, "rule"), text(item, "outcome")))
        .collect();
    answers.sort_unstable();
    answers
}

fn both(outcome: &str) -> Vec<(String, String)> {
    ["t.first", "t.second"]
        .map(|rule| (rule.to_owned(), outcome.to_owned()))
        .into()
}

fn go(site: &Site, n: u32) -> String {
    site.emit("t.go", &json!({ "n": n }))
}

#[test]
fn events_are_kept_through_a_crash_and_answered_in_order_and_once() {
    let site = site_with_rules();
    let engine = site.up();
    site.ok(["pause", "pack:t", "--events", "--reason", "an audit"]);
    let mut events: Vec<String> = (0..3).map(|n| go(&site, n)).collect();
    engine.kill();
    let mut engine = site.up();
    events.extend((3..5).map(|n| go(&site, n)));
    nothing_else_starts(&site);
    assert_eq!(in_use(&site, "pack:t", "event_pause"), (0, 5));
    for event in &events {
        assert_eq!(answers(&site, event), []);
    }
    let why = site.ok(["why", &events[0]]);
    let says = "No rule has been asked yet: Constraint 'event_pause-pack:t' on pack:t holds the event: pause of events, set by";
    assert!(why.contains(says), "{why}");
    let says = "rule t.first matches\n  it matches and will request t.say when it is asked\n";
    assert!(why.contains(says), "{why}");
    engine.skip_lines();
    site.ok(["resume", "pack:t", "--events"]);
    for _ in 0..events.len() {
        engine.wait_for("rule       t.first matched");
        engine.wait_for("rule       t.second matched");
    }
    let mut order = Vec::new();
    for event in &events {
        assert_eq!(answers(&site, event), both("requested"));
        let page = site.get(&format!("/api/v1/enforcements?event={event}"));
        order.push(
            page["items"][0]["created_at"]
                .as_str()
                .expect("a time")
                .to_owned(),
        );
        order.push(event.clone());
    }
    let times: Vec<&String> = order.iter().step_by(2).collect();
    assert!(times.is_sorted(), "{times:?}");
    let next = go(&site, 5);
    engine.wait_for("rule       t.second matched");
    assert_eq!(answers(&site, &next), both("requested"));
    assert_eq!(site.get("/api/v1/check"), json!({"violations": []}));
}

#[test]
fn a_crash_while_events_are_let_go_loses_and_repeats_none() {
    let site = site_with_rules();
    let engine = site.up();
    // One action runs at a time: what there is to do is to answer.
    site.ok(["set-limit", "--scope", "global", "--concurrency", "1"]);
    site.ok(["pause", "--events"]);
    let events: Vec<String> = (0..700).map(|n| go(&site, n)).collect();
    engine.kill();
    // The first answers lead to an attempt, while others are on their way.
    let mut engine = site.up_with(&[], &[("CAMSHAFT_CRASH_AT", "attempt.before_spawn")]);
    site.run(["resume", "--events"]);
    assert_eq!(engine.ended().0, KILLED);
    let mut engine = site.up();
    // They go in order, and each answer is followed by a line.
    while answers(&site, &events[699]).is_empty() {
        engine.wait_for("rule ");
    }
    let mut times = Vec::new();
    for event in &events {
        assert_eq!(answers(&site, event), both("requested"));
        let page = site.get(&format!("/api/v1/enforcements?event={event}"));
        let at = page["items"][0]["created_at"].as_str();
        times.push(at.expect("a time").to_owned());
    }
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(site.get("/api/v1/check"), json!({"violations": []}));
}

#[test]
fn a_pause_of_a_rules_events_leaves_the_other_rules_alone() {
    let site = site_with_rules();
    let mut engine = site.up();
    site.ok(["pause", "rule:t.first", "--events"]);
    let event = go(&site, 1);
    engine.wait_for("rule       t.second matched");
    assert_eq!(
        answers(&site, &event),
        [("t.second".to_owned(), "requested".to_owned())]
    );
    assert_eq!(in_use(&site, "rule:t.first", "event_pause"), (0, 1));
    site.ok(["resume", "rule:t.first", "--events"]);
    engine.wait_for("rule       t.first matched");
    assert_eq!(answers(&site, &event), both("requested"));
    assert_eq!(site.get("/api/v1/check"), json!({"violations": []}));
}

#[test]
fn dropped_events_are_recorded_and_never_answered() {
    let site = site_with_rules();
    let _engine = site.up();
    site.ok(["pause", "--events", "--drop"]);
    let dropped = go(&site, 1);
    assert_eq!(answers(&site, &dropped), both("skipped"));
    let why = site.ok(["why", &dropped]);
    assert!(
        why.contains("not asked: Constraint 'event_pause-global' on global"),
        "{why}"
    );
    site.ok(["resume", "--all"]);
    let answered = go(&site, 2);
    assert_eq!(answers(&site, &answered), both("requested"));
    assert_eq!(answers(&site, &dropped), both("skipped"));
}

#[test]
fn what_came_in_the_time_of_a_pause_that_drops_is_dropped_also_after_a_restart() {
    let site = site_with_rules();
    let engine = site.up();
    site.ok(["pause", "rule:t.first", "--events", "--drop"]);
    site.ok(["pause", "pack:t", "--events"]);
    let event = go(&site, 1);
    // The same pause goes on, for another time.
    site.ok(["pause", "rule:t.first", "--events", "--drop", "--ttl", "1h"]);
    engine.kill();
    let mut engine = site.up();
    site.ok(["resume", "pack:t", "--events"]);
    engine.wait_for("rule       t.second matched");
    let skipped = ("t.first".to_owned(), "skipped".to_owned());
    let requested = ("t.second".to_owned(), "requested".to_owned());
    assert_eq!(answers(&site, &event), [skipped, requested]);
}

#[test]
fn an_expiry_lets_events_be_answered() {
    let site = site_with_rules();
    let mut engine = site.up();
    site.ok(["pause", "project:default", "--events", "--ttl", "1"]);
    let event = go(&site, 1);
    assert_eq!(answers(&site, &event), []);
    engine.wait_for("project:default: pause of events expired");
    engine.wait_for("rule       t.second matched");
    assert_eq!(answers(&site, &event), both("requested"));
}

#[test]
fn starts_and_events_are_held_apart() {
    let site = site_with_rules();
    let mut engine = site.up();
    let set = site.json(["pause", "--starts", "--events"]);
    assert_eq!(set["items"].as_array().expect("a list").len(), 2);
    let event = go(&site, 1);
    site.ok(["resume", "--events"]);
    engine.wait_for("rule       t.second matched");
    let page = site.get(&format!("/api/v1/enforcements?event={event}"));
    let id = page["items"][0]["execution"]
        .as_str()
        .expect("an execution")
        .to_owned();
    assert_eq!(held_by(&site, &id), "pause on global");
    site.ok(["resume"]);
    assert_eq!(site.ended(&id)["status"], "completed");
}
