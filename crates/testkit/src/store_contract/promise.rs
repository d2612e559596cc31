//! `check`: silent about a lawful history, and loud about each promise that is broken.

use std::sync::Arc;

use camshaft_model::port::store::{Change, Store};
use camshaft_model::{Execution, Status};

use super::{Home, Maker, apply, commit};

/// A rule's executions that complete, that are retried, that are cancelled before they ran.
pub async fn a_lawful_history_keeps_every_promise(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(41));
    for _ in 0..3 {
        let event = maker.event(None);
        let execution = maker.requested_by(&event);
        apply(
            &*store,
            vec![
                Change::InsertEvent(Arc::new(event.clone())),
                Change::InsertExecution(Box::new(execution.clone())),
                Change::InsertEnforcement(Box::new(maker.enforcement(&event, &execution))),
                maker.step_started(&execution),
            ],
        )
        .await;
        apply(&*store, maker.ending(&execution).changes).await;
    }
    let mut retried = maker.running();
    apply(
        &*store,
        vec![insert(&retried), maker.step_started(&retried)],
    )
    .await;
    let mut attempt = maker.attempt(&retried);
    attempt.status = Status::Failed;
    let again = maker.transition(&retried, Status::Requested);
    apply(
        &*store,
        vec![
            Change::Move(Box::new(again)),
            Change::RecordAttempt(Box::new(attempt)),
        ],
    )
    .await;
    retried.state.status = Status::Requested;
    apply(
        &*store,
        vec![Change::Move(Box::new(
            maker.transition(&retried, Status::Cancelled),
        ))],
    )
    .await;
    assert_eq!(store.check().await.unwrap(), []);
}

fn insert(execution: &Execution) -> Change {
    Change::InsertExecution(Box::new(execution.clone()))
}

/// What each transaction breaks is found, and nothing else.
pub async fn every_broken_promise_is_found(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(42));
    let mut before = found(&*store).await;
    for (changes, invariants) in broken(&maker) {
        commit(&*store, changes).await.unwrap();
        let after = found(&*store).await;
        let new: Vec<_> = after
            .iter()
            .filter(|invariant| !before.contains(invariant))
            .collect();
        assert_eq!(new, invariants);
        before = after;
    }
    let details = store.check().await.unwrap();
    assert!(
        details
            .iter()
            .all(|violation| !violation.detail.contains(['{', '}'])),
        "{details:?}"
    );
}

async fn found(store: &dyn Store) -> Vec<String> {
    store
        .check()
        .await
        .unwrap()
        .into_iter()
        .map(|violation| violation.invariant)
        .collect()
}

fn broken(maker: &Maker) -> Vec<(Vec<Change>, Vec<&'static str>)> {
    let with = |change: &dyn Fn(&mut Execution)| {
        let mut execution = maker.running();
        change(&mut execution);
        execution
    };
    let no_end = with(&|e| e.state.status = Status::Failed);
    let early_end = with(&|e| e.state.ended_at = e.state.started_at);
    let lease = with(&|e| {
        e.state.status = Status::Waiting;
        e.state.lease_expires_at = e.state.started_at;
    });
    let no_attempt = with(&|e| e.state.attempt = 0);
    let unproven = with(&|e| {
        e.state.status = Status::Completed;
        e.state.ended_at = e.state.started_at;
    });
    let twice = with(&|_| ());
    let behind = with(&|_| ());
    let mut ahead = behind.clone();
    ahead.state.attempt = 3;
    let event = maker.event(None);
    let orphan = maker.requested_by(&event);
    let unknown = maker.running();
    let elsewhere = maker.event(None);
    vec![
        (vec![insert(&no_end)], vec!["terminal_has_an_end"]),
        (vec![insert(&early_end)], vec!["only_terminal_has_an_end"]),
        (vec![insert(&lease)], vec!["lease_only_where_one_is_held"]),
        (
            vec![insert(&no_attempt)],
            vec!["lease_belongs_to_an_attempt"],
        ),
        (vec![insert(&unproven)], vec!["completed_has_its_attempt"]),
        (
            vec![
                insert(&twice),
                maker.step_started(&twice),
                maker.step_started(&twice),
            ],
            vec!["one_start_per_attempt"],
        ),
        (
            vec![
                insert(&behind),
                Change::RecordAttempt(Box::new(maker.attempt(&ahead))),
            ],
            vec!["attempts_without_gaps", "attempt_has_its_execution"],
        ),
        (
            vec![Change::InsertEvent(Arc::new(event)), insert(&orphan)],
            vec!["execution_has_its_enforcement"],
        ),
        (
            vec![Change::InsertEnforcement(Box::new(
                maker.enforcement(&elsewhere, &unknown),
            ))],
            vec!["enforcement_has_its_event", "enforcement_has_its_execution"],
        ),
        (
            vec![maker.step_started(&unknown)],
            vec!["step_event_has_its_execution"],
        ),
    ]
}
