//! Timers against an engine and a store in memory, and a clock that is set by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use camshaft_model::definition::TriggerKind;
use camshaft_model::port::clock::Clock;
use camshaft_model::port::sensor::{Accepted, Intake, IntakeError, SensorHost, SensorSpec};
use camshaft_model::port::store::{
    Change, ConstraintRecord, EnforcementFilter, EventFilter, ExecutionFilter, HeldEvent,
    InquiryFilter, Laps, OnCommit, Outcome, PackRecord, PageRequest, StepEventFilter, Store,
    StoreError, Transaction, Values, Violation,
};
use camshaft_model::run::CachedResult;
use camshaft_model::{
    Attempt, Enforcement, Event, EventDraft, EventId, Execution, ExecutionId, Ref, Status,
    StepEvent, Timestamp,
};
use camshaft_model::{Inquiry, InquiryId, RunRecord, TaskRecord, TaskRef};
use camshaft_testkit::ManualClock;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::Timers;

/// A database and an engine, as far as timers see them.
#[derive(Default)]
pub(crate) struct World {
    states: Mutex<BTreeMap<String, Value>>,
    events: Mutex<Vec<EventDraft>>,
    duplicates: Mutex<usize>,
    /// What the engine answers instead of recording.
    answer: Mutex<Option<IntakeError>>,
    /// What the database answers instead of reading and writing.
    broken: Mutex<Option<StoreError>>,
    /// The trigger whose events wait until they are let through.
    held: Mutex<Option<Ref>>,
    recorded: Notify,
    let_through: Notify,
    /// What the database was handed, if it does not answer yet.
    pub(crate) unanswered: Mutex<Option<Vec<OnCommit>>>,
    /// What the database answers to reads of events by their ids, one after another.
    pub(crate) events_read: Mutex<VecDeque<Result<Vec<Event>, StoreError>>>,
}

impl World {
    /// The scheduled instants of the events of a sensor.
    fn instants(&self, key: &str) -> Vec<String> {
        self.payloads(key)
            .iter()
            .map(|payload| payload["scheduled_at"].as_str().unwrap().to_owned())
            .collect()
    }

    fn payloads(&self, key: &str) -> Vec<Value> {
        let events = self.events.lock();
        let of_key = events
            .iter()
            .filter(|event| event.sensor.as_deref() == Some(key));
        of_key.map(|event| event.payload.clone()).collect()
    }

    fn count(&self, key: &str) -> usize {
        self.payloads(key).len()
    }
}

#[async_trait]
impl Intake for World {
    async fn emit(&self, _: EventDraft) -> Result<Accepted, IntakeError> {
        unreachable!("a timer always has a state to store")
    }

    async fn emit_with_state(
        &self,
        draft: EventDraft,
        state: Value,
    ) -> Result<Accepted, IntakeError> {
        let held = self.held.lock().as_ref() == Some(&draft.trigger);
        if held {
            self.let_through.notified().await;
        }
        if let Some(error) = self.answer.lock().clone() {
            return Err(error);
        }
        let mut events = self.events.lock();
        let same = |event: &EventDraft| {
            event.trigger == draft.trigger && event.dedup_key == draft.dedup_key
        };
        let duplicate = events.iter().any(same);
        if duplicate {
            *self.duplicates.lock() += 1;
        } else {
            self.states
                .lock()
                .insert(draft.sensor.clone().unwrap(), state);
            events.push(draft);
        }
        self.recorded.notify_one();
        let event = EventId::from_bytes([0; 16]);
        Ok(Accepted {
            event,
            duplicate,
            executions: Vec::new(),
        })
    }
}

#[async_trait]
impl Store for World {
    fn submit(&self, transaction: Transaction, done: OnCommit) {
        if let Some(error) = self.broken.lock().clone() {
            return done.done(Err(error));
        }
        if let Some(unanswered) = &mut *self.unanswered.lock() {
            return unanswered.push(done);
        }
        for change in transaction.changes {
            let Change::PutSensorState { key, state } = change else {
                unreachable!("{change:?}")
            };
            self.states.lock().insert(key, state);
        }
        done.done(Ok(Outcome::Applied {
            first_step_event: 0,
        }));
    }

    async fn sensor_state(&self, key: String) -> Result<Option<Value>, StoreError> {
        match self.broken.lock().clone() {
            Some(error) => Err(error),
            None => Ok(self.states.lock().get(&key).cloned()),
        }
    }

    fn health(&self) -> Result<(), StoreError> {
        unreachable!()
    }
    async fn execution(&self, _: ExecutionId) -> Result<Option<Execution>, StoreError> {
        unreachable!()
    }
    async fn executions(
        &self,
        _: ExecutionFilter,
        _: PageRequest<ExecutionId>,
    ) -> Result<Vec<Execution>, StoreError> {
        unreachable!()
    }
    async fn unfinished(&self) -> Result<Vec<Execution>, StoreError> {
        unreachable!()
    }
    async fn results(&self, _: Vec<ExecutionId>) -> Result<Vec<Option<Value>>, StoreError> {
        unreachable!()
    }
    async fn children(
        &self,
        _: ExecutionId,
        _: Laps,
        _: PageRequest<ExecutionId>,
        _: Values,
    ) -> Result<Vec<Execution>, StoreError> {
        unreachable!()
    }
    async fn item_counts(
        &self,
        _: ExecutionId,
        _: Laps,
    ) -> Result<Vec<(TaskRef, Status, u32)>, StoreError> {
        unreachable!()
    }
    async fn run(&self, _: ExecutionId) -> Result<Option<RunRecord>, StoreError> {
        unreachable!()
    }
    async fn task_result(&self, _: ExecutionId, _: TaskRef) -> Result<Option<Value>, StoreError> {
        unreachable!()
    }
    async fn tasks(
        &self,
        _: ExecutionId,
        _: Laps,
        _: Values,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        unreachable!()
    }
    async fn newest_step_event(&self) -> Result<i64, StoreError> {
        unreachable!()
    }
    async fn task_items(&self, _: ExecutionId, _: TaskRef) -> Result<Option<Value>, StoreError> {
        unreachable!()
    }
    async fn inquiry(&self, _: InquiryId) -> Result<Option<Inquiry>, StoreError> {
        unreachable!()
    }
    async fn inquiries(
        &self,
        _: InquiryFilter,
        _: PageRequest<InquiryId>,
    ) -> Result<Vec<Inquiry>, StoreError> {
        unreachable!()
    }
    async fn cached(&self, _: Timestamp, _: u64) -> Result<Vec<CachedResult>, StoreError> {
        unreachable!()
    }
    async fn attempts(&self, _: ExecutionId) -> Result<Vec<Attempt>, StoreError> {
        unreachable!()
    }
    async fn event(&self, _: EventId) -> Result<Option<Event>, StoreError> {
        unreachable!()
    }
    async fn events_by_id(&self, _: Vec<EventId>, _: u64) -> Result<Vec<Event>, StoreError> {
        self.events_read.lock().pop_front().unwrap()
    }
    async fn events(
        &self,
        _: EventFilter,
        _: PageRequest<EventId>,
    ) -> Result<Vec<Event>, StoreError> {
        unreachable!()
    }
    async fn enforcements(
        &self,
        _: EnforcementFilter,
        _: PageRequest<EventId>,
    ) -> Result<Vec<Enforcement>, StoreError> {
        unreachable!()
    }
    async fn step_events(
        &self,
        _: StepEventFilter,
        _: PageRequest<i64>,
    ) -> Result<Vec<StepEvent>, StoreError> {
        unreachable!()
    }
    async fn packs(&self) -> Result<Vec<PackRecord>, StoreError> {
        unreachable!()
    }
    async fn pack_version(&self, _: String) -> Result<Option<PackRecord>, StoreError> {
        unreachable!()
    }
    async fn constraints(&self) -> Result<Vec<ConstraintRecord>, StoreError> {
        Ok(Vec::new())
    }
    async fn held_events(&self) -> Result<Vec<HeldEvent>, StoreError> {
        unreachable!()
    }
    async fn rule_overrides(&self) -> Result<Vec<(Ref, bool)>, StoreError> {
        unreachable!()
    }
    async fn next_epoch(&self) -> Result<i64, StoreError> {
        unreachable!()
    }
    async fn check(&self) -> Result<Vec<Violation>, StoreError> {
        unreachable!()
    }
    async fn checkpoint(&self) -> Result<(), StoreError> {
        unreachable!()
    }
}

/// A world with a clock at the beginning of May, and engines in it.
struct Scene {
    world: Arc<World>,
    clock: Arc<ManualClock>,
}

impl Scene {
    fn new() -> Self {
        Self::at("2026-05-01T00:00:00Z")
    }

    fn at(start: &str) -> Self {
        Self {
            world: Arc::default(),
            clock: Arc::new(ManualClock::at(start)),
        }
    }

    fn engine(&self, specs: &[SensorSpec]) -> Arc<Timers> {
        let timers = Timers::new(self.world.clone(), self.world.clone(), self.clock.clone());
        timers.reconcile(specs);
        timers
    }

    async fn tick(&self, timers: &Arc<Timers>) {
        timers.tick(self.clock.now()).await;
    }

    /// Moves the clock in steps of `step` and looks at each.
    async fn pass(&self, timers: &Arc<Timers>, step: u64, steps: usize) {
        for _ in 0..steps {
            self.clock.advance(Duration::from_secs(step));
            self.tick(timers).await;
        }
    }
}

fn spec(key: &str, kind: TriggerKind, parameters: Value) -> SensorSpec {
    let Value::Object(parameters) = parameters else {
        panic!("{parameters} is not an object")
    };
    let trigger = format!("core.{}", key.split('#').next().unwrap())
        .parse()
        .unwrap();
    SensorSpec {
        key: key.to_owned(),
        trigger,
        kind,
        parameters,
    }
}

fn every(key: &str, every: &str) -> SensorSpec {
    spec(key, TriggerKind::Interval, json!({ "every": every }))
}

fn daily_at(wall: &str, zone: &str) -> SensorSpec {
    let (hour, minute) = wall.split_once(':').unwrap();
    let expression = format!("{minute} {hour} * * *");
    spec(
        "cron",
        TriggerKind::Cron,
        json!({"expression": expression, "timezone": zone, "catchup": "all"}),
    )
}

#[tokio::test]
async fn an_interval_fires_at_its_instants_and_says_so() {
    let scene = Scene::new();
    let timers = scene.engine(&[every("interval#1", "10s")]);
    scene.tick(&timers).await;
    assert_eq!(
        scene.world.count("interval#1"),
        0,
        "the first comes after one interval"
    );
    scene.pass(&timers, 5, 5).await;
    let event = scene.world.events.lock()[1].clone();
    assert_eq!(
        event.payload,
        json!({
            "scheduled_at": "2026-05-01T00:00:20.000000Z",
            "fired_at": "2026-05-01T00:00:20.000000Z",
            "count": 2,
            "missed": 0,
        })
    );
    assert_eq!(
        event.dedup_key.as_deref(),
        Some("interval#1@1777593620000000")
    );
    assert_eq!(
        (event.source.kind.as_str(), event.source.name.as_deref()),
        ("timer", Some("interval#1"))
    );
    assert_eq!(
        timers.next_look(),
        Some("2026-05-01T00:00:30Z".parse().unwrap())
    );
}

#[tokio::test]
async fn a_restart_in_the_middle_moves_nothing() {
    let scene = Scene::new();
    let specs = [every("interval", "10s")];
    let timers = scene.engine(&specs);
    scene.tick(&timers).await;
    scene.clock.advance(Duration::from_secs(7));
    // Before the first occurrence, and after it.
    let timers = scene.engine(&specs);
    scene.pass(&timers, 1, 5).await;
    assert_eq!(
        scene.world.instants("interval"),
        ["2026-05-01T00:00:10.000000Z"]
    );
    let timers = scene.engine(&specs);
    scene.pass(&timers, 4, 2).await;
    assert_eq!(
        scene.world.instants("interval").last().unwrap(),
        "2026-05-01T00:00:20.000000Z"
    );
    assert_eq!(scene.world.payloads("interval").last().unwrap()["count"], 2);
}

#[tokio::test]
async fn a_day_of_downtime_is_caught_up_as_declared() {
    let cases = [("skip", 1, 144), ("once", 2, 143), ("all", 145, 0)];
    for (catchup, events, missed) in cases {
        let scene = Scene::new();
        let parameters = json!({"every": "10m", "catchup": catchup});
        let specs = [spec("interval", TriggerKind::Interval, parameters)];
        let timers = scene.engine(&specs);
        scene.tick(&timers).await;
        scene.pass(&timers, 600, 1).await;
        scene.clock.advance(Duration::from_secs(86_400 + 1));
        let timers = scene.engine(&specs);
        scene.tick(&timers).await;
        assert_eq!(scene.world.count("interval"), events, "{catchup}");
        if catchup == "skip" {
            scene.pass(&timers, 600, 1).await;
        }
        let last = scene.world.payloads("interval").pop().unwrap();
        assert_eq!(last["missed"], missed, "{catchup}");
    }
}

#[tokio::test]
async fn a_backlog_beyond_the_limit_goes_on_in_the_next_look() {
    let scene = Scene::new();
    let parameters = json!({"every": "1s", "catchup": "all"});
    let timers = scene.engine(&[spec("interval", TriggerKind::Interval, parameters)]);
    scene.tick(&timers).await;
    scene.clock.advance(Duration::from_secs(1_500));
    scene.tick(&timers).await;
    assert_eq!(scene.world.count("interval"), 1_000);
    assert!(timers.next_look().unwrap() <= scene.clock.now());
    scene.tick(&timers).await;
    assert_eq!(scene.world.count("interval"), 1_500);
}

#[tokio::test]
async fn a_clock_that_is_set_back_repeats_nothing() {
    let scene = Scene::new();
    let timers = scene.engine(&[every("interval", "10s")]);
    scene.tick(&timers).await;
    scene.pass(&timers, 10, 6).await;
    scene.clock.set("2026-05-01T00:00:05Z".parse().unwrap());
    scene.pass(&timers, 1, 54).await;
    assert_eq!(scene.world.count("interval"), 6);
    scene.pass(&timers, 11, 1).await;
    assert_eq!(
        scene.world.instants("interval").last().unwrap(),
        "2026-05-01T00:01:10.000000Z"
    );
}

#[tokio::test]
async fn two_engines_give_each_occurrence_once() {
    let scene = Scene::new();
    let specs = [every("interval", "10s"), daily_at("00:01", "UTC")];
    let (one, other) = (scene.engine(&specs), scene.engine(&specs));
    for _ in 0..20 {
        scene.clock.advance(Duration::from_secs(5));
        tokio::join!(scene.tick(&one), scene.tick(&other));
    }
    let mut instants = scene.world.instants("interval");
    let all = instants.len();
    instants.dedup();
    assert!(all >= 9 && instants.len() == all, "{instants:?}");
    assert_eq!(scene.world.count("cron"), 1);
    let counts: Vec<_> = scene
        .world
        .payloads("interval")
        .iter()
        .map(|payload| payload["count"].as_u64().unwrap())
        .collect();
    assert!(
        counts
            .iter()
            .zip(1..)
            .all(|(count, wanted)| *count == wanted),
        "{counts:?}"
    );
}

#[tokio::test]
async fn timers_come_change_and_go_with_what_is_desired() {
    let scene = Scene::new();
    let timers = scene.engine(&[every("interval#a", "10s")]);
    scene.tick(&timers).await;
    scene.pass(&timers, 10, 1).await;
    timers.reconcile(&[every("interval#a", "10s"), every("interval#b", "1s")]);
    scene.tick(&timers).await;
    scene.pass(&timers, 1, 3).await;
    assert_eq!(
        (
            scene.world.count("interval#a"),
            scene.world.count("interval#b")
        ),
        (1, 3)
    );
    timers.reconcile(&[every("interval#a", "5s")]);
    scene.tick(&timers).await;
    scene.pass(&timers, 2, 1).await;
    assert_eq!(
        scene.world.instants("interval#a").last().unwrap(),
        "2026-05-01T00:00:15.000000Z"
    );
    assert_eq!(scene.world.count("interval#b"), 3, "gone");
    timers.reconcile(&[]);
    scene.pass(&timers, 60, 2).await;
    assert_eq!(
        (scene.world.count("interval#a"), timers.next_look()),
        (2, None)
    );
    // It comes back with what it remembers: one event for the time that it was away.
    timers.reconcile(&[every("interval#a", "5s")]);
    scene.tick(&timers).await;
    let last = scene.world.payloads("interval#a").pop().unwrap();
    assert_eq!((&last["count"], &last["missed"]), (&json!(3), &json!(23)));
}

#[tokio::test]
async fn parameters_that_cannot_be_read_show_in_health_and_stop_nobody_else() {
    let scene = Scene::new();
    let broken = spec("cron", TriggerKind::Cron, json!({"expression": "often"}));
    let foreign = spec("webhook", TriggerKind::Webhook, json!({}));
    let timers = scene.engine(&[broken, every("interval", "10s"), foreign]);
    scene.tick(&timers).await;
    scene.pass(&timers, 10, 1).await;
    assert_eq!(scene.world.count("interval"), 1);
    let health = timers.health();
    let problems: Vec<_> = health
        .iter()
        .map(|health| (health.key.as_str(), health.problem.is_some()))
        .collect();
    assert_eq!(problems, [("cron", true), ("interval", false)]);
    assert!(
        health[0]
            .problem
            .as_ref()
            .unwrap()
            .contains("'expression' is \"often\"")
    );
}

#[tokio::test]
async fn cron_fires_once_on_both_days_when_the_clock_changes() {
    let cases = [
        (
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00.000000Z", "2026-03-30T00:30:00.000000Z"],
        ),
        (
            "2026-10-24T12:00:00Z",
            ["2026-10-25T00:30:00.000000Z", "2026-10-26T01:30:00.000000Z"],
        ),
    ];
    for (start, wanted) in cases {
        let scene = Scene::at(start);
        let timers = scene.engine(&[daily_at("2:30", "Europe/Berlin")]);
        scene.tick(&timers).await;
        scene.pass(&timers, 600, 6 * 48).await;
        assert_eq!(scene.world.instants("cron"), wanted);
        assert_eq!(scene.world.payloads("cron")[0]["timezone"], "Europe/Berlin");
    }
}

#[tokio::test]
async fn an_engine_that_cannot_record_delays_an_occurrence_and_loses_none() {
    let scene = Scene::new();
    let parameters = json!({"every": "1h", "catchup": "skip"});
    let timers = scene.engine(&[spec("interval", TriggerKind::Interval, parameters)]);
    scene.tick(&timers).await;
    *scene.world.answer.lock() = Some(IntakeError::Unavailable("the disk is full".to_owned()));
    scene.pass(&timers, 3_600, 1).await;
    let problem = timers.health()[0].problem.clone().unwrap();
    assert!(problem.contains("the disk is full"), "{problem}");
    scene.pass(&timers, 30, 10).await;
    *scene.world.answer.lock() = None;
    scene.pass(&timers, 30, 1).await;
    assert_eq!(
        scene.world.instants("interval"),
        ["2026-05-01T01:00:00.000000Z"]
    );
    assert_eq!(timers.health()[0].problem, None);
}

#[tokio::test]
async fn a_refused_occurrence_is_passed_and_shows() {
    let scene = Scene::new();
    let timers = scene.engine(&[every("interval", "10s")]);
    scene.tick(&timers).await;
    *scene.world.answer.lock() = Some(IntakeError::Refused("no such trigger".to_owned()));
    scene.pass(&timers, 10, 1).await;
    assert!(
        timers.health()[0]
            .problem
            .as_ref()
            .unwrap()
            .contains("no such trigger")
    );
    *scene.world.answer.lock() = None;
    scene.tick(&timers).await;
    assert_eq!(scene.world.count("interval"), 0, "it is not tried again");
    scene.pass(&timers, 10, 1).await;
    assert_eq!(
        (
            scene.world.count("interval"),
            timers.health()[0].problem.clone()
        ),
        (1, None)
    );
}

#[tokio::test]
async fn a_database_that_cannot_be_read_delays_the_beginning_but_does_not_move_it() {
    let scene = Scene::new();
    *scene.world.broken.lock() = Some(StoreError::Unavailable("locked".to_owned()));
    let timers = scene.engine(&[every("interval", "10s")]);
    scene.tick(&timers).await;
    assert!(
        timers.health()[0]
            .problem
            .as_ref()
            .unwrap()
            .contains("locked")
    );
    *scene.world.broken.lock() = None;
    scene.pass(&timers, 4, 3).await;
    assert_eq!(
        scene.world.instants("interval"),
        ["2026-05-01T00:00:10.000000Z"]
    );
}

/// A clock that moves with tokio's, which a paused test moves on whenever everybody waits.
struct PausedClock {
    start: Timestamp,
    began: tokio::time::Instant,
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        self.start + self.began.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn the_loop_fires_on_time_and_one_slow_timer_holds_up_nobody() {
    let world = Arc::<World>::default();
    let clock = PausedClock {
        start: "2026-05-01T00:00:00Z".parse().unwrap(),
        began: tokio::time::Instant::now(),
    };
    let timers = Timers::new(world.clone(), world.clone(), Arc::new(clock));
    let (stop, shutdown) = watch::channel(false);
    let running = tokio::spawn(timers.clone().run(shutdown));
    *world.held.lock() = Some("core.slow".parse().unwrap());
    timers.reconcile(&[every("slow", "10s"), every("interval", "10s")]);
    while world.count("interval") < 3 {
        world.recorded.notified().await;
    }
    assert_eq!(world.count("slow"), 0);
    *world.held.lock() = None;
    world.let_through.notify_one();
    while world.count("slow") < 2 {
        world.recorded.notified().await;
    }
    let slow = world.payloads("slow");
    assert_eq!(slow[0]["scheduled_at"], "2026-05-01T00:00:10.000000Z");
    assert_eq!(
        slow[1]["missed"], 1,
        "what came due meanwhile is caught up once"
    );
    let interval = &world.payloads("interval")[2];
    let fired: Timestamp = interval["fired_at"].as_str().unwrap().parse().unwrap();
    let scheduled: Timestamp = interval["scheduled_at"].as_str().unwrap().parse().unwrap();
    assert!(fired.since(scheduled) <= Duration::from_millis(2));
    assert!(
        timers
            .health()
            .iter()
            .all(|health| health.problem.is_none())
    );
    stop.send(true).unwrap();
    running.await.unwrap();
    assert!(
        timers
            .health()
            .iter()
            .all(|health| health.problem.is_some()),
        "a dead loop is no health"
    );
}
