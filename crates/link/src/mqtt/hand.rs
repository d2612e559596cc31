//! The broker's end of a connection, in the hands of a test.

use rumqttc::mqttbytes;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// See the module.
pub(super) struct Hand {
    stream: TcpStream,
    buffer: bytes::BytesMut,
}

impl Hand {
    /// Takes the next client.
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let buffer = bytes::BytesMut::new();
        let mut hand = Self { stream, buffer };
        let Some(Packet::Connect(connect)) = hand.next().await else {
            panic!("it does not connect");
        };
        let ack = ConnAck::new(ConnectReturnCode::Success, !connect.clean_session);
        hand.send(Packet::ConnAck(ack)).await;
        hand
    }

    pub(super) async fn send(&mut self, packet: Packet) {
        let mut bytes = bytes::BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// `None` once the connection is over.
    pub(super) async fn next(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.buffer, usize::MAX) {
                Ok(packet) => return Some(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
