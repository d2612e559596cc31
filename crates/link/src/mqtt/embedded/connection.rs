//! One client of the embedded broker, from its first byte to its end.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::QoS;
use rumqttc::mqttbytes;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, PubAck, PubComp, PubRec, Publish,
    SubAck, UnsubAck,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::hub::{Hub, Seat};
use super::limits::{CONNECT_TIMEOUT, MAX_PACKET_BYTES, READ_BYTES, WRITE_TIMEOUT};
use super::mailbox::{Begun, Closed};
use crate::mqtt::topic::is_topic;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("it said goodbye")]
    Goodbye,
    #[error("it is gone")]
    Gone,
    #[error("nothing was heard of it")]
    Silent,
    #[error("it reads too slowly, or not at all")]
    Slow,
    #[error("another connection came by its name")]
    TakenOver,
    #[error("the broker stops")]
    Stopping,
    #[error("{0}")]
    Refused(String),
    #[error("it does not keep to the protocol: {0}")]
    Protocol(String),
}

impl From<Closed> for End {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Overfull => Self::Slow,
            Closed::TakenOver => Self::TakenOver,
        }
    }
}

pub(super) struct Reader {
    stream: OwnedReadHalf,
    buffer: BytesMut,
}

impl Reader {
    /// The next packet, within this time.
    pub(super) async fn packet(&mut self, within: Option<Duration>) -> Result<Packet, End> {
        loop {
            match Packet::read(&mut self.buffer, MAX_PACKET_BYTES) {
                Ok(packet) => return Ok(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(End::Protocol(error.to_string())),
            }
            self.fill(within).await?;
        }
    }

    /// Reads some more.
    pub(super) async fn fill(&mut self, within: Option<Duration>) -> Result<(), End> {
        self.buffer.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.buffer);
        let read = match within {
            Some(within) => timeout(within, read).await.map_err(|_| End::Silent)?,
            None => read.await,
        };
        match read {
            Ok(0) | Err(_) => Err(End::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// What has been read and not been taken.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }
}

pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    door: &Door,
    hub: &Hub,
    stop: &CancellationToken,
) {
    // Small packets must not wait for one another.
    let _ = stream.set_nodelay(true);
    let (read, mut write) = stream.into_split();
    let mut reader = Reader {
        stream: read,
        buffer: BytesMut::new(),
    };
    let greeted = tokio::select! {
        () = stop.cancelled() => return,
        greeted = timeout(CONNECT_TIMEOUT, door.greet(&mut reader, &mut write)) => greeted,
    };
    let mut connect = match greeted {
        Ok(Ok(connect)) => connect,
        Ok(Err(End::Gone)) => return tracing::debug!(%peer, "a client has not said who it is"),
        Ok(Err(end)) => return door.tell(peer, &end.to_string()),
        Err(_) => return door.tell(peer, "it did not say who it is in time"),
    };
    if connect.client_id.is_empty() {
        // No two connections have the same peer.
        connect.client_id = format!("anonymous-{peer}");
    }
    let seat = hub.enter(&connect.client_id, connect.clean_session);
    let accepted = ConnAck::new(ConnectReturnCode::Success, seat.resumed);
    let mut first = BytesMut::new();
    let _ = accepted.write(&mut first);
    let client_id = &connect.client_id;
    let end = if write.write_all(&first).await.is_err() {
        End::Gone
    } else {
        tokio::select! {
            // What waits for the client is for the connection that took its name.
            biased;
            () = seat.end.cancelled() => seat.mailbox.closed(seat.connection).into(),
            () = stop.cancelled() => End::Stopping,
            end = write_all(&mut write, &seat) => end,
            end = read_all(&mut reader, &connect, hub, &seat) => end,
        }
    };
    hub.leave(client_id, seat.connection);
    if let End::Protocol(_) | End::Slow = end {
        tracing::warn!(%peer, client_id, "a client of the embedded broker was cut off: {end}");
    } else {
        tracing::debug!(%peer, client_id, "a client has left: {end}");
    }
    if !matches!(end, End::Goodbye | End::Stopping)
        && let Some(LastWill {
            topic,
            message,
            qos,
            retain,
        }) = &connect.last_will
    {
        hub.publish(topic, message, *qos, *retain);
    }
}

async fn write_all(write: &mut OwnedWriteHalf, seat: &Seat) -> End {
    loop {
        let batch = match seat.mailbox.next_batch(seat.connection).await {
            Ok(batch) => batch,
            Err(closed) => return closed.into(),
        };
        match timeout(WRITE_TIMEOUT, write.write_all(&batch)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Gone,
            Err(_) => return End::Slow,
        }
    }
}

async fn read_all(reader: &mut Reader, connect: &Connect, hub: &Hub, seat: &Seat) -> End {
    // One and a half times what the client promised, as the standard has it.
    let patience = Duration::from_millis(u64::from(connect.keep_alive) * 1_500);
    let patience = (!patience.is_zero()).then_some(patience);
    loop {
        let taken = match reader.packet(patience).await {
            Ok(packet) => take(packet, &connect.client_id, hub, seat),
            Err(end) => return end,
        };
        if let Err(end) = taken {
            return end;
        }
        seat.mailbox.answers_read().await;
    }
}

/// Does what a packet asks for.
fn take(packet: Packet, client_id: &str, hub: &Hub, seat: &Seat) -> Result<(), End> {
    let answer = |packet| seat.mailbox.answer(seat.connection, packet);
    match packet {
        Packet::Publish(publish) => published(&publish, hub, seat)?,
        Packet::PubAck(ack) => seat.mailbox.acknowledged(seat.connection, ack.pkid),
        Packet::PubRel(release) => {
            seat.mailbox.release(release.pkid);
            answer(Packet::PubComp(PubComp::new(release.pkid)));
        }
        Packet::Subscribe(subscribe) => {
            let wanted = subscribe.filters.into_iter();
            let wanted = wanted.map(|filter| (filter.path, filter.qos)).collect();
            hub.subscribe(client_id, wanted, |codes| {
                answer(Packet::SubAck(SubAck::new(subscribe.pkid, codes)));
            });
        }
        Packet::Unsubscribe(unsubscribe) => {
            hub.unsubscribe(client_id, &unsubscribe.topics);
            answer(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)));
        }
        Packet::PingReq => answer(Packet::PingResp),
        Packet::Disconnect => return Err(End::Goodbye),
        // Never granted, so never due.
        Packet::PubRec(_) | Packet::PubComp(_) => {}
        Packet::Connect(_)
        | Packet::ConnAck(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp => {
            return Err(End::Protocol(
                "a packet that only a broker sends, or CONNECT twice".to_owned(),
            ));
        }
    }
    Ok(())
}

fn published(publish: &Publish, hub: &Hub, seat: &Seat) -> Result<(), End> {
    if !is_topic(&publish.topic) {
        return Err(End::Protocol(
            "it publishes to what is not a topic".to_owned(),
        ));
    }
    let pass_on = || {
        hub.publish(
            &publish.topic,
            &publish.payload,
            publish.qos,
            publish.retain,
        )
    };
    match publish.qos {
        QoS::AtMostOnce => pass_on(),
        QoS::AtLeastOnce => {
            pass_on();
            let ack = Packet::PubAck(PubAck::new(publish.pkid));
            seat.mailbox.answer(seat.connection, ack);
        }
        QoS::ExactlyOnce => {
            match seat.mailbox.begin(publish.pkid) {
                Begun::New => pass_on(),
                Begun::Again => {}
                Begun::TooMany => {
                    return Err(End::Protocol(
                        "it began too many messages and released none".to_owned(),
                    ));
                }
            }
            let received = Packet::PubRec(PubRec::new(publish.pkid));
            seat.mailbox.answer(seat.connection, received);
        }
    }
    Ok(())
}
