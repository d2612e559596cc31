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
/// The broker cannot be reached, the message cannot be sent, or the broker does not acknowledge it in
/// time.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::broker::MAX_CLIENT_PACKET_BYTES;
    use crate::mqtt::embedded::EmbeddedBroker;

    #[tokio::test]
    async fn what_could_not_be_sent_is_an_error_with_every_quality() {
        let embedded = EmbeddedBroker::start(([127, 0, 0, 1], 0).into(), None);
        let embedded = embedded.await.unwrap();
        let broker = Broker::new("127.0.0.1", embedded.address().port());
        for qos in 0..3 {
            let publish = |bytes| publish(&broker, "c", "t", vec![b'x'; bytes], qos, false);
            assert_eq!(publish(10).await, Ok(()), "{qos}");
            let error = publish(MAX_CLIENT_PACKET_BYTES).await.unwrap_err();
            assert!(matches!(error, ConnectError::Lost { .. }), "{error}");
        }
        embedded.stop().await;
    }
}
