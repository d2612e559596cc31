//! The loop that wakes the state, in time that passes only when nothing else is left to be done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use camshaft_model::Timestamp;
use camshaft_model::port::clock::Clock;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Core;
use super::core_tests::{core_with, request, stored, unanswered};
use super::timers::tests::World;
use crate::apply::constraint_tests::constraint;

const MILLISECOND: Duration = Duration::from_millis(1);

/// The time of the runtime, as a clock that counts who looks at it.
struct RuntimeClock {
    start: Timestamp,
    began: Instant,
    looks: AtomicUsize,
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.start + self.began.elapsed()
    }
}

/// A core whose pulse runs, over a store that answers when it is told to.
struct Pulsing {
    core: Arc<Core>,
    world: Arc<World>,
    clock: Arc<RuntimeClock>,
    stop: watch::Sender<bool>,
    pulse: JoinHandle<()>,
}

impl Pulsing {
    fn start() -> Self {
        let world = Arc::new(World::default());
        let clock = Arc::new(RuntimeClock {
            start: "2026-01-01T00:00:00Z".parse().unwrap(),
            began: Instant::now(),
            looks: AtomicUsize::new(0),
        });
        let core = core_with(&world, 100, clock.clone());
        let (stop, shutdown) = watch::channel(false);
        let pulse = tokio::spawn(core.clone().pulse(shutdown));
        Self {
            core,
            world,
            clock,
            stop,
            pulse,
        }
    }

    fn set(&self, kind: &str, params: &serde_json::Value, ttl: Option<Duration>) {
        let now = self.clock.now();
        let mut new = constraint("global", kind, params, now);
        new.expires_at = ttl.map(|ttl| now + ttl);
        let set = |state: &mut crate::state::State, context: &crate::state::Context<'_>| {
            state.set_constraint(new, context).unwrap()
        };
        self.core.apply(set);
        self.store();
    }

    fn store(&self) {
        unanswered(&self.world)
            .into_iter()
            .for_each(|done| done.done(stored()));
    }

    /// When everything started that did, in order.
    fn starts(&self) -> Vec<Timestamp> {
        let mut starts: Vec<_> = self.core.read(|state| {
            let live = state.live.values();
            live.filter_map(|live| live.state.scheduled_at).collect()
        });
        starts.sort_unstable();
        starts
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.pulse.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_delays_a_start_to_the_instant_of_its_end_and_nobody_looks_before() {
    let pulsing = Pulsing::start();
    let mut expected = Vec::new();
    for ttl_ms in [250, 7, 1_501] {
        sleep(Duration::from_millis(137)).await;
        let ttl = Duration::from_millis(ttl_ms);
        pulsing.set("pause", &json!({}), Some(ttl));
        expected.push(pulsing.clock.now() + ttl);
        request(&pulsing.core, None);
        pulsing.store();
        // The loop has seen the pause and sleeps.
        sleep(MILLISECOND).await;
        let looks = pulsing.clock.looks.load(Ordering::Relaxed);
        sleep(ttl - 2 * MILLISECOND).await;
        assert_eq!(
            pulsing.clock.looks.load(Ordering::Relaxed),
            looks,
            "of {ttl:?}"
        );
        assert_eq!(pulsing.starts(), expected[..expected.len() - 1]);
        sleep(2 * MILLISECOND).await;
        assert_eq!(pulsing.starts(), expected);
        pulsing.store();
    }
    pulsing.stop().await;
}

#[tokio::test(start_paused = true)]
async fn starts_come_exactly_at_the_rate() {
    for (rate, burst, apart_ms) in [
        ("5/s", 1, 200),
        ("5/s", 4, 200),
        ("10/m", 1, 6_000),
        ("300/h", 1, 12_000),
        ("300/h", 3, 12_000),
    ] {
        let pulsing = Pulsing::start();
        let apart = Duration::from_millis(apart_ms);
        pulsing.set("rate_limit", &json!({ "rate": rate, "burst": burst }), None);
        let began = pulsing.clock.now();
        (0..10).for_each(|_| request(&pulsing.core, None));
        pulsing.store();
        sleep(20 * apart).await;
        // Those of the burst at once, and then one after the other.
        let expected = (0..10u32).map(|nth| began + apart * (nth + 1).saturating_sub(burst));
        assert_eq!(
            pulsing.starts(),
            expected.collect::<Vec<_>>(),
            "{rate}, {burst} at once"
        );
        pulsing.stop().await;
    }
}
