//! What waits to be sent to one client: answers and messages in one order, bounded. A client that
//! reads too slowly to stay within the bounds is cut off; what was kept for it while it was away does not
//! count towards that.
//!
//! A mailbox may outlive its connection. Only the connection that was attached last, known by its number,
//! is answered and reads: what is sent to one that is gone is lost.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::sync::Notify;

/// The most packets that wait for a client.
const MAX_WAITING: usize = 20_000;
/// The most bytes that wait for a client.
const MAX_WAITING_BYTES: usize = 32 * 1024 * 1024;
/// The most messages that wait for a client that is not there.
const MAX_KEPT: usize = 1_000;
/// The most bytes of them.
const MAX_KEPT_BYTES: usize = 4 * 1024 * 1024;
/// The most messages with QoS 2 that a client may have begun.
const MAX_BEGUN: usize = 1_024;
/// How many messages may wait for a client's acknowledgement.
const WINDOW: usize = 64;
/// The bytes that are written at once, more or less.
const BATCH_BYTES: usize = 64 * 1024;
/// What a packet is counted as besides its payload.
const PACKET_BYTES: usize = 128;

/// A message on its way to a client.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

#[derive(Debug)]
enum Outgoing {
    Answer(Packet),
    Delivery(Delivery),
    Again(u16, Delivery),
}

/// Why there is nothing more for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It was too slow.
    Overfull,
    /// Another one reads.
    TakenOver,
}

/// What became of a message with QoS 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is a new one.
    New,
    /// It has been passed on before.
    Again,
    /// The client has begun too many and released none.
    TooMany,
}

/// See the module.
#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    changed: Notify,
    /// Told when something has left, or nobody reads any more.
    eased: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Outgoing>,
    /// Of all that waits.
    bytes: usize,
    /// How many at the front have waited since before the client came, and their bytes.
    kept: usize,
    kept_bytes: usize,
    /// The messages with QoS 2 that have been passed on and not been released by the client.
    begun: HashSet<u16>,
    unacknowledged: VecDeque<(u16, Delivery)>,
    last_id: u16,
    /// The connection that reads.
    reader: Option<u64>,
    is_overfull: bool,
    /// Whether a batch has been taken and the next one not been asked for.
    is_writing: bool,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        match self {
            Self::Answer(_) => PACKET_BYTES,
            Self::Delivery(delivery) | Self::Again(_, delivery) => {
                PACKET_BYTES + delivery.topic.len() + delivery.payload.len()
            }
        }
    }
}

impl Outgoing {
    /// Whether it is for a client that comes back.
    fn is_kept(&self) -> bool {
        match self {
            Self::Answer(_) => false,
            Self::Delivery(delivery) | Self::Again(_, delivery) => delivery.qos != QoS::AtMostOnce,
        }
    }
}

impl Mailbox {
    /// This connection reads from now on. What the client had not acknowledged is sent again first.
    pub(super) fn attach(&self, connection: u64) {
        let mut state = self.state.lock();
        state.reader = Some(connection);
        state.is_overfull = false;
        state.is_writing = false;
        // Answers were for the connection that is gone.
        state
            .waiting
            .retain(|outgoing| !matches!(outgoing, Outgoing::Answer(_)));
        let again: Vec<_> = state.unacknowledged.drain(..).collect();
        for (id, delivery) in again.into_iter().rev() {
            state.waiting.push_front(Outgoing::Again(id, delivery));
        }
        state.bytes = state.waiting.iter().map(Outgoing::bytes).sum();
        (state.kept, state.kept_bytes) = (state.waiting.len(), state.bytes);
        drop(state);
        // Also whoever read before, so that it ends.
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Nobody reads any more; messages with QoS 1 are kept for later, up to a limit.
    pub(super) fn detach(&self) {
        let mut state = self.state.lock();
        state.reader = None;
        let (mut count, mut bytes) = (0, 0);
        state.waiting.retain(|outgoing| {
            let kept = outgoing.is_kept()
                && count < MAX_KEPT
                && bytes + outgoing.bytes() <= MAX_KEPT_BYTES;
            if kept {
                count += 1;
                bytes += outgoing.bytes();
            }
            kept
        });
        state.bytes = bytes;
        drop(state);
        self.eased.notify_waiters();
    }

    /// Returns once the client has everything, or is gone.
    pub(super) async fn emptied(&self) {
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            // Before the look, so that what happens after it is not missed.
            eased.as_mut().enable();
            if self.state.lock().is_empty() {
                return;
            }
            eased.await;
        }
    }

    /// An answer to what came by this connection.
    pub(super) fn answer(&self, connection: u64, packet: Packet) {
        let mut state = self.state.lock();
        if state.reader == Some(connection) {
            state.push(Outgoing::Answer(packet));
            drop(state);
            self.changed.notify_one();
        }
    }

    pub(super) fn deliver(&self, mut delivery: Delivery) {
        let mut state = self.state.lock();
        if state.reader.is_none() {
            // A small message must not keep the large buffer alive that it was read from.
            delivery.payload = Bytes::copy_from_slice(&delivery.payload);
            let outgoing = Outgoing::Delivery(delivery);
            let has_room =
                state.waiting.len() < MAX_KEPT && state.bytes + outgoing.bytes() <= MAX_KEPT_BYTES;
            if outgoing.is_kept() && has_room {
                state.bytes += outgoing.bytes();
                state.waiting.push_back(outgoing);
            }
            return;
        }
        state.push(Outgoing::Delivery(delivery));
        drop(state);
        self.changed.notify_one();
    }

    /// A message with QoS 2 has come. Kept with the session, so that it is taken once although the
    /// connection is lost in between.
    pub(super) fn begin(&self, id: u16) -> Begun {
        let mut state = self.state.lock();
        if state.begun.contains(&id) {
            return Begun::Again;
        }
        if state.begun.len() >= MAX_BEGUN {
            return Begun::TooMany;
        }
        state.begun.insert(id);
        Begun::New
    }

    /// The client has released it.
    pub(super) fn release(&self, id: u16) {
        self.state.lock().begun.remove(&id);
    }

    /// The client has a message.
    pub(super) fn acknowledged(&self, connection: u64, id: u16) {
        let mut state = self.state.lock();
        if state.reader != Some(connection) {
            return;
        }
        if let Some(place) = state
            .unacknowledged
            .iter()
            .position(|(sent, _)| *sent == id)
        {
            state.unacknowledged.remove(place);
        }
        drop(state);
        self.changed.notify_one();
        self.eased.notify_waiters();
    }

    /// The next bytes for this connection, as soon as there are any.
    ///
    /// # Errors
    /// There will not be any more.
    pub(super) async fn next_batch(&self, connection: u64) -> Result<BytesMut, Closed> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that what happens after it is not missed.
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                if state.reader != Some(connection) {
                    // It may have been woken in the place of the one that reads.
                    self.changed.notify_one();
                    return Err(Closed::TakenOver);
                }
                if state.is_overfull {
                    return Err(Closed::Overfull);
                }
                let batch = state.batch();
                state.is_writing = !batch.is_empty();
                if state.is_writing {
                    return Ok(batch);
                }
                self.eased.notify_waiters();
            }
            changed.await;
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        let has_all = self.waiting.is_empty() && self.unacknowledged.is_empty();
        self.reader.is_none() || (has_all && !self.is_writing)
    }

    /// Adds to what waits for a client that is there.
    fn push(&mut self, outgoing: Outgoing) {
        self.bytes += outgoing.bytes();
        self.waiting.push_back(outgoing);
        self.is_overfull |= self.waiting.len() - self.kept > MAX_WAITING
            || self.bytes.saturating_sub(self.kept_bytes) > MAX_WAITING_BYTES;
    }

    fn batch(&mut self) -> BytesMut {
        let mut batch = BytesMut::new();
        while batch.len() < BATCH_BYTES {
            let is_full = self.unacknowledged.len() >= WINDOW;
            let waits = |outgoing: &Outgoing| match outgoing {
                Outgoing::Answer(_) => false,
                Outgoing::Again(..) => is_full,
                Outgoing::Delivery(delivery) => is_full && delivery.qos != QoS::AtMostOnce,
            };
            let Some(outgoing) = self.waiting.pop_front_if(|outgoing| !waits(outgoing)) else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(outgoing.bytes());
            if self.kept > 0 {
                self.kept -= 1;
                self.kept_bytes = self.kept_bytes.saturating_sub(outgoing.bytes());
            }
            let packet = match outgoing {
                Outgoing::Answer(packet) => packet,
                Outgoing::Again(id, delivery) => self.publish(delivery, Some(id)),
                Outgoing::Delivery(delivery) => self.publish(delivery, None),
            };
            // Its parts were read from a packet of the same limits.
            let _ = packet.write(&mut batch, usize::MAX);
        }
        batch
    }

    fn publish(&mut self, delivery: Delivery, again: Option<u16>) -> Packet {
        let mut publish =
            Publish::from_bytes(&*delivery.topic, delivery.qos, delivery.payload.clone());
        publish.retain = delivery.retain;
        if delivery.qos != QoS::AtMostOnce {
            publish.dup = again.is_some();
            publish.pkid = again.unwrap_or_else(|| self.free_id());
            self.unacknowledged.push_back((publish.pkid, delivery));
        }
        Packet::Publish(publish)
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            // Those that will be sent again have theirs already.
            let is_taken = |id: u16| {
                self.unacknowledged.iter().any(|(sent, _)| *sent == id)
                    || self
                        .waiting
                        .iter()
                        .take(WINDOW)
                        .any(|w| matches!(w, Outgoing::Again(again, _) if *again == id))
            };
            if !is_taken(self.last_id) {
                return self.last_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(bytes: usize) -> Delivery {
        Delivery {
            topic: "t".into(),
            payload: vec![b'x'; bytes].into(),
            qos: QoS::AtLeastOnce,
            retain: false,
        }
    }

    #[tokio::test]
    async fn only_the_connection_that_came_last_reads_and_is_answered() {
        let mailbox = Mailbox::default();
        mailbox.attach(1);
        mailbox.deliver(delivery(1));
        let first = mailbox.next_batch(1).await.unwrap();
        mailbox.attach(2);
        mailbox.answer(1, Packet::PingResp);
        mailbox.acknowledged(1, 1);
        assert_eq!(mailbox.next_batch(1).await, Err(Closed::TakenOver));
        let again = mailbox.next_batch(2).await.unwrap();
        // The same message, marked as a repetition.
        assert_eq!((first[0] | 0x08, &first[1..]), (again[0], &again[1..]));
    }

    #[tokio::test]
    async fn one_that_reads_learns_that_it_was_taken_over() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.attach(1);
        let reading = {
            let mailbox = mailbox.clone();
            tokio::spawn(async move { mailbox.next_batch(1).await })
        };
        tokio::task::yield_now().await;
        mailbox.attach(2);
        assert_eq!(reading.await.unwrap(), Err(Closed::TakenOver));
        mailbox.deliver(delivery(1));
        assert!(mailbox.next_batch(2).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_does_not_lock_its_client_out() {
        const MIB: usize = 1024 * 1024;
        let mailbox = Mailbox::default();
        mailbox.attach(1);
        for _ in 0..40 {
            mailbox.deliver(delivery(MIB / 2));
            // Each is on its way, and none is acknowledged.
            mailbox.next_batch(1).await.unwrap();
        }
        mailbox.detach();
        for _ in 0..2_000 {
            mailbox.deliver(delivery(MIB / 8));
        }
        assert!(mailbox.state.lock().bytes <= MAX_KEPT_BYTES);
        mailbox.attach(2);
        // It subscribes anew, and what comes now fits by itself.
        mailbox.answer(2, Packet::PingResp);
        for _ in 0..30 {
            mailbox.deliver(delivery(MIB));
        }
        assert!(mailbox.next_batch(2).await.is_ok());
        for _ in 0..3 {
            mailbox.deliver(delivery(MIB));
        }
        assert_eq!(mailbox.next_batch(2).await, Err(Closed::Overfull));
        mailbox.detach();
        assert!(mailbox.state.lock().bytes <= MAX_KEPT_BYTES + 40 * MIB);
    }
}
