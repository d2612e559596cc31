//! Guards: what is refused, and that a refusal leaves nothing behind.

use std::sync::Arc;

use camshaft_model::Status;
use camshaft_model::port::store::{Change, Outcome, Refusal, StepEventFilter, Store};

use super::{Home, Maker, apply, commit, first, submit};

/// How many contend in races.
const CONTENDERS: usize = 16;

/// The second event with a key is refused and the first one named; without a key all are stored.
pub async fn a_repeated_event_is_refused(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(1));
    let (one, two, mut other) = (
        maker.event(Some("k")),
        maker.event(Some("k")),
        maker.event(Some("k")),
    );
    other.draft.trigger = Maker::reference("core.cron");
    apply(&*store, vec![Change::InsertEvent(Arc::new(one.clone()))]).await;
    let refused = commit(&*store, vec![Change::InsertEvent(Arc::new(two.clone()))]).await;
    assert_eq!(
        refused.unwrap(),
        Outcome::Refused(Refusal::DuplicateEvent(one.id))
    );
    assert_eq!(store.event(two.id).await.unwrap(), None);
    apply(&*store, vec![Change::InsertEvent(Arc::new(other))]).await;
    for _ in 0..2 {
        apply(
            &*store,
            vec![Change::InsertEvent(Arc::new(maker.event(None)))],
        )
        .await;
    }
}

/// The second execution with a key is refused and the first one named.
pub async fn a_repeated_idempotency_key_is_refused(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(2));
    let (mut one, mut two) = (maker.requested(), maker.requested());
    for execution in [&mut one, &mut two] {
        maker.change(execution, |spec| spec.idempotency_key = Some("k".into()));
    }
    apply(
        &*store,
        vec![Change::InsertExecution(Box::new(one.clone()))],
    )
    .await;
    let refused = commit(
        &*store,
        vec![Change::InsertExecution(Box::new(two.clone()))],
    )
    .await;
    assert_eq!(
        refused.unwrap(),
        Outcome::Refused(Refusal::DuplicateExecution(one.spec.id))
    );
    assert_eq!(store.execution(two.spec.id).await.unwrap(), None);
}

/// A move applies only at its (status, attempt, epoch), and the refusal says where the row is.
pub async fn a_move_from_elsewhere_is_refused(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(3));
    let execution = maker.running();
    let id = execution.spec.id;
    let unknown = commit(&*store, maker.ending(&execution).changes)
        .await
        .unwrap();
    assert_eq!(
        unknown,
        Outcome::Refused(Refusal::Moved {
            execution: id,
            at: None
        })
    );
    apply(
        &*store,
        vec![Change::InsertExecution(Box::new(execution.clone()))],
    )
    .await;

    let mut later_attempt = execution.clone();
    later_attempt.state.attempt = 2;
    let mut later_epoch = execution.clone();
    later_epoch.state.epoch = 2;
    for elsewhere in [&later_attempt, &later_epoch] {
        let refused = commit(&*store, maker.ending(elsewhere).changes)
            .await
            .unwrap();
        let at = Some((Status::Running, 1, 1));
        assert_eq!(
            refused,
            Outcome::Refused(Refusal::Moved { execution: id, at })
        );
    }
    assert_eq!(store.execution(id).await.unwrap().unwrap(), execution);

    apply(&*store, maker.ending(&execution).changes).await;
    let refused = commit(&*store, maker.ending(&execution).changes)
        .await
        .unwrap();
    let at = Some((Status::Completed, 1, 1));
    assert_eq!(
        refused,
        Outcome::Refused(Refusal::Moved { execution: id, at })
    );
}

/// Whichever guard refuses, nothing of the transaction is there, and the next one is not disturbed.
pub async fn a_refused_transaction_stores_nothing(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(4));
    let mut holder = maker.requested();
    maker.change(&mut holder, |spec| spec.idempotency_key = Some("k".into()));
    apply(
        &*store,
        vec![Change::InsertExecution(Box::new(holder.clone()))],
    )
    .await;

    let mut event = maker.event(Some("new"));
    event.draft.trigger = Maker::reference("demo.named_only_here");
    let mut second = maker.requested_by(&event);
    maker.change(&mut second, |spec| spec.idempotency_key = Some("k".into()));
    let refused = commit(
        &*store,
        vec![
            Change::InsertEvent(Arc::new(event.clone())),
            maker.step_started(&holder),
            Change::InsertExecution(Box::new(second.clone())),
            Change::InsertEnforcement(Box::new(maker.enforcement(&event, &second))),
        ],
    );
    assert_eq!(
        refused.await.unwrap(),
        Outcome::Refused(Refusal::DuplicateExecution(holder.spec.id))
    );
    assert_eq!(store.event(event.id).await.unwrap(), None);
    assert_eq!(
        store
            .step_events(StepEventFilter::default(), first(9))
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.check().await.unwrap(), []);

    // The same event is new to the store, with the trigger's name and the step event's number.
    let applied = apply(
        &*store,
        vec![
            Change::InsertEvent(Arc::new(event.clone())),
            maker.step_started(&holder),
        ],
    );
    let number = applied.await;
    assert_eq!(store.event(event.id).await.unwrap(), Some(event));
    let log = store
        .step_events(StepEventFilter::default(), first(9))
        .await
        .unwrap();
    assert_eq!(log.iter().map(|line| line.id).collect::<Vec<_>>(), [number]);

    // Two moves, of which the second is refused.
    let running = maker.running();
    let refused = commit(
        &*store,
        vec![
            Change::Move(Box::new(maker.transition(&holder, Status::Cancelled))),
            Change::Move(Box::new(maker.transition(&running, Status::Completed))),
        ],
    );
    assert!(matches!(
        refused.await.unwrap(),
        Outcome::Refused(Refusal::Moved { at: None, .. })
    ));
    assert_eq!(store.execution(holder.spec.id).await.unwrap(), Some(holder));
}

/// Of many threads that move one execution, one succeeds.
pub async fn one_of_many_movers_wins(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(5));
    for _ in 0..20 {
        let execution = maker.running();
        apply(
            &*store,
            vec![Change::InsertExecution(Box::new(execution.clone()))],
        )
        .await;
        let answers = contend(&store, || maker.ending(&execution).changes).await;
        let won = answers
            .iter()
            .filter(|a| matches!(a, Outcome::Applied { .. }))
            .count();
        assert_eq!(won, 1, "{answers:?}");
        let log = StepEventFilter {
            root: Some(execution.spec.id),
            ..StepEventFilter::default()
        };
        assert_eq!(store.step_events(log, first(9)).await.unwrap().len(), 2);
    }
    assert_eq!(store.check().await.unwrap(), []);
}

/// Of many threads that record one occurrence, one succeeds, and all others are told of its event.
pub async fn one_of_many_equal_events_is_stored(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(6));
    let event = || vec![Change::InsertEvent(Arc::new(maker.event(Some("noon"))))];
    let answers = contend(&store, event).await;
    let stored = store.events(Default::default(), first(9)).await.unwrap();
    assert_eq!(stored.len(), 1);
    let refused = Outcome::Refused(Refusal::DuplicateEvent(stored[0].id));
    assert_eq!(
        answers.iter().filter(|a| **a == refused).count(),
        CONTENDERS - 1,
        "{answers:?}"
    );
}

async fn contend(store: &Arc<dyn Store>, changes: impl Fn() -> Vec<Change>) -> Vec<Outcome> {
    let gate = Arc::new(std::sync::Barrier::new(CONTENDERS));
    let threads: Vec<_> = (0..CONTENDERS)
        .map(|_| {
            let (store, changes, gate) = (Arc::clone(store), changes(), Arc::clone(&gate));
            std::thread::spawn(move || {
                gate.wait();
                submit(&*store, changes)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for thread in threads {
        answers.push(thread.join().unwrap().await.unwrap().unwrap());
    }
    answers
}

/// A transaction that breaks a rule of the database is an error of its own; those that share its
/// commit are stored, and the store is healthy.
pub async fn a_transaction_that_cannot_be_stored_fails_alone(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(7));
    let event = maker.event(None);
    let execution = maker.requested_by(&event);
    let enforcement = maker.enforcement(&event, &execution);
    apply(
        &*store,
        vec![
            Change::InsertEvent(Arc::new(event.clone())),
            Change::InsertExecution(Box::new(execution.clone())),
            Change::InsertEnforcement(Box::new(enforcement.clone())),
        ],
    )
    .await;
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for _ in 0..50 {
        good.push(submit(
            &*store,
            vec![Change::InsertExecution(Box::new(maker.requested()))],
        ));
        bad.push(submit(
            &*store,
            vec![
                maker.step_started(&execution),
                Change::InsertEnforcement(Box::new(enforcement.clone())),
            ],
        ));
    }
    for (good, bad) in good.into_iter().zip(bad) {
        assert!(matches!(good.await.unwrap(), Ok(Outcome::Applied { .. })));
        assert!(bad.await.unwrap().is_err());
    }
    assert!(store.health().is_ok());
    assert_eq!(
        store
            .executions(Default::default(), first(99))
            .await
            .unwrap()
            .len(),
        51
    );
    assert_eq!(
        store
            .step_events(StepEventFilter::default(), first(9))
            .await
            .unwrap(),
        []
    );
}
