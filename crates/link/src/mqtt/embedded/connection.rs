//! One client of the embedded broker, from its first byte to its end.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, PubAck, PubComp, PubRec, Publish,
    SubAck, UnsubAck,
};
use rumqttc::mqttbytes::{self, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::MAX_PACKET_BYTES;
use super::hub::{Hub, Seat};
use super::mailbox::{Begun, Closed};
use crate::mqtt::topic::is_topic;

/// How long a client may take to say who it is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to read what is written at once.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of a client's name.
const MAX_CLIENT_ID_BYTES: usize = 256;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("it said goodbye")]
    Goodbye,
    #[error("it is gone")]
    Gone,
    #[error("nothing was heard of it")]
    Silent,
    #[error("it reads too slowly")]
    Slow,
    #[error("another connection came by its name")]
    TakenOver,
    #[error("the broker stops")]
    Stopping,
    #[error("it does not keep to the protocol: {0}")]
    Protocol(String),
}

struct Reader {
    stream: OwnedReadHalf,
    buffer: BytesMut,
}

impl Reader {
    /// The next packet, within this time.
    async fn packet(&mut self, within: Option<Duration>) -> Result<Packet, End> {
        loop {
            match Packet::read(&mut self.buffer, MAX_PACKET_BYTES) {
                Ok(packet) => return Ok(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(End::Protocol(error.to_string())),
            }
            let read = self.stream.read_buf(&mut self.buffer);
            let read = match within {
                Some(within) => timeout(within, read).await.map_err(|_| End::Silent)?,
                None => read.await,
            };
            if read.map_err(|_| End::Gone)? == 0 {
                return Err(End::Gone);
            }
        }
    }
}

pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
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
        greeted = timeout(CONNECT_TIMEOUT, greet(&mut reader, &mut write, hub)) => greeted,
    };
    let (connect, seat) = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(end)) => return tracing::debug!(%peer, "a client was not let in: {end}"),
        Err(_) => return tracing::debug!(%peer, "a client did not say who it is"),
    };
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
            () = seat.taken_over.cancelled() => End::TakenOver,
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

/// Takes the first packet, and gives the client its place or the reason why not.
async fn greet(
    reader: &mut Reader,
    write: &mut OwnedWriteHalf,
    hub: &Hub,
) -> Result<(Connect, Seat), End> {
    let Packet::Connect(mut connect) = reader.packet(None).await? else {
        return Err(End::Protocol("it does not begin with CONNECT".to_owned()));
    };
    let has_bad_will = |connect: &Connect| {
        let will = connect.last_will.as_ref();
        will.is_some_and(|will| !is_topic(&will.topic))
    };
    let id = &connect.client_id;
    let refusal = if connect.protocol != Protocol::V4 {
        Some(ConnectReturnCode::RefusedProtocolVersion)
    } else if !hub.admits(connect.login.as_ref()) {
        Some(ConnectReturnCode::BadUserNamePassword)
    } else if id.len() > MAX_CLIENT_ID_BYTES
        || (id.is_empty() && !connect.clean_session)
        || has_bad_will(&connect)
    {
        Some(ConnectReturnCode::BadClientId)
    } else {
        None
    };
    if let Some(code) = refusal {
        let mut answer = BytesMut::new();
        let _ = ConnAck::new(code, false).write(&mut answer);
        let _ = write.write_all(&answer).await;
        return Err(End::Protocol(format!("{code:?}")));
    }
    if connect.client_id.is_empty() {
        // No two connections have the same peer.
        let peer = reader.stream.peer_addr().map_err(|_| End::Gone)?;
        connect.client_id = format!("anonymous-{peer}");
    }
    let seat = hub.enter(&connect.client_id, connect.clean_session);
    Ok((connect, seat))
}

async fn write_all(write: &mut OwnedWriteHalf, seat: &Seat) -> End {
    loop {
        let batch = match seat.mailbox.next_batch(seat.connection).await {
            Ok(batch) => batch,
            Err(Closed::Overfull) => return End::Slow,
            Err(Closed::TakenOver) => return End::TakenOver,
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
