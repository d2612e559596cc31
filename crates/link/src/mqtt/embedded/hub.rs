//! Who listens to what. Every message passes here, under one lock that nobody holds while waiting.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::SubscribeReasonCode;
use tokio_util::sync::CancellationToken;

use super::limits::{
    COUNTED_EVERY_BYTES, MAX_AWAY, MAX_AWAY_BYTES, MAX_FILTER_BYTES, MAX_PRESENT_BYTES,
    MAX_SUBSCRIPTIONS,
};
use super::mailbox::{Delivery, Mailbox, lower};
use super::retained::Retained;
use crate::mqtt::topic::{fits, is_filter};

/// See the module.
#[derive(Default)]
pub(super) struct Hub {
    retained: Arc<Retained>,
    /// How many messages were dropped, because too many waited.
    dropped: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: HashMap<String, Client>,
    /// Numbers connections, so that the end of one does not end its successor.
    connections: u64,
    /// Who is away, in the order of leaving.
    away: BTreeMap<u64, String>,
    away_bytes: usize,
    departures: u64,
    /// What has been passed on to clients that are there since it was counted how much waits for them.
    passed_on_bytes: usize,
}

struct Client {
    connection: u64,
    away: Option<Away>,
    is_clean: bool,
    subscriptions: Vec<(String, QoS)>,
    mailbox: Arc<Mailbox>,
}

/// The session of a client that is not there.
struct Away {
    /// The number of its leaving.
    departure: u64,
    bytes: usize,
}

/// What a connection has been given.
pub(super) struct Seat {
    pub(super) connection: u64,
    pub(super) mailbox: Arc<Mailbox>,
    /// Cancelled when the connection is to end; the mailbox says why.
    pub(super) end: CancellationToken,
    /// Whether a session of an earlier connection goes on.
    pub(super) resumed: bool,
}

impl Hub {
    /// A client has come; an earlier connection by its name ends.
    pub(super) fn enter(&self, client_id: &str, is_clean: bool) -> Seat {
        let mut state = self.state.lock();
        state.connections += 1;
        let connection = state.connections;
        let earlier = state.remove(client_id);
        let (kept, ended) = match earlier {
            Some(client) if !is_clean && !client.is_clean => (Some(client), None),
            other => (None, other),
        };
        if let Some(client) = ended {
            client.mailbox.forget();
        }
        let resumed = kept.is_some();
        let (subscriptions, mailbox) = match kept {
            Some(client) => (client.subscriptions, client.mailbox),
            None => {
                let (retained, dropped) = (self.retained.clone(), self.dropped.clone());
                let mailbox = Mailbox::new(client_id, !is_clean, retained, dropped);
                (Vec::new(), Arc::new(mailbox))
            }
        };
        let end = mailbox.attach(connection);
        let client = Client {
            connection,
            away: None,
            is_clean,
            subscriptions,
            mailbox: mailbox.clone(),
        };
        state.clients.insert(client_id.to_owned(), client);
        Seat {
            connection,
            mailbox,
            end,
            resumed,
        }
    }

    /// A connection has ended.
    pub(super) fn leave(&self, client_id: &str, connection: u64) {
        let mut state = self.state.lock();
        let State {
            clients,
            away,
            away_bytes,
            departures,
            ..
        } = &mut *state;
        let Some(client) = clients.get_mut(client_id) else {
            return;
        };
        if client.connection != connection || client.away.is_some() {
            return;
        }
        if client.is_clean {
            clients.remove(client_id);
            return;
        }
        *departures += 1;
        let bytes = client.filter_bytes() + client.mailbox.detach();
        client.away = Some(Away {
            departure: *departures,
            bytes,
        });
        away.insert(*departures, client_id.to_owned());
        *away_bytes += bytes;
        state.forget_longest_away(&self.dropped);
    }

    /// How many messages were dropped since the broker started, because too many waited.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    pub(super) fn subscribe(
        &self,
        client_id: &str,
        wanted: Vec<(String, QoS)>,
        acknowledge: impl FnOnce(Vec<SubscribeReasonCode>),
    ) {
        let mut state = self.state.lock();
        let Some(client) = state.clients.get_mut(client_id) else {
            return;
        };
        let (mut codes, mut granted) = (Vec::new(), Vec::new());
        for (place, (filter, qos)) in wanted.into_iter().enumerate() {
            if place >= MAX_SUBSCRIPTIONS {
                codes.push(SubscribeReasonCode::Failure);
                continue;
            }
            let qos = lower(qos, QoS::AtLeastOnce);
            client.subscriptions.retain(|(old, _)| *old != filter);
            if !is_filter(&filter)
                || client.subscriptions.len() >= MAX_SUBSCRIPTIONS
                || client.filter_bytes() + filter.len() > MAX_FILTER_BYTES
            {
                codes.push(SubscribeReasonCode::Failure);
                continue;
            }
            codes.push(SubscribeReasonCode::Success(qos));
            client.subscriptions.push((filter.clone(), qos));
            granted.push((filter, qos));
        }
        acknowledge(codes);
        if !granted.is_empty() {
            client.mailbox.fetch(self.retained.cursor(granted));
        }
    }

    pub(super) fn unsubscribe(&self, client_id: &str, filters: &[String]) {
        let ended: HashSet<&String> = filters.iter().collect();
        if let Some(client) = self.state.lock().clients.get_mut(client_id) {
            client
                .subscriptions
                .retain(|(filter, _)| !ended.contains(filter));
        }
    }

    /// Returns once every client that is there has what was published.
    pub(super) async fn emptied(&self) {
        let mailboxes: Vec<_> = self
            .state
            .lock()
            .clients
            .values()
            .filter(|client| client.away.is_none())
            .map(|client| client.mailbox.clone())
            .collect();
        for mailbox in mailboxes {
            mailbox.emptied().await;
        }
    }

    /// Passes a message on to who listens, and keeps it if it is to be retained.
    pub(super) fn publish(&self, topic: &str, payload: &[u8], qos: QoS, retain: bool) {
        let topic: Arc<str> = topic.into();
        // A small message must not keep the large buffer alive that it was read from.
        let payload = Bytes::copy_from_slice(payload);
        let mut state = self.state.lock();
        let State {
            clients,
            away_bytes,
            passed_on_bytes,
            ..
        } = &mut *state;
        if retain {
            self.retained.keep(&topic, &payload, qos);
        }
        for client in clients.values_mut() {
            let fitting = client
                .subscriptions
                .iter()
                .filter(|(filter, _)| fits(filter, &topic));
            // One that fits several filters comes once, with the highest QoS of these.
            let Some(wanted) = fitting.map(|(_, qos)| *qos).max_by_key(|qos| *qos as u8) else {
                continue;
            };
            let delivery = Delivery {
                topic: topic.clone(),
                payload: payload.clone(),
                qos: lower(wanted, qos),
                retain: false,
            };
            let bytes = delivery.bytes();
            let kept = client.mailbox.deliver(delivery);
            match &mut client.away {
                Some(away) => {
                    away.bytes += kept;
                    *away_bytes += kept;
                }
                None => *passed_on_bytes += bytes,
            }
        }
        state.forget_longest_away(&self.dropped);
        if state.passed_on_bytes >= COUNTED_EVERY_BYTES {
            state.passed_on_bytes = 0;
            state.bound_present();
        }
    }
}

impl Client {
    fn filter_bytes(&self) -> usize {
        self.subscriptions
            .iter()
            .map(|(filter, _)| filter.len())
            .sum()
    }
}

impl State {
    fn remove(&mut self, client_id: &str) -> Option<Client> {
        let mut client = self.clients.remove(client_id)?;
        if let Some(away) = client.away.take() {
            self.away.remove(&away.departure);
            self.away_bytes -= away.bytes;
        }
        Some(client)
    }

    /// Keeps what waits for all clients that are there within its bound. Who has the most waiting is the
    /// furthest behind, and makes room first; whoever keeps up has next to nothing waiting, and keeps it.
    fn bound_present(&self) {
        let present = self.clients.values().filter(|client| client.away.is_none());
        let sizes = present.map(|client| (client.mailbox.own_bytes(), &client.mailbox));
        let mut sizes: Vec<(usize, &Arc<Mailbox>)> = sizes.collect();
        let mut all: usize = sizes.iter().map(|(bytes, _)| *bytes).sum();
        if all <= MAX_PRESENT_BYTES {
            return;
        }
        sizes.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, mailbox) in sizes {
            if all <= MAX_PRESENT_BYTES {
                return;
            }
            all = all.saturating_sub(mailbox.make_room());
        }
    }

    /// Keeps the sessions of clients that are away within their bounds.
    fn forget_longest_away(&mut self, dropped: &AtomicU64) {
        while self.away.len() > MAX_AWAY || self.away_bytes > MAX_AWAY_BYTES {
            let Some((_, client_id)) = self.away.pop_first() else {
                return;
            };
            if let Some(client) = self.remove(&client_id) {
                let lost = client.mailbox.forget();
                dropped.fetch_add(lost as u64, Ordering::Relaxed);
                tracing::warn!(
                    client_id,
                    lost,
                    "the embedded broker forgets the session that has been away the longest: there are more than {MAX_AWAY}, or more than {MAX_AWAY_BYTES} bytes in all"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
