//! Moves the write-ahead log into the database file, away from the writer's thread.
//!
//! Past [`LOG_PAGES`] the bulk is copied while the writer goes on; then, between two commits, the few
//! pages that came in meanwhile, so that the next commit begins the log anew in the space that it
//! has. (The log file is kept at that size on purpose: overwriting is cheaper to make durable than
//! growing.) Once nothing was committed for [`IDLE`], everything is copied and the log cut to nothing;
//! after that the thread sleeps until the next commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use camshaft_model::port::store::StoreError;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error;

/// The log is copied when it is longer than this: 16 MiB in pages of 4 KiB.
const LOG_PAGES: u32 = 4_096;
/// The log is cut to nothing when nothing was committed for so long.
const IDLE: Duration = Duration::from_secs(1);
/// How long one try at cutting the log waits for readers; the writer waits as long.
pub(super) const BUSY: Duration = Duration::from_millis(20);
/// How often a checkpoint that somebody asked for is tried while readers are in the way.
const TRIES: u32 = 100;

/// What the checkpointer is told.
pub(super) enum Signal {
    /// The first commit since the log was cut.
    Dirty,
    /// The log is long.
    Long,
    /// Somebody asks for a checkpoint and waits.
    Now(oneshot::Sender<Result<(), StoreError>>),
    /// The store is closing.
    Stop,
}

/// What the writer and the checkpointer know of the log together.
#[derive(Debug, Default)]
pub(super) struct Wal {
    /// Held during a commit, and while the end of the log is copied.
    pub(super) turn: Mutex<()>,
    commits: AtomicU64,
    dirty: AtomicBool,
    long: AtomicBool,
}

impl Wal {
    /// How many commits the writer has told of.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// The writer tells of a commit after which the log has so many pages.
    pub(super) fn committed(&self, pages: u32, signals: &Sender<Signal>) {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if !self.dirty.swap(true, Ordering::SeqCst) {
            let _ = signals.send(Signal::Dirty);
        }
        if pages > LOG_PAGES && !self.long.swap(true, Ordering::SeqCst) {
            let _ = signals.send(Signal::Long);
        }
    }
}

/// The thread that moves the log.
pub(super) struct Checkpointer {
    signals: Sender<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    /// Starts the thread; the sender is for the writer.
    pub(super) fn start(
        connection: Connection,
        wal: Arc<Wal>,
    ) -> Result<(Self, Sender<Signal>), StoreError> {
        let (signals, heard) = unbounded();
        let thread = thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || Mover { connection, wal }.run(&heard))
            .map_err(|e| StoreError::Unavailable(format!("no thread for checkpoints: {e}")))?;
        let this = Self {
            signals: signals.clone(),
            thread: Mutex::new(Some(thread)),
        };
        Ok((this, signals))
    }

    /// Moves everything and cuts the log.
    pub(super) async fn checkpoint(&self) -> Result<(), StoreError> {
        let gone = || StoreError::Unavailable("the store is closed".to_owned());
        let (answer, answered) = oneshot::channel();
        self.signals.send(Signal::Now(answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

struct Mover {
    connection: Connection,
    wal: Arc<Wal>,
}

impl Mover {
    fn run(&self, signals: &Receiver<Signal>) {
        // How many commits there had been when this thread last looked; `None` while the log is empty.
        let mut seen = None;
        loop {
            let signal = match seen {
                None => signals.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(_) => signals.recv_timeout(IDLE),
            };
            match signal {
                Ok(Signal::Dirty) => seen = Some(self.commits()),
                Ok(Signal::Long) => self.shorten(),
                Ok(Signal::Now(answer)) => {
                    let _ = answer.send(self.cut_now());
                }
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    // So that the next start finds little to recover.
                    if seen.is_some() {
                        self.cut_or_warn();
                    }
                    return;
                }
                Err(RecvTimeoutError::Timeout) if seen == Some(self.commits()) => {
                    // First, so that a commit from here on tells this thread again.
                    self.wal.dirty.store(false, Ordering::SeqCst);
                    seen = if self.cut_or_warn() { None } else { seen };
                }
                Err(RecvTimeoutError::Timeout) => seen = Some(self.commits()),
            }
        }
    }

    fn commits(&self) -> u64 {
        self.wal.commits.load(Ordering::SeqCst)
    }

    fn shorten(&self) {
        let moved = self.pragma("PRAGMA wal_checkpoint(PASSIVE)").and_then(|_| {
            let _turn = self.wal.turn.lock();
            self.pragma("PRAGMA wal_checkpoint(PASSIVE)")
        });
        self.wal.long.store(false, Ordering::SeqCst);
        if let Err(e) = moved {
            tracing::warn!(error = %e, "the write-ahead log could not be moved into the database");
        }
    }

    /// Whether the log is empty now.
    fn cut(&self) -> rusqlite::Result<bool> {
        self.pragma("PRAGMA wal_checkpoint(PASSIVE)")?;
        let _turn = self.wal.turn.lock();
        Ok(!self.pragma("PRAGMA wal_checkpoint(TRUNCATE)")?)
    }

    fn cut_or_warn(&self) -> bool {
        self.cut().unwrap_or_else(|e| {
            tracing::warn!(error = %e, "the write-ahead log could not be moved into the database");
            false
        })
    }

    fn cut_now(&self) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            if self.cut().map_err(|e| error::from_sql(&e))? {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable(
            "long reads keep the write-ahead log in use".to_owned(),
        ))
    }

    /// Whether somebody was in the way.
    fn pragma(&self, sql: &str) -> rusqlite::Result<bool> {
        self.connection.query_row(sql, [], |row| row.get(0))
    }
}
