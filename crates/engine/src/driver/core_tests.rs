//! The driver over a store whose answers come when the test says so.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::notice::{Notice, Publish};
use camshaft_model::port::store::{Outcome, Refusal};
use camshaft_model::{ExecutionId, Object, Origin};
use camshaft_testkit::{ManualClock, SeededEntropy};

use super::timers::tests::World;
use super::{Core, Ports};
use crate::apply::tests::{Bench, action};
use crate::handle::{ExecutionRequest, Requested};
use crate::workflow::Kept;

struct Nobody;

impl Publish for Nobody {
    fn publish(&self, _: &Notice) {}
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_last_lease_hears_of_one_that_is_taken_back() {
    let world = Arc::new(World::default());
    *world.unanswered.lock() = Some(Vec::new());
    let ports = Ports {
        store: world.clone(),
        bus: Arc::new(Nobody),
        clock: Arc::new(ManualClock::at("2026-01-01T00:00:00Z")),
        entropy: Arc::new(SeededEntropy::new(1)),
        load_pack: Arc::new(|_, _| Err("there is none".to_owned())),
    };
    let Bench { state, .. } = Bench::new(1, vec![action("work")], vec![]);
    let core = Core::new(state, ports, tokio::runtime::Handle::current());
    let request = ExecutionRequest {
        what: Requested::Action("t.work".parse().unwrap()),
        parameters: Object::new(),
        priority: 0,
        not_before: None,
        idempotency_key: Some("again".to_owned()),
        origin: Origin::Api,
        trace_parent: None,
    };
    core.apply(|state, context| state.request(request, Kept::new(), context).unwrap().0);
    assert_eq!(core.read(|state| state.leases.len()), 1);

    let waiter = core.clone();
    let idle = tokio::spawn(async move { waiter.idle().await });
    tokio::task::yield_now().await;
    let earlier = ExecutionId::from_bytes([0; 16]);
    let refused = Outcome::Refused(Refusal::DuplicateExecution(earlier));
    let unanswered = world.unanswered.lock().take().unwrap();
    assert_eq!(unanswered.len(), 1);
    unanswered
        .into_iter()
        .for_each(|done| done.done(Ok(refused.clone())));
    let in_time = tokio::time::timeout(Duration::from_secs(60), idle).await;
    in_time.expect("nobody told it").unwrap();
}
