use camshaft_model::port::store::StoreError;
use camshaft_model::{ConstraintType, Scope, Timestamp};
use parking_lot::Mutex;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_795_224_000_000_000);

struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// An engine that keeps constraints and nothing else.
#[derive(Default)]
struct Fake {
    held: Mutex<Vec<Constraint>>,
    calls: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl ConstraintControl for Fake {
    async fn set(&self, constraint: Constraint) -> Result<(), ControlRefused> {
        if constraint.is_expired(NOW) {
            return Err(ControlRefused::Expired);
        }
        self.calls
            .lock()
            .push(format!("set {} {}", constraint.key(), constraint.terms));
        let mut held = self.held.lock();
        held.retain(|old| old.key() != constraint.key());
        held.push(constraint);
        Ok(())
    }

    async fn clear(
        &self,
        scope: &Scope,
        kind: Option<ConstraintType>,
    ) -> Result<Vec<ConstraintKey>, ControlRefused> {
        let kinds = kind.map_or("all".to_owned(), |kind| kind.to_string());
        self.calls.lock().push(format!("clear {kinds} on {scope}"));
        let mut held = self.held.lock();
        let ends = |held: &Constraint| {
            held.scope == *scope && kind.is_none_or(|kind| held.terms.kind() == kind)
        };
        let ended = held
            .iter()
            .filter(|held| ends(held))
            .map(Constraint::key)
            .collect();
        held.retain(|held| !ends(held));
        Ok(ended)
    }

    fn constraints(&self) -> Vec<Constraint> {
        self.held.lock().clone()
    }

    fn set_gate(&self, closed: bool) {
        self.calls.lock().push(format!("gate {closed}"));
    }
}

struct Bench {
    fake: Arc<Fake>,
    gate: Arc<Gate>,
    constraints: Constraints,
    forgotten: mpsc::Receiver<Forget>,
}

impl Bench {
    fn new() -> Self {
        let fake = Arc::new(Fake::default());
        let gate = Arc::new(Gate::new(fake.clone()));
        let (forget, forgotten) = mpsc::channel(64);
        let constraints = Constraints::new(
            fake.clone(),
            Arc::new(StandingClock),
            Topics::new("cascade"),
            gate.clone(),
            forget,
        );
        Self {
            fake,
            gate,
            constraints,
            forgotten,
        }
    }

    /// A connection whose broker retains these.
    async fn connect(&mut self, retained: &[(&str, &str)]) {
        let gate = self.gate.close();
        self.constraints.take(Input::Connected).await;
        for (topic, payload) in retained {
            self.receive(topic, payload, true).await;
        }
        self.constraints.take(Input::Gathered(gate)).await;
    }

    async fn receive(&mut self, topic: &str, payload: &str, retained: bool) {
        let (topic, payload) = (topic.to_owned(), payload.as_bytes().to_vec());
        self.constraints
            .take(Input::Received {
                topic,
                payload,
                retained,
            })
            .await;
    }

    /// Somebody clears by the API.
    async fn clear_here(&mut self, scope: &str, kind: &str, change: ConstraintChange) {
        let (scope, kind) = (scope.parse().unwrap(), kind.parse().unwrap());
        let key = ConstraintKey { scope, kind };
        let old = self
            .fake
            .constraints()
            .into_iter()
            .find(|held| held.key() == key)
            .unwrap();
        self.fake.held.lock().retain(|held| held.key() != key);
        self.constraints
            .take(Input::Changed(Arc::new(old), change))
            .await;
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.calls.lock())
    }

    /// What the broker was told, as topic and payload.
    fn told(&mut self) -> Vec<(String, String)> {
        std::iter::from_fn(|| self.forgotten.try_recv().ok())
            .map(|forget| {
                (
                    forget.message.topic,
                    String::from_utf8(forget.message.payload).unwrap(),
                )
            })
            .collect()
    }
}

const TASK: &str = "cascade/constraints/task/x";
const PAUSE: &str = r#"{"id": "pause-task:x", "scope": "task:x", "type": "pause", "params": {}, "expires_at": null}"#;
const LIMIT: &str = r#"{"id": "concurrency-task:x", "scope": "task:x", "type": "concurrency", "params": {"limit": 3}, "expires_at": null}"#;

fn of_type(kind: &str) -> String {
    format!("{TASK}/~{kind}")
}

#[tokio::test]
async fn what_is_retained_is_applied_before_the_gate_opens_and_before_what_came_later() {
    let mut bench = Bench::new();
    let gate = bench.gate.close();
    bench.constraints.take(Input::Connected).await;
    bench.receive(TASK, "", false).await;
    bench.receive(TASK, LIMIT, true).await;
    bench
        .receive(&of_type("concurrency"), &LIMIT.replace('3', "5"), true)
        .await;
    bench.receive(&of_type("pause"), PAUSE, true).await;
    assert_eq!(bench.calls(), ["gate true"]);
    bench.constraints.take(Input::Gathered(gate)).await;
    assert_eq!(
        bench.calls(),
        [
            "set concurrency on task:x at most 5 at once",
            "set pause on task:x pause",
            "set concurrency on task:x at most 3 at once",
            "clear all on task:x",
            "gate false",
        ]
    );
}

#[tokio::test]
async fn what_comes_after_the_time_for_gathering_is_applied_at_once() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    bench.receive(TASK, PAUSE, true).await;
    assert_eq!(bench.fake.constraints().len(), 1);
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    assert_eq!(bench.told().len(), 1);
    // The broker's word that all is here comes late.
    bench.constraints.take(Input::Gathered(1)).await;
    assert_eq!(bench.constraints.state.owed.len(), 1);
}

#[tokio::test]
async fn a_gate_that_a_later_connection_closed_stays_closed() {
    let mut bench = Bench::new();
    let first = bench.gate.close();
    bench.constraints.take(Input::Connected).await;
    bench.gate.close();
    bench.constraints.take(Input::Gathered(first)).await;
    assert_eq!(bench.calls(), ["gate true"]);
}

#[tokio::test]
async fn an_empty_message_ends_all_types_or_one() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    bench
        .receive("cascade/constraints/task/a%2Fb", "", false)
        .await;
    bench
        .receive("cascade/constraints/global/~rate_limit", "", false)
        .await;
    assert_eq!(
        bench.calls()[2..],
        ["clear all on task:a/b", "clear rate_limit on global"]
    );
}

#[tokio::test]
async fn messages_that_change_nothing_are_counted() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    bench.calls();
    for (topic, payload) in [
        (TASK, "{"),
        (TASK, &PAUSE.replace("task:x", "task:y")),
        (TASK, &PAUSE.replace("null", "1795224000.0")),
        (&of_type("rate_limit"), PAUSE),
        ("cascade/constraints/tsk/x", PAUSE),
        ("cascade/constraints/tsk/x", ""),
        (TASK, "{"),
    ] {
        bench.receive(topic, payload, false).await;
    }
    assert_eq!(bench.calls(), Vec::<String>::new());
    assert_eq!(bench.constraints.refused.count(), 7);
    bench
        .receive(TASK, &PAUSE.replace("null", "1795224000.1"), false)
        .await;
    assert_eq!(bench.calls().len(), 1, "it expires in a tenth of a second");
}

#[tokio::test]
async fn what_is_ended_here_is_forgotten_by_the_broker_and_not_taken_for_a_wish() {
    let mut bench = Bench::new();
    bench
        .connect(&[(TASK, PAUSE), (&of_type("pause"), PAUSE)])
        .await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    let mut told = bench.told();
    told.sort();
    assert_eq!(
        told,
        [
            (TASK.to_owned(), String::new()),
            (of_type("pause"), String::new())
        ]
    );
    bench.calls();
    bench.receive(TASK, "", false).await;
    bench.receive(&of_type("pause"), "", false).await;
    assert_eq!(bench.calls(), Vec::<String>::new(), "they are our own");
    bench.receive(TASK, "", false).await;
    assert_eq!(bench.calls(), ["clear all on task:x"], "this is not");
}

#[tokio::test]
async fn another_type_takes_the_place_of_the_one_that_expired() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    bench.receive(TASK, LIMIT, false).await;
    bench.receive(TASK, PAUSE, false).await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Expired)
        .await;
    assert_eq!(bench.told(), [(TASK.to_owned(), LIMIT.to_owned())]);
    bench.receive(TASK, LIMIT, false).await;
    bench
        .clear_here("task:x", "concurrency", ConstraintChange::Cleared)
        .await;
    assert_eq!(bench.told(), [(TASK.to_owned(), String::new())]);
}

#[tokio::test]
async fn what_was_ended_without_a_broker_does_not_come_back_with_it() {
    let mut bench = Bench::new();
    bench.connect(&[(TASK, PAUSE)]).await;
    bench.constraints.take(Input::Disconnected).await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    assert_eq!(bench.told(), []);
    bench.calls();
    bench.connect(&[(TASK, PAUSE)]).await;
    assert_eq!(bench.calls(), ["gate true", "gate false"]);
    assert_eq!(bench.told(), [(TASK.to_owned(), String::new())]);
    bench.constraints.take(Input::Disconnected).await;
    bench.connect(&[(TASK, PAUSE)]).await;
    assert_eq!(
        bench.told().len(),
        1,
        "the broker has not said that it has forgotten"
    );
    let key = ConstraintKey {
        scope: "task:x".parse().unwrap(),
        kind: ConstraintType::Pause,
    };
    bench.constraints.take(Input::Forgotten(key)).await;
    bench.receive(TASK, "", false).await;
    bench.receive(TASK, PAUSE, false).await;
    assert_eq!(bench.fake.constraints().len(), 1, "somebody pauses again");
}

#[tokio::test]
async fn a_constraint_of_the_api_takes_the_place_of_one_that_came_by_the_broker() {
    let mut bench = Bench::new();
    bench.connect(&[(TASK, LIMIT)]).await;
    let mut own = bench.fake.constraints().remove(0);
    own.via = Via::Api;
    bench
        .constraints
        .take(Input::Changed(Arc::new(own), ConstraintChange::Set))
        .await;
    assert_eq!(bench.told(), [(TASK.to_owned(), String::new())]);
}

#[tokio::test]
async fn ending_a_scope_by_the_plain_topic_ends_the_messages_of_its_types() {
    let mut bench = Bench::new();
    bench
        .connect(&[
            (TASK, LIMIT),
            (&of_type("pause"), PAUSE),
            (&of_type("concurrency"), LIMIT),
        ])
        .await;
    bench.receive(TASK, "", false).await;
    let mut told = bench.told();
    told.sort();
    assert_eq!(
        told,
        [
            (of_type("concurrency"), String::new()),
            (of_type("pause"), String::new())
        ]
    );
}

#[tokio::test]
async fn a_constraint_that_cannot_be_stored_is_tried_again() {
    struct Full(Fake, AtomicU64);
    #[async_trait::async_trait]
    impl ConstraintControl for Full {
        async fn set(&self, constraint: Constraint) -> Result<(), ControlRefused> {
            if self
                .1
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                return Err(ControlRefused::Store(StoreError::Unavailable(
                    "the disk is full".into(),
                )));
            }
            self.0.set(constraint).await
        }
        async fn clear(
            &self,
            scope: &Scope,
            kind: Option<ConstraintType>,
        ) -> Result<Vec<ConstraintKey>, ControlRefused> {
            self.0.clear(scope, kind).await
        }
        fn constraints(&self) -> Vec<Constraint> {
            self.0.constraints()
        }
        fn set_gate(&self, closed: bool) {
            self.0.set_gate(closed);
        }
    }
    let full = Arc::new(Full(Fake::default(), AtomicU64::new(3)));
    let (forget, _forgotten) = mpsc::channel(64);
    let gate = Arc::new(Gate::new(full.clone()));
    let mut constraints = Constraints::new(
        full.clone(),
        Arc::new(StandingClock),
        Topics::new("cascade"),
        gate,
        forget,
    );
    constraints.retry = Duration::ZERO;
    constraints
        .take(Input::Received {
            topic: TASK.into(),
            payload: PAUSE.into(),
            retained: false,
        })
        .await;
    assert_eq!(full.constraints().len(), 1);
}

#[test]
fn a_message_is_logged_once_and_ten_in_a_minute() {
    let mut log = Log::default();
    assert_eq!(log.may_write("a", b"x", NOW), Some(0));
    assert_eq!(log.may_write("a", b"x", NOW), None);
    let written = (0..50)
        .filter(|n| log.may_write("a", &[*n], NOW).is_some())
        .count();
    assert_eq!(written, 9);
    assert_eq!(
        log.may_write("b", b"x", NOW + Duration::from_secs(60)),
        Some(41)
    );
}
