//! The driver over a store whose answers come when the test says so.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::notice::{Notice, Publish};
use camshaft_model::port::clock::Clock;
use camshaft_model::port::store::{OnCommit, Outcome, Refusal, StoreError};
use camshaft_model::{Event, ExecutionId, Object, Origin};
use camshaft_testkit::{ManualClock, SeededEntropy};
use serde_json::json;
use tokio::sync::watch;

use super::timers::tests::World;
use super::{Core, Ports};
use crate::apply::constraint_tests::constraint;
use crate::apply::tests::{Bench, action, poked};
use crate::handle::{ExecutionRequest, Requested};
use crate::workflow::Kept;

struct Nobody;

impl Publish for Nobody {
    fn publish(&self, _: &Notice) {}
}

fn core(world: &Arc<World>, slots: u32) -> Arc<Core> {
    let clock = ManualClock::at("2026-01-01T00:00:00Z");
    core_with(world, slots, Arc::new(clock))
}

pub(super) fn core_with(world: &Arc<World>, slots: u32, clock: Arc<dyn Clock>) -> Arc<Core> {
    *world.unanswered.lock() = Some(Vec::new());
    let ports = Ports {
        store: world.clone(),
        bus: Arc::new(Nobody),
        clock,
        entropy: Arc::new(SeededEntropy::new(1)),
        load_pack: Arc::new(|_, _| Err("there is none".to_owned())),
    };
    let Bench { state, .. } = Bench::new(slots, vec![action("work")], vec![]);
    Core::new(state, ports, tokio::runtime::Handle::current())
}

pub(super) fn request(core: &Core, idempotency_key: Option<&str>) {
    let request = ExecutionRequest {
        what: Requested::Action("t.work".parse().unwrap()),
        parameters: Object::new(),
        priority: 0,
        not_before: None,
        idempotency_key: idempotency_key.map(str::to_owned),
        origin: Origin::Api,
        trace_parent: None,
    };
    core.apply(|state, context| state.request(request, Kept::new(), context).unwrap().0);
}

/// What the store was handed and has not answered.
pub(super) fn unanswered(world: &World) -> Vec<OnCommit> {
    std::mem::take(world.unanswered.lock().as_mut().unwrap())
}

pub(super) fn stored() -> Result<Outcome, StoreError> {
    Ok(Outcome::Applied {
        first_step_event: 1,
    })
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_last_lease_hears_of_one_that_is_taken_back() {
    let world = Arc::new(World::default());
    let core = core(&world, 1);
    request(&core, Some("again"));
    assert_eq!(core.read(|state| state.leases.len()), 1);

    let waiter = core.clone();
    let idle = tokio::spawn(async move { waiter.idle().await });
    tokio::task::yield_now().await;
    let earlier = ExecutionId::from_bytes([0; 16]);
    let refused = Outcome::Refused(Refusal::DuplicateExecution(earlier));
    let unanswered = unanswered(&world);
    assert_eq!(unanswered.len(), 1);
    unanswered
        .into_iter()
        .for_each(|done| done.done(Ok(refused.clone())));
    let in_time = tokio::time::timeout(Duration::from_secs(60), idle).await;
    in_time.expect("nobody told it").unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_pause_holds_is_told_of_one_unit_at_a_time_also_after_one_that_is_refused() {
    let world = Arc::new(World::default());
    let core = core(&world, 0);
    for _ in 0..1_000 {
        request(&core, None);
    }
    unanswered(&world)
        .into_iter()
        .for_each(|done| done.done(stored()));
    let (stop, shutdown) = watch::channel(false);
    let pulse = tokio::spawn(core.clone().pulse(shutdown));
    let pause = constraint("global", "pause", &json!({}), core.clock().now());
    core.apply(|state, context| state.set_constraint(pause, context).unwrap());
    let mut units = 0;
    loop {
        // Time passes only when nothing else is left to be done.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut under_way = unanswered(&world);
        let telling = under_way.pop();
        assert_eq!(under_way.len(), usize::from(units == 0), "the pause itself");
        under_way.into_iter().for_each(|done| done.done(stored()));
        let Some(telling) = telling else {
            break;
        };
        units += 1;
        telling.done(match units {
            2 => Err(StoreError::Broken("no".to_owned())),
            _ => stored(),
        });
    }
    assert_eq!(units, 1_000_usize.div_ceil(256));
    stop.send(true).unwrap();
    pulse.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_when_it_may_go_is_read_later() {
    let world = Arc::new(World::default());
    let core = core(&world, 1);
    let pause = constraint("global", "event_pause", &json!({}), core.clock().now());
    let scope = pause.scope.clone();
    core.apply(|state, context| state.set_constraint(pause, context).unwrap());
    let mut events = Vec::new();
    core.apply(|state, context| {
        let decision = state.ingest(poked(None), None, context).unwrap().decision;
        events.extend(
            decision.units[0]
                .events
                .iter()
                .map(|event| Event::clone(event)),
        );
        decision
    });
    let failed = Err(StoreError::Unavailable("not now".to_owned()));
    world.events_read.lock().extend([failed, Ok(events)]);
    unanswered(&world)
        .into_iter()
        .for_each(|done| done.done(stored()));
    core.apply(|state, context| state.clear_constraints(&scope, None, context).0);
    drop(unanswered(&world));
    assert_eq!(core.read(|state| state.held_events.len()), 1);
    let (stop, shutdown) = watch::channel(false);
    let pulse = tokio::spawn(core.clone().pulse(shutdown));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(unanswered(&world).len(), 1, "its answer");
    assert_eq!(core.read(|state| state.held_events.len()), 0);
    assert!(world.events_read.lock().is_empty());
    stop.send(true).unwrap();
    pulse.await.unwrap();
}
