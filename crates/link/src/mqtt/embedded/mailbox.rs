//! What waits to be sent to one client, bounded.
//!
//! Answers have a way of their own and go first, so that who is slow to acknowledge messages hears at
//! once that the broker is there and has what was published. Of answers there are only as many as the
//! client leaves unread: beyond [`MAX_ANSWER_BYTES`] nothing more is read from it.
//!
//! Messages are in one order. So many as fit in the [`WINDOW`] are on their way, then comes what waits; in
//! its place among it waits what is retained for a subscription, which is fetched only when its turn
//! comes. At the bound a client whose session is not kept is cut off at once, and what waited for it is
//! let go of. Where the session is kept, the messages that come are dropped, and that is counted and told.
//!
//! A mailbox may outlive its connection. Only the connection that was attached last, known by its number,
//! is answered and reads: what is sent to one that is gone is lost.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::{
    BATCH_BYTES, MAX_ANSWER_BYTES, MAX_BEGUN, MAX_COMPARISONS, MAX_CURSOR_BYTES, MAX_CURSORS,
    MAX_WAITING, MAX_WAITING_BYTES, MESSAGE_BYTES, WINDOW, WINDOW_BYTES,
};
use super::retained::{Cursor, Found, Retained};

/// A message on its way to a client.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// What has its place in the order of messages.
#[derive(Debug)]
enum Waiting {
    Message(Delivery),
    Retained(Cursor),
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
    state: Mutex<State>,
    changed: Notify,
    /// Told when something has left, or nobody reads any more.
    eased: Notify,
}

#[derive(Default)]
struct State {
    /// The connection that reads, and what ends it.
    reader: Option<(u64, CancellationToken)>,
    answers: VecDeque<Packet>,
    answer_bytes: usize,
    /// What has been sent by this connection, oldest first.
    unacknowledged: VecDeque<(u16, Delivery)>,
    sent_bytes: usize,
    /// What had been sent by the one before it.
    again: VecDeque<(u16, Delivery)>,
    waiting: VecDeque<Waiting>,
    /// Of all messages that are here.
    bytes: usize,
    /// How many of those that wait are none, and the bytes of these.
    cursors: usize,
    cursor_bytes: usize,
    /// The messages with QoS 2 that have been passed on and not been released by the client.
    begun: HashSet<u16>,
    last_id: u16,
    is_overfull: bool,
    /// How many messages have been dropped since it was told last.
    dropped: u64,
    /// Whether a batch has been taken and the next one not been asked for.
    is_writing: bool,
}

impl Delivery {
    fn bytes(&self) -> usize {
        MESSAGE_BYTES + self.topic.len() + self.payload.len()
    }
}

impl Mailbox {
    pub(super) fn new(client_id: &str, is_kept: bool, retained: Arc<Retained>) -> Self {
        Self {
            client_id: client_id.to_owned(),
            is_kept,
            retained,
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
        if state.is_overfull || (is_away && delivery.qos == QoS::AtMostOnce) {
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
            return;
        }
        state.cut_off();
        drop(state);
        self.eased.notify_waiters();
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

impl State {
    fn is_empty(&self) -> bool {
        let has_all = self.messages() == 0 && self.cursors == 0 && self.answers.is_empty();
        self.reader.is_none() || self.is_overfull || (has_all && !self.is_writing)
    }

    fn closed(&self, connection: u64) -> Option<Closed> {
        match &self.reader {
            Some((reader, _)) if *reader == connection => {
                self.is_overfull.then_some(Closed::Overfull)
            }
            _ => Some(Closed::TakenOver),
        }
    }

    fn messages(&self) -> usize {
        self.unacknowledged.len() + self.again.len() + self.waiting.len() - self.cursors
    }

    fn count_bytes(&self) -> usize {
        let sent = self.unacknowledged.iter().chain(&self.again);
        let sent = sent.map(|(_, delivery)| delivery);
        let waiting = self.waiting.iter().filter_map(|waiting| match waiting {
            Waiting::Message(delivery) => Some(delivery),
            Waiting::Retained(_) => None,
        });
        sent.chain(waiting).map(Delivery::bytes).sum()
    }

    fn let_go(&mut self) {
        // Their room as well.
        self.answers = VecDeque::new();
        self.unacknowledged = VecDeque::new();
        self.again = VecDeque::new();
        self.waiting = VecDeque::new();
        (self.answer_bytes, self.sent_bytes, self.bytes) = (0, 0, 0);
        (self.cursors, self.cursor_bytes) = (0, 0);
    }

    /// Ends a connection that is too slow.
    fn cut_off(&mut self) {
        self.is_overfull = true;
        self.let_go();
        if let Some((_, end)) = &self.reader {
            end.cancel();
        }
    }

    fn drop_one(&mut self, client_id: &str) {
        if self.dropped == 0 {
            tracing::warn!(
                client_id,
                "{MAX_WAITING} messages or {MAX_WAITING_BYTES} bytes wait for a client of the embedded broker: more are dropped"
            );
        }
        self.dropped += 1;
    }

    /// Not at the first place that is free, which the next message takes.
    fn tell_dropped_when_eased(&mut self, client_id: &str) {
        if self.messages() <= MAX_WAITING / 2 && self.bytes <= MAX_WAITING_BYTES / 2 {
            self.tell_dropped(client_id);
        }
    }

    fn tell_dropped(&mut self, client_id: &str) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            tracing::warn!(
                client_id,
                dropped,
                "messages for a client of the embedded broker were dropped because too many waited"
            );
        }
    }

    /// What may be sent now, and whether that is all there is for now.
    fn batch(&mut self, retained: &Retained) -> (BytesMut, bool) {
        let mut batch = BytesMut::new();
        for answer in self.answers.drain(..) {
            // Made by us, and far below any limit.
            let _ = answer.write(&mut batch, usize::MAX);
        }
        self.answer_bytes = 0;
        let mut comparisons = MAX_COMPARISONS;
        while batch.len() < BATCH_BYTES {
            // They were in the window before.
            if let Some((id, delivery)) = self.again.pop_front() {
                self.send(delivery, Some(id), &mut batch);
                continue;
            }
            let is_full = self.unacknowledged.len() >= WINDOW || self.sent_bytes >= WINDOW_BYTES;
            let delivery = match self.waiting.pop_front_if(|waiting| match waiting {
                Waiting::Message(delivery) => !is_full || delivery.qos == QoS::AtMostOnce,
                Waiting::Retained(_) => !is_full,
            }) {
                None => break,
                Some(Waiting::Message(delivery)) => {
                    self.bytes -= delivery.bytes();
                    delivery
                }
                Some(Waiting::Retained(mut cursor)) => {
                    match retained.next(&mut cursor, &mut comparisons) {
                        Found::Message(delivery) => {
                            self.waiting.push_front(Waiting::Retained(cursor));
                            delivery
                        }
                        Found::NotYet => {
                            self.waiting.push_front(Waiting::Retained(cursor));
                            return (batch, false);
                        }
                        Found::End => {
                            self.cursors -= 1;
                            self.cursor_bytes -= cursor.bytes();
                            continue;
                        }
                    }
                }
            };
            if delivery.qos != QoS::AtMostOnce {
                self.bytes += delivery.bytes();
            }
            self.send(delivery, None, &mut batch);
        }
        (batch, true)
    }

    fn send(&mut self, delivery: Delivery, again: Option<u16>, batch: &mut BytesMut) {
        let mut publish =
            Publish::from_bytes(&*delivery.topic, delivery.qos, delivery.payload.clone());
        publish.retain = delivery.retain;
        if delivery.qos != QoS::AtMostOnce {
            publish.dup = again.is_some();
            publish.pkid = again.unwrap_or_else(|| self.free_id());
            self.sent_bytes += delivery.bytes();
            self.unacknowledged.push_back((publish.pkid, delivery));
        }
        // Its parts were read from a packet of the same limits.
        let _ = publish.write(batch);
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let mut taken = self.unacknowledged.iter();
            if !taken.any(|(sent, _)| *sent == self.last_id) {
                return self.last_id;
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
