//! One message, published by a connection of its own, for an action.

use std::time::Duration;

use rumqttc::QoS;
use tokio::time::timeout;

use super::broker::Broker;
use super::session::{ConnectError, Message, Session};

/// How long the broker has.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes a message and returns once the broker has acknowledged it; with QoS 0, once it has been sent.
///
/// # Errors
/// The broker cannot be reached, or does not acknowledge in time.
pub async fn publish(
    broker: &Broker,
    client_id: &str,
    topic: &str,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
) -> Result<(), ConnectError> {
    let message = Message {
        topic: topic.to_owned(),
        payload,
        qos: quality(qos),
        retain,
    };
    let work = async {
        let mut session = Session::open(broker, client_id, None, TIMEOUT).await?;
        // There is room for far more than one.
        let _ = session.publish(message, ());
        while !session.is_idle() {
            session.next().await?;
        }
        session.close().await;
        Ok(())
    };
    match timeout(TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError::Timeout {
            at: broker.to_string(),
            within_ms: u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}

/// The quality of service of a number; what is higher than there is is the highest.
pub(super) const fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
