//! Large values are in files beside the database, and nobody notices but who looks there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::port::store::{
    AtOnce, Change, ExecutionFilter, InquiryFilter, Laps, Outcome, PageRequest, Store, StoreError,
    Transaction, Values,
};
use camshaft_model::run::CachedResult;
use camshaft_model::{Execution, Object, Status, Transition};
use camshaft_store::{Memory, SqliteStore};
use camshaft_testkit::store_contract::{Maker, commit};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Longer than what is kept in a row.
const LARGE: usize = 65 * 1024;

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(&dir.join("camshaft.db")).unwrap()
}

fn large(letter: &str) -> Value {
    letter.repeat(LARGE).into()
}

fn object(letter: &str) -> Object {
    Object::from_iter([
        ("big".to_owned(), large(letter)),
        ("n".to_owned(), 1.into()),
    ])
}

/// The files with large values, and whatever else is in their folders.
fn files(dir: &Path) -> Vec<PathBuf> {
    let inside = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    };
    let mut files: Vec<_> = inside(&dir.join("artifacts"))
        .iter()
        .flat_map(|folder| inside(folder))
        .collect();
    files.sort();
    files
}

fn with_large_values(maker: &Maker) -> Execution {
    let mut execution = maker.running();
    maker.change(&mut execution, |spec| {
        spec.parameters = Arc::new(object("p"))
    });
    execution.state.result = Some(Arc::new(large("r")));
    execution
}

fn page<C>() -> PageRequest<C> {
    PageRequest {
        after: None,
        limit: 100,
    }
}

async fn apply(store: &SqliteStore, changes: Vec<Change>) {
    commit(store, changes).await.unwrap();
}

#[tokio::test]
async fn every_large_value_is_in_a_file_and_is_read_back_whole() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), Maker::new(1));
    let store = open(dir.path());
    let mut execution = with_large_values(&maker);
    let id = execution.spec.id;
    apply(
        &store,
        vec![Change::InsertExecution(Box::new(execution.clone()))],
    )
    .await;
    assert_eq!(files(dir.path()).len(), 2);
    assert_eq!(store.execution(id).await.unwrap(), Some(execution.clone()));

    let mut to = execution.state.clone();
    to.status = Status::Waiting;
    to.result = Some(Arc::new(large("m")));
    let moved = Transition::new(id, &execution.state, &[], to.clone()).unwrap();
    execution.state = to;
    let mut run = maker.run(&execution);
    run.vars = object("v");
    let mut task = maker.task(id, "a", 1, 1);
    task.result = Some(Arc::new(large("t")));
    let items = Arc::new(json!([large("i"), null]));
    let mut inquiry = maker.inquiry(&execution, "a");
    inquiry.answer = Some(large("q"));
    let cached = CachedResult {
        key: "k".into(),
        result: Arc::new(large("c")),
        item_errors: None,
        kept_at: maker.now(),
        expires_at: maker.now() + Duration::from_secs(1),
    };
    apply(
        &store,
        vec![
            Change::Move(Box::new(moved)),
            Change::PutRun(Box::new(run.clone())),
            Change::PutTask(Box::new(task.clone())),
            Change::PutItems {
                run: id,
                task: task.task.clone(),
                items: Arc::clone(&items),
            },
            Change::PutInquiry(Box::new(inquiry.clone())),
            Change::PutCached(Box::new(cached.clone())),
        ],
    )
    .await;
    assert_eq!(files(dir.path()).len(), 8);
    store.checkpoint().await.unwrap();
    let bytes = std::fs::metadata(dir.path().join("camshaft.db")).unwrap();
    drop(store);

    let store = open(dir.path());
    let list = store.executions(ExecutionFilter::default(), page()).await;
    assert_eq!(list.unwrap(), [execution.clone()]);
    assert_eq!(store.unfinished().await.unwrap(), [execution]);
    assert_eq!(store.run(id).await.unwrap(), Some(run));
    assert_eq!(
        store.tasks(id, Laps::All, Values::Read).await.unwrap(),
        [task.clone()]
    );
    let list = store.task_items(id, task.task).await.unwrap();
    assert_eq!(list.as_ref(), Some(&*items));
    assert_eq!(
        store.inquiry(inquiry.id).await.unwrap(),
        Some(inquiry.clone())
    );
    let list = store.inquiries(InquiryFilter::default(), page()).await;
    assert_eq!(list.unwrap(), [inquiry]);
    assert_eq!(
        store.cached(cached.kept_at, u64::MAX).await.unwrap(),
        [cached]
    );
    assert_eq!(store.check().await.unwrap(), []);
    // Eight of them were stored.
    assert!(bytes.len() < 3 * LARGE as u64, "{}", bytes.len());
}

#[tokio::test]
async fn the_same_content_is_stored_once_and_small_values_have_no_file() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), Maker::new(2));
    let store = open(dir.path());
    for _ in 0..3 {
        let execution = with_large_values(&maker);
        apply(&store, vec![Change::InsertExecution(Box::new(execution))]).await;
    }
    let mut small = maker.running();
    small.state.result = Some(Arc::new("s".repeat(64 * 1024 - 2).into()));
    apply(
        &store,
        vec![Change::InsertExecution(Box::new(small.clone()))],
    )
    .await;
    assert_eq!(files(dir.path()).len(), 2);
    let read = store.execution(small.spec.id).await.unwrap();
    assert_eq!(read, Some(small));
}

#[tokio::test]
async fn a_lost_or_damaged_file_is_named_and_costs_a_list_nothing_else() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), Maker::new(3));
    let store = open(dir.path());
    let (mut bad, good) = (maker.running(), with_large_values(&maker));
    bad.state.result = Some(Arc::new(large("x")));
    maker.change(&mut bad, |spec| spec.parameters = Arc::new(object("y")));
    let insert = |execution: &Execution| Change::InsertExecution(Box::new(execution.clone()));
    apply(&store, vec![insert(&bad)]).await;
    let both = files(dir.path());
    std::fs::remove_file(&both[0]).unwrap();
    let name = both[0].file_name().unwrap().to_str().unwrap();
    let missing = store.execution(bad.spec.id).await.unwrap_err();
    let StoreError::Broken(why) = missing else {
        panic!("{missing}")
    };
    assert!(why.contains(name) && why.contains("is missing"), "{why}");

    for file in &both {
        std::fs::write(file, "[\"something else\"]").unwrap();
    }
    apply(&store, vec![insert(&good)]).await;
    let damaged = store.execution(bad.spec.id).await.unwrap_err().to_string();
    assert!(damaged.contains("is damaged"), "{damaged}");
    assert!(store.unfinished().await.is_err());
    let listed = store
        .executions(ExecutionFilter::default(), page())
        .await
        .unwrap();
    assert_eq!(listed[0], good);
    let shown = [
        listed[1].state.result.as_ref().unwrap()["unreadable"].clone(),
        listed[1].spec.parameters["unreadable"].clone(),
    ];
    for why in shown {
        assert!(why.as_str().unwrap().contains("is damaged"), "{why}");
    }
    // The same content again repairs them.
    apply(
        &store,
        vec![insert(&Execution {
            ..again(&maker, &bad)
        })],
    )
    .await;
    let read = store.execution(bad.spec.id).await.unwrap();
    assert_eq!(read, Some(bad));
}

fn again(maker: &Maker, other: &Execution) -> Execution {
    let mut execution = maker.running();
    maker.change(&mut execution, |spec| {
        spec.parameters = Arc::clone(&other.spec.parameters);
    });
    execution.state.result.clone_from(&other.state.result);
    execution
}

#[tokio::test]
async fn a_list_does_not_read_more_large_values_than_it_may() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), Maker::new(4));
    let store = open(dir.path());
    let result: Arc<Value> = Arc::new("x".repeat(9 << 20).into());
    let mut executions = Vec::new();
    for _ in 0..8 {
        let mut execution = maker.running();
        execution.state.result = Some(Arc::clone(&result));
        executions.push(Change::InsertExecution(Box::new(execution)));
    }
    apply(&store, executions).await;
    let listed = store
        .executions(ExecutionFilter::default(), page())
        .await
        .unwrap();
    let left_out = listed
        .iter()
        .filter(|execution| execution.state.result.as_ref().unwrap().is_object())
        .count();
    assert_eq!(left_out, 1);
    let one = store.execution(listed[7].spec.id).await.unwrap().unwrap();
    assert_eq!(one.state.result, Some(result));
    assert_eq!(store.unfinished().await.unwrap()[0], one);
    let named = ExecutionFilter {
        values: Values::Named,
        ..ExecutionFilter::default()
    };
    let named = store.executions(named, page()).await.unwrap();
    let is_named = |execution: &Execution| execution.state.result.as_ref().unwrap().is_object();
    assert!(named.len() == 8 && named.iter().all(is_named));
}

#[tokio::test]
async fn children_and_tasks_are_listed_within_the_same_limit() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), Maker::new(9));
    let store = open(dir.path());
    let result: Arc<Value> = Arc::new("x".repeat(9 << 20).into());
    let parent = maker.waiting();
    let run = parent.spec.id;
    let mut changes = vec![Change::InsertExecution(Box::new(parent.clone()))];
    for item in 0..8 {
        let mut child = maker.child(&parent, "load", Some(item));
        child.state.result = Some(Arc::clone(&result));
        changes.push(Change::InsertExecution(Box::new(child)));
        let mut task = maker.task(run, "load", 1, item + 1);
        task.result = Some(Arc::clone(&result));
        changes.push(Change::PutTask(Box::new(task)));
    }
    apply(&store, changes).await;
    let children = store
        .children(run, Laps::All, page(), Values::Bounded)
        .await;
    let left_out = children
        .unwrap()
        .iter()
        .filter(|child| child.state.result.as_ref().unwrap().is_object())
        .count();
    assert_eq!(left_out, 1);
    let tasks = store.tasks(run, Laps::Only(1), Values::Bounded).await;
    let left_out = tasks
        .unwrap()
        .iter()
        .filter(|task| task.result.as_ref().unwrap().is_object())
        .count();
    assert_eq!(left_out, 1);
}

#[tokio::test]
async fn bytes_that_name_no_file_are_no_value_and_a_value_that_looks_like_a_name_is_one() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), Maker::new(5));
    let store = open(dir.path());
    let mut execution = maker.running();
    execution.state.result = Some(Arc::new("0123456789abcdef0123456789abcdef".into()));
    apply(
        &store,
        vec![Change::InsertExecution(Box::new(execution.clone()))],
    )
    .await;
    let id = execution.spec.id;
    assert_eq!(store.execution(id).await.unwrap(), Some(execution));
    Connection::open(dir.path().join("camshaft.db"))
        .unwrap()
        .execute(
            "UPDATE execution SET result = randomblob(32), parameters = x'ff'",
            [],
        )
        .unwrap();
    assert!(store.execution(id).await.is_err());
    let listed = store
        .executions(ExecutionFilter::default(), page())
        .await
        .unwrap();
    assert!(listed[0].state.result.as_ref().unwrap()["unreadable"].is_string());
    assert!(listed[0].spec.parameters["unreadable"].is_string());
}

#[tokio::test]
async fn a_value_that_cannot_be_written_yet_keeps_its_place() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), Maker::new(6));
    let store = open(dir.path());
    // A file where the folder should be.
    std::fs::write(dir.path().join("artifacts"), "in the way").unwrap();
    let (bad, good) = (with_large_values(&maker), maker.running());
    let insert = |execution: &Execution| vec![Change::InsertExecution(Box::new(execution.clone()))];
    let (told, delayed) = tokio::sync::oneshot::channel();
    store.submit(
        Transaction {
            changes: insert(&bad),
        },
        AtOnce::new(|outcome| drop(told.send(outcome))),
    );
    let delayed = delayed.await.unwrap();
    assert!(
        matches!(delayed, Err(StoreError::Unavailable(_))),
        "{delayed:?}"
    );
    assert!(store.health().is_err());
    let behind = commit(&store, insert(&good));
    std::fs::remove_file(dir.path().join("artifacts")).unwrap();
    assert!(matches!(behind.await, Ok(Outcome::Applied { .. })));
    assert!(store.health().is_ok());
    assert_eq!(store.execution(bad.spec.id).await.unwrap(), Some(bad));
}

#[tokio::test]
async fn large_and_small_transactions_keep_their_order() {
    let (dir, maker) = (tempfile::tempdir().unwrap(), Maker::new(7));
    let store = open(dir.path());
    let called = Arc::new(parking_lot::Mutex::new(Vec::new()));
    for number in 0..40 {
        let mut execution = maker.running();
        if number % 3 == 0 {
            let size = LARGE * (40 - number);
            execution.state.result = Some(Arc::new("x".repeat(size).into()));
        }
        let ending = maker.ending(&execution);
        let insert = vec![Change::InsertExecution(Box::new(execution))];
        for changes in [insert, ending.changes] {
            let called = Arc::clone(&called);
            let transaction = Transaction { changes };
            // The end of an execution would be refused before its beginning.
            store.submit(
                transaction,
                Box::new(move |outcome| called.lock().push((number, outcome))),
            );
        }
    }
    drop(store);
    let called = called.lock();
    assert_eq!(called.len(), 80);
    for (position, (number, outcome)) in called.iter().enumerate() {
        assert_eq!(position / 2, *number);
        let applied = matches!(outcome, Ok(Outcome::Applied { .. }));
        assert!(applied, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_database_without_a_file_keeps_large_values_and_has_one_store_at_a_time() {
    let (memory, maker) = (Memory::default(), Maker::new(8));
    let store = SqliteStore::in_memory(&memory).unwrap();
    let execution = with_large_values(&maker);
    apply(
        &store,
        vec![Change::InsertExecution(Box::new(execution.clone()))],
    )
    .await;
    assert!(matches!(
        SqliteStore::in_memory(&memory),
        Err(StoreError::Unavailable(_))
    ));
    store.checkpoint().await.unwrap();
    drop(store);
    let store = SqliteStore::in_memory(&memory).unwrap();
    let read = store.execution(execution.spec.id).await.unwrap();
    assert_eq!(read, Some(execution));
    store.close();
    assert!(store.unfinished().await.is_err());
    assert!(store.checkpoint().await.is_err());
}
