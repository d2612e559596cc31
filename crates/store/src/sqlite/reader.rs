//! Reads: a few threads, each with a connection that cannot write. A database without a file has one
//! connection only; there the writer's thread reads as well.
//!
//! A list may take long, and lists come in any number. So what asks for one thing by its key waits in a queue
//! of its own, which goes first, and one thread reads nothing else: a timer gets at its state whatever people
//! look at. A read whose asker has gone is not begun, and broken off if it has been.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use camshaft_model::port::store::StoreError;
use crossbeam_channel::{Receiver, RecvError, Sender, select, unbounded};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error;
use super::writer::Command;

/// At most so many reads wait in a queue; the next one is refused.
const QUEUE_LIMIT: usize = 10_000;
/// After so many steps of its virtual machine SQLite asks whether anybody still waits for the answer.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// A read that answers by itself.
pub(super) type Query = Box<dyn FnOnce(&Connection) + Send>;

/// Who reads. Threads of their own end when this is dropped.
pub(super) enum Readers {
    Threads(Queues<Sender<Query>>),
    Writer(Sender<Command>),
}

/// What reads wait in.
#[derive(Clone)]
pub(super) struct Queues<Q> {
    lists: Q,
    /// Of one thing by its key.
    single: Q,
}

impl Readers {
    /// Starts threads that read all there is, and one for what is asked for by its key.
    pub(super) fn start(
        threads: usize,
        open: impl Fn() -> Result<Connection, StoreError>,
    ) -> Result<Self, StoreError> {
        let (lists, (single, singles)) = (unbounded::<Query>(), unbounded());
        let queries = Queues {
            lists: lists.1,
            single: singles,
        };
        for number in 0..=threads {
            let (connection, queries) = (open()?, queries.clone());
            let read = move || match number {
                0 => queries.single.iter().for_each(|query| query(&connection)),
                _ => queries.serve(&connection),
            };
            thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(read)
                .map_err(|e| StoreError::Unavailable(format!("no thread to read with: {e}")))?;
        }
        Ok(Self::Threads(Queues {
            lists: lists.0,
            single,
        }))
    }

    /// Reads one thing by its key, before every list that waits.
    pub(super) async fn read_one<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let queue = match self {
            Self::Threads(queues) => Queue::Threads(&queues.single),
            Self::Writer(queue) => Queue::Writer(queue),
        };
        queue.read(query).await
    }

    /// Reads what may take long.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let queue = match self {
            Self::Threads(queues) => Queue::Threads(&queues.lists),
            Self::Writer(queue) => Queue::Writer(queue),
        };
        queue.read(query).await
    }
}

impl Queues<Receiver<Query>> {
    fn serve(&self, connection: &Connection) {
        while let Ok(query) = self.next() {
            query(connection);
        }
    }

    fn next(&self) -> Result<Query, RecvError> {
        if let Ok(query) = self.single.try_recv() {
            return Ok(query);
        }
        select! {
            recv(self.single) -> query => query.or_else(|_| self.lists.recv()),
            recv(self.lists) -> query => query.or_else(|_| self.single.recv()),
        }
    }
}

enum Queue<'a> {
    Threads(&'a Sender<Query>),
    Writer(&'a Sender<Command>),
}

/// Dropped when nobody waits any more.
struct Asker(Arc<AtomicBool>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Queue<'_> {
    async fn read<T: Send + 'static>(
        self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.waiting() >= QUEUE_LIMIT {
            return Err(StoreError::Unavailable(format!(
                "{QUEUE_LIMIT} reads are waiting already"
            )));
        }
        let gone = Arc::new(AtomicBool::new(false));
        let _asker = Asker(gone.clone());
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |connection| {
            if gone.load(Ordering::Relaxed) {
                return;
            }
            let is_gone = move || gone.load(Ordering::Relaxed);
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_gone));
            // A panic must cost one read, not the thread.
            let result = catch_unwind(AssertUnwindSafe(|| query(connection)));
            connection.progress_handler(0, None::<fn() -> bool>);
            let _ = answer.send(match result {
                Ok(rows) => rows.map_err(|e| error::from_sql(&e)),
                Err(_) => Err(StoreError::Broken("a read panicked".to_owned())),
            });
        });
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        if !self.send(query) {
            return Err(closed());
        }
        answered.await.map_err(|_| closed())?
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::mpsc::channel;
    use std::task::{Context, Waker};

    use super::*;

    const FOR_EVER: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

    fn readers() -> Readers {
        Readers::start(1, || Ok(Connection::open_in_memory().unwrap())).unwrap()
    }

    /// Asks for a read that says when it has begun, and returns once it has.
    fn begun<'a, T: Send + 'static>(
        readers: &'a Readers,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = Result<T, StoreError>> + 'a>> {
        let (begun, has_begun) = channel();
        let mut read = Box::pin(readers.read(move |connection| {
            begun.send(()).unwrap();
            query(connection)
        }));
        ask(&mut read);
        has_begun.recv().unwrap();
        read
    }

    fn ask<F: Future + Unpin>(read: &mut F) {
        let read = Pin::new(read).poll(&mut Context::from_waker(Waker::noop()));
        assert!(read.is_pending());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let readers = readers();
        let (go, told) = channel();
        let first = begun(&readers, move |_| Ok(told.recv().unwrap()));
        let is_begun = Arc::new(AtomicBool::new(false));
        let mark = is_begun.clone();
        let mut second = Box::pin(readers.read(move |_| {
            mark.store(true, Ordering::SeqCst);
            Ok(())
        }));
        ask(&mut second);
        drop(second);
        go.send(7).unwrap();
        assert_eq!(first.await.unwrap(), 7);
        readers.read(|_| Ok(())).await.unwrap();
        assert!(!is_begun.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_broken_off() {
        let readers = readers();
        drop(begun(&readers, |connection| {
            connection.query_row(FOR_EVER, [], |row| row.get::<_, i64>(0))
        }));
        assert_eq!(readers.read(|_| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn one_thing_is_read_while_lists_take_long() {
        let readers = readers();
        let (go, told) = channel();
        let list = begun(&readers, move |_| Ok(told.recv().unwrap()));
        assert_eq!(readers.read_one(|_| Ok(7)).await.unwrap(), 7);
        go.send(7).unwrap();
        assert_eq!(list.await.unwrap(), 7);
    }
}
