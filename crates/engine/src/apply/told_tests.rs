//! What the event log says of constraints that hold something: each execution is told of each once, however
//! often it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camshaft_model::port::store::Change;
use camshaft_model::{BlockedBy, Constraint, ExecutionId, Status, Timestamp};
use serde_json::json;

use super::constraint_tests::{constraint, told};
use super::tests::{Bench, started};
use crate::decision::{Decision, Unit};

#[test]
fn a_pause_over_many_is_told_of_bit_by_bit_and_of_each_once() {
    let mut bench = Bench::of_three_actions(1);
    let (_, running) = bench.request("copy");
    for _ in 0..600 {
        bench.request("copy");
    }
    let set = bench.set("global", "pause", &json!({}));
    assert!(told(&set).len() < 600);
    let all = all_told(&mut bench, set);
    assert_eq!(all.len(), 600);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 600);
    let ended = bench.end(running, Status::Completed);
    assert_eq!(all_told(&mut bench, ended), []);
    assert_eq!(told(&bench.pass(0)), []);
}

#[test]
fn one_unit_that_tells_is_under_way_at_a_time_and_in_the_end_all_is_told() {
    let mut bench = Bench::of_three_actions(1);
    bench.request("copy");
    for _ in 0..600 {
        bench.request("copy");
    }
    // These get in line of themselves, and have no unit of their own then.
    let until = bench.now + Duration::from_secs(60);
    for _ in 0..300 {
        bench.request_with("copy", 0, Some(until));
    }
    let mut all: Vec<ExecutionId> = Vec::new();
    let mut under_way = bench.set("global", "pause", &json!({}));
    let pack = bench.set("pack:t", "pause", &json!({}));
    assert_eq!(units_that_tell(&pack), 0);
    bench.now = until;
    let mut units = 0;
    while units_that_tell(&under_way) > 0 {
        assert_eq!(units_that_tell(&under_way), 1);
        units += 1;
        all.extend(told(&under_way));
        let (new, id) = bench.request("check");
        assert_eq!((told(&new), units_that_tell(&new)), (vec![id], 0));
        assert_eq!(units_that_tell(&bench.pass(0)), 0, "one is under way");
        assert_eq!(
            units_that_tell(&bench.apply(|state, context| state.sweep(context))),
            0
        );
        assert_eq!(bench.state.next_due(), None, "nobody is woken for nothing");
        // One of them is refused. What it told is not told again before the next start.
        if units == 2 {
            let unit = under_way.units.into_iter().find(tells).unwrap();
            under_way = bench.apply(|state, context| state.take_back(unit, context));
        } else {
            bench.stored(&under_way);
            under_way = bench.pass(0);
        }
    }
    assert_eq!(bench.state.next_due(), None);
    assert_eq!(units, 4);
    assert_eq!(all.len(), 900);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 900);
}

fn tells(unit: &Unit) -> bool {
    let mut changes = unit.changes.iter();
    changes.any(|change| matches!(change, Change::PutHeldBy { .. }))
}

fn units_that_tell(decision: &Decision) -> usize {
    decision.units.iter().filter(|unit| tells(unit)).count()
}

/// What a decision tells, and what those do that follow, each once the one before is stored.
fn all_told(bench: &mut Bench, decision: Decision) -> Vec<ExecutionId> {
    bench.stored(&decision);
    let rest = bench.all_due();
    [decision].iter().chain(&rest).flat_map(told).collect()
}

#[test]
fn a_start_below_a_limit_does_not_look_through_all_that_wait() {
    let mut bench = Bench::of_three_actions(4);
    bench.set("task:copy", "concurrency", &json!({ "limit": 1 }));
    let (_, first) = bench.request("copy");
    for _ in 0..600 {
        bench.request("copy");
    }
    assert!(bench.state.untold.passes.is_empty());
    let ended = bench.end(first, Status::Completed);
    assert_eq!(started(&ended).len(), 1);
    assert_eq!(told(&ended), []);
    assert!(bench.state.untold.passes.is_empty());
}

#[test]
fn what_a_lifted_pause_has_not_started_yet_is_told_of_the_next_one() {
    let mut bench = Bench::of_three_actions(1);
    bench.set("global", "pause", &json!({}));
    let (_, first) = bench.request("copy");
    let (_, second) = bench.request("copy");
    assert_eq!(started(&bench.clear("global", None)), [first]);
    assert_eq!(told(&bench.set("task:copy", "pause", &json!({}))), [second]);
}

#[test]
fn what_comes_while_there_is_no_slot_is_told_of_the_pause_too() {
    let mut bench = Bench::of_three_actions(1);
    bench.request("copy");
    bench.set("task:check", "pause", &json!({}));
    let (asked, id) = bench.request("check");
    assert_eq!(told(&asked), [id]);
    let why = bench.state.blocked_by(&bench.state.live[&id], bench.now);
    assert!(matches!(why, Some(BlockedBy::Constraint(_))), "{why:?}");
}

#[test]
fn what_comes_after_a_limit_was_raised_is_told_of_it_only_once_it_holds_again() {
    let mut bench = Bench::of_three_actions(1);
    bench.request("copy");
    let limit = |limit: u32| json!({ "limit": limit });
    bench.set("task:copy", "concurrency", &limit(1));
    let (held, second) = bench.request("copy");
    assert_eq!(told(&held), [second]);
    bench.set("task:copy", "concurrency", &limit(100));
    let (free, third) = bench.request("copy");
    assert_eq!(told(&free), [], "all that it lacks is a slot");
    let lowered = bench.set("task:copy", "concurrency", &limit(1));
    assert_eq!(told(&lowered), [third]);
}

/// Two classes are filed under one hold that is open, and different things turn out to hold them.
#[test]
fn what_lacks_a_resource_is_told_of_a_limit_only_once_that_holds_it_and_then_surely() {
    let mut bench = Bench::of_three_actions(2);
    bench.set("global", "concurrency", &json!({ "limit": 1 }));
    bench.request("check");
    let (_, gpu) = bench.request("gpu");
    let (_, second_gpu) = bench.request("gpu");
    let (_, check) = bench.request("check");
    assert_eq!(started(&bench.clear("global", None)), [gpu]);
    let ttl = Some(Duration::from_secs(60));
    let held = bench.set_for("global", "concurrency", &json!({ "limit": 0 }), ttl);
    assert_eq!(told(&held), [check]);
    bench.stored(&held);
    let ended = bench.end(gpu, Status::Completed);
    assert_eq!(told(&ended), [second_gpu]);
}

#[test]
fn the_rest_is_told_of_a_limit_that_another_interrupted_once_it_holds_again() {
    let mut bench = Bench::of_three_actions(2);
    let (_, first) = bench.request("copy");
    let (_, check) = bench.request("check");
    for _ in 0..600 {
        bench.request("copy");
    }
    let limited = bench.set("task:copy", "concurrency", &json!({ "limit": 1 }));
    bench.set("global", "pause", &json!({}));
    bench.end(check, Status::Completed);
    bench.end(first, Status::Completed);
    let of_the_limit = told(&limited).len();
    assert!((1..600).contains(&of_the_limit));
    assert_eq!(all_told(&mut bench, limited).len(), of_the_limit + 600);
    let lifted = bench.clear("global", None);
    assert_eq!(started(&lifted).len(), 1);
    assert_eq!(all_told(&mut bench, lifted).len(), 600 - of_the_limit);
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn what_came_while_a_rate_was_free_is_told_of_it_when_it_holds_others() {
    let mut bench = Bench::of_three_actions(2);
    let (_, gpu) = bench.request("gpu");
    bench.set("task:c*", "rate_limit", &json!({ "rate": "10/m" }));
    let (_, first) = bench.request("copy");
    let (_, second) = bench.request("copy");
    for name in ["copy", "check"] {
        let (held, id) = bench.request(name);
        assert_eq!(told(&held), [id]);
    }
    bench.pass(6_000);
    let (free, late) = bench.request("check");
    assert_eq!(told(&free), []);
    assert_eq!(started(&bench.end(gpu, Status::Completed)), [second]);
    assert_eq!(told(&bench.end(first, Status::Completed)), [late]);
}

#[test]
fn a_pause_that_comes_again_or_for_another_reason_is_told_of_again() {
    let mut bench = Bench::of_three_actions(1);
    bench.request("copy");
    let (_, second) = bench.request("copy");
    let (_, third) = bench.request("copy");
    let pause = |bench: &mut Bench, reason: &str, ttl: Option<u64>| {
        let mut pause = constraint("global", "pause", &json!({}), bench.now);
        pause.reason = Some(reason.to_owned());
        pause.expires_at = ttl.map(|secs| bench.now + Duration::from_secs(secs));
        let set = bench.apply(|state, context| state.set_constraint(pause, context));
        all_told(bench, set.unwrap())
    };
    let both = [second, third];
    assert_eq!(pause(&mut bench, "audit", None), both);
    assert_eq!(
        pause(&mut bench, "audit", Some(60)),
        [],
        "it holds on, for another time"
    );
    assert_eq!(pause(&mut bench, "quota", None), both);
    bench.clear("global", None);
    assert_eq!(pause(&mut bench, "quota", None), both);
}

#[test]
fn a_restart_tells_nothing_again() {
    let mut pause = constraint("global", "pause", &json!({}), Timestamp::default());
    pause.expires_at = Some("2026-01-01T01:00:00Z".parse().unwrap());
    // It holds longer than the pause, which is the first of the two.
    let limit = json!({ "limit": 0 });
    let longer = constraint(
        "action:t.check",
        "concurrency",
        &limit,
        Timestamp::default(),
    );
    let rows = |bench: &mut Bench, decision: Decision| {
        let mut rows = BTreeMap::new();
        for mut unit in decision.units {
            for change in unit.transaction(&bench.state, bench.now).changes {
                match change {
                    Change::InsertExecution(new) => drop(rows.insert(new.spec.id, *new)),
                    Change::PutHeldBy { execution, held_by } => {
                        let mut row = bench.state.live[&execution].record();
                        row.state.blocked_by = Some(BlockedBy::Constraint(held_by));
                        rows.insert(execution, row);
                    }
                    _ => {}
                }
            }
        }
        rows
    };
    let mut bench = Bench::of_three_actions(1);
    bench.request("gpu");
    let (before, waits) = bench.request("copy");
    let mut stored = rows(&mut bench, before);
    let set = bench.apply(|state, context| state.set_constraint(pause.clone(), context));
    stored.extend(rows(&mut bench, set.unwrap()));
    bench
        .apply(|state, context| state.set_constraint(longer.clone(), context))
        .unwrap();
    let (after, _) = bench.request("check");
    stored.extend(rows(&mut bench, after));
    assert_eq!(stored.len(), 2);

    let restart = |pause: Constraint| {
        let mut after = Bench::of_three_actions(0);
        let pack = after.state.catalog.packs["t"].clone();
        after.state.versions.insert("h".into(), pack);
        after.now = bench.now;
        for constraint in [pause, longer.clone()] {
            (after.state.constraints).set(constraint.into(), None, bench.now);
        }
        for row in stored.values() {
            assert!(after.state.take(row.clone()));
        }
        let decision = after.apply(|state, context| state.sweep(context));
        told(&decision)
    };
    assert_eq!(restart(pause.clone()), []);
    let other = Constraint {
        reason: Some("another".to_owned()),
        ..pause.clone()
    };
    assert_eq!(restart(other), [waits]);
}

#[test]
fn two_limits_that_hold_in_turn_are_told_of_once_each() {
    let mut bench = Bench::of_three_actions(4);
    bench.set("task:copy", "concurrency", &json!({ "limit": 1 }));
    bench.set("task:c*", "rate_limit", &json!({ "rate": "10/m" }));
    let (_, mut running) = bench.request("copy");
    for _ in 0..300 {
        bench.request("copy");
    }
    for turn in 0..4 {
        let ended = bench.end(running, Status::Completed);
        let all = all_told(&mut bench, ended);
        assert_eq!(all.len(), if turn == 0 { 300 } else { 0 }, "of the rate");
        let next = bench.pass(6_000);
        running = started(&next)[0];
        assert_eq!(told(&next), [], "of the other limit they were told first");
        while bench.state.next_due() == Some(Timestamp::default()) {
            assert_eq!(turn, 0, "all of them are gone through again");
            assert_eq!(told(&bench.pass(0)), []);
        }
    }
    let (held, late) = bench.request("copy");
    assert_eq!(told(&held), [late]);
    let ended = bench.end(running, Status::Completed);
    let all = all_told(&mut bench, ended);
    assert_eq!(all, [late], "who came in between is told of the rate too");
}

#[test]
fn several_limits_that_hold_in_turn_are_told_of_once_each() {
    let scopes = ["action:t.copy", "global", "pack:t", "project:default"];
    let mut bench = Bench::of_three_actions(4);
    for scope in scopes {
        bench.set(scope, "concurrency", &json!({ "limit": 100 }));
    }
    bench.set("task:co*", "concurrency", &json!({ "limit": 0 }));
    for _ in 0..300 {
        bench.request("copy");
    }
    bench.clear("task:co*", None);
    let mut told_of = BTreeMap::<ExecutionId, usize>::new();
    for turn in 0..12 {
        // Another one holds before this one lets go.
        let (holds, lets_go) = (scopes[turn % 4], scopes[(turn + 3) % 4]);
        let held = bench.set(holds, "concurrency", &json!({ "limit": 0 }));
        let let_go = bench.set(lets_go, "concurrency", &json!({ "limit": 100 }));
        for decision in [held, let_go] {
            for id in all_told(&mut bench, decision) {
                *told_of.entry(id).or_default() += 1;
            }
        }
    }
    let waiting = bench.state.live.values();
    let waiting = waiting.filter(|live| live.state.status == Status::Requested);
    for live in waiting {
        assert_eq!(told_of[&live.spec.id], 4, "once of each limit");
    }
}
