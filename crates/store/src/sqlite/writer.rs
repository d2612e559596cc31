//! The one thread that writes.
//!
//! Transactions wait in a queue. The thread takes all that are there (at most [`BATCH_LIMIT`]), applies
//! them in order inside one SQLite transaction, commits, and then calls back each of them: so the
//! price of a durable commit is shared by everybody who waited for the one before. If the batch
//! fails, each is tried alone: one that cannot be stored for its own sake (a row that may not exist
//! twice) fails by itself.
//!
//! While nothing can be stored (a full disk) every transaction keeps its place: what was decided later
//! was decided on what came before. The thread tries again every [`RETRY`], also if nobody brings
//! anything, so that health tells of the room that came back before anybody dares to write again.
//!
//! A transaction with a large value has its place in the queue from the start, and what it waits for
//! (its files) is made elsewhere. Whoever came before it is committed first.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use camshaft_model::port::store::{
    COMMIT_SIZES, Commits, OnCommit, Outcome, StoreError, Transaction,
};
use crossbeam_channel::{Receiver, Sender, select, tick, unbounded};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::apply::Applier;
use super::artifact::Artifacts;
use super::checkpoint::{Signal, Wal};
use super::error;
use super::reader::Query;
use super::stage::{self, Large, Stage, Staged};

/// At most so many transactions share one commit: bounds the wait of the first for the last.
const BATCH_LIMIT: usize = 1_000;
/// If more transactions wait, the store is not well: nobody should decide anything new.
const QUEUE_LIMIT: usize = 200_000;
/// How often a commit is tried while the last one failed.
const RETRY: Duration = Duration::from_millis(250);
/// The name of a large value that this thread writes, while it is not whole.
const SCRATCH: &str = "writing-late";

thread_local! {
    /// How many pages the log had after the last commit of this thread.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

/// A callback that hears of its end exactly once, whatever becomes of the thread, and at most once that it
/// is delayed.
pub(super) struct Done {
    callback: Option<OnCommit>,
    is_delayed: bool,
}

impl Done {
    fn call(mut self, result: Result<Outcome, StoreError>) {
        self.answer(result);
    }

    fn answer(&mut self, result: Result<Outcome, StoreError>) {
        if let Some(done) = self.callback.take() {
            guarded(|| done.done(result));
        }
    }

    fn delayed(&mut self, why: &StoreError) {
        if let Some(done) = &mut self.callback
            && !std::mem::replace(&mut self.is_delayed, true)
        {
            guarded(|| done.delayed(why));
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.answer(Err(stopped()));
    }
}

fn guarded(callback: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!("a callback of the store's writer panicked");
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

/// A transaction that keeps its place while nothing can be stored.
enum Late {
    Ready(Job),
    /// Its large values are not in files.
    Unstaged(Transaction, Done),
}

/// Why a commit failed.
enum Failed {
    /// For the sake of what was to be stored: it will not do better later.
    Itself(StoreError),
    /// Nothing can be stored.
    Store(StoreError),
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Itself(error) | Failed::Store(error) => error,
        }
    }
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
        artifacts: &Artifacts,
        wal: Arc<Wal>,
        signals: Sender<Signal>,
        ended: impl FnOnce(Connection) + Send + 'static,
    ) -> Result<Self, StoreError> {
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(u32::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        let applier = Applier::new(connection).map_err(|e| error::from_sql(&e))?;
        let stage = Stage::start(artifacts)?;
        let artifacts = artifacts.clone();
        let (commands, received) = unbounded();
        let health = Arc::new(Health::default());
        let alive = Alive(Arc::clone(&health));
        let thread = thread::Builder::new()
            .name("store-write".to_owned())
            .spawn(move || {
                let mut writing = Loop {
                    applier,
                    artifacts,
                    late: VecDeque::new(),
                    retries: None,
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
        let done = Done {
            callback: Some(done),
            is_delayed: false,
        };
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

    /// Whether the thread lives, its last commit worked, and not too much waits for it.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        if self.health.stopped.load(Ordering::SeqCst) {
            return Err(stopped());
        }
        if self.commands.len() >= QUEUE_LIMIT {
            return Err(StoreError::Unavailable(format!(
                "{QUEUE_LIMIT} transactions are waiting already"
            )));
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
    artifacts: Artifacts,
    /// What could not be stored yet, in order. While there is something nobody overtakes it.
    late: VecDeque<Late>,
    retries: Option<Receiver<Instant>>,
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
                Some(Command::Stop) => return self.retry(),
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
                let Ok(staged) = staged.recv() else {
                    return done.call(Err(stopped()));
                };
                staged
            }
        };
        let transaction = staged.transaction;
        match staged.large {
            Ok(large) => batch.push(Job {
                transaction,
                large,
                done,
            }),
            Err(e) => {
                self.write(std::mem::take(batch));
                self.failed(&e);
                self.put_off(Late::Unstaged(transaction, done), &e);
            }
        }
    }

    /// The next command, as soon as there is one; `None` when nobody can send any more. Until then what
    /// could not be stored is tried again.
    fn next(&mut self, commands: &Receiver<Command>) -> Option<Command> {
        loop {
            if self.late.is_empty() && self.failure().is_none() {
                self.retries = None;
                return commands.recv().ok();
            }
            // The beat goes on while commands come.
            let retries = self.retries.get_or_insert_with(|| tick(RETRY));
            select! {
                recv(commands) -> command => return command.ok(),
                recv(retries) -> _ => self.retry(),
            }
        }
    }

    fn failure(&self) -> Option<StoreError> {
        self.alive.0.failure.lock().clone()
    }

    /// Stores what could not be stored before, as far as that works now.
    fn retry(&mut self) {
        let mut late = std::mem::take(&mut self.late);
        if late.is_empty() && self.failure().is_some() {
            // Whether it worked is said where every commit is accounted for.
            let _ = self.durably(Applier::probe);
        }
        while self.late.is_empty() {
            let mut batch = Vec::new();
            while batch.len() < BATCH_LIMIT
                && let Some(next) = late.pop_front()
            {
                match self.stage(next) {
                    Ok(job) => batch.push(job),
                    Err(unstaged) => {
                        late.push_front(unstaged);
                        break;
                    }
                }
            }
            if batch.is_empty() {
                break;
            }
            self.write(batch);
        }
        self.late.append(&mut late);
    }

    /// Makes a transaction ready whose files could not be written before.
    fn stage(&self, late: Late) -> Result<Job, Late> {
        match late {
            Late::Ready(job) => Ok(job),
            Late::Unstaged(transaction, done) => {
                match stage::keep(&self.artifacts, &transaction, SCRATCH) {
                    Ok(large) => Ok(Job {
                        transaction,
                        large,
                        done,
                    }),
                    Err(e) => {
                        self.failed(&e);
                        Err(Late::Unstaged(transaction, done))
                    }
                }
            }
        }
    }

    fn put_off(&mut self, mut late: Late, why: &StoreError) {
        let (Late::Ready(Job { done, .. }) | Late::Unstaged(_, done)) = &mut late;
        done.delayed(why);
        self.late.push_back(late);
    }

    /// Stores a batch. What cannot be stored now waits behind what waits already.
    fn write(&mut self, batch: Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        let why = if self.late.is_empty() {
            match self.commit(batch.iter()) {
                Ok(outcomes) => {
                    for (job, outcome) in batch.into_iter().zip(outcomes) {
                        job.done.call(Ok(outcome));
                    }
                    return;
                }
                // Those before the one that does not go are stored all the same.
                Err(_) if batch.len() > 1 => {
                    return batch.into_iter().for_each(|job| self.write(vec![job]));
                }
                Err(Failed::Itself(e)) => {
                    for job in batch {
                        job.done.call(Err(e.clone()));
                    }
                    return;
                }
                Err(Failed::Store(e)) => e,
            }
        } else {
            let waits = || StoreError::Unavailable("others wait to be stored".to_owned());
            self.failure().unwrap_or_else(waits)
        };
        for job in batch {
            self.put_off(Late::Ready(job), &why);
        }
    }

    /// One durable commit of them all.
    fn commit<'j>(
        &mut self,
        jobs: impl ExactSizeIterator<Item = &'j Job>,
    ) -> Result<Vec<Outcome>, Failed> {
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
            tracing::error!(error = %failure, "commits fail; what is decided already keeps its place until they work");
        }
    }

    fn next_epoch(&mut self) -> Result<i64, StoreError> {
        Ok(self.durably(Applier::next_epoch)?)
    }

    fn durably<T>(
        &mut self,
        work: impl FnOnce(&mut Applier) -> rusqlite::Result<T>,
    ) -> Result<T, Failed> {
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
                if error::is_callers_fault(&e) {
                    return Err(Failed::Itself(failure));
                }
                self.failed(&failure);
                Err(Failed::Store(failure))
            }
        }
    }
}
