use camshaft_model::port::store::StoreError;
use camshaft_model::{BlockedBy, ConstraintType, ExecutionId, Scope, Terms, Timestamp};

use super::slots::{MAX_TOPICS, Slot};
use super::word::is_same;
use super::*;
use bench::{
    Bench, Fake, LIMIT, NOW, PAUSE, Paper, TASK, TestClock, emptied, emptied_by, ended, kept, name,
    of_type, over, until, with,
};

mod bench;
mod ends;
mod fleet;
mod fuzz;

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
    assert_eq!(bench.told(), [(of_type("pause"), kept(PAUSE)), ended()]);
    // The broker's word that all is here comes late.
    bench.gathered(true).await;
    assert_eq!(bench.standing(), Some(Standing::Ended));
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
async fn each_type_on_the_topic_of_a_scope_is_copied_and_an_expiry_publishes_nothing() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    bench.receive(TASK, LIMIT, false).await;
    bench.receive(TASK, PAUSE, false).await;
    let copy = |kind: &str, message: &str| (of_type(kind), kept(message));
    assert_eq!(
        bench.told(),
        [copy("concurrency", LIMIT), copy("pause", PAUSE)]
    );
    bench
        .receive(&of_type("concurrency"), &kept(LIMIT), false)
        .await;
    bench.receive(&of_type("pause"), &kept(PAUSE), false).await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Expired)
        .await;
    assert_eq!(bench.told(), []);
    bench
        .clear_here("task:x", "concurrency", ConstraintChange::Cleared)
        .await;
    let told = bench.told();
    assert_eq!(told.len(), 1, "the pause keeps its place: {told:?}");
    assert_eq!(told[0].0, of_type("concurrency"));
}

#[tokio::test]
async fn a_constraint_of_the_api_holds_instead_until_somebody_says_something_new() {
    let mut bench = Bench::new();
    bench.connect(&[(TASK, LIMIT)]).await;
    bench.told();
    bench.fake.held.lock()[0].via = Via::Api;
    let own = bench.fake.constraints().remove(0);
    bench
        .constraints
        .take(Input::Changed(Arc::new(own), ConstraintChange::Set))
        .await;
    assert_eq!(bench.told(), []);
    bench.disconnect().await;
    bench.calls();
    bench
        .connect(&[(TASK, LIMIT), (&of_type("concurrency"), &kept(LIMIT))])
        .await;
    assert_eq!(bench.calls(), ["gate true", "gate false"]);
    bench.receive(TASK, LIMIT, false).await;
    assert_eq!(
        bench.calls(),
        ["set concurrency on task:x at most 3 at once"]
    );
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
    assert_eq!(
        bench.told(),
        [emptied(), (of_type("concurrency"), emptied_by(LIMIT))]
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
        fn constraint(&self, key: &ConstraintKey) -> Option<Constraint> {
            self.0.constraint(key)
        }
        fn constraints(&self) -> Vec<Constraint> {
            self.0.constraints()
        }
        fn blockers(&self, ids: &[ExecutionId]) -> HashMap<ExecutionId, Vec<BlockedBy>> {
            self.0.blockers(ids)
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
        Arc::new(TestClock::default()),
        Topics::new("cascade"),
        gate,
        tell,
        name(),
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

#[tokio::test]
async fn the_plain_message_keeps_the_reason_that_the_one_of_the_type_gave() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    let with_reason = with(PAUSE, r#""reason": "deploy", "owner": "ada""#);
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
    let over = over(PAUSE);
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
        bench.standing(),
        Some(Standing::Ended),
        "whether the broker has forgotten it is not known"
    );
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
    for _ in 0..2_000 {
        bench.receive(TASK, &large, false).await;
    }
    assert_eq!(bench.constraints.refused.count(), 1);
    // Nothing is waited for any more, and nothing is lost.
    assert!(bench.constraints.state.gathering.is_none());
    assert_eq!(bench.fake.constraints().len(), 1);
}

#[test]
fn no_more_topics_are_remembered_than_there_may_be_constraints() {
    let mut slots = Slots::default();
    let constraint = |number: usize, ends: &str| {
        let message =
            format!(r#"{{"scope": "task:{number}", "type": "pause", "expires_at": {ends}}}"#);
        message::read(message.as_bytes(), NOW).unwrap()
    };
    let mut put = |constraint: Constraint| {
        let about = ConstraintTopic::of(&constraint.key());
        let is_kept = false;
        let slot = Slot {
            constraint,
            is_kept,
        };
        slots.put(about, slot, NOW)
    };
    assert!(put(constraint(0, "1795220000")));
    assert!((1..=MAX_TOPICS).all(|number| put(constraint(number, "null"))));
    assert!(!put(constraint(MAX_TOPICS + 1, "null")));
    assert!(put(constraint(1, "null")));
}

#[tokio::test]
async fn all_that_is_retained_takes_effect_before_any_of_it_is_stored() {
    /// Takes a constraint at once, and answers once all have come.
    #[derive(Default)]
    struct Slow(Fake, tokio::sync::Notify);
    #[async_trait::async_trait]
    impl ConstraintControl for Slow {
        async fn set(&self, constraint: Constraint) -> Result<(), ControlRefused> {
            self.0.put(constraint)?;
            if self.0.constraints().len() < 600 {
                self.1.notified().await;
            }
            self.1.notify_waiters();
            Ok(())
        }
        async fn clear(
            &self,
            scope: &Scope,
            kind: Option<ConstraintType>,
        ) -> Result<Vec<ConstraintKey>, ControlRefused> {
            self.0.clear(scope, kind).await
        }
        fn constraint(&self, key: &ConstraintKey) -> Option<Constraint> {
            self.0.constraint(key)
        }
        fn constraints(&self) -> Vec<Constraint> {
            self.0.constraints()
        }
        fn blockers(&self, ids: &[ExecutionId]) -> HashMap<ExecutionId, Vec<BlockedBy>> {
            self.0.blockers(ids)
        }
        fn set_gate(&self, closed: bool) {
            self.0.set_gate(closed);
        }
    }
    let slow = Arc::new(Slow::default());
    let (tell, _told) = mpsc::channel(64);
    let gate = Arc::new(Gate::new(slow.clone()));
    let clock = Arc::new(TestClock::default());
    let topics = Topics::new("cascade");
    let mut constraints = Constraints::new(slow.clone(), clock, topics, gate, tell, name());
    constraints.take(Input::Connected(1)).await;
    for number in 0..600 {
        let retained = true;
        let topic = format!("{TASK}{number}");
        let payload = PAUSE.replace("task:x", &format!("task:x{number}")).into();
        let message = Input::Received {
            topic,
            payload,
            retained,
        };
        constraints.take(message).await;
    }
    let complete = true;
    let connection = 1;
    constraints
        .take(Input::Gathered {
            connection,
            complete,
        })
        .await;
    assert_eq!(slow.constraints().len(), 600);
}

#[tokio::test]
async fn what_is_retained_and_comes_late_undoes_nothing_that_was_heard() {
    let plain = (TASK.to_owned(), vec![]);
    let typed = (of_type("pause"), vec![emptied()]);
    for (late, erased) in [plain, typed] {
        let mut bench = Bench::new();
        bench.connect(&[]).await;
        bench.receive(&of_type("pause"), "", false).await;
        bench.receive(&late, PAUSE, true).await;
        assert!(bench.fake.constraints().is_empty());
        assert_eq!(bench.told(), erased);
        bench.disconnect().await;
        bench.connect(&[(&late, PAUSE)]).await;
        assert!(bench.fake.constraints().is_empty());
    }
}

#[tokio::test]
async fn two_that_heard_different_wishes_come_to_agree() {
    let mut benches = [Bench::new(), Bench::new()];
    for (bench, limit) in benches.iter_mut().zip(['3', '5']) {
        bench.connect(&[]).await;
        bench
            .receive(TASK, &LIMIT.replace('3', &limit.to_string()), false)
            .await;
    }
    let mut published = 0;
    loop {
        let told: Vec<_> = benches.iter_mut().flat_map(Bench::told).collect();
        if told.is_empty() {
            break;
        }
        published += told.len();
        assert!(published < 20, "they answer one another for ever");
        for (topic, payload) in told {
            for bench in &mut benches {
                bench.receive(&topic, &payload, false).await;
            }
        }
    }
    let terms = |bench: &Bench| bench.fake.constraints()[0].terms.clone();
    assert_eq!(terms(&benches[0]), terms(&benches[1]));
}

#[tokio::test]
async fn a_copy_for_which_there_is_no_room_is_made_once_at_the_most() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    for number in 0..MAX_TOPICS {
        let message = format!(r#"{{"scope": "task:{number}", "type": "pause"}}"#);
        let constraint = message::read(message.as_bytes(), NOW).unwrap();
        let about = ConstraintTopic::of(&constraint.key());
        let is_kept = false;
        let slot = Slot {
            constraint,
            is_kept,
        };
        assert!(bench.constraints.state.slots.put(about, slot, NOW));
    }
    bench.receive(TASK, PAUSE, false).await;
    assert_eq!(bench.fake.constraints().len(), 1);
    bench.told();
    bench.receive(&of_type("pause"), &kept(PAUSE), false).await;
    assert_eq!(bench.told(), []);
}

#[tokio::test]
async fn words_that_are_long_over_are_forgotten() {
    let mut bench = Bench::new();
    bench.connect(&[]).await;
    for number in 0..MAX_KEYS {
        let message =
            format!(r#"{{"scope": "task:{number}", "type": "pause", "expires_at": 1795220000}}"#);
        let constraint = message::read(message.as_bytes(), NOW).unwrap();
        bench
            .constraints
            .state
            .words
            .put(constraint, Standing::InForce);
    }
    bench.receive(&of_type("pause"), &kept(PAUSE), false).await;
    assert_eq!(bench.constraints.state.words.of.len(), 1);
}
