use camshaft_model::EventId;
use camshaft_model::port::sensor::Accepted;
use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, SubAck, SubscribeReasonCode};
use tokio::net::TcpListener;

use super::*;
use crate::mqtt::broker::MAX_CLIENT_PACKET_BYTES;
use crate::mqtt::hand::Hand;

fn payload(bytes: &[u8]) -> Value {
    event_payload(&Publish::new("a/b", QoS::AtLeastOnce, bytes))
}

#[test]
fn json_text_and_bytes() {
    assert_eq!(
        payload(br#"{"t": 21.5}"#),
        json!({ "topic": "a/b", "payload": { "t": 21.5 }, "encoding": "json", "qos": 1, "retain": false })
    );
    assert_eq!(payload(b"21.5")["payload"], 21.5);
    assert_eq!(payload(b"on")["payload"], "on");
    assert_eq!(payload(b"")["payload"], "");
    let bytes = payload(&[0xff, 0x00]);
    assert_eq!(
        (&bytes["payload"], &bytes["encoding"]),
        (&json!("/wA="), &json!("base64"))
    );
}

#[test]
fn what_is_retained_is_one_event_for_each_content() {
    let key = |topic: &str, payload: &str| {
        retained_key("s", &Publish::new(topic, QoS::AtMostOnce, payload))
    };
    assert_eq!(key("a", "1"), key("a", "1"));
    assert_ne!(key("a", "1"), key("a", "2"));
    assert_ne!(key("a", "b1"), key("ab", "1"));
}

/// Takes every event, and says which.
struct Taking(tokio::sync::mpsc::UnboundedSender<Value>);

#[async_trait::async_trait]
impl Intake for Taking {
    async fn emit(&self, draft: EventDraft) -> Result<Accepted, IntakeError> {
        self.0.send(draft.payload).unwrap();
        Ok(Accepted {
            event: EventId::new(uuid::Uuid::nil()),
            duplicate: false,
            executions: Vec::new(),
        })
    }

    async fn emit_with_state(&self, draft: EventDraft, _: Value) -> Result<Accepted, IntakeError> {
        self.emit(draft).await
    }
}

async fn deliver(broker: &mut Hand, id: u16, payload: Vec<u8>) {
    let mut publish = Publish::new("t", QoS::AtLeastOnce, payload);
    publish.pkid = id;
    broker.send(Packet::Publish(publish)).await;
}

fn sensor(port: u16, qos: u8, taking: Taking) -> Arc<MqttSensors> {
    let broker = Broker::new("127.0.0.1", port);
    let tokio = tokio::runtime::Handle::current();
    let sensors = MqttSensors::new(Arc::new(taking), tokio, Some(broker), "engine".to_owned());
    let parameters = json!({ "topic": "t", "qos": qos });
    sensors.reconcile(&[SensorSpec {
        key: "core.mqtt/1".to_owned(),
        trigger: "core.mqtt".parse().unwrap(),
        kind: TriggerKind::Mqtt,
        parameters: parameters.as_object().unwrap().clone(),
    }]);
    sensors
}

/// The client library takes the rest of an exchange with QoS 2 that an earlier connection began for a
/// breach, and a broker sends it with every connection until it is answered.
#[tokio::test]
async fn no_more_than_qos_1_is_asked_for() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (wanted, asked) in [
        (0, QoS::AtMostOnce),
        (1, QoS::AtLeastOnce),
        (2, QoS::AtLeastOnce),
    ] {
        let (taking, _events) = tokio::sync::mpsc::unbounded_channel();
        let sensors = sensor(port, wanted, Taking(taking));
        let mut hand = Hand::accept(&listener).await;
        let Some(Packet::Subscribe(subscribe)) = hand.next().await else {
            panic!("no subscription");
        };
        assert_eq!(subscribe.filters[0].qos, asked, "{wanted}");
        sensors.cut_off();
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_for_an_event_is_acknowledged_whatever_its_size() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taking, mut events) = tokio::sync::mpsc::unbounded_channel();
    let sensors = sensor(port, 1, Taking(taking));
    let mut hand = Hand::accept(&listener).await;
    let Some(Packet::Subscribe(subscribe)) = hand.next().await else {
        panic!("no subscription");
    };
    let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
    let ack = SubAck::new(subscribe.pkid, granted);
    hand.send(Packet::SubAck(ack)).await;
    deliver(&mut hand, 1, vec![b'x'; MAX_CLIENT_PACKET_BYTES + 1]).await;
    deliver(&mut hand, 2, b"small".to_vec()).await;
    assert_eq!(hand.next().await, Some(Packet::PubAck(PubAck::new(1))));
    assert_eq!(hand.next().await, Some(Packet::PubAck(PubAck::new(2))));
    assert_eq!(events.recv().await.unwrap()["payload"], "small");
    sensors.cut_off();
}
