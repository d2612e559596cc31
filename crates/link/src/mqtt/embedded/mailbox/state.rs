//! What is in a mailbox: the answers, the order of messages, how much of them may be on its way, and how much
//! all of it is.

use std::collections::{HashSet, VecDeque};

use bytes::BytesMut;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio_util::sync::CancellationToken;

use super::{Closed, Delivery};
use crate::mqtt::embedded::limits::{
    BATCH_BYTES, MAX_COMPARISONS, MAX_WAITING, MAX_WAITING_BYTES, WINDOW, WINDOW_BYTES,
};
use crate::mqtt::embedded::retained::{Cursor, Found, Retained};

/// What has its place in the order of messages.
#[derive(Debug)]
pub(super) enum Waiting {
    Message(Delivery),
    Retained(Cursor),
}

#[derive(Default)]
pub(super) struct State {
    /// The connection that reads, and what ends it.
    pub(super) reader: Option<(u64, CancellationToken)>,
    pub(super) answers: VecDeque<Packet>,
    pub(super) answer_bytes: usize,
    /// What has been sent by this connection, oldest first.
    pub(super) unacknowledged: VecDeque<(u16, Delivery)>,
    pub(super) sent_bytes: usize,
    /// What had been sent by the one before it.
    pub(super) again: VecDeque<(u16, Delivery)>,
    pub(super) waiting: VecDeque<Waiting>,
    /// Of all messages that are here.
    pub(super) bytes: usize,
    /// How many of those that wait are none, and the bytes of these.
    pub(super) cursors: usize,
    pub(super) cursor_bytes: usize,
    /// The messages with QoS 2 that have been passed on and not been released by the client.
    pub(super) begun: HashSet<u16>,
    pub(super) last_id: u16,
    pub(super) is_overfull: bool,
    /// How many messages have been dropped since it was told last.
    pub(super) dropped: u64,
    /// Whether a batch has been taken and the next one not been asked for.
    pub(super) is_writing: bool,
}

impl State {
    pub(super) fn is_empty(&self) -> bool {
        let has_all = self.messages() == 0 && self.cursors == 0 && self.answers.is_empty();
        self.reader.is_none() || self.is_overfull || (has_all && !self.is_writing)
    }

    pub(super) fn closed(&self, connection: u64) -> Option<Closed> {
        match &self.reader {
            Some((reader, _)) if *reader == connection => {
                self.is_overfull.then_some(Closed::Overfull)
            }
            _ => Some(Closed::TakenOver),
        }
    }

    pub(super) fn messages(&self) -> usize {
        self.unacknowledged.len() + self.again.len() + self.waiting.len() - self.cursors
    }

    pub(super) fn count_bytes(&self) -> usize {
        let sent = self.unacknowledged.iter().chain(&self.again);
        let sent = sent.map(|(_, delivery)| delivery);
        let waiting = self.waiting.iter().filter_map(|waiting| match waiting {
            Waiting::Message(delivery) => Some(delivery),
            Waiting::Retained(_) => None,
        });
        sent.chain(waiting).map(Delivery::bytes).sum()
    }

    pub(super) fn let_go(&mut self) {
        // Their room as well.
        self.answers = VecDeque::new();
        self.unacknowledged = VecDeque::new();
        self.again = VecDeque::new();
        self.waiting = VecDeque::new();
        (self.answer_bytes, self.sent_bytes, self.bytes) = (0, 0, 0);
        (self.cursors, self.cursor_bytes) = (0, 0);
    }

    /// Ends a connection that is too slow. Says how many messages that ends.
    pub(super) fn cut_off(&mut self) -> usize {
        self.is_overfull = true;
        let ended = self.messages();
        self.let_go();
        if let Some((_, end)) = &self.reader {
            end.cancel();
        }
        ended
    }

    /// The bytes of the messages that are kept for this client's sake: not of those on their way that are
    /// retained in any case.
    pub(super) fn own_bytes(&self) -> usize {
        let sent = self.unacknowledged.iter().chain(&self.again);
        let retained = sent.filter(|(_, delivery)| delivery.retain);
        let retained: usize = retained.map(|(_, delivery)| delivery.bytes()).sum();
        self.bytes.saturating_sub(retained)
    }

    /// Drops the messages that are not on their way yet. Says how many.
    pub(super) fn drop_waiting(&mut self) -> usize {
        let before = self.messages();
        self.waiting
            .retain(|waiting| matches!(waiting, Waiting::Retained(_)));
        self.bytes = self.count_bytes();
        before - self.messages()
    }

    pub(super) fn drop_one(&mut self, client_id: &str) {
        if self.dropped == 0 {
            tracing::warn!(
                client_id,
                "{MAX_WAITING} messages or {MAX_WAITING_BYTES} bytes wait for a client of the embedded broker: more are dropped"
            );
        }
        self.dropped += 1;
    }

    /// Not at the first place that is free, which the next message takes.
    pub(super) fn tell_dropped_when_eased(&mut self, client_id: &str) {
        if self.messages() <= MAX_WAITING / 2 && self.bytes <= MAX_WAITING_BYTES / 2 {
            self.tell_dropped(client_id);
        }
    }

    pub(super) fn tell_dropped(&mut self, client_id: &str) {
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
    pub(super) fn batch(&mut self, retained: &Retained) -> (BytesMut, bool) {
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
