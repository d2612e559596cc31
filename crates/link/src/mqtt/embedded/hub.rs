//! Who listens to what, and what is retained. Every message passes here, under one lock that nobody
//! holds while waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{Login, SubscribeReasonCode};
use tokio_util::sync::CancellationToken;

use super::mailbox::{Delivery, Mailbox};
use crate::mqtt::topic::{fits, is_filter};

/// The most topics that retain a message.
const MAX_RETAINED: usize = 50_000;
/// The most bytes that are retained.
const MAX_RETAINED_BYTES: usize = 64 * 1024 * 1024;
/// The most filters of a client.
const MAX_SUBSCRIPTIONS: usize = 256;
/// The most sessions of clients that are not there.
const MAX_ABSENT: usize = 256;

/// See the module.
pub(super) struct Hub {
    login: Option<(String, String)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    retained: BTreeMap<Arc<str>, (Bytes, QoS)>,
    retained_bytes: usize,
    clients: HashMap<String, Client>,
    /// Numbers connections, so that the end of one does not end its successor.
    connections: u64,
}

struct Client {
    connection: u64,
    /// Ends the connection; `None` while the client is not there.
    present: Option<CancellationToken>,
    is_clean: bool,
    subscriptions: Vec<(String, QoS)>,
    mailbox: Arc<Mailbox>,
}

/// What a connection has been given.
pub(super) struct Seat {
    pub(super) connection: u64,
    pub(super) mailbox: Arc<Mailbox>,
    /// Cancelled when another connection takes the client's name.
    pub(super) taken_over: CancellationToken,
    /// Whether a session of an earlier connection goes on.
    pub(super) resumed: bool,
}

impl Hub {
    pub(super) fn new(login: Option<(String, String)>) -> Self {
        Self {
            login,
            state: Mutex::default(),
        }
    }

    pub(super) fn admits(&self, login: Option<&Login>) -> bool {
        let Some((user, password)) = &self.login else {
            return true;
        };
        login.is_some_and(|login| {
            let user = is_equal(user.as_bytes(), login.username.as_bytes());
            user & is_equal(password.as_bytes(), login.password.as_bytes())
        })
    }

    /// A client has come; an earlier connection by its name ends.
    pub(super) fn enter(&self, client_id: &str, is_clean: bool) -> Seat {
        let mut state = self.state.lock();
        state.connections += 1;
        let connection = state.connections;
        let earlier = state.clients.remove(client_id);
        if let Some(token) = earlier.as_ref().and_then(|client| client.present.as_ref()) {
            token.cancel();
        }
        let kept = earlier.filter(|client| !is_clean && !client.is_clean);
        let resumed = kept.is_some();
        let (subscriptions, mailbox) = kept.map_or_else(
            || (Vec::new(), Arc::default()),
            |client| (client.subscriptions, client.mailbox),
        );
        mailbox.attach(connection);
        let taken_over = CancellationToken::new();
        let client = Client {
            connection,
            present: Some(taken_over.clone()),
            is_clean,
            subscriptions,
            mailbox: mailbox.clone(),
        };
        state.clients.insert(client_id.to_owned(), client);
        Seat {
            connection,
            mailbox,
            taken_over,
            resumed,
        }
    }

    /// A connection has ended.
    pub(super) fn leave(&self, client_id: &str, connection: u64) {
        let mut state = self.state.lock();
        let Some(client) = state.clients.get_mut(client_id) else {
            return;
        };
        if client.connection != connection {
            return;
        }
        if client.is_clean {
            state.clients.remove(client_id);
            return;
        }
        client.present = None;
        client.mailbox.detach();
        let absent = state
            .clients
            .iter()
            .filter(|(_, client)| client.present.is_none());
        if absent.clone().count() > MAX_ABSENT
            && let Some(longest) = absent
                .min_by_key(|(_, client)| client.connection)
                .map(|(id, _)| id.clone())
        {
            state.clients.remove(&longest);
        }
    }

    pub(super) fn subscribe(
        &self,
        client_id: &str,
        wanted: Vec<(String, QoS)>,
        acknowledge: impl FnOnce(Vec<SubscribeReasonCode>),
    ) {
        let mut state = self.state.lock();
        let State {
            retained, clients, ..
        } = &mut *state;
        let Some(client) = clients.get_mut(client_id) else {
            return;
        };
        let (mut codes, mut granted) = (Vec::new(), Vec::new());
        for (filter, qos) in wanted {
            let qos = lower(qos, QoS::AtLeastOnce);
            client.subscriptions.retain(|(old, _)| *old != filter);
            if !is_filter(&filter) || client.subscriptions.len() >= MAX_SUBSCRIPTIONS {
                codes.push(SubscribeReasonCode::Failure);
                continue;
            }
            codes.push(SubscribeReasonCode::Success(qos));
            client.subscriptions.push((filter.clone(), qos));
            granted.push((filter, qos));
        }
        acknowledge(codes);
        for (filter, qos) in granted {
            for (topic, (payload, kept_qos)) in retained.iter() {
                if fits(&filter, topic) {
                    client.mailbox.deliver(Delivery {
                        topic: topic.clone(),
                        payload: payload.clone(),
                        qos: lower(qos, *kept_qos),
                        retain: true,
                    });
                }
            }
        }
    }

    pub(super) fn unsubscribe(&self, client_id: &str, filters: &[String]) {
        if let Some(client) = self.state.lock().clients.get_mut(client_id) {
            client
                .subscriptions
                .retain(|(filter, _)| !filters.contains(filter));
        }
    }

    /// Returns once every client that is there has what was published.
    pub(super) async fn emptied(&self) {
        let present = |client: &Client| client.present.is_some().then(|| client.mailbox.clone());
        let mailboxes: Vec<_> = self
            .state
            .lock()
            .clients
            .values()
            .filter_map(present)
            .collect();
        for mailbox in mailboxes {
            mailbox.emptied().await;
        }
    }

    /// Passes a message on to who listens, and keeps it if it is to be retained.
    pub(super) fn publish(&self, topic: &str, payload: &Bytes, qos: QoS, retain: bool) {
        let topic: Arc<str> = topic.into();
        let mut state = self.state.lock();
        if retain {
            state.retain(topic.clone(), payload.clone(), qos);
        }
        for client in state.clients.values() {
            let fitting = client
                .subscriptions
                .iter()
                .filter(|(filter, _)| fits(filter, &topic));
            // One that fits several filters comes once, with the highest QoS of these.
            let Some(wanted) = fitting.map(|(_, qos)| *qos).max_by_key(|qos| *qos as u8) else {
                continue;
            };
            client.mailbox.deliver(Delivery {
                topic: topic.clone(),
                payload: payload.clone(),
                qos: lower(wanted, qos),
                retain: false,
            });
        }
    }
}

impl State {
    fn retain(&mut self, topic: Arc<str>, payload: Bytes, qos: QoS) {
        if let Some((old, _)) = self.retained.remove(&topic) {
            self.retained_bytes -= old.len() + topic.len();
        }
        if payload.is_empty() {
            return;
        }
        let bytes = payload.len() + topic.len();
        if self.retained.len() >= MAX_RETAINED || self.retained_bytes + bytes > MAX_RETAINED_BYTES {
            tracing::warn!(%topic, "the embedded broker retains no more: a message is passed on only");
            return;
        }
        self.retained_bytes += bytes;
        // A small message must not keep the large buffer alive that it was read from.
        self.retained
            .insert(topic, (Bytes::copy_from_slice(&payload), qos));
    }
}

fn lower(one: QoS, other: QoS) -> QoS {
    if (one as u8) < (other as u8) {
        one
    } else {
        other
    }
}

/// Takes as long for a wrong text as for a right one of the same length.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differences == 0
}
