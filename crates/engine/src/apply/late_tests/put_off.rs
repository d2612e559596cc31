//! What must not happen before it is known whether an execution is recorded.

use super::*;

#[test]
fn nothing_is_told_of_an_execution_that_is_not_recorded() {
    let mut world = World::new(None);
    let work = Act::Request {
        what: 0,
        key: Some(0),
    };
    for _ in 0..3 {
        world.act(Act::Request { what: 0, key: None });
    }
    world.act(work);
    world.act(work);
    world.act(Act::Hold("task:work"));
    world.act(Act::Due);
    let held: Vec<ExecutionId> = world.bench.state.live.keys().copied().collect();
    while !world.on_the_way.is_empty() {
        world.store();
    }
    world.act(Act::Due);
    world.store();
    let told = |id: &&ExecutionId| {
        let mut steps = world.ledger.steps.iter();
        steps.any(|step| step.event_type == StepEventType::TaskBlocked && step.execution_id == **id)
    };
    assert_eq!(
        held.iter().filter(told).count(),
        2,
        "one that has no key, and the one that was stored"
    );
    world.settle();
    world.check();
}

/// A run with a key and another run, which are to start together once the gate opens.
fn behind_the_gate(keyed: &str, other: &str) -> World {
    let mut world = World::new(None);
    world.act(Act::Gate(true));
    world.request(keyed, 0, Some(0), None);
    world.request(other, 0, None, None);
    world
}

#[test]
fn what_is_put_off_goes_on_though_its_reason_was_gone_before_it_was_handed_over() {
    let mut world = behind_the_gate("nested", "for_quick");
    let opened = world.bench.apply(|state, context| {
        state.gate_closed = false;
        state.start_what_may(context)
    });
    // Meanwhile the run itself is stored, so that what follows from it is not refused any more.
    world.catch_up();
    world.hand_over(opened);
    world.settle();
    world.check();
    assert!(world.bench.state.live.is_empty());
}

#[test]
fn whoever_is_put_off_behind_another_run_is_heard_of_once_it_is_stored() {
    let mut world = behind_the_gate("nested", "quick");
    world.act(Act::Gate(false));
    let child = world.bench.state.live.values();
    let child = child
        .filter(|live| live.spec.parent.is_some() && live.is_run())
        .map(|live| live.spec.id);
    let child: Vec<ExecutionId> = child.collect();
    let unit = world.on_the_way.iter().map(|(_, _, unit)| unit);
    let mut unit = unit.filter(|unit| child.iter().any(|id| unit.fresh.contains(id)));
    let receipts = &unit.next().unwrap().receipts;
    assert!(
        receipts.iter().any(|receipt| receipt.come()),
        "nobody wakes up"
    );
}

#[test]
fn what_is_put_off_while_its_receipt_comes_goes_on() {
    let id = |n: u8| ExecutionId::from_bytes([n; 16]);
    let mut uncertain = Uncertain::default();
    let receipts: Vec<_> = (0..64).map(|n| uncertain.receipt(id(n))).collect();
    receipts[0].come();
    uncertain.put_off(PutOff::Execution(id(0)));
    assert_eq!(uncertain.next(), Some(PutOff::Execution(id(0))));
}

/// A world whose rule asks for one execution at a time, and in which the first one has ended.
fn one_at_a_time() -> World {
    let mut world = World::new(Some("skip"));
    world.act(Act::Poke { key: Some(0) });
    world.settle();
    world
}

#[test]
fn an_occurrence_is_not_skipped_for_an_execution_that_was_never_recorded() {
    let mut world = one_at_a_time();
    world.act(Act::Poke { key: Some(0) });
    world.act(Act::Poke { key: None });
    world.settle();
    world.check();
    assert_eq!(world.ledger.executions.len(), 2);
}

#[test]
fn an_event_that_was_held_is_not_skipped_for_one_either() {
    let mut world = one_at_a_time();
    world.act(Act::Poke { key: Some(0) });
    world.bench.pause_events_for("global", false, None);
    world.act(Act::Poke { key: None });
    let global = "global".parse().unwrap();
    world.decide(|state, context| state.clear_constraints(&global, None, context).0);
    // What the store has refused is not taken back yet.
    world.catch_up();
    world.settle();
    world.check();
    assert_eq!(world.ledger.executions.len(), 2);
}
