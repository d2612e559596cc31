use camshaft_model::port::store::StoreError;
use camshaft_model::{ConstraintType, Scope, Timestamp};
use parking_lot::Mutex;

use super::*;

mod fuzz;

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
    told: mpsc::Receiver<Tell>,
    connection: u64,
}

impl Bench {
    fn new() -> Self {
        let fake = Arc::new(Fake::default());
        let gate = Arc::new(Gate::new(fake.clone()));
        let (tell, told) = mpsc::channel(64);
        let constraints = Constraints::new(
            fake.clone(),
            Arc::new(StandingClock),
            Topics::new("cascade"),
            gate.clone(),
            tell,
        );
        Self {
            fake,
            gate,
            constraints,
            told,
            connection: 0,
        }
    }

    /// A connection whose broker retains these.
    async fn connect(&mut self, retained: &[(&str, &str)]) {
        self.connection = self.gate.close();
        self.constraints
            .take(Input::Connected(self.connection))
            .await;
        for (topic, payload) in retained {
            self.receive(topic, payload, true).await;
        }
        self.gathered(true).await;
    }

    async fn gathered(&mut self, complete: bool) {
        let connection = self.connection;
        self.constraints
            .take(Input::Gathered {
                connection,
                complete,
            })
            .await;
    }

    async fn disconnect(&mut self) {
        self.constraints
            .take(Input::Disconnected(self.connection))
            .await;
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
        std::iter::from_fn(|| self.told.try_recv().ok())
            .map(|tell| {
                (
                    tell.message.topic,
                    String::from_utf8(tell.message.payload).unwrap(),
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
    bench.connection = bench.gate.close();
    bench
        .constraints
        .take(Input::Connected(bench.connection))
        .await;
    bench.receive(TASK, "", false).await;
    bench.receive(TASK, LIMIT, true).await;
    bench
        .receive(&of_type("concurrency"), &LIMIT.replace('3', "5"), true)
        .await;
    bench.receive(&of_type("pause"), PAUSE, true).await;
    assert_eq!(bench.calls(), ["gate true"]);
    bench.gathered(true).await;
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
    bench.gathered(true).await;
    assert_eq!(bench.constraints.state.owed.constraints.len(), 1);
}

#[tokio::test]
async fn a_gate_that_a_later_connection_closed_stays_closed() {
    let mut bench = Bench::new();
    bench.connection = bench.gate.close();
    bench
        .constraints
        .take(Input::Connected(bench.connection))
        .await;
    bench.gate.close();
    bench.gathered(true).await;
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
    bench.disconnect().await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    assert_eq!(bench.told(), []);
    bench.calls();
    bench.connect(&[(TASK, PAUSE)]).await;
    assert_eq!(bench.calls(), ["gate true", "gate false"]);
    assert_eq!(bench.told(), [(TASK.to_owned(), String::new())]);
    bench.disconnect().await;
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
    bench
        .constraints
        .take(Input::Told {
            topic: TASK.into(),
            forgotten: Some(key),
        })
        .await;
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
    let (tell, _told) = mpsc::channel(64);
    let gate = Arc::new(Gate::new(full.clone()));
    let mut constraints = Constraints::new(
        full.clone(),
        Arc::new(StandingClock),
        Topics::new("cascade"),
        gate,
        tell,
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

fn until(micros: i64) -> String {
    PAUSE.replace(
        "null",
        &format!("{:?}", (NOW.as_micros() + micros) as f64 / 1e6),
    )
}

#[tokio::test]
async fn a_pause_after_one_that_the_broker_did_not_let_us_clear_holds() {
    let mut bench = Bench::new();
    bench.connect(&[(TASK, PAUSE)]).await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Expired)
        .await;
    assert_eq!(bench.told(), [(TASK.to_owned(), String::new())]);
    // A broker that denies us the topic acknowledges and drops: our message never comes back.
    bench
        .constraints
        .take(Input::Told {
            topic: TASK.into(),
            forgotten: None,
        })
        .await;
    bench.calls();
    bench.receive(TASK, PAUSE, false).await;
    assert_eq!(bench.calls(), ["set pause on task:x pause"]);
}

#[tokio::test]
async fn a_pause_that_is_renewed_while_ours_is_on_its_way_holds_and_is_retained_again() {
    let mut bench = Bench::new();
    bench
        .connect(&[(TASK, LIMIT), (&of_type("pause"), PAUSE)])
        .await;
    bench.receive(TASK, PAUSE, false).await;
    bench
        .clear_here("task:x", "concurrency", ConstraintChange::Cleared)
        .await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Expired)
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
    let renewed = until(60_000_000);
    bench.receive(&of_type("pause"), &renewed, false).await;
    bench.receive(TASK, &renewed, false).await;
    bench.receive(&of_type("pause"), "", false).await;
    bench.receive(TASK, "", false).await;
    assert_eq!(bench.calls(), ["set pause on task:x pause"; 2]);
    // Ours came last, so the broker has forgotten what it ought to retain.
    assert_eq!(
        bench.told(),
        [
            (of_type("pause"), renewed.clone()),
            (TASK.to_owned(), renewed.clone())
        ]
    );
    // Somebody ends it meanwhile; then our word is the last once more, and is taken back.
    bench.receive(TASK, "", false).await;
    bench.receive(TASK, &renewed, false).await;
    assert_eq!(bench.calls(), ["clear all on task:x"]);
    assert!(bench.told().contains(&(TASK.to_owned(), String::new())));
    bench.receive(TASK, "", false).await;
    assert_eq!((bench.calls(), bench.told()), (vec![], vec![]));
}

#[tokio::test]
async fn what_could_not_be_handed_over_is_not_expected_back() {
    let mut bench = Bench::new();
    let (full, _nobody) = mpsc::channel(1);
    bench.connect(&[(TASK, PAUSE)]).await;
    full.try_send(Tell {
        connection: 0,
        message: Message::retained("t".into(), ""),
        forgotten: None,
    })
    .unwrap();
    bench.constraints.tell = full;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    bench.calls();
    bench.receive(TASK, "", false).await;
    assert_eq!(bench.calls(), ["clear all on task:x"]);
    assert_eq!(bench.constraints.state.owed.constraints.len(), 1);
}

#[tokio::test]
async fn the_plain_message_keeps_the_reason_that_the_one_of_the_type_gave() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    let with_reason = PAUSE.replace('}', r#", "reason": "deploy", "owner": "ada"}"#);
    let with_reason = with_reason.replacen(r#"{, "reason": "deploy", "owner": "ada"}"#, "{}", 1);
    bench.receive(&of_type("pause"), &with_reason, false).await;
    bench.receive(TASK, PAUSE, false).await;
    let reason = |bench: &Bench| bench.fake.constraints()[0].reason.clone();
    assert_eq!(reason(&bench).as_deref(), Some("deploy"));
    bench.receive(TASK, &until(1_000_000), false).await;
    assert_eq!(reason(&bench), None, "this is another one");
}

#[tokio::test]
async fn what_keeps_the_place_of_one_that_is_over_is_no_mistake() {
    let mut bench = Bench::new();
    let over = PAUSE.replace("null", "1.0");
    let by_an_earlier_version = PAUSE.replace("null", "0.0");
    let long_over = PAUSE.replace("null", "1795223000.0");
    for retained in [&over, &by_an_earlier_version, &long_over] {
        bench.connect(&[(TASK, retained)]).await;
    }
    bench.receive(TASK, &over, false).await;
    assert_eq!(bench.constraints.refused.count(), 0);
    assert!(bench.fake.constraints().is_empty());
}

#[tokio::test]
async fn what_had_come_when_the_connection_was_lost_holds() {
    let mut bench = Bench::new();
    bench.connect(&[(TASK, PAUSE)]).await;
    bench.disconnect().await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    bench.calls();
    bench.connection = bench.gate.close();
    let connected = Input::Connected(bench.connection);
    bench.constraints.take(connected).await;
    bench
        .receive(
            "cascade/constraints/task/y",
            &PAUSE.replace("task:x", "task:y"),
            true,
        )
        .await;
    bench.disconnect().await;
    assert_eq!(
        bench.calls(),
        ["gate true", "set pause on task:y pause", "gate false"]
    );
    assert_eq!(
        bench.constraints.state.owed.constraints.len(),
        1,
        "whether the broker has forgotten it is not known"
    );
}

#[derive(Default)]
struct Paper(Mutex<String>);

impl Notes for Paper {
    fn read(&self) -> String {
        self.0.lock().clone()
    }

    fn write(&self, text: &str) {
        *self.0.lock() = text.to_owned();
    }
}

#[tokio::test]
async fn what_was_ended_without_a_broker_does_not_come_back_after_a_restart_either() {
    let paper = Arc::new(Paper::default());
    let mut bench = Bench::new();
    bench.constraints = bench.constraints.keeping(paper.clone());
    bench.connect(&[(TASK, PAUSE)]).await;
    bench.constraints.state.owed.note(true);
    assert_eq!(paper.read(), "");
    bench.disconnect().await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    bench.constraints.state.owed.note(false);
    assert_eq!(paper.read(), format!("{PAUSE}\n"));
    let mut bench = Bench::new();
    bench.constraints = bench.constraints.keeping(paper.clone());
    bench.connect(&[(TASK, PAUSE)]).await;
    assert_eq!(bench.calls(), ["gate true", "gate false"]);
    assert_eq!(bench.told(), [(TASK.to_owned(), String::new())]);
    bench.disconnect().await;
    bench.connect(&[]).await;
    bench.constraints.state.owed.note(true);
    assert_eq!(paper.read(), "", "the broker has forgotten it");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_kept() {
    let mut bench = Bench::new();
    bench.connection = bench.gate.close();
    let connected = Input::Connected(bench.connection);
    bench.constraints.take(connected).await;
    let topic = TASK.to_owned();
    let bytes = 100_000;
    bench
        .constraints
        .take(Input::TooLarge { topic, bytes })
        .await;
    let large = format!("{PAUSE}{}", " ".repeat(15_000));
    for number in 0..2_000 {
        bench
            .receive(&format!("{TASK}{number}"), &large, true)
            .await;
    }
    let gathering = bench.constraints.state.gathering.as_ref().unwrap();
    assert!(gathering.bytes <= MAX_GATHERED_BYTES);
    let left = 2_000 - gathering.retained.len() as u64;
    assert!(left > 0);
    assert_eq!(bench.constraints.refused.count(), 1 + left);
}
