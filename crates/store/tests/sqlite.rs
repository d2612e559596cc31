//! What is particular to the database being a file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use camshaft_model::port::store::{
    Change, Laps, Outcome, PageRequest, StepEventFilter, Store, StoreError, Transaction, Values,
};
use camshaft_model::{Failure, FailureKind, Timestamp};
use camshaft_store::SqliteStore;
use camshaft_testkit::store_contract::{Maker, commit};
use rusqlite::Connection;

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).unwrap()
}

#[tokio::test]
async fn a_row_that_somebody_else_wrote_is_shown_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let (store, maker) = (open(&path), Maker::new(1));
    let execution = maker.running();
    commit(&store, vec![maker.step_started(&execution)])
        .await
        .unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "INSERT INTO step_event VALUES (10, x'01', 7, 'strange', NULL, 'galaxy', 'not { json', 'yesterday');
             INSERT INTO step_event VALUES (11, x'00112233445566778899aabbccddeeff', NULL, 5, 1.5, NULL, x'ff', 12);
             INSERT INTO step_event VALUES (12, 'text', NULL, 'step_started', NULL, NULL, '[1]', 13);",
        )
        .unwrap();
    let page = PageRequest {
        after: Some(1),
        limit: 9,
    };
    let lines = store
        .step_events(StepEventFilter::default(), page)
        .await
        .unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0].payload["unreadable"], "not { json");
    assert_eq!(lines[0].event_type.as_str(), "strange");
    assert_eq!(lines[1].step.as_deref(), Some("1.5"));
    assert_eq!(lines[2].payload["unreadable"], "[1]");
    let filter = StepEventFilter {
        step: Some("x".into()),
        ..StepEventFilter::default()
    };
    assert_eq!(store.step_events(filter, page).await.unwrap(), []);
    assert!(!store.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let (store, maker) = (open(&path), Maker::new(2));
    let execution = maker.running();
    let changes = vec![Change::InsertExecution(Box::new(execution.clone()))];
    commit(&store, changes).await.unwrap();
    // What a process that is killed here leaves behind: the file, and the log that nobody moved. The
    // log is copied first, so that what is moved meanwhile is in one of them.
    let left = dir.path().join("left");
    std::fs::copy(dir.path().join("db-wal"), dir.path().join("left-wal")).unwrap();
    std::fs::copy(&path, &left).unwrap();
    assert_eq!(
        open(&left).execution(execution.spec.id).await.unwrap(),
        Some(execution)
    );
}

#[tokio::test]
async fn a_database_from_before_workflows_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let (store, maker) = (open(&path), Maker::new(8));
    let execution = maker.running();
    let changes = vec![Change::InsertExecution(Box::new(execution.clone()))];
    commit(&store, changes).await.unwrap();
    drop(store);
    // The same row as the first version had it.
    let old = dir.path().join("old");
    let connection = Connection::open(&old).unwrap();
    let schema = include_str!("../migrations/sqlite/01_first.sql");
    connection.execute_batch(schema).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection
        .execute("ATTACH ?1 AS new", [path.to_str().unwrap()])
        .unwrap();
    let columns: String = connection
        .query_row(
            "SELECT group_concat(name) FROM pragma_table_info('execution')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    connection
        .execute_batch(&format!(
            "INSERT INTO name SELECT * FROM new.name;
             INSERT INTO execution SELECT {columns} FROM new.execution;"
        ))
        .unwrap();
    drop(connection);

    let store = open(&old);
    let read = store.execution(execution.spec.id).await.unwrap();
    assert_eq!(read, Some(execution.clone()));
    let child = maker.child(&execution, "a", None);
    let changes = vec![Change::InsertExecution(Box::new(child.clone()))];
    commit(&store, changes).await.unwrap();
    let page = PageRequest {
        after: None,
        limit: 9,
    };
    let children = store
        .children(execution.spec.id, Laps::All, page, Values::Read)
        .await
        .unwrap();
    assert_eq!(children, [child]);
}

#[tokio::test]
async fn a_constraint_of_an_earlier_version_holds_since_it_was_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let earlier = Connection::open(&path).unwrap();
    for step in [
        include_str!("../migrations/sqlite/01_first.sql"),
        include_str!("../migrations/sqlite/02_runs.sql"),
        include_str!("../migrations/sqlite/03_constraints.sql"),
    ] {
        earlier.execute_batch(step).unwrap();
    }
    earlier
        .execute_batch(
            "PRAGMA user_version = 3;
             INSERT INTO constraint_in_force VALUES
                 ('global', 'pause', 'p', '{}', NULL, NULL, NULL, 'api', 1700000000000000, NULL);",
        )
        .unwrap();
    drop(earlier);
    let kept = open(&path).constraints().await.unwrap();
    let set_at = Timestamp::from_micros(1_700_000_000_000_000);
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].constraint.set_at, kept[0].since), (set_at, set_at));
}

#[tokio::test]
async fn a_newer_schema_and_another_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    drop(open(&path));
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let Err(StoreError::Broken(why)) = SqliteStore::open(&path) else {
        panic!("opened")
    };
    assert!(why.contains("newer version"), "{why}");

    let other = dir.path().join("notes.txt");
    std::fs::write(
        &other,
        "not a database, but longer than a header would be: ".repeat(40),
    )
    .unwrap();
    assert!(matches!(
        SqliteStore::open(&other),
        Err(StoreError::Broken(_))
    ));
    let missing = dir.path().join("no/such/folder/db");
    assert!(matches!(
        SqliteStore::open(&missing),
        Err(StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_checkpoint_empties_the_log_and_keeps_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let (store, maker) = (open(&path), Maker::new(3));
    let execution = maker.running();
    let changes = vec![Change::InsertExecution(Box::new(execution.clone()))];
    commit(&store, changes).await.unwrap();
    store.checkpoint().await.unwrap();
    assert_eq!(
        std::fs::metadata(dir.path().join("db-wal")).unwrap().len(),
        0
    );
    assert_eq!(
        store.execution(execution.spec.id).await.unwrap(),
        Some(execution)
    );
}

#[tokio::test]
async fn a_closed_store_says_so_and_still_calls_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, maker) = (open(&dir.path().join("db")), Maker::new(4));
    store.close();
    assert!(matches!(store.health(), Err(StoreError::Unavailable(_))));
    let late = commit(
        &store,
        vec![Change::InsertExecution(Box::new(maker.running()))],
    )
    .await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))));
    assert!(store.next_epoch().await.is_err());
    assert!(store.checkpoint().await.is_err());
}

#[tokio::test]
async fn a_callback_that_panics_costs_nobody_else_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (store, maker) = (open(&dir.path().join("db")), Maker::new(5));
    store.submit(
        Transaction::default(),
        Box::new(|_| panic!("a mistake in a callback")),
    );
    let next = commit(
        &store,
        vec![Change::InsertEvent(Arc::new(maker.event(None)))],
    )
    .await;
    assert!(matches!(next, Ok(Outcome::Applied { .. })));
    assert!(store.health().is_ok());
}

#[tokio::test]
async fn the_log_does_not_grow_with_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, maker) = (open(&dir.path().join("db")), Maker::new(6));
    for _ in 0..100 {
        let mut execution = maker.running();
        execution.state.error = Some(Failure {
            kind: FailureKind::Exit,
            message: "x".repeat(1 << 20),
        });
        commit(&store, vec![Change::InsertExecution(Box::new(execution))])
            .await
            .unwrap();
    }
    let log = std::fs::metadata(dir.path().join("db-wal")).unwrap().len();
    assert!(log < 64 << 20, "{log} bytes of log after 100 MiB of rows");
}
