//! One connection to a broker, from the CONNECT to its loss.
//!
//! A task of its own drives the network, because the client library's loop must not be interrupted in
//! the middle of a packet. Everything that is published stays with the session until the broker has
//! acknowledged it, with QoS 0 until it has been sent, so that nothing is forgotten when the connection is
//! lost: the library drops what is under way when the broker has begun a new session.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions,
    NetworkOptions, Outgoing, Packet, Publish, QoS, StateError, SubscribeFilter,
    SubscribeReasonCode, mqttbytes,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::broker::{Broker, MAX_CLIENT_PACKET_BYTES, MAX_INFLIGHT, MAX_MQTT_PACKET_BYTES};

/// Requests and events that wait between the two tasks.
const CHANNEL_LEN: usize = 256;
/// How many messages may be handed over when there is no more room for those that come in any number: a
/// word about the connection itself must never find the way blocked.
const RESERVED: usize = 32;
/// How long the last packet may take to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why there is no connection to a broker, or none any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("the broker at {at} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        at: String,
        /// What was seen.
        reason: String,
    },
    /// It does not let us in.
    #[error("the broker at {at} refuses the connection: {reason}")]
    Refused {
        /// Its address.
        at: String,
        /// What it says.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection to the broker at {at} was lost: {reason}")]
    Lost {
        /// Its address.
        at: String,
        /// What was seen.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the broker at {at} did not answer within {within_ms} ms")]
    Timeout {
        /// Its address.
        at: String,
        /// How long it had.
        within_ms: u64,
    },
}

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl Message {
    /// One that the broker keeps for who comes later.
    pub(crate) fn retained(topic: String, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: QoS::AtLeastOnce,
            retain: true,
        }
    }

    /// One for who is there.
    pub(crate) fn passing(topic: String, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            retain: false,
            ..Self::retained(topic, payload)
        }
    }
}

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Happened<T> {
    /// The broker has what was published under this ticket; with QoS 0, it has been sent.
    Acknowledged(T),
    /// A message came.
    Received(Publish),
    /// The answer to a subscription: whether every filter was granted.
    Subscribed(bool),
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits to be sent.
    Waiting,
    /// It waits to be sent, and will not be acknowledged.
    Unanswered,
    /// It has been sent under this number.
    Sent(u16),
}

/// See the module. `T` is what the owner knows a message by.
pub(crate) struct Session<T> {
    at: String,
    client: AsyncClient,
    events: mpsc::Receiver<Result<Event, ConnectionError>>,
    driver: JoinHandle<()>,
    /// What is not acknowledged, oldest first.
    unacknowledged: VecDeque<(Stage, T)>,
}

impl<T> Session<T> {
    /// Connects, and returns when the broker has accepted.
    pub(crate) async fn open(
        broker: &Broker,
        client_id: &str,
        will: Option<LastWill>,
        within: Duration,
    ) -> Result<Self, ConnectError> {
        Self::begin(broker, broker.options(client_id, will), within).await
    }

    /// The same for somebody who only listens, to messages of any size. If the session is kept by the
    /// broker when the connection ends, messages count as received only once they are acknowledged:
    /// [`Session::acknowledge`].
    pub(crate) async fn open_to_listen(
        broker: &Broker,
        client_id: &str,
        is_kept: bool,
        within: Duration,
    ) -> Result<Self, ConnectError> {
        let mut options = broker.options(client_id, None);
        options
            .set_clean_session(!is_kept)
            .set_manual_acks(is_kept)
            .set_max_packet_size(MAX_MQTT_PACKET_BYTES, MAX_CLIENT_PACKET_BYTES);
        Self::begin(broker, options, within).await
    }

    async fn begin(
        broker: &Broker,
        options: MqttOptions,
        within: Duration,
    ) -> Result<Self, ConnectError> {
        let (client, mut eventloop) = AsyncClient::new(options, CHANNEL_LEN);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(within.as_secs().max(1));
        eventloop.set_network_options(network);
        let (sender, events) = mpsc::channel(CHANNEL_LEN);
        let mut session = Self {
            at: broker.to_string(),
            client,
            events,
            driver: tokio::spawn(drive(eventloop, sender)),
            unacknowledged: VecDeque::new(),
        };
        let accepted = async {
            loop {
                match session.events.recv().await {
                    Some(Ok(Event::Incoming(Packet::ConnAck(_)))) => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(no_connection(&session.at, &error)),
                    None => return Err(session.lost("the task that drives it has ended")),
                }
            }
        };
        match tokio::time::timeout(within, accepted).await {
            Ok(accepted) => accepted.map(|()| session),
            Err(_) => Err(ConnectError::Timeout {
                at: session.at.clone(),
                within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    /// What happens next.
    pub(crate) async fn next(&mut self) -> Result<Happened<T>, ConnectError> {
        loop {
            let event = match self.events.recv().await {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Err(self.lost(&reason(&error))),
                None => return Err(self.lost("the task that drives it has ended")),
            };
            match event {
                // Told once it has been written.
                Event::Outgoing(Outgoing::Publish(0)) => {
                    if let Some(ticket) = self.take(Stage::Unanswered) {
                        return Ok(Happened::Acknowledged(ticket));
                    }
                }
                Event::Outgoing(Outgoing::Publish(id)) => {
                    let mut all = self.unacknowledged.iter_mut();
                    if let Some(first) = all.find(|(stage, _)| *stage == Stage::Waiting) {
                        first.0 = Stage::Sent(id);
                    }
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    if let Some(ticket) = self.take(Stage::Sent(ack.pkid)) {
                        return Ok(Happened::Acknowledged(ticket));
                    }
                }
                Event::Incoming(Packet::PubComp(ack)) => {
                    if let Some(ticket) = self.take(Stage::Sent(ack.pkid)) {
                        return Ok(Happened::Acknowledged(ticket));
                    }
                }
                Event::Incoming(Packet::Publish(publish)) => {
                    return Ok(Happened::Received(publish));
                }
                Event::Incoming(Packet::SubAck(ack)) => {
                    let granted = |code: &SubscribeReasonCode| {
                        matches!(code, SubscribeReasonCode::Success(_))
                    };
                    return Ok(Happened::Subscribed(ack.return_codes.iter().all(granted)));
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, wanted: Stage) -> Option<T> {
        let mut all = self.unacknowledged.iter();
        let place = all.position(|(stage, _)| *stage == wanted)?;
        self.unacknowledged.remove(place).map(|(_, ticket)| ticket)
    }

    /// Hands a message over; gives the ticket back if too many are under way, which cannot be while
    /// those that come in any number ask for room first.
    pub(crate) fn publish(&mut self, message: Message, ticket: T) -> Result<(), T> {
        if self.unacknowledged.len() >= usize::from(MAX_INFLIGHT) {
            return Err(ticket);
        }
        let Message {
            topic,
            payload,
            qos,
            retain,
        } = message;
        if self
            .client
            .try_publish(topic, qos, retain, payload)
            .is_err()
        {
            return Err(ticket);
        }
        let stage = match qos {
            QoS::AtMostOnce => Stage::Unanswered,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Stage::Waiting,
        };
        self.unacknowledged.push_back((stage, ticket));
        Ok(())
    }

    /// Says that a message has been dealt with. Without effect where that is said by itself.
    pub(crate) fn acknowledge(&self, publish: &Publish) {
        // If the connection is gone the message comes again.
        let _ = self.client.try_ack(publish);
    }

    /// Whether there is room for another of the messages that come in any number.
    pub(crate) fn has_room(&self) -> bool {
        self.unacknowledged.len() < usize::from(MAX_INFLIGHT) - RESERVED
    }

    /// Whether the broker has everything.
    pub(crate) fn is_idle(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// Asks for messages; the answer comes as [`Happened::Subscribed`].
    pub(crate) fn subscribe(&self, filters: Vec<(String, QoS)>) -> Result<(), ConnectError> {
        let filters = filters
            .into_iter()
            .map(|(path, qos)| SubscribeFilter { path, qos });
        self.client
            .try_subscribe_many(filters)
            .map_err(|error| self.lost(&error.to_string()))
    }

    /// Takes what the broker has not acknowledged, oldest first.
    pub(crate) fn into_unacknowledged(mut self) -> Vec<T> {
        let left = std::mem::take(&mut self.unacknowledged);
        left.into_iter().map(|(_, ticket)| ticket).collect()
    }

    /// Says goodbye: the broker then keeps the will to itself.
    pub(crate) async fn close(mut self) {
        if self.client.try_disconnect().is_err() {
            return;
        }
        let gone = async {
            while let Some(Ok(event)) = self.events.recv().await {
                if event == Event::Outgoing(Outgoing::Disconnect) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, gone).await;
    }

    /// The connection cannot be used any more.
    pub(crate) fn lost(&self, reason: &str) -> ConnectError {
        ConnectError::Lost {
            at: self.at.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl<T> Drop for Session<T> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(mut eventloop: EventLoop, events: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = eventloop.poll().await;
        let is_over = event.is_err();
        if events.send(event).await.is_err() || is_over {
            return;
        }
    }
}

fn no_connection(at: &str, error: &ConnectionError) -> ConnectError {
    let at = at.to_owned();
    match error {
        ConnectionError::ConnectionRefused(code) => ConnectError::Refused {
            at,
            reason: match code {
                ConnectReturnCode::BadUserNamePassword => "the user name or password is wrong",
                ConnectReturnCode::NotAuthorized => "not authorised",
                ConnectReturnCode::BadClientId => "the client id is not accepted",
                ConnectReturnCode::ServiceUnavailable => "it is not available",
                _ => "it does not speak MQTT 3.1.1",
            }
            .to_owned(),
        },
        other => ConnectError::Unreachable {
            at,
            reason: reason(other),
        },
    }
}

/// The innermost reason, which says more than what is wrapped round it.
fn reason(error: &ConnectionError) -> String {
    if let ConnectionError::MqttState(StateError::Deserialization(
        mqttbytes::Error::PayloadSizeLimitExceeded(bytes),
    )) = error
    {
        return format!(
            "it sent a message of {bytes} bytes, and {MAX_CLIENT_PACKET_BYTES} are taken; if it is retained, nothing can be heard of this broker until it is cleared"
        );
    }
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
