//! The store on SQLite: opening it, and which thread answers what.
//!
//! WAL mode with `synchronous=FULL`: a callback that says `Applied` is only called once the bytes are
//! on the disk. One thread writes, [`READER_THREADS`] read, one moves the write-ahead log into the
//! database file. All of them sleep on a channel while there is nothing to do.

mod apply;
mod artifact;
mod attempt;
mod cached;
mod check;
mod checkpoint;
mod codec;
mod constraint;
mod enforcement;
mod error;
mod event;
mod execution;
mod held_event;
mod inquiry;
mod memory;
mod name;
mod pack;
mod reader;
mod run;
mod sensor;
mod stage;
mod step_event;
mod task;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use camshaft_model::port::store::{
    Commits, ConstraintRecord, EnforcementFilter, EventFilter, ExecutionFilter, HeldEvent,
    InquiryFilter, Laps, OnCommit, PackRecord, PageRequest, StepEventFilter, Store, StoreError,
    Transaction, Values, Violation,
};
use camshaft_model::run::CachedResult;
use camshaft_model::{
    Attempt, Enforcement, Event, EventId, Execution, ExecutionId, Inquiry, InquiryId, Ref,
    RunRecord, Status, StepEvent, TaskRecord, TaskRef, Timestamp,
};
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, MigrationDefinitionError, Migrations};
use serde_json::Value;

use artifact::{Artifacts, Source};
use checkpoint::{Checkpointer, Wal};
use crossbeam_channel::unbounded;
pub use memory::Memory;
use reader::Readers;
use writer::Writer;

/// How many threads answer reads.
const READER_THREADS: usize = 2;
/// Page cache of the writer: the ends of tables and indexes, where new rows go.
const WRITER_CACHE_KIB: i32 = 4 * 1024;
/// Page cache of each reader.
const READER_CACHE_KIB: i32 = 2 * 1024;
/// How long the writer waits for the checkpointer to let go of the log.
const WRITER_BUSY: Duration = Duration::from_secs(10);
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 64;

/// In order; the number of a migration is its place. One that was released never changes.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("../../migrations/sqlite/01_first.sql")),
    M::up(include_str!("../../migrations/sqlite/02_runs.sql")),
    M::up(include_str!("../../migrations/sqlite/03_constraints.sql")),
    M::up(include_str!("../../migrations/sqlite/04_cache_keys.sql")),
    M::up(include_str!("../../migrations/sqlite/05_held_events.sql")),
    M::up(include_str!("../../migrations/sqlite/06_item_errors.sql")),
    M::up(include_str!(
        "../../migrations/sqlite/07_constraint_since.sql"
    )),
];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

/// The database of an embedded engine: one file with its write-ahead log and the folder of large
/// values beside it, or none of these.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    wal: Arc<Wal>,
    /// None without a file: there is no log to move.
    checkpointer: Option<Checkpointer>,
    artifacts: Artifacts,
}

impl SqliteStore {
    /// Opens the database, makes it if there is none, and brings its schema up to date. Two stores
    /// must not have the same file open; the data directory's lock sees to that.
    ///
    /// # Errors
    /// `Unavailable` if the file cannot be opened now, `Broken` if it is no database of ours or of a
    /// newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, |_| Ok(()))
    }

    fn open_with(
        path: &Path,
        configure: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path).map_err(|e| error::from_sql(&e))?;
        configure_writer(&connection).map_err(|e| error::from_sql(&e))?;
        migrate(&mut connection, path)?;
        configure(&connection).map_err(|e| error::from_sql(&e))?;
        let artifacts = Artifacts::beside(path)
            .map_err(|e| StoreError::Unavailable(format!("the folder of the database: {e}")))?;
        let wal = Arc::new(Wal::default());
        let readers = Readers::start(READER_THREADS, || open_reader(path))?;
        let (checkpointer, signals) =
            Checkpointer::start(open_checkpointer(path)?, Arc::clone(&wal))?;
        let writer = Writer::start(connection, &artifacts, Arc::clone(&wal), signals, drop)?;
        Ok(Self {
            writer,
            readers,
            wal,
            checkpointer: Some(checkpointer),
            artifacts,
        })
    }

    /// Opens a database without a file: for tests, and for programs that embed the engine and need
    /// nothing of it later. The same code, with nothing to wait for; large values stay in their rows.
    ///
    /// # Errors
    /// `Unavailable` while another store has it open, or if that one's writer has died.
    pub fn in_memory(memory: &Memory) -> Result<Self, StoreError> {
        let mut connection = memory.take()?;
        configure_writer(&connection).map_err(|e| error::from_sql(&e))?;
        migrate(&mut connection, Path::new("the database in memory"))?;
        let wal = Arc::new(Wal::default());
        // Nobody listens: there is no log.
        let (signals, _) = unbounded();
        let (artifacts, back) = (Artifacts::default(), memory.clone());
        let ended = move |connection| back.give_back(connection);
        let writer = Writer::start(connection, &artifacts, Arc::clone(&wal), signals, ended)?;
        Ok(Self {
            readers: Readers::Writer(writer.commands()),
            writer,
            wal,
            checkpointer: None,
            artifacts,
        })
    }

    /// How many durable commits there have been since it was opened, each one flush of the log.
    pub fn commits(&self) -> u64 {
        self.wal.commits()
    }

    /// Stores what has been submitted, then stops every thread. What is submitted later is refused.
    /// Dropping the store does the same.
    pub fn close(&self) {
        self.writer.close();
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.close();
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    MIGRATIONS.to_latest(connection).map_err(|e| match &e {
        rusqlite_migration::Error::MigrationDefinition(
            MigrationDefinitionError::DatabaseTooFarAhead,
        ) => StoreError::Broken(format!(
            "{} was written by a newer version of Camshaft",
            path.display()
        )),
        rusqlite_migration::Error::RusqliteError { err, .. } => error::from_sql(err),
        other => StoreError::Broken(other.to_string()),
    })
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(WRITER_BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(WRITER_BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(connection)
    };
    open().map_err(|e| error::from_sql(&e))
}

fn open_checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(checkpoint::BUSY)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(connection)
    };
    open().map_err(|e| error::from_sql(&e))
}

#[async_trait]
impl Store for SqliteStore {
    fn submit(&self, transaction: Transaction, done: OnCommit) {
        self.writer.submit(transaction, done);
    }

    fn health(&self) -> Result<(), StoreError> {
        self.writer.health()
    }

    fn commits(&self) -> Commits {
        self.writer.commits()
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, StoreError> {
        let source = Source::whole(&self.artifacts);
        self.readers
            .read_one(move |c| execution::one(c, &source, id))
            .await
    }

    async fn executions(
        &self,
        filter: ExecutionFilter,
        page: PageRequest<ExecutionId>,
    ) -> Result<Vec<Execution>, StoreError> {
        let source = Source::of(&self.artifacts, filter.values);
        self.readers
            .read(move |c| execution::page(c, &source, &filter, page))
            .await
    }

    async fn unfinished(&self) -> Result<Vec<Execution>, StoreError> {
        let source = Source::whole(&self.artifacts);
        self.readers
            .read(move |c| execution::unfinished(c, &source))
            .await
    }

    async fn results(&self, of: Vec<ExecutionId>) -> Result<Vec<Option<Value>>, StoreError> {
        let source = Source::whole(&self.artifacts);
        self.readers
            .read(move |c| execution::results(c, &source, &of))
            .await
    }

    async fn children(
        &self,
        parent: ExecutionId,
        laps: Laps,
        page: PageRequest<ExecutionId>,
        values: Values,
    ) -> Result<Vec<Execution>, StoreError> {
        let source = Source::of(&self.artifacts, values);
        self.readers
            .read(move |c| execution::children(c, &source, parent, laps, page))
            .await
    }

    async fn item_counts(
        &self,
        run: ExecutionId,
        laps: Laps,
    ) -> Result<Vec<(TaskRef, Status, u32)>, StoreError> {
        self.readers
            .read(move |c| execution::item_counts(c, run, laps))
            .await
    }

    async fn run(&self, id: ExecutionId) -> Result<Option<RunRecord>, StoreError> {
        let source = Source::whole(&self.artifacts);
        self.readers
            .read_one(move |c| run::one(c, &source, id))
            .await
    }

    async fn tasks(
        &self,
        run: ExecutionId,
        laps: Laps,
        values: Values,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        let source = Source::of(&self.artifacts, values);
        self.readers
            .read(move |c| task::of(c, &source, run, laps))
            .await
    }

    async fn task_result(
        &self,
        run: ExecutionId,
        task: TaskRef,
    ) -> Result<Option<Value>, StoreError> {
        let source = Source::whole(&self.artifacts);
        self.readers
            .read_one(move |c| task::result(c, &source, run, &task))
            .await
    }

    async fn task_items(
        &self,
        run: ExecutionId,
        task: TaskRef,
    ) -> Result<Option<Value>, StoreError> {
        let source = Source::whole(&self.artifacts);
        self.readers
            .read_one(move |c| task::items(c, &source, run, &task))
            .await
    }

    async fn inquiry(&self, id: InquiryId) -> Result<Option<Inquiry>, StoreError> {
        let source = Source::whole(&self.artifacts);
        self.readers
            .read_one(move |c| inquiry::one(c, &source, id))
            .await
    }

    async fn inquiries(
        &self,
        filter: InquiryFilter,
        page: PageRequest<InquiryId>,
    ) -> Result<Vec<Inquiry>, StoreError> {
        let source = Source::list(&self.artifacts);
        self.readers
            .read(move |c| inquiry::page(c, &source, &filter, page))
            .await
    }

    async fn cached(
        &self,
        now: Timestamp,
        max_bytes: u64,
    ) -> Result<Vec<CachedResult>, StoreError> {
        let source = Source::whole(&self.artifacts);
        self.readers
            .read(move |c| cached::good(c, &source, now, max_bytes))
            .await
    }

    async fn attempts(&self, id: ExecutionId) -> Result<Vec<Attempt>, StoreError> {
        self.readers.read_one(move |c| attempt::of(c, id)).await
    }

    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.readers.read_one(move |c| event::one(c, id)).await
    }

    async fn events_by_id(
        &self,
        ids: Vec<EventId>,
        max_bytes: u64,
    ) -> Result<Vec<Event>, StoreError> {
        // Rules wait for these, so lists that people look at do not go first.
        self.readers
            .read_one(move |c| event::by_id(c, &ids, max_bytes))
            .await
    }

    async fn events(
        &self,
        filter: EventFilter,
        page: PageRequest<EventId>,
    ) -> Result<Vec<Event>, StoreError> {
        self.readers
            .read(move |c| event::page(c, &filter, page))
            .await
    }

    async fn enforcements(
        &self,
        filter: EnforcementFilter,
        page: PageRequest<EventId>,
    ) -> Result<Vec<Enforcement>, StoreError> {
        self.readers
            .read(move |c| enforcement::page(c, &filter, page))
            .await
    }

    async fn step_events(
        &self,
        filter: StepEventFilter,
        page: PageRequest<i64>,
    ) -> Result<Vec<StepEvent>, StoreError> {
        self.readers
            .read(move |c| step_event::page(c, &filter, page))
            .await
    }

    async fn newest_step_event(&self) -> Result<i64, StoreError> {
        self.readers.read_one(step_event::last).await
    }

    async fn sensor_state(&self, key: String) -> Result<Option<Value>, StoreError> {
        self.readers.read_one(move |c| sensor::state(c, &key)).await
    }

    async fn packs(&self) -> Result<Vec<PackRecord>, StoreError> {
        self.readers.read(pack::current).await
    }

    async fn pack_version(&self, hash: String) -> Result<Option<PackRecord>, StoreError> {
        self.readers
            .read_one(move |c| pack::version(c, &hash))
            .await
    }

    async fn constraints(&self) -> Result<Vec<ConstraintRecord>, StoreError> {
        self.readers.read(constraint::all).await
    }

    async fn held_events(&self) -> Result<Vec<HeldEvent>, StoreError> {
        self.readers.read(held_event::all).await
    }

    async fn rule_overrides(&self) -> Result<Vec<(Ref, bool)>, StoreError> {
        self.readers.read(pack::rule_overrides).await
    }

    async fn next_epoch(&self) -> Result<i64, StoreError> {
        self.writer.next_epoch().await
    }

    async fn check(&self) -> Result<Vec<Violation>, StoreError> {
        self.readers.read(check::violations).await
    }

    async fn checkpoint(&self) -> Result<(), StoreError> {
        match &self.checkpointer {
            Some(checkpointer) => checkpointer.checkpoint().await,
            None => self.writer.health(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use camshaft_model::port::store::{Change, Outcome, Submitted};
    use camshaft_model::{Failure, FailureKind};
    use camshaft_testkit::store_contract::Maker;

    use super::*;

    #[tokio::test]
    async fn while_the_disk_is_full_everything_keeps_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let limit = |connection: &Connection| {
            // 2 MiB in pages of 4 KiB.
            connection.pragma_update_and_check(None, "max_page_count", 512, |_| Ok(()))
        };
        let store = SqliteStore::open_with(&dir.path().join("db"), limit).unwrap();
        let maker = Maker::new(1);
        let (answer, answers) = channel();
        let mut ids = Vec::new();
        for size in [10, 8 << 20, 10] {
            let mut execution = maker.running();
            // A result of that size would not be in the database.
            execution.state.error = Some(Failure {
                kind: FailureKind::Exit,
                message: "x".repeat(size),
            });
            ids.push(execution.spec.id);
            let changes = vec![
                maker.step_started(&execution),
                Change::InsertExecution(Box::new(execution)),
            ];
            let told = Told(ids.len(), answer.clone());
            store.submit(Transaction { changes }, Box::new(told));
        }
        let next = || answers.recv().unwrap();
        assert!(matches!(next(), (1, Heard::Done(Ok(_)))));
        assert!(matches!(next(), (2, Heard::Delayed)));
        assert!(matches!(next(), (3, Heard::Delayed)), "nobody overtakes");
        assert!(matches!(store.health(), Err(StoreError::Unavailable(_))));
        assert!(store.execution(ids[0]).await.unwrap().is_some());
        assert_eq!(store.execution(ids[2]).await.unwrap(), None);
        store.close();
        for number in [2, 3] {
            assert!(matches!(next(), (n, Heard::Done(Err(_))) if n == number));
        }
        assert_eq!(store.check().await.unwrap(), []);
    }

    enum Heard {
        Delayed,
        Done(Result<Outcome, StoreError>),
    }

    struct Told(usize, Sender<(usize, Heard)>);

    impl Submitted for Told {
        fn delayed(&mut self, _why: &StoreError) {
            self.1.send((self.0, Heard::Delayed)).unwrap();
        }

        fn done(self: Box<Self>, outcome: Result<Outcome, StoreError>) {
            self.1.send((self.0, Heard::Done(outcome))).unwrap();
        }
    }
}
