//! Pauses of events: for how long they hold and drop, and which.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::port::sensor::IntakeError;
use camshaft_model::port::store::HeldEvent;
use camshaft_model::{EnforcementOutcome, EventDraft, EventId, Origin, Ref, Scope, Status};
use serde_json::json;

use super::held::MAX_HELD_EVENTS;
use super::order_tests::{held, requested};
use super::tests::{Bench, action, outcomes, poked, rule};
use crate::decision::Decision;

const MINUTE: Duration = Duration::from_secs(60);

fn bench() -> Bench {
    let on_poke = rule("on_poke", "t.poked", "allow");
    Bench::new(4, vec![action("work")], vec![on_poke])
}

impl Bench {
    fn keep(&mut self) -> Decision {
        let kept = self.emit(poked(None)).unwrap().decision;
        assert!(held(&kept), "{kept:#?}");
        self.stored(&kept);
        kept
    }
}

fn held_by(bench: &Bench, scope: &str) -> u64 {
    let scope: Scope = scope.parse().unwrap();
    bench.state.events_held_by(&scope.matcher())
}

fn skipped(decisions: &[Decision]) -> usize {
    let outcomes = decisions.iter().flat_map(outcomes);
    outcomes
        .filter(|outcome| matches!(outcome, EnforcementOutcome::Skipped { .. }))
        .count()
}

#[test]
fn a_pause_whose_time_is_over_drops_nothing_though_nobody_has_ended_it_yet() {
    for scope in ["global", "pack:t", "rule:t.on_poke"] {
        let mut bench = bench();
        bench.pause_events_for(scope, true, Some(MINUTE));
        let dropped = bench.emit(poked(None)).unwrap();
        assert_eq!(skipped(&[dropped.decision]), 1, "{scope}");
        bench.now = bench.now + MINUTE;
        assert_eq!(
            bench.emit(poked(None)).unwrap().executions.len(),
            1,
            "{scope}"
        );
    }
}

#[test]
fn the_end_of_what_an_engine_left_is_told_of_after_a_pause_that_is_over() {
    let on_end = rule("after", "core.execution", "allow");
    let mut bench = Bench::new(4, vec![action("work")], vec![on_end]);
    let (_, id) = bench.request("work");
    bench.pause_events_for("global", true, Some(MINUTE));
    bench.now = bench.now + MINUTE;
    let last = bench.end(id, Status::Failed);
    assert_eq!(
        (
            skipped(std::slice::from_ref(&last)),
            requested(&[last]).len()
        ),
        (0, 1)
    );
}

#[test]
fn what_a_pause_held_is_answered_before_what_comes_after_its_time() {
    for scope in ["global", "rule:t.on_poke"] {
        let mut bench = bench();
        bench.pause_events_for(scope, false, Some(MINUTE));
        bench.keep();
        bench.now = bench.now + MINUTE;
        let later = bench.emit(poked(None)).unwrap();
        assert!(held(&later.decision), "{scope}: it overtakes");
        bench.stored(&later.decision);
        let decisions = bench.all_due();
        assert_eq!(requested(&decisions).len(), 2, "{scope}");
        assert_eq!(held_by(&bench, scope), 0, "{scope}");
    }
}

#[test]
fn a_pause_that_drops_leaves_what_was_held_whole_before_it() {
    let mut bench = bench();
    bench.pause_events("global", false);
    bench.keep();
    bench.pause_events("rule:t.on_poke", true);
    bench.keep();
    // To say so again is no new beginning.
    bench.now = bench.now + MINUTE;
    bench.pause_events_for("rule:t.on_poke", true, Some(MINUTE));
    let decisions = bench.resume_events("global");
    assert_eq!((skipped(&decisions), requested(&decisions).len()), (1, 0));
    assert_eq!(held_by(&bench, "rule:t.on_poke"), 1, "the older one waits");
    let decisions = bench.resume_events("rule:t.on_poke");
    assert_eq!((skipped(&decisions), requested(&decisions).len()), (0, 1));
}

#[test]
fn so_many_are_held_and_only_what_would_be_one_more_is_refused() {
    let other = rule("on_other", "t.other", "allow");
    let on_poke = rule("on_poke", "t.poked", "allow");
    let mut bench = Bench::new(4, vec![action("work")], vec![on_poke, other]);
    bench.pause_events("rule:t.on_p*", false);
    let kept = bench.keep().units.remove(0).events.remove(0);
    let rules: Vec<Ref> = vec!["t.on_poke".parse().unwrap()];
    for number in 1..MAX_HELD_EVENTS as u128 {
        bench.state.held_events.restore(HeldEvent {
            event: EventId::from_bytes(number.to_be_bytes()),
            trigger: kept.draft.trigger.clone(),
            rules: Some(rules.clone()),
        });
    }
    assert!(bench.all_due().iter().all(|due| due.units.is_empty()));
    assert_eq!(held_by(&bench, "rule:t.on_poke"), MAX_HELD_EVENTS as u64);
    assert_eq!(bench.state.held_events.kinds().len(), 1);

    let refused = bench.emit(poked(None)).err().unwrap();
    assert!(matches!(refused, IntakeError::Unavailable(_)));
    let refused = refused.to_string();
    assert!(
        refused.contains("resume --events rule:t.on_p*"),
        "{refused}"
    );
    let other = EventDraft {
        trigger: "t.other".parse().unwrap(),
        ..poked(None)
    };
    assert_eq!(bench.emit(other.clone()).unwrap().executions.len(), 1);

    // What is dropped is not held.
    bench.pause_events("global", true);
    assert!(bench.emit(poked(None)).is_ok());
    bench.pause_events("global", false);
    let refused = bench.emit(other).err().unwrap().to_string();
    assert!(refused.contains("resume --events global"), "{refused}");
}

#[test]
fn a_pause_counts_what_it_holds_by_kind() {
    let mut bench = bench();
    bench.pause_events("rule:t.on_poke", false);
    bench.keep();
    bench.pause_events("pack:t", false);
    bench.keep();
    bench.keep();
    let held = |bench: &Bench| {
        [
            "rule:*",
            "rule:t.*",
            "rule:t.other",
            "pack:t",
            "global",
            "pack:core",
        ]
        .map(|scope| held_by(bench, scope))
    };
    assert_eq!(held(&bench), [1, 1, 0, 2, 2, 0]);
    bench.resume_events("pack:t");
    assert_eq!(held(&bench), [3, 3, 0, 0, 0, 0]);
    bench.resume_events("rule:t.on_poke");
    assert_eq!(
        (held(&bench), bench.state.held_events.kinds().len()),
        ([0; 6], 0)
    );
}

/// The events to which rules asked for executions, in the order in which they did.
fn answered(bench: &Bench, decisions: &[Decision]) -> Vec<EventId> {
    let event_of = |id| match &bench.state.live[&id].spec.origin {
        Origin::Rule { event, .. } => *event,
        other => panic!("{other:?}"),
    };
    requested(decisions).into_iter().map(event_of).collect()
}

#[test]
fn of_what_is_held_nothing_is_kept_that_no_pause_asks_for() {
    let mut bench = bench();
    bench.pause_events("global", false);
    let mut draft = poked(None);
    draft.payload = json!({ "text": "x".repeat(100_000) });
    let kept = bench.emit(draft).unwrap().decision;
    let event = Arc::downgrade(&kept.units[0].events[0]);
    bench.stored(&kept);
    assert!(event.upgrade().is_some());
    drop(kept);
    assert!(event.upgrade().is_none(), "its payload is in memory");
    assert_eq!(requested(&bench.resume_events("global")).len(), 1);
}

#[test]
fn what_is_held_goes_in_its_order_and_is_read_a_few_at_a_time() {
    let mut bench = bench();
    bench.pause_events("global", false);
    let mut order = Vec::new();
    for _ in 0..600 {
        order.push(bench.keep().units[0].events[0].id);
    }
    let scope = "global".parse().unwrap();
    bench.apply(|state, context| state.clear_constraints(&scope, None, context));
    let (mut reads, mut decisions) = (Vec::new(), Vec::new());
    for _ in 0..700 {
        let due = bench.apply(|state, context| state.due(context));
        assert!(due.units.len() <= 1);
        bench.stored(&due);
        decisions.push(due);
        // What comes meanwhile comes behind them.
        if decisions.len() == 5 {
            order.push(bench.keep().units[0].events[0].id);
        }
        match bench.read_events() {
            0 => {}
            read => reads.push(read),
        }
    }
    assert_eq!(reads, [256, 256, 89]);
    assert_eq!(answered(&bench, &decisions), order);
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn nothing_goes_while_it_is_read_and_a_pause_that_comes_then_holds_it_again() {
    let mut bench = bench();
    bench.pause_events("global", false);
    let order: Vec<_> = (0..9).map(|_| bench.keep().units[0].events[0].id).collect();
    let scope = "global".parse().unwrap();
    bench.apply(|state, context| state.clear_constraints(&scope, None, context));
    bench.pass(0);
    assert_eq!(bench.state.next_due(), None, "they are read");
    let swept = bench.apply(|state, context| state.sweep(context));
    assert!(swept.units.is_empty());
    bench.read_events();
    let first = bench.pass(0);
    bench.pause_events("global", false);
    assert!(bench.all_due().iter().all(|due| due.units.is_empty()));
    assert_eq!(held_by(&bench, "global"), 8);
    let mut decisions = bench.resume_events("global");
    decisions.insert(0, first);
    assert_eq!(answered(&bench, &decisions), order);
}

#[test]
fn an_event_that_is_not_recorded_does_not_keep_others_back() {
    let mut bench = bench();
    bench.pause_events("global", false);
    let ids: Vec<_> = (0..3).map(|_| bench.keep().units[0].events[0].id).collect();
    bench.events.remove(&ids[0]);
    let decisions = bench.resume_events("global");
    assert_eq!(answered(&bench, &decisions), ids[1..]);
}
