use std::net::{Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Login, Packet, PubAck, PubComp, PubRec, PubRel,
    Publish, SubAck, Subscribe, SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::limits::{MAX_PACKET_BYTES, MAX_WAITING, WINDOW};
use super::*;

async fn broker() -> EmbeddedBroker {
    EmbeddedBroker::start((Ipv4Addr::LOCALHOST, 0).into(), None)
        .await
        .unwrap()
}

/// A client that sends and reads packets, and nothing by itself.
struct Client {
    stream: TcpStream,
    buffer: bytes::BytesMut,
}

impl Client {
    async fn dial(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        Self {
            stream,
            buffer: bytes::BytesMut::new(),
        }
    }

    async fn connect(at: SocketAddr, connect: Connect) -> (Self, ConnAck) {
        let mut client = Self::dial(at).await;
        client.send(Packet::Connect(connect)).await;
        match client.next().await {
            Some(Packet::ConnAck(ack)) => (client, ack),
            other => panic!("{other:?}"),
        }
    }

    async fn named(at: SocketAddr, id: &str) -> Self {
        Self::connect(at, Connect::new(id)).await.0
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = bytes::BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// `None` once the broker has closed the connection.
    async fn next(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.buffer, usize::MAX) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn subscribe(&mut self, filter: &str) -> SubscribeReasonCode {
        let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = 1;
        self.send(Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(Packet::SubAck(ack)) => ack.return_codes[0],
            other => panic!("{other:?}"),
        }
    }

    async fn publish(&mut self, topic: &str, payload: &str, retain: bool) {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        (publish.pkid, publish.retain) = (7, retain);
        self.send(Packet::Publish(publish)).await;
        assert_eq!(self.next().await, Some(Packet::PubAck(PubAck::new(7))));
    }

    /// The next message, which is acknowledged, as topic, payload and whether it was retained.
    async fn message(&mut self) -> (String, String, bool) {
        match self.next().await {
            Some(Packet::Publish(publish)) => {
                if publish.pkid != 0 {
                    self.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
                }
                (
                    publish.topic,
                    String::from_utf8(publish.payload.to_vec()).unwrap(),
                    publish.retain,
                )
            }
            other => panic!("{other:?}"),
        }
    }
}

fn message(topic: &str, payload: &str, retain: bool) -> (String, String, bool) {
    (topic.to_owned(), payload.to_owned(), retain)
}

#[tokio::test]
async fn who_comes_later_gets_what_is_retained_and_an_empty_message_ends_it() {
    let broker = broker().await;
    let mut writer = Client::named(broker.address(), "writer").await;
    writer.publish("a/one", "1", true).await;
    writer.publish("a/two", "2", true).await;
    writer.publish("b/three", "3", true).await;
    writer.publish("a/passing", "4", false).await;
    let mut late = Client::named(broker.address(), "late").await;
    late.subscribe("a/#").await;
    assert_eq!(late.message().await, message("a/one", "1", true));
    assert_eq!(late.message().await, message("a/two", "2", true));
    writer.publish("a/one", "", true).await;
    assert_eq!(late.message().await, message("a/one", "", false));
    let mut later = Client::named(broker.address(), "later").await;
    later.subscribe("a/+").await;
    assert_eq!(later.message().await, message("a/two", "2", true));
    writer.publish("a/end", "", false).await;
    assert_eq!(
        later.message().await,
        message("a/end", "", false),
        "nothing else was retained"
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_will_is_published_for_who_leaves_without_a_word_only() {
    let broker = broker().await;
    let at = broker.address();
    let mut watcher = Client::named(at, "watcher").await;
    watcher.subscribe("status/#").await;
    for polite in [true, false] {
        let mut connect = Connect::new("mortal");
        connect.last_will = Some(LastWill::new(
            "status/mortal",
            "gone",
            QoS::AtLeastOnce,
            true,
        ));
        let (mut mortal, _) = Client::connect(at, connect).await;
        if polite {
            mortal.send(Packet::Disconnect).await;
            assert_eq!(mortal.next().await, None);
            let mut writer = Client::named(at, "writer").await;
            writer
                .publish("status/writer", "it left politely", false)
                .await;
            assert_eq!(
                watcher.message().await,
                message("status/writer", "it left politely", false)
            );
        }
    }
    assert_eq!(
        watcher.message().await,
        message("status/mortal", "gone", false)
    );
    let mut late = Client::named(at, "late").await;
    late.subscribe("status/+").await;
    assert_eq!(late.message().await, message("status/mortal", "gone", true));
    broker.stop().await;
}

#[tokio::test]
async fn a_session_that_is_kept_gets_what_it_missed_and_what_it_had_not_acknowledged() {
    let broker = broker().await;
    let at = broker.address();
    let durable = || {
        let mut connect = Connect::new("durable");
        connect.clean_session = false;
        connect
    };
    let (mut client, ack) = Client::connect(at, durable()).await;
    assert!(!ack.session_present);
    client.subscribe("t").await;
    let mut writer = Client::named(at, "writer").await;
    writer.publish("t", "unacknowledged", false).await;
    let first = client.next().await;
    assert!(
        matches!(&first, Some(Packet::Publish(publish)) if !publish.dup),
        "{first:?}"
    );
    drop(client);
    // A successor by the same name ends the earlier connection, whether its end was seen or not.
    let (mut client, ack) = Client::connect(at, durable()).await;
    assert!(ack.session_present);
    let again = client.next().await;
    assert!(
        matches!(&again, Some(Packet::Publish(publish)) if publish.dup),
        "{again:?}"
    );
    writer.publish("t", "next", false).await;
    assert_eq!(client.message().await, message("t", "next", false));
    let (_, ack) = Client::connect(at, Connect::new("durable")).await;
    assert!(!ack.session_present, "a clean session ends the kept one");
    assert_eq!(
        client.next().await,
        None,
        "there is one connection by a name"
    );
    broker.stop().await;
}

#[tokio::test]
async fn who_acknowledges_nothing_yet_is_answered_all_the_same() {
    let broker = broker().await;
    let at = broker.address();
    let mut bridge = Client::named(at, "bridge").await;
    bridge.subscribe("in").await;
    let mut writer = Client::named(at, "writer").await;
    for number in 0..WINDOW + 10 {
        writer.publish("in", &number.to_string(), false).await;
    }
    let mut received = Vec::new();
    for _ in 0..WINDOW {
        match bridge.next().await {
            Some(Packet::Publish(publish)) => received.push(publish.pkid),
            other => panic!("{other:?}"),
        }
    }
    let mut once = Publish::new("out", QoS::ExactlyOnce, "");
    once.pkid = 8;
    let mut subscribe = Subscribe::new("other", QoS::AtLeastOnce);
    subscribe.pkid = 9;
    let mut unsubscribe = Unsubscribe::new("other");
    unsubscribe.pkid = 10;
    let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
    for (packet, answer) in [
        (Packet::PingReq, Packet::PingResp),
        (Packet::Publish(once), Packet::PubRec(PubRec::new(8))),
        (
            Packet::PubRel(PubRel::new(8)),
            Packet::PubComp(PubComp::new(8)),
        ),
        (
            Packet::Subscribe(subscribe),
            Packet::SubAck(SubAck::new(9, granted)),
        ),
        (
            Packet::Unsubscribe(unsubscribe),
            Packet::UnsubAck(UnsubAck::new(10)),
        ),
    ] {
        bridge.send(packet).await;
        assert_eq!(bridge.next().await, Some(answer));
    }
    // It acknowledges what it has passed on.
    bridge.publish("out", "all of them", false).await;
    for id in received {
        bridge.send(Packet::PubAck(PubAck::new(id))).await;
    }
    for number in WINDOW..WINDOW + 10 {
        let expected = message("in", &number.to_string(), false);
        assert_eq!(bridge.message().await, expected);
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_session_loses_nothing_of_what_waited_when_its_connection_was_lost() {
    const ALL: usize = 3_000;
    let broker = broker().await;
    let at = broker.address();
    let durable = || {
        let mut connect = Connect::new("durable");
        connect.clean_session = false;
        connect
    };
    let (mut client, _) = Client::connect(at, durable()).await;
    client.subscribe("t").await;
    let mut writer = Client::named(at, "writer").await;
    for number in 0..ALL {
        writer.publish("t", &number.to_string(), false).await;
    }
    // It has not read one.
    drop(client);
    let (mut client, ack) = Client::connect(at, durable()).await;
    assert!(ack.session_present);
    for number in 0..ALL {
        let expected = message("t", &number.to_string(), false);
        assert_eq!(client.message().await, expected);
    }
    broker.stop().await;
}

#[tokio::test]
async fn more_may_be_retained_than_may_wait_for_a_client() {
    let all = MAX_WAITING + 100;
    let broker = broker().await;
    let at = broker.address();
    let mut writer = Client::named(at, "writer").await;
    for number in 0..all {
        let topic = format!("t/{number:05}");
        let mut publish = Publish::new(topic, QoS::AtMostOnce, "x");
        publish.retain = true;
        writer.send(Packet::Publish(publish)).await;
    }
    writer.publish("other", "", false).await;
    let mut late = Client::named(at, "late").await;
    assert_eq!(
        late.subscribe("#").await,
        SubscribeReasonCode::Success(QoS::AtLeastOnce)
    );
    // What comes after the subscription comes after what was retained.
    writer.publish("marker", "", false).await;
    for number in 0..all {
        let expected = message(&format!("t/{number:05}"), "x", true);
        assert_eq!(late.message().await, expected);
    }
    assert_eq!(late.message().await, message("marker", "", false));
    broker.stop().await;
}

#[tokio::test]
async fn who_speaks_another_version_is_told_so() {
    let broker = broker().await;
    for bytes in [
        // MQTT 5 with properties, MQTT 5 with none, MQTT 3.1.
        &b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x05\x11\x00\x00\x00\x0a\x00\x01c"[..],
        b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c",
        b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c",
    ] {
        let mut client = Client::dial(broker.address()).await;
        client.stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        client.stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"\x20\x02\x00\x01", "{bytes:x?}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_message_with_qos_2_is_passed_on_once() {
    let broker = broker().await;
    let at = broker.address();
    let mut reader = Client::named(at, "reader").await;
    reader.subscribe("t").await;
    let mut writer = Client::named(at, "writer").await;
    let mut publish = Publish::new("t", QoS::ExactlyOnce, "once");
    publish.pkid = 3;
    for _ in 0..2 {
        writer.send(Packet::Publish(publish.clone())).await;
        assert!(matches!(writer.next().await, Some(Packet::PubRec(ack)) if ack.pkid == 3));
    }
    writer.send(Packet::PubRel(PubRel::new(3))).await;
    assert!(matches!(writer.next().await, Some(Packet::PubComp(ack)) if ack.pkid == 3));
    writer.publish("t", "next", false).await;
    assert_eq!(reader.message().await, message("t", "once", false));
    assert_eq!(reader.message().await, message("t", "next", false));
    broker.stop().await;
}

#[tokio::test]
async fn a_message_with_qos_2_is_passed_on_once_though_the_connection_is_lost_before_its_release() {
    let broker = broker().await;
    let at = broker.address();
    let mut reader = Client::named(at, "reader").await;
    reader.subscribe("t").await;
    let durable = || {
        let mut connect = Connect::new("writer");
        connect.clean_session = false;
        connect
    };
    let mut publish = Publish::new("t", QoS::ExactlyOnce, "once");
    publish.pkid = 3;
    for _ in 0..2 {
        let (mut writer, _) = Client::connect(at, durable()).await;
        writer.send(Packet::Publish(publish.clone())).await;
        assert!(matches!(writer.next().await, Some(Packet::PubRec(ack)) if ack.pkid == 3));
        publish.dup = true;
    }
    let (mut writer, _) = Client::connect(at, durable()).await;
    writer.publish("t", "next", false).await;
    assert_eq!(reader.message().await, message("t", "once", false));
    assert_eq!(reader.message().await, message("t", "next", false));
    broker.stop().await;
}

#[tokio::test]
async fn who_does_not_keep_to_the_protocol_is_cut_off_and_nobody_else_notices() {
    let broker = broker().await;
    let at = broker.address();
    let mut reader = Client::named(at, "reader").await;
    reader.subscribe("#").await;
    // CONNECT of MQTT 5, a login that is too long, something else than CONNECT, a huge packet, garbage.
    for bytes in [
        &b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00"[..],
        b"\x10\x0c\x00\x04MQTT\x04\xff\x00\x3c\x00\x00",
        b"\x30\x03\x00\x01a",
        b"\x10\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut client = Client::dial(at).await;
        client.stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest).await;
        assert!(rest.len() <= 4, "at most a refusal: {rest:?}");
    }
    for packet in [
        Packet::Publish(Publish::new("a/+", QoS::AtMostOnce, "")),
        Packet::Connect(Connect::new("again")),
        Packet::PingResp,
    ] {
        let mut client = Client::named(at, "rude").await;
        client.send(packet).await;
        assert_eq!(client.next().await, None);
    }
    let mut bad = Client::named(at, "filters").await;
    assert_eq!(bad.subscribe("a/#/b").await, SubscribeReasonCode::Failure);
    bad.publish("still", "here", false).await;
    assert_eq!(reader.message().await, message("still", "here", false));
    broker.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_and_nobody_else_waits_for_it() {
    let broker = broker().await;
    let at = broker.address();
    let mut lazy = Client::named(at, "lazy").await;
    lazy.subscribe("flood").await;
    let mut watcher = Client::named(at, "watcher").await;
    watcher.subscribe("status").await;
    let mut connect = Connect::new("flooder");
    connect.last_will = None;
    let (mut flooder, _) = Client::connect(at, connect).await;
    let large = "x".repeat(512 * 1024);
    for _ in 0..100 {
        flooder.publish("flood", &large, false).await;
    }
    flooder.publish("status", "done", false).await;
    assert_eq!(watcher.message().await, message("status", "done", false));
    let mut received = 0;
    while let Some(packet) = lazy.next().await {
        received += usize::from(matches!(packet, Packet::Publish(_)));
    }
    assert!(received < 100, "{received}");
    broker.stop().await;
}

#[tokio::test]
async fn only_who_knows_the_password_is_let_in() {
    let login = Some(("ada".to_owned(), "secret".to_owned()));
    let broker = EmbeddedBroker::start((Ipv4Addr::LOCALHOST, 0).into(), login)
        .await
        .unwrap();
    for (password, code) in [
        ("secret", ConnectReturnCode::Success),
        ("secreT", ConnectReturnCode::BadUserNamePassword),
        ("secret1", ConnectReturnCode::BadUserNamePassword),
    ] {
        let mut connect = Connect::new("client");
        connect.login = Some(Login::new("ada", password));
        assert_eq!(
            Client::connect(broker.address(), connect).await.1.code,
            code,
            "{password}"
        );
    }
    let (_, ack) = Client::connect(broker.address(), Connect::new("client")).await;
    assert_eq!(ack.code, ConnectReturnCode::BadUserNamePassword);
    broker.stop().await;
}

#[tokio::test]
async fn what_was_published_before_the_stop_arrives() {
    let broker = broker().await;
    let at = broker.address();
    let mut reader = Client::named(at, "reader").await;
    reader.subscribe("t").await;
    let mut writer = Client::named(at, "writer").await;
    for number in 0..500 {
        writer.publish("t", &number.to_string(), false).await;
    }
    let stopped = tokio::spawn(broker.stop());
    for number in 0..500 {
        assert_eq!(
            reader.message().await,
            message("t", &number.to_string(), false)
        );
    }
    assert_eq!(reader.next().await, None);
    stopped.await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let broker = broker().await;
    assert!(EmbeddedBroker::start(broker.address(), None).await.is_err());
    broker.stop().await;
}

/// What a client may send: packets of every kind with any content, and bytes that are none.
fn sent() -> impl Strategy<Value = Vec<u8>> {
    let written = |packet: Packet| {
        let mut bytes = bytes::BytesMut::new();
        // Some cannot be written, and nothing is sent then.
        let _ = packet.write(&mut bytes, usize::MAX);
        bytes.to_vec()
    };
    let topic = "[a-c/+#$]{0,6}";
    let qos = prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ];
    let publish = (
        topic,
        qos.clone(),
        any::<u16>(),
        any::<bool>(),
        any::<Vec<u8>>(),
    );
    prop_oneof![
        any::<Vec<u8>>(),
        publish.prop_map(move |(topic, qos, id, retain, payload)| {
            let mut publish = Publish::new(topic, qos, payload);
            (publish.pkid, publish.retain) = (id, retain);
            written(Packet::Publish(publish))
        }),
        (topic, qos, any::<u16>()).prop_map(move |(filter, qos, id)| {
            let mut subscribe = Subscribe::new(filter, qos);
            subscribe.pkid = id;
            written(Packet::Subscribe(subscribe))
        }),
        (0u8..8, any::<u16>()).prop_map(move |(kind, id)| written(match kind {
            0 => Packet::PubAck(PubAck::new(id)),
            1 => Packet::PubRec(PubRec::new(id)),
            2 => Packet::PubRel(PubRel::new(id)),
            3 => Packet::PubComp(PubComp::new(id)),
            4 => Packet::Unsubscribe(Unsubscribe::new("a")),
            5 => Packet::PingReq,
            6 => Packet::Connect(Connect::new("rude")),
            _ => Packet::Disconnect,
        })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_client_sends_everybody_else_goes_on(
        rounds in prop::collection::vec((any::<bool>(), prop::collection::vec(sent(), 0..12)), 1..4)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let broker = broker().await;
            let at = broker.address();
            let mut other = Client::named(at, "other").await;
            other.subscribe("still").await;
            for (greets, packets) in rounds {
                let mut rude = Client::dial(at).await;
                if greets {
                    let mut connect = Connect::new("rude");
                    connect.clean_session = false;
                    rude.send(Packet::Connect(connect)).await;
                }
                for packet in packets {
                    // It may have been cut off before.
                    let _ = rude.stream.write_all(&packet).await;
                }
            }
            let mut writer = Client::named(at, "writer").await;
            writer.publish("still", "here", false).await;
            assert_eq!(other.message().await, message("still", "here", false));
            drop(broker);
        });
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_refused(bytes: Vec<u8>, kind in 0u8..16, flags in 0u8..16) {
        let mut framed = bytes::BytesMut::new();
        framed.extend_from_slice(&[(kind << 4) | flags, (bytes.len() & 0x7f) as u8]);
        framed.extend_from_slice(&bytes);
        let _ = Packet::read(&mut framed, MAX_PACKET_BYTES);
        let _ = Packet::read(&mut bytes::BytesMut::from(&bytes[..]), MAX_PACKET_BYTES);
    }
}
