//! Reads: a few threads, each with a connection that cannot write, and one queue for all of them. A
//! database without a file has one connection only; there the writer's thread reads as well.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use camshaft_model::port::store::StoreError;
use crossbeam_channel::{Receiver, Sender, unbounded};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error;
use super::writer::Command;

/// At most so many reads wait; the next one is refused.
const QUEUE_LIMIT: usize = 10_000;

/// A read that answers by itself.
pub(super) type Query = Box<dyn FnOnce(&Connection) + Send>;

/// Who reads. Threads of their own end when this is dropped.
pub(super) enum Readers {
    Threads(Sender<Query>),
    Writer(Sender<Command>),
}

impl Readers {
    /// Starts the threads.
    pub(super) fn start(
        threads: usize,
        open: impl Fn() -> Result<Connection, StoreError>,
    ) -> Result<Self, StoreError> {
        let (queue, queries) = unbounded();
        for number in 1..=threads {
            let connection = open()?;
            let queries: Receiver<Query> = queries.clone();
            thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || queries.iter().for_each(|query| query(&connection)))
                .map_err(|e| StoreError::Unavailable(format!("no thread to read with: {e}")))?;
        }
        Ok(Self::Threads(queue))
    }

    /// Runs a query on one of the threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.waiting() >= QUEUE_LIMIT {
            return Err(StoreError::Unavailable(format!(
                "{QUEUE_LIMIT} reads are waiting already"
            )));
        }
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |connection| {
            // A panic must cost one read, not the thread.
            let result = catch_unwind(AssertUnwindSafe(|| query(connection)));
            let _ = answer.send(match result {
                Ok(rows) => rows.map_err(|e| error::from_sql(&e)),
                Err(_) => Err(StoreError::Broken("a read panicked".to_owned())),
            });
        });
        let gone = || StoreError::Unavailable("the store is closed".to_owned());
        if !self.send(query) {
            return Err(gone());
        }
        answered.await.map_err(|_| gone())?
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Threads(queue) => queue.len(),
            Self::Writer(queue) => queue.len(),
        }
    }

    fn send(&self, query: Query) -> bool {
        match self {
            Self::Threads(queue) => queue.send(query).is_ok(),
            Self::Writer(queue) => queue.send(Command::Read(query)).is_ok(),
        }
    }
}
