//! The one thread that writes.
//!
//! Transactions wait in a queue. The thread takes all that are there (at most [`BATCH_LIMIT`]), applies
//! them in order inside one SQLite transaction, commits, and then calls back each of them: so the
//! price of a durable commit is shared by everybody who waited for the one before. If the batch
//! fails, it is rolled back and each of its transactions is tried alone, so that one that cannot be
//! stored fails by itself.
//!
//! While commits fail (a full disk) the thread also tries one of its own every [`PROBE`], so that health
//! tells of the room that came back before anybody dares to write again.
//!
//! A transaction with a large value has its place in the queue from the start, and what it waits for
//! (its files) is made elsewhere. Whoever came before it is committed first.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use camshaft_model::port::store::{
    COMMIT_SIZES, Commits, OnCommit, Outcome, StoreError, Transaction,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::apply::Applier;
use super::checkpoint::{Signal, Wal};
use super::error;
use super::reader::Query;
use super::stage::{Large, Stage, Staged};

/// At most so many transactions share one commit: bounds the wait of the first for the last.
const BATCH_LIMIT: usize = 1_000;
/// At most so many transactions wait; the next one is refused at once.
const QUEUE_LIMIT: usize = 200_000;

/// How often a commit is tried while the last one failed and nobody brings another.
const PROBE: Duration = Duration::from_secs(1);

thread_local! {
    /// How many pages the log had after the last commit of this thread.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

/// A callback that is called exactly once, whatever becomes of the thread.
pub(super) struct Done(Option<OnCommit>);

impl Done {
    fn call(mut self, result: Result<Outcome, StoreError>) {
        self.answer(result);
    }

    fn answer(&mut self, result: Result<Outcome, StoreError>) {
        if let Some(done) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| done(result))).is_err()
        {
            tracing::error!("a callback of the store's writer panicked");
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.answer(Err(stopped()));
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".to_owned())
}

/// A transaction that can be written.
pub(super) struct Job {
    transaction: Transaction,
    large: Large,
    done: Done,
}

/// What the thread is told.
pub(super) enum Command {
    Write(Job),
    Staged(Receiver<Staged>, Done),
    Read(Query),
    NextEpoch(oneshot::Sender<Result<i64, StoreError>>),
    Stop,
}

#[derive(Debug, Default)]
struct Health {
    stopped: AtomicBool,
    failure: Mutex<Option<StoreError>>,
    transactions: AtomicU64,
    commits_by_size: [AtomicU64; COMMIT_SIZES.len() + 1],
    failed: AtomicU64,
}

/// Says so when the thread ends, also by a panic.
struct Alive(Arc<Health>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
    }
}

/// The writer as the rest of the store sees it.
pub(super) struct Writer {
    commands: Sender<Command>,
    stage: Stage,
    health: Arc<Health>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on a connection that is ready to write, and that is given back at the end.
    pub(super) fn start(
        connection: Connection,
        stage: Stage,
        wal: Arc<Wal>,
        signals: Sender<Signal>,
        ended: impl FnOnce(Connection) + Send + 'static,
    ) -> Result<Self, StoreError> {
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(u32::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        let applier = Applier::new(connection).map_err(|e| error::from_sql(&e))?;
        let (commands, received) = unbounded();
        let health = Arc::new(Health::default());
        let alive = Alive(Arc::clone(&health));
        let thread = thread::Builder::new()
            .name("store-write".to_owned())
            .spawn(move || {
                let mut writing = Loop {
                    applier,
                    wal,
                    signals,
                    alive,
                };
                writing.run(&received);
                ended(writing.applier.into_connection());
            })
            .map_err(|e| StoreError::Unavailable(format!("no thread to write with: {e}")))?;
        Ok(Self {
            commands,
            stage,
            health,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands a transaction over.
    pub(super) fn submit(&self, transaction: Transaction, done: OnCommit) {
        let done = Done(Some(done));
        if self.commands.len() >= QUEUE_LIMIT {
            done.call(Err(StoreError::Unavailable(format!(
                "{QUEUE_LIMIT} transactions are waiting already"
            ))));
            return;
        }
        let command = match self.stage.take(transaction) {
            Ok(staged) => Command::Staged(staged, done),
            Err(transaction) => Command::Write(Job {
                transaction,
                large: Large::default(),
                done,
            }),
        };
        // A command that cannot be sent is dropped, and calls back as it is.
        let _ = self.commands.send(command);
    }

    /// For reads that go to this thread, because nobody else has a connection.
    pub(super) fn commands(&self) -> Sender<Command> {
        self.commands.clone()
    }

    /// Raises the lease epoch.
    pub(super) async fn next_epoch(&self) -> Result<i64, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Command::NextEpoch(answer))
            .map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Whether the thread lives and its last commit worked.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        if self.health.stopped.load(Ordering::SeqCst) {
            return Err(stopped());
        }
        self.health.failure.lock().clone().map_or(Ok(()), Err)
    }

    /// What was committed since the thread was started.
    pub(super) fn commits(&self) -> Commits {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Commits {
            transactions: read(&self.health.transactions),
            by_size: self.health.commits_by_size.each_ref().map(read),
            failed: read(&self.health.failed),
        }
    }

    /// Stores what was submitted so far and ends the thread.
    pub(super) fn close(&self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

struct Loop {
    applier: Applier,
    wal: Arc<Wal>,
    signals: Sender<Signal>,
    alive: Alive,
}

impl Loop {
    fn run(&mut self, commands: &Receiver<Command>) {
        let mut batch = Vec::new();
        while let Some(first) = self.next(commands) {
            let mut next = Some(first);
            let mut after = None;
            while let Some(command) = next.take() {
                match command {
                    Command::Write(job) => batch.push(job),
                    Command::Staged(staged, done) => self.take(&staged, done, &mut batch),
                    other => {
                        after = Some(other);
                        break;
                    }
                }
                if batch.len() < BATCH_LIMIT {
                    next = commands.try_recv().ok();
                }
            }
            self.write(std::mem::take(&mut batch));
            match after {
                Some(Command::NextEpoch(answer)) => {
                    let _ = answer.send(self.next_epoch());
                }
                Some(Command::Read(query)) => query(self.applier.connection()),
                Some(Command::Stop) => return,
                Some(Command::Write(_) | Command::Staged(..)) | None => {}
            }
        }
    }

    /// Adds a transaction to the batch once its large values are in files. The batch so far does not
    /// wait for that.
    fn take(&mut self, staged: &Receiver<Staged>, done: Done, batch: &mut Vec<Job>) {
        let staged = match staged.try_recv() {
            Ok(staged) => staged,
            Err(_) => {
                self.write(std::mem::take(batch));
                staged.recv().unwrap_or_else(|_| Err(stopped()))
            }
        };
        match staged {
            Ok((transaction, large)) => batch.push(Job {
                transaction,
                large,
                done,
            }),
            Err(e) => {
                self.write(std::mem::take(batch));
                self.failed(&e);
                done.call(Err(e));
            }
        }
    }

    /// The next command, as soon as there is one; `None` when nobody can send any more.
    fn next(&mut self, commands: &Receiver<Command>) -> Option<Command> {
        while self.alive.0.failure.lock().is_some() {
            match commands.recv_timeout(PROBE) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Disconnected) => return None,
                // Whether it worked is said where every commit is accounted for.
                Err(RecvTimeoutError::Timeout) => drop(self.durably(Applier::probe)),
            }
        }
        commands.recv().ok()
    }

    fn write(&mut self, batch: Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        match self.commit(batch.iter()) {
            Ok(outcomes) => {
                for (job, outcome) in batch.into_iter().zip(outcomes) {
                    job.done.call(Ok(outcome));
                }
            }
            Err(e) if batch.len() == 1 => {
                for job in batch {
                    job.done.call(Err(e.clone()));
                }
            }
            Err(_) => batch.into_iter().for_each(|job| self.write_alone(job)),
        }
    }

    fn write_alone(&mut self, job: Job) {
        let result = self.commit(std::iter::once(&job));
        job.done
            .call(result.and_then(|outcomes| outcomes.into_iter().next().ok_or_else(stopped)));
    }

    /// One durable commit of them all.
    fn commit<'j>(
        &mut self,
        jobs: impl ExactSizeIterator<Item = &'j Job>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let size = jobs.len() as u64;
        let outcomes = self.durably(|applier| {
            jobs.map(|job| applier.apply(&job.transaction, &job.large))
                .collect()
        })?;
        let health = &self.alive.0;
        let class = COMMIT_SIZES.partition_point(|bound| *bound < size);
        health.commits_by_size[class].fetch_add(1, Ordering::Relaxed);
        health.transactions.fetch_add(size, Ordering::Relaxed);
        Ok(outcomes)
    }

    /// Remembers that something could not be stored, and says so once for each cause: many may fail a
    /// second, and the log may be on the same disk.
    fn failed(&self, failure: &StoreError) {
        self.alive.0.failed.fetch_add(1, Ordering::Relaxed);
        let known = self.alive.0.failure.lock().replace(failure.clone());
        if known.is_none_or(|known| known.to_string() != failure.to_string()) {
            tracing::error!(error = %failure, "commits fail; those that must not be lost are tried again");
        }
    }

    fn next_epoch(&mut self) -> Result<i64, StoreError> {
        self.durably(Applier::next_epoch)
    }

    fn durably<T>(
        &mut self,
        work: impl FnOnce(&mut Applier) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let turn = self.wal.turn.lock();
        let result = self.applier.durably(work);
        drop(turn);
        match result {
            Ok(done) => {
                self.wal.committed(LOG_PAGES.get(), &self.signals);
                if self.alive.0.failure.lock().take().is_some() {
                    tracing::info!("commits work again");
                }
                Ok(done)
            }
            Err(e) => {
                let failure = error::from_sql(&e);
                if !error::is_callers_fault(&e) {
                    self.failed(&failure);
                }
                Err(failure)
            }
        }
    }
}
