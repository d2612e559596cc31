//! Reads: a few threads, each with a connection that cannot write, and one queue for all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use camshaft_model::port::store::StoreError;
use crossbeam_channel::{Receiver, Sender, unbounded};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error;

/// At most so many reads wait; the next one is refused.
const QUEUE_LIMIT: usize = 10_000;

type Query = Box<dyn FnOnce(&Connection) + Send>;

/// The threads that read. They end when this is dropped.
pub(super) struct Readers {
    queue: Sender<Query>,
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
        Ok(Self { queue })
    }

    /// Runs a query on one of the threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.queue.len() >= QUEUE_LIMIT {
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
        self.queue.send(query).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}
