//! What waits to be sent to one client, bounded.
//!
//! Answers have a way of their own and go first, so that who is slow to acknowledge messages hears at
//! once that the broker is there and has what was published. Of answers there are only as many as the
//! client leaves unread: beyond [`MAX_ANSWER_BYTES`] nothing more is read from it.
//!
//! Messages are in one order. So many as fit in the [`WINDOW`](super::limits::WINDOW) are on their way, then comes what waits; in
//! its place among it waits what is retained for a subscription, which is fetched only when its turn
//! comes. At the bound a client whose session is not kept is cut off at once, and what waited for it is
//! let go of. Where the session is kept, the messages that come are dropped, and that is counted and told.
//! A mailbox that is asked to make room for those of others does the same with what waits in it.
//!
//! A mailbox may outlive its connection. Only the connection that was attached last, known by its number,
//! is answered and reads: what is sent to one that is gone is lost.

mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::Packet;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::state::{State, Waiting};
use super::limits::{
    MAX_ANSWER_BYTES, MAX_BEGUN, MAX_CURSOR_BYTES, MAX_CURSORS, MAX_PRESENT_BYTES, MAX_WAITING,
    MAX_WAITING_BYTES, MESSAGE_BYTES,
};
use super::retained::{Cursor, Retained};

/// A message on its way to a client.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// Why there is nothing more for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// More waited for it than may.
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
pub(super) struct Mailbox {
    client_id: String,
    /// Whether it is for a session that is kept.
    is_kept: bool,
    retained: Arc<Retained>,
    /// How many messages all mailboxes together have dropped.
    dropped: Arc<AtomicU64>,
    state: Mutex<State>,
    changed: Notify,
    /// Told when something has left, or nobody reads any more.
    eased: Notify,
}

impl Delivery {
    pub(super) fn bytes(&self) -> usize {
        MESSAGE_BYTES + self.topic.len() + self.payload.len()
    }
}

impl Mailbox {
    pub(super) fn new(
        client_id: &str,
        is_kept: bool,
        retained: Arc<Retained>,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        Self {
            client_id: client_id.to_owned(),
            is_kept,
            retained,
            dropped,
            state: Mutex::default(),
            changed: Notify::new(),
            eased: Notify::new(),
        }
    }

    /// This connection reads from now on, until what is returned is cancelled. What the client had not
    /// acknowledged is sent again first.
    pub(super) fn attach(&self, connection: u64) -> CancellationToken {
        let end = CancellationToken::new();
        let mut state = self.state.lock();
        if let Some((_, earlier)) = state.reader.replace((connection, end.clone())) {
            earlier.cancel();
        }
        state.is_writing = false;
        // Answers were for the connection that is gone.
        state.answers.clear();
        state.answer_bytes = 0;
        let again: Vec<_> = state.unacknowledged.drain(..).collect();
        for sent in again.into_iter().rev() {
            state.again.push_front(sent);
        }
        state.sent_bytes = 0;
        // Of changes that a cursor passes over the client may have missed some.
        let (mut cursors, messages): (Vec<_>, Vec<_>) = state
            .waiting
            .drain(..)
            .partition(|waiting| matches!(waiting, Waiting::Retained(_)));
        for waiting in &mut cursors {
            if let Waiting::Retained(cursor) = waiting {
                self.retained.renew(cursor);
            }
        }
        state.waiting = messages.into_iter().chain(cursors).collect();
        drop(state);
        self.changed.notify_one();
        end
    }

    /// Nobody reads any more; messages with QoS 1 are kept for later. Says how many bytes they are.
    pub(super) fn detach(&self) -> usize {
        let mut state = self.state.lock();
        if let Some((_, end)) = state.reader.take() {
            end.cancel();
        }
        state.answers.clear();
        state.answer_bytes = 0;
        state.waiting.retain(|waiting| match waiting {
            Waiting::Message(delivery) => delivery.qos != QoS::AtMostOnce,
            Waiting::Retained(_) => true,
        });
        state.bytes = state.count_bytes();
        let bytes = state.bytes;
        drop(state);
        self.eased.notify_waiters();
        bytes
    }

    /// Nobody will read any more, and nothing is kept. Says how many messages with QoS 1 that ends.
    pub(super) fn forget(&self) -> usize {
        self.detach();
        let mut state = self.state.lock();
        state.tell_dropped(&self.client_id);
        let left = state.messages();
        state.let_go();
        left
    }

    /// Why this connection has ended.
    pub(super) fn closed(&self, connection: u64) -> Closed {
        self.state
            .lock()
            .closed(connection)
            .unwrap_or(Closed::TakenOver)
    }

    /// Returns once the client has everything, or is gone.
    pub(super) async fn emptied(&self) {
        self.eased_until(State::is_empty).await;
    }

    /// Returns once the client has read enough of its answers to get more, or is gone.
    pub(super) async fn answers_read(&self) {
        let is_so = |state: &State| state.answer_bytes < MAX_ANSWER_BYTES;
        // It is asked after each packet, and hardly ever to wait for.
        if !is_so(&self.state.lock()) {
            self.eased_until(is_so).await;
        }
    }

    async fn eased_until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            // Before the look, so that what happens after it is not missed.
            eased.as_mut().enable();
            if is_so(&self.state.lock()) {
                return;
            }
            eased.await;
        }
    }

    /// An answer to what came by this connection.
    pub(super) fn answer(&self, connection: u64, packet: Packet) {
        let mut state = self.state.lock();
        if state.closed(connection).is_none() {
            state.answer_bytes += packet.size();
            state.answers.push_back(packet);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Adds a message. Says by how much that is more for a client that is away.
    pub(super) fn deliver(&self, delivery: Delivery) -> usize {
        let mut state = self.state.lock();
        let is_away = state.reader.is_none();
        if is_away && delivery.qos == QoS::AtMostOnce {
            return 0;
        }
        if state.is_overfull {
            self.count_dropped(1);
            return 0;
        }
        let bytes = delivery.bytes();
        if state.messages() >= MAX_WAITING || state.bytes + bytes > MAX_WAITING_BYTES {
            self.overflows(state);
            return 0;
        }
        state.bytes += bytes;
        state.waiting.push_back(Waiting::Message(delivery));
        drop(state);
        self.changed.notify_one();
        if is_away { bytes } else { 0 }
    }

    /// Has what is retained sent in its turn.
    pub(super) fn fetch(&self, cursor: Cursor) {
        let mut state = self.state.lock();
        if state.is_overfull {
            return;
        }
        let bytes = cursor.bytes();
        if state.cursors >= MAX_CURSORS || state.cursor_bytes + bytes > MAX_CURSOR_BYTES {
            return self.overflows(state);
        }
        state.cursors += 1;
        state.cursor_bytes += bytes;
        state.waiting.push_back(Waiting::Retained(cursor));
        drop(state);
        self.changed.notify_one();
    }

    fn overflows(&self, mut state: MutexGuard<'_, State>) {
        if self.is_kept {
            state.drop_one(&self.client_id);
            self.count_dropped(1);
            return;
        }
        let ended = state.cut_off();
        drop(state);
        self.count_dropped(ended + 1);
        self.eased.notify_waiters();
    }

    /// The bytes of what is kept for this client's sake.
    pub(super) fn own_bytes(&self) -> usize {
        self.state.lock().own_bytes()
    }

    /// Makes room for others: a client whose session is not kept is cut off, of another one what is not on its
    /// way yet is dropped. Says how many bytes that frees.
    pub(super) fn make_room(&self) -> usize {
        let mut state = self.state.lock();
        let before = state.own_bytes();
        let dropped = match self.is_kept {
            true => state.drop_waiting(),
            false => state.cut_off(),
        };
        let freed = before - state.own_bytes();
        drop(state);
        if dropped > 0 {
            tracing::warn!(
                client_id = self.client_id,
                dropped,
                "more than {MAX_PRESENT_BYTES} bytes wait for the clients of the embedded broker in all: what waits for this one, which is the furthest behind, is dropped"
            );
        }
        self.count_dropped(dropped);
        self.eased.notify_waiters();
        freed
    }

    fn count_dropped(&self, messages: usize) {
        self.dropped.fetch_add(messages as u64, Ordering::Relaxed);
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
        if state.closed(connection).is_some() {
            return;
        }
        let mut sent = state.unacknowledged.iter();
        if let Some(place) = sent.position(|(sent, _)| *sent == id)
            && let Some((_, delivery)) = state.unacknowledged.remove(place)
        {
            state.bytes -= delivery.bytes();
            state.sent_bytes -= delivery.bytes();
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
            let has_looked_at_all = {
                let mut state = self.state.lock();
                if let Some(closed) = state.closed(connection) {
                    // It may have been woken in the place of the one that reads.
                    self.changed.notify_one();
                    return Err(closed);
                }
                let (batch, has_looked_at_all) = state.batch(&self.retained);
                state.tell_dropped_when_eased(&self.client_id);
                state.is_writing = !batch.is_empty();
                drop(state);
                self.eased.notify_waiters();
                if !batch.is_empty() {
                    return Ok(batch);
                }
                has_looked_at_all
            };
            if has_looked_at_all {
                changed.await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The lower of two.
pub(super) fn lower(one: QoS, other: QoS) -> QoS {
    if (one as u8) < (other as u8) {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests;
