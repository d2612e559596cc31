//! The connector against a broker that a test speaks for, packet by packet, and against the embedded one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use camshaft_model::port::constraint::ControlRefused;
use camshaft_model::{
    BlockedBy, Constraint, ConstraintChange, ConstraintKey, ConstraintType, Execution, ExecutionId,
    Scope, Status, Timestamp,
};
use parking_lot::Mutex;
use rumqttc::mqttbytes::QoS as Quality;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish, SubAck, SubscribeReasonCode};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::mqtt::hand::Hand;
use crate::samples;

const NOW: Timestamp = Timestamp::from_micros(1_795_224_000_000_000);
const GLOBAL: &str = "cascade/constraints/global";
const PAUSE: &str = r#"{"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": null}"#;

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        NOW
    }
}

impl Entropy for Standing {
    fn uuid(&self, _: Timestamp) -> Uuid {
        Uuid::nil()
    }

    fn fraction(&self) -> f64 {
        0.0
    }
}

/// An engine that notes what it is asked for, in order.
struct Noting {
    calls: watch::Sender<Vec<String>>,
    held: Mutex<Vec<Constraint>>,
}

#[async_trait::async_trait]
impl ConstraintControl for Noting {
    async fn set(&self, constraint: Constraint) -> Result<(), ControlRefused> {
        let call = format!("set {}", constraint.key());
        self.held.lock().push(constraint);
        self.calls.send_modify(|calls| calls.push(call));
        Ok(())
    }

    async fn clear(
        &self,
        scope: &Scope,
        _: Option<ConstraintType>,
    ) -> Result<Vec<ConstraintKey>, ControlRefused> {
        self.calls
            .send_modify(|calls| calls.push(format!("clear {scope}")));
        Ok(Vec::new())
    }

    fn constraint(&self, key: &ConstraintKey) -> Option<Constraint> {
        let held = self.held.lock();
        held.iter().find(|held| held.key() == *key).cloned()
    }

    fn constraints(&self) -> Vec<Constraint> {
        self.held.lock().clone()
    }

    fn blockers(&self, _: &[ExecutionId]) -> HashMap<ExecutionId, Vec<BlockedBy>> {
        HashMap::new()
    }

    fn set_gate(&self, closed: bool) {
        self.calls
            .send_modify(|calls| calls.push(format!("gate {closed}")));
    }
}

struct Bench {
    connector: Arc<Connector>,
    telemetry: Arc<Telemetry>,
    calls: watch::Receiver<Vec<String>>,
}

impl Bench {
    fn start(at: SocketAddr, predecessors: &[&str]) -> Self {
        let identity = Identity {
            org_id: "local".into(),
            project_id: "default".into(),
            source: "host-7".into(),
        };
        let topics = Topics::new("cascade");
        let clock = Arc::new(Standing);
        let telemetry = Arc::new(Telemetry::new(
            identity.clone(),
            topics.clone(),
            clock.clone(),
        ));
        for number in 0..200 {
            telemetry.notice(&Notice::Execution(Arc::new(running(number))));
        }
        let (noted, calls) = watch::channel(Vec::new());
        let connector = Connector::start(
            Settings {
                broker: Broker::new(&at.ip().to_string(), at.port()),
                client_id: "camshaft-host-7".into(),
                topics,
                identity,
                predecessors: predecessors.iter().map(ToString::to_string).collect(),
                version: "1.0.0".into(),
                notes: None,
                noted: None,
                flush: FLUSH,
            },
            Arc::new(Noting {
                calls: noted,
                held: Mutex::default(),
            }),
            telemetry.clone(),
            clock.clone(),
            clock,
            Arc::new(|_| {}),
        );
        Self {
            connector,
            telemetry,
            calls,
        }
    }

    /// What the engine was asked for, once it was asked for this.
    async fn calls_up_to(&mut self, last: &str) -> Vec<String> {
        let is_there = |calls: &Vec<String>| calls.iter().any(|call| call == last);
        self.calls.wait_for(is_there).await.unwrap().clone()
    }
}

fn running(number: u128) -> Execution {
    let mut run = samples::run(ExecutionId::new(Uuid::from_u128(number)));
    (run.state.status, run.state.attempt) = (Status::Running, 1);
    run
}

async fn deliver(broker: &mut Hand, topic: &str, payload: &str, retained: bool) {
    let mut publish = Publish::new(topic, Quality::AtMostOnce, payload);
    publish.retain = retained;
    broker.send(Packet::Publish(publish)).await;
}

/// Topics that are published, up to and with the subscription; it is granted.
async fn greeted(broker: &mut Hand) -> Vec<String> {
    let mut published = Vec::new();
    loop {
        match broker.next().await.unwrap() {
            Packet::Publish(publish) => {
                let ack = PubAck::new(publish.pkid);
                broker.send(Packet::PubAck(ack)).await;
                published.push(publish.topic);
            }
            Packet::Subscribe(subscribe) => {
                let codes = vec![SubscribeReasonCode::Success(Quality::AtLeastOnce); 2];
                let ack = SubAck::new(subscribe.pkid, codes);
                broker.send(Packet::SubAck(ack)).await;
                return published;
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

#[tokio::test]
async fn a_backlog_of_telemetry_does_not_stand_before_what_the_broker_retains() {
    let (listener, at) = listener().await;
    let mut bench = Bench::start(at, &["host-6"]);
    let mut broker = Hand::accept(&listener).await;
    let greeting = greeted(&mut broker).await;
    assert_eq!(greeting, ["cascade/status/host-6", "cascade/status/host-7"]);
    deliver(&mut broker, GLOBAL, PAUSE, true).await;
    let Some(Packet::Publish(marker)) = broker.next().await else {
        panic!("it waits for nothing");
    };
    assert_eq!(marker.topic, "cascade/status/host-7/sync", "it comes first");
    deliver(
        &mut broker,
        &marker.topic,
        str::from_utf8(&marker.payload).unwrap(),
        false,
    )
    .await;
    let calls = bench.calls_up_to("gate false").await;
    assert_eq!(calls, ["gate true", "set pause on global", "gate false"]);
    let Some(Packet::Publish(first)) = broker.next().await else {
        panic!("the backlog comes after it");
    };
    assert!(
        first.topic.starts_with("cascade/telemetry/"),
        "{}",
        first.topic
    );
}

#[tokio::test]
async fn what_is_told_of_constraints_does_not_wait_for_a_backlog_of_telemetry() {
    let (listener, at) = listener().await;
    let mut bench = Bench::start(at, &[]);
    let mut broker = Hand::accept(&listener).await;
    greeted(&mut broker).await;
    deliver(&mut broker, GLOBAL, PAUSE, true).await;
    let Some(Packet::Publish(marker)) = broker.next().await else {
        panic!("it waits for nothing");
    };
    deliver(
        &mut broker,
        &marker.topic,
        str::from_utf8(&marker.payload).unwrap(),
        false,
    )
    .await;
    bench.calls_up_to("gate false").await;
    let paused = message::read(PAUSE.as_bytes(), NOW).unwrap();
    bench.connector.notice(&Notice::Constraint {
        constraint: Arc::new(paused),
        change: ConstraintChange::Cleared,
        at: NOW,
    });
    let mut before = 0;
    loop {
        let Some(Packet::Publish(publish)) = broker.next().await else {
            panic!("it is not told");
        };
        broker.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
        if publish.topic == format!("{GLOBAL}/~pause") {
            break;
        }
        before += 1;
    }
    // Not more than what may be on its way, twice: before it is told and before it is read.
    assert!(before <= 2 * 128, "after {before} of 400 messages");
}

#[tokio::test]
async fn what_has_come_is_applied_before_the_gate_opens_though_the_broker_never_says_that_all_is_here()
 {
    let (listener, at) = listener().await;
    let mut bench = Bench::start(at, &[]);
    let mut broker = Hand::accept(&listener).await;
    greeted(&mut broker).await;
    deliver(&mut broker, GLOBAL, PAUSE, true).await;
    let calls = bench.calls_up_to("gate false").await;
    assert_eq!(calls, ["gate true", "set pause on global", "gate false"]);
}

#[tokio::test]
async fn a_broker_that_takes_nothing_is_left_without_goodbye_so_that_it_tells_our_will() {
    let (listener, at) = listener().await;
    let bench = Bench::start(at, &[]);
    let mut broker = Hand::accept(&listener).await;
    greeted(&mut broker).await;
    let Some(Packet::Publish(marker)) = broker.next().await else {
        panic!("it waits for nothing");
    };
    deliver(
        &mut broker,
        &marker.topic,
        str::from_utf8(&marker.payload).unwrap(),
        false,
    )
    .await;
    let began = Instant::now();
    let stopping = {
        let connector = bench.connector.clone();
        tokio::spawn(async move { connector.stop().await })
    };
    // It reads everything, and acknowledges nothing.
    let mut last = None;
    while let Some(packet) = broker.next().await {
        last = Some(packet);
    }
    stopping.await.unwrap();
    assert!(began.elapsed() < FLUSH + LEAVE_TIME + CLOSE_TIME);
    let Some(Packet::Publish(last)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(last.topic, "cascade/status/host-7");
    assert_eq!(last.payload, OFFLINE);
    // 200 runs, each with a beginning, a task and an end.
    assert_eq!(bench.telemetry.dropped(), 600);
}

#[tokio::test]
async fn a_broker_that_takes_everything_is_told_that_we_are_gone_last() {
    let (listener, at) = listener().await;
    let bench = Bench::start(at, &[]);
    let mut broker = Hand::accept(&listener).await;
    greeted(&mut broker).await;
    let connector = bench.connector.clone();
    let stopping = tokio::spawn(async move { connector.stop().await });
    let mut topics = Vec::new();
    loop {
        match broker.next().await.unwrap() {
            Packet::Publish(publish) => {
                broker.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
                topics.push(publish.topic);
            }
            Packet::Disconnect => break,
            other => panic!("{other:?}"),
        }
    }
    stopping.await.unwrap();
    assert_eq!(topics.len(), 1 + 600 + 1);
    assert_eq!(topics[601], "cascade/status/host-7");
    assert_eq!(bench.telemetry.dropped(), 0);
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_no_connection_and_is_not_kept() {
    let (listener, at) = listener().await;
    let mut bench = Bench::start(at, &[]);
    let mut broker = Hand::accept(&listener).await;
    greeted(&mut broker).await;
    deliver(&mut broker, GLOBAL, &"x".repeat(1_000_000), true).await;
    deliver(&mut broker, GLOBAL, PAUSE, false).await;
    deliver(&mut broker, "cascade/status/host-7/sync", "sync", false).await;
    bench.calls_up_to("set pause on global").await;
    assert_eq!(bench.connector.refused(), 1);
}
