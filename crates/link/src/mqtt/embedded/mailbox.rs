//! What waits to be sent to one client: answers and messages in one order, bounded. A client that
//! reads too slowly to stay within the bounds is cut off.

use std::collections::VecDeque;
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
    bytes: usize,
    unacknowledged: VecDeque<(u16, Delivery)>,
    last_id: u16,
    is_attached: bool,
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

impl Mailbox {
    /// A client reads from now on. What it had not acknowledged is sent again first.
    pub(super) fn attach(&self) {
        let mut state = self.state.lock();
        state.is_attached = true;
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
        drop(state);
        self.changed.notify_one();
    }

    /// Nobody reads any more; messages with QoS 1 are kept for later, up to a limit.
    pub(super) fn detach(&self) {
        self.state.lock().is_attached = false;
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

    pub(super) fn answer(&self, packet: Packet) {
        self.push(Outgoing::Answer(packet));
    }

    pub(super) fn deliver(&self, delivery: Delivery) {
        self.push(Outgoing::Delivery(delivery));
    }

    fn push(&self, outgoing: Outgoing) {
        let mut state = self.state.lock();
        if !state.is_attached {
            let is_kept = matches!(&outgoing, Outgoing::Delivery(delivery) if delivery.qos != QoS::AtMostOnce);
            if !is_kept || state.waiting.len() >= MAX_KEPT {
                return;
            }
        }
        state.bytes += outgoing.bytes();
        state.waiting.push_back(outgoing);
        state.is_overfull |= state.waiting.len() > MAX_WAITING || state.bytes > MAX_WAITING_BYTES;
        drop(state);
        self.changed.notify_one();
    }

    /// The client has a message.
    pub(super) fn acknowledged(&self, id: u16) {
        let mut state = self.state.lock();
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

    /// The next bytes for the client, as soon as there are any; `None` if it was too slow.
    pub(super) async fn next_batch(&self) -> Option<BytesMut> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if state.is_overfull {
                    return None;
                }
                let batch = state.batch();
                state.is_writing = !batch.is_empty();
                if state.is_writing {
                    return Some(batch);
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
        !self.is_attached || (has_all && !self.is_writing)
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
