//! The in-process message bus. Synchronous: `publish` calls each subscriber and returns.
//!
//! A subscriber that panics is isolated and counted; it goes on getting notices, and nobody else
//! loses one. A subscriber that needs I/O owns a bounded queue and a thread or task behind it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use camshaft_model::notice::{Notice, Publish, Sink, Sinks, Subscriber};
use parking_lot::RwLock;

/// See the module.
#[derive(Default)]
pub struct Bus {
    subscribers: RwLock<Arc<[Entry]>>,
}

#[derive(Clone)]
struct Entry {
    subscriber: Arc<dyn Subscriber>,
    panics: Arc<AtomicU64>,
}

impl Bus {
    /// A bus without subscribers.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a subscriber; it hears everything that is published from now on.
    pub fn subscribe(&self, subscriber: Arc<dyn Subscriber>) {
        let mut subscribers = self.subscribers.write();
        let entry = Entry {
            subscriber,
            panics: Arc::default(),
        };
        *subscribers = subscribers.iter().cloned().chain([entry]).collect();
    }
}

impl Sinks for Bus {
    fn sinks(&self) -> Vec<Sink> {
        let sink = |entry: &Entry| Sink {
            name: entry.subscriber.name().to_owned(),
            panics: entry.panics.load(Ordering::Relaxed),
            dropped: entry.subscriber.dropped(),
            refused: entry.subscriber.refused(),
            connection: entry.subscriber.connection(),
        };
        self.subscribers.read().iter().map(sink).collect()
    }
}

impl Publish for Bus {
    fn publish(&self, notice: &Notice) {
        let subscribers = self.subscribers.read().clone();
        for entry in subscribers.iter() {
            let told = catch_unwind(AssertUnwindSafe(|| entry.subscriber.notice(notice)));
            if told.is_err() && entry.panics.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!(
                    subscriber = entry.subscriber.name(),
                    "a subscriber panicked; later panics are only counted"
                );
            }
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

    #[test]
    fn a_subscriber_that_panics_is_counted_and_costs_nobody_else_a_notice() {
        let bus = Bus::new();
        let counting = Arc::new(Counting(AtomicU64::new(0)));
        bus.subscribe(Arc::new(Panicking));
        bus.subscribe(counting.clone());
        let notice = Notice::Event(Arc::new(Event {
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
        }));
        bus.publish(&notice);
        bus.publish(&notice);
        assert_eq!(counting.0.load(Ordering::Relaxed), 2);
        let losses = bus.sinks();
        let panics: Vec<_> = losses
            .iter()
            .map(|sink| (&*sink.name, sink.panics))
            .collect();
        assert_eq!(panics, [("panicking", 2), ("counting", 0)]);
    }
}
