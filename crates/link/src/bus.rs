//! The in-process message bus. Synchronous: `publish` calls each subscriber and returns.
//!
//! A subscriber that panics is isolated and counted; it goes on getting notices, and nobody else
//! loses one. One that never waits is called by `publish` itself; if it needs I/O it owns a bounded queue and a
//! thread or task behind it. Of any other the bus does not know how long it takes, so it is called on a thread of
//! its own, in order; what finds more than [`MAX_WAITING`] notices waiting is dropped for it and counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use std::{io, thread};

use camshaft_model::notice::{Notice, Publish, Sink, Sinks, Subscriber};
use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The most notices that wait for a subscriber with a thread of its own.
pub const MAX_WAITING: usize = 10_000;

/// See the module.
#[derive(Default)]
pub struct Bus {
    subscribers: RwLock<Arc<[Entry]>>,
    /// Of the subscribers with a thread of their own: each is told by its end that its thread has ended.
    apart: Mutex<Vec<oneshot::Receiver<()>>>,
}

#[derive(Clone)]
struct Entry {
    told: Arc<Told>,
    /// For one with a thread of its own.
    queue: Option<SyncSender<Notice>>,
}

/// Who is told, and how that went.
struct Told {
    subscriber: Arc<dyn Subscriber>,
    panics: AtomicU64,
    /// Notices that found the queue full.
    dropped: AtomicU64,
}

impl Told {
    fn new(subscriber: Arc<dyn Subscriber>) -> Arc<Self> {
        Arc::new(Self {
            subscriber,
            panics: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// Calls the subscriber; `None` if it panicked.
    fn call<T>(&self, call: impl FnOnce(&dyn Subscriber) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| call(&*self.subscriber))).ok();
        if done.is_none() && self.panics.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                subscriber = self.subscriber.name(),
                "a subscriber panicked; later panics are only counted"
            );
        }
        done
    }

    fn drop_one(&self) {
        if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                subscriber = self.subscriber.name(),
                "a subscriber is more than {MAX_WAITING} notices behind; what it misses is only counted"
            );
        }
    }
}

impl Entry {
    fn publish(&self, notice: &Notice) {
        match &self.queue {
            None => {
                self.told.call(|subscriber| subscriber.notice(notice));
            }
            Some(queue) => {
                if self.told.call(|subscriber| subscriber.wants(notice)) == Some(true)
                    && queue.try_send(notice.clone()).is_err()
                {
                    self.told.drop_one();
                }
            }
        }
    }
}

impl Bus {
    /// A bus without subscribers.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a subscriber that never waits; it hears everything that is published from now on.
    pub fn subscribe(&self, subscriber: Arc<dyn Subscriber>) {
        let told = Told::new(subscriber);
        self.add(Entry { told, queue: None });
    }

    /// Adds a subscriber that may take its time: it is called on a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn subscribe_apart(&self, subscriber: Arc<dyn Subscriber>) -> io::Result<()> {
        let (queue, notices) = sync_channel(MAX_WAITING);
        let (ending, ended) = oneshot::channel();
        let told = Told::new(subscriber);
        let its = told.clone();
        thread::Builder::new()
            .name(its.subscriber.name().to_owned())
            .spawn(move || {
                for notice in notices {
                    its.call(|subscriber| subscriber.notice(&notice));
                }
                drop(ending);
            })?;
        let queue = Some(queue);
        self.add(Entry { told, queue });
        self.apart.lock().push(ended);
        Ok(())
    }

    fn add(&self, entry: Entry) {
        let mut subscribers = self.subscribers.write();
        *subscribers = subscribers.iter().cloned().chain([entry]).collect();
    }

    /// Nothing more is published: waits until the threads are done with what they have, no longer than this in
    /// all.
    pub async fn finish(&self, within: Duration) {
        drop(std::mem::take(&mut *self.subscribers.write()));
        let apart = std::mem::take(&mut *self.apart.lock());
        // Who is not done by then goes on without anybody who waits for it.
        let _ = timeout(within, join_all(apart)).await;
    }
}

impl Sinks for Bus {
    fn sinks(&self) -> Vec<Sink> {
        let sink = |Entry { told, .. }: &Entry| Sink {
            name: told.subscriber.name().to_owned(),
            panics: told.panics.load(Ordering::Relaxed),
            dropped: told.subscriber.dropped() + told.dropped.load(Ordering::Relaxed),
            refused: told.subscriber.refused(),
            connection: told.subscriber.connection(),
        };
        self.subscribers.read().iter().map(sink).collect()
    }
}

impl Publish for Bus {
    fn publish(&self, notice: &Notice) {
        let subscribers = self.subscribers.read().clone();
        for entry in subscribers.iter() {
            entry.publish(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camshaft_model::{Event, EventDraft, EventId, EventSource, Timestamp};
    use uuid::Uuid;

    struct Counting(AtomicU64);

    impl Subscriber for Counting {
        fn name(&self) -> &str {
            "counting"
        }

        fn notice(&self, _: &Notice) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Panicking;

    impl Subscriber for Panicking {
        fn name(&self) -> &str {
            "panicking"
        }

        fn notice(&self, _: &Notice) {
            panic!("on purpose");
        }
    }

    fn notice() -> Notice {
        Notice::Event(Arc::new(Event {
            id: EventId::new(Uuid::nil()),
            received_at: Timestamp::default(),
            draft: EventDraft {
                trigger: "demo.poked".parse().unwrap(),
                payload: serde_json::Value::Null,
                source: EventSource {
                    kind: "api".into(),
                    name: None,
                },
                dedup_key: None,
                occurred_at: None,
                sensor: None,
                depth: 0,
                trace_parent: None,
            },
        }))
    }

    #[test]
    fn a_subscriber_that_panics_is_counted_and_costs_nobody_else_a_notice() {
        let bus = Bus::new();
        let counting = Arc::new(Counting(AtomicU64::new(0)));
        bus.subscribe(Arc::new(Panicking));
        bus.subscribe(counting.clone());
        bus.subscribe_apart(Arc::new(Panicking)).unwrap();
        for _ in 0..2 {
            bus.publish(&notice());
        }
        while bus.sinks()[2].panics < 2 {
            thread::yield_now();
        }
        assert_eq!(counting.0.load(Ordering::Relaxed), 2);
        let sinks = bus.sinks().into_iter();
        let panics: Vec<_> = sinks.map(|sink| (sink.name, sink.panics)).collect();
        let panicking = || ("panicking".to_owned(), 2);
        assert_eq!(
            panics,
            [panicking(), ("counting".to_owned(), 0), panicking()]
        );
    }

    /// Counts, once it is let go.
    struct Blocking {
        counted: AtomicU64,
        gate: Mutex<()>,
    }

    impl Subscriber for Blocking {
        fn name(&self) -> &str {
            "blocking"
        }

        fn notice(&self, _: &Notice) {
            drop(self.gate.lock());
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_subscriber_that_blocks_stops_nobody_and_loses_what_it_is_too_far_behind_for() {
        let bus = Bus::new();
        let blocking = Arc::new(Blocking {
            counted: AtomicU64::new(0),
            gate: Mutex::new(()),
        });
        let counting = Arc::new(Counting(AtomicU64::new(0)));
        bus.subscribe_apart(blocking.clone()).unwrap();
        bus.subscribe(counting.clone());
        let held = blocking.gate.lock();
        let all = 2 * MAX_WAITING as u64;
        for _ in 0..all {
            bus.publish(&notice());
        }
        assert_eq!(counting.0.load(Ordering::Relaxed), all);
        let dropped = bus.sinks()[0].dropped;
        // One may be in its hands.
        assert!((MAX_WAITING as u64 - 1..=MAX_WAITING as u64).contains(&dropped));
        // A stop waits for it no longer than it is told to.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(bus.finish(Duration::from_millis(1)));
        assert_eq!(blocking.counted.load(Ordering::Relaxed), 0);
        drop(held);
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_told() {
        let bus = Bus::new();
        let blocking = Arc::new(Blocking {
            counted: AtomicU64::new(0),
            gate: Mutex::new(()),
        });
        bus.subscribe_apart(blocking.clone()).unwrap();
        let held = blocking.gate.lock();
        for _ in 0..100 {
            bus.publish(&notice());
        }
        drop(held);
        bus.finish(Duration::from_secs(60)).await;
        assert_eq!(blocking.counted.load(Ordering::Relaxed), 100);
        assert_eq!(bus.sinks(), []);
    }
}
