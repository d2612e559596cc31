//! `check`: silent about a lawful history, and loud about each promise that is broken.

use std::sync::Arc;

use camshaft_model::port::store::{Change, Store};
use camshaft_model::{Event, Execution, InquiryStatus, Status, TakenFrom, TaskRecord};
use serde_json::Value;

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
    for status in [Status::Completed, Status::Failed] {
        apply_run(&*store, &maker, status).await;
    }
    assert_eq!(store.check().await.unwrap(), []);
}

/// A run with a task that has a child, one with items, one that asks, one that was kept, and one that
/// was skipped.
async fn apply_run(store: &dyn Store, maker: &Maker, status: Status) {
    let parent = maker.waiting();
    let id = parent.spec.id;
    let child = maker.child(&parent, "one", None);
    let items = [0, 1].map(|item| maker.child(&parent, "many", Some(item)));
    let mut asked = maker.inquiry(&parent, "ask");
    let mut tasks =
        ["one", "many", "ask", "kept", "skipped"].map(|name| maker.task(id, name, 1, 1));
    tasks[0].execution = Some(child.spec.id);
    tasks[1].items = Some(2);
    tasks[3].execution = Some(child.spec.id);
    tasks[3].taken_from = Some(TakenFrom::Run { of: id });
    let put = |task: &TaskRecord| Change::PutTask(Box::new(task.clone()));
    let mut changes = vec![
        insert(&parent),
        Change::PutRun(Box::new(maker.run(&parent))),
        Change::PutInquiry(Box::new(asked.clone())),
        Change::PutItems {
            run: id,
            task: tasks[1].task.clone(),
            items: Arc::new(Value::from(vec![1, 2])),
        },
    ];
    changes.extend(tasks.iter().map(put));
    changes.extend(items.iter().chain([&child]).map(insert));
    apply(store, changes).await;
    assert_eq!(store.check().await.unwrap(), []);
    for child in items.iter().chain([&child]) {
        apply(store, maker.ending(child).changes).await;
    }
    asked.status = InquiryStatus::Withdrawn;
    let mut changes = vec![
        Change::Move(Box::new(maker.transition(&parent, status))),
        Change::PutInquiry(Box::new(asked)),
    ];
    for task in &mut tasks {
        task.status = Status::Completed;
    }
    tasks[4].status = Status::Skipped;
    changes.extend(tasks.iter().map(put));
    apply(store, changes).await;
}

fn insert(execution: &Execution) -> Change {
    Change::InsertExecution(Box::new(execution.clone()))
}

/// What each transaction breaks is found, and nothing else.
pub async fn every_broken_promise_is_found(home: &impl Home) {
    let (store, maker) = (home.open(), Maker::new(42));
    let mut before = found(&*store).await;
    for (changes, invariants) in broken(&maker).into_iter().chain(broken_runs(&maker)) {
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
    let hold = |event: &Event, rules| Change::HoldEvent {
        event: event.id,
        rules,
    };
    let answered = || {
        let event = maker.event(None);
        let execution = maker.requested_by(&event);
        let enforcement = maker.enforcement(&event, &execution);
        let changes = vec![
            Change::InsertEvent(Arc::new(event.clone())),
            insert(&execution),
            Change::InsertEnforcement(Box::new(enforcement)),
        ];
        (event, changes)
    };
    let (other, mut held_from_another) = answered();
    held_from_another.push(hold(&other, Some(vec![Maker::reference("t.other")])));
    let ((whole, mut held_from_it), (partly, more)) = (answered(), answered());
    held_from_it.extend(more);
    held_from_it.push(hold(&whole, None));
    let rules = ["t.other", "demo.every_ten_seconds"].map(Maker::reference);
    held_from_it.push(hold(&partly, Some(rules.to_vec())));
    vec![
        (held_from_another, vec![]),
        (held_from_it, vec!["held_event_is_not_answered"; 2]),
        (
            vec![hold(&maker.event(None), None)],
            vec!["held_event_is_recorded"],
        ),
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

fn broken_runs(maker: &Maker) -> Vec<(Vec<Change>, Vec<&'static str>)> {
    let put_run = |execution: &Execution| Change::PutRun(Box::new(maker.run(execution)));
    let ended = || {
        let mut execution = maker.waiting();
        execution.state.status = Status::Failed;
        execution.state.ended_at = execution.state.started_at;
        execution
    };
    // One for each promise that only what has ended can break.
    let (outlived, busy, asking) = (ended(), ended(), ended());
    let mut empty = ended();
    empty.state.status = Status::Completed;
    let leased = maker.running();
    let (crowded, vague, stray) = (maker.waiting(), maker.waiting(), maker.waiting());
    let no_run = maker.waiting();
    let mut elsewhere = maker.task(vague.spec.id, "a", 1, 1);
    elsewhere.execution = Some(stray.spec.id);
    let mut nowhere = maker.task(vague.spec.id, "b", 1, 1);
    nowhere.execution = Some(maker.requested().spec.id);
    nowhere.taken_from = Some(TakenFrom::Cache);
    let task = |run: &Execution| Change::PutTask(Box::new(maker.task(run.spec.id, "a", 1, 1)));
    vec![
        (
            vec![
                insert(&outlived),
                put_run(&outlived),
                insert(&maker.child(&outlived, "a", None)),
            ],
            vec!["ended_run_has_no_live_child"],
        ),
        (
            vec![insert(&busy), put_run(&busy), task(&busy)],
            vec!["ended_run_has_no_live_task"],
        ),
        (
            vec![
                insert(&asking),
                put_run(&asking),
                Change::PutInquiry(Box::new(maker.inquiry(&asking, "a"))),
            ],
            vec!["ended_run_has_no_open_inquiry"],
        ),
        (
            vec![insert(&empty), put_run(&empty)],
            vec!["completed_run_has_its_output"],
        ),
        (
            vec![insert(&leased), put_run(&leased)],
            vec!["run_holds_no_lease"],
        ),
        (
            vec![
                insert(&crowded),
                put_run(&crowded),
                insert(&maker.child(&crowded, "a", Some(0))),
                insert(&maker.child(&crowded, "a", Some(1))),
                insert(&maker.child(&crowded, "a", Some(1))),
            ],
            vec!["one_child_per_place"],
        ),
        (
            vec![
                insert(&vague),
                put_run(&vague),
                insert(&stray),
                Change::PutTask(Box::new(elsewhere)),
                Change::PutTask(Box::new(nowhere)),
            ],
            vec!["task_has_its_execution", "task_has_its_execution"],
        ),
        (
            vec![put_run(&maker.waiting())],
            vec!["run_has_its_execution"],
        ),
        (
            vec![insert(&no_run), insert(&maker.child(&no_run, "a", None))],
            vec!["child_has_its_run"],
        ),
        (
            vec![
                task(&no_run),
                Change::PutInquiry(Box::new(maker.inquiry(&no_run, "a"))),
            ],
            vec!["task_has_its_run", "task_has_its_run"],
        ),
    ]
}
