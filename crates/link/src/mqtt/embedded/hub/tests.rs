use futures::FutureExt as _;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4::Packet;

use super::*;

fn listen(hub: &Hub, client_id: &str) -> Seat {
    let seat = hub.enter(client_id, false);
    hub.subscribe(client_id, vec![("t".to_owned(), QoS::AtLeastOnce)], |_| ());
    seat
}

fn is_kept(hub: &Hub, client_id: &str) -> bool {
    hub.state.lock().clients.contains_key(client_id)
}

#[test]
fn who_has_been_away_the_longest_is_forgotten_and_not_who_came_first() {
    let hub = Hub::default();
    let name = |number: usize| format!("client-{number}");
    let seats: Vec<_> = (0..=MAX_AWAY).map(|n| listen(&hub, &name(n))).collect();
    for (number, seat) in seats.iter().enumerate().rev() {
        hub.leave(&name(number), seat.connection);
    }
    assert!(is_kept(&hub, &name(0)) && !is_kept(&hub, &name(MAX_AWAY)));
    // Who comes back is not among them any more.
    assert!(hub.enter(&name(MAX_AWAY - 1), false).resumed);
    let seat = listen(&hub, "another");
    hub.leave("another", seat.connection);
    assert!(is_kept(&hub, &name(MAX_AWAY - 2)));
}

#[test]
fn the_sessions_of_all_who_are_away_are_bounded_together() {
    let hub = Hub::default();
    let megabyte = vec![b'x'; 1024 * 1024];
    for number in 0..8 {
        let name = format!("client-{number}");
        let seat = listen(&hub, &name);
        if number % 2 == 0 {
            hub.leave(&name, seat.connection);
        }
        // For each as much as may wait for one.
        for _ in 0..32 {
            hub.publish("t", &megabyte, QoS::AtLeastOnce, false);
        }
        hub.leave(&name, seat.connection);
        assert!(hub.state.lock().away_bytes <= MAX_AWAY_BYTES);
    }
    assert!(!is_kept(&hub, "client-0") && is_kept(&hub, "client-7"));
    let kept: Vec<_> = (0..8)
        .map(|number| hub.enter(&format!("client-{number}"), false))
        .collect();
    assert!(kept.iter().filter(|seat| seat.resumed).count() >= 4);
    let state = hub.state.lock();
    assert_eq!((state.away_bytes, state.away.len()), (0, 0));
}

/// Messages for clients that do not read, until more would wait than may; one reads as they come.
fn beyond_the_bound_of_all(is_clean: bool) -> (Hub, Vec<Seat>, Reader) {
    let hub = Hub::default();
    let mut reader = Reader::connect(&hub);
    let enter = |number: usize| {
        let name = format!("slow-{number}");
        let seat = hub.enter(&name, is_clean);
        let filters = vec![("t/#".to_owned(), QoS::AtLeastOnce)];
        hub.subscribe(&name, filters, |_| ());
        seat
    };
    let seats: Vec<Seat> = (0..36).map(enter).collect();
    let number = |number: usize| {
        let mut text = format!("{number:09}").into_bytes();
        text.resize(1024 * 1024, b' ');
        text
    };
    hub.subscribe(
        "slow-7",
        vec![("more".to_owned(), QoS::AtLeastOnce)],
        |_| (),
    );
    hub.publish("more", b"1", QoS::AtLeastOnce, false);
    for place in 0..31 {
        hub.publish("t/a", &number(place), QoS::AtLeastOnce, false);
        reader.read();
        reader.acknowledge();
    }
    let waits = seats.iter().map(|seat| seat.mailbox.own_bytes());
    assert!(waits.sum::<usize>() <= MAX_PRESENT_BYTES + COUNTED_EVERY_BYTES);
    (hub, seats, reader)
}

#[test]
fn of_all_who_are_there_those_that_are_the_furthest_behind_make_room() {
    let (hub, seats, reader) = beyond_the_bound_of_all(true);
    let cut_off = seats.iter().filter(|seat| seat.end.is_cancelled()).count();
    assert!((1..8).contains(&cut_off), "{cut_off}");
    assert!(seats[7].end.is_cancelled(), "it had one more");
    assert!(hub.dropped.load(Ordering::Relaxed) >= 29 * cut_off as u64);
    assert!(!reader.seat.end.is_cancelled());
    assert_eq!(reader.seen["t/a"], 30);
}

#[test]
fn who_makes_room_stays_where_its_session_is_kept_and_has_what_comes_then() {
    let (hub, seats, _reader) = beyond_the_bound_of_all(false);
    assert!(seats.iter().all(|seat| !seat.end.is_cancelled()));
    assert!(hub.dropped.load(Ordering::Relaxed) > 0);
    let least = seats.iter().min_by_key(|seat| seat.mailbox.own_bytes());
    let least = least.unwrap();
    let before = least.mailbox.own_bytes();
    hub.publish("t/b", b"100", QoS::AtLeastOnce, false);
    assert!(least.mailbox.own_bytes() > before);
}

#[derive(Debug, Clone)]
enum Step {
    Publish { topic: u8, qos: QoS },
    Read,
    Acknowledge,
    Subscribe,
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let qos = prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce)];
    let step = prop_oneof![
        4 => (0u8..6, qos).prop_map(|(topic, qos)| Step::Publish { topic, qos }),
        3 => Just(Step::Read),
        2 => Just(Step::Acknowledge),
        1 => Just(Step::Subscribe),
        1 => Just(Step::Reconnect),
    ];
    prop::collection::vec(step, 0..60)
}

/// A client and what it has seen by its connection.
struct Reader {
    seat: Seat,
    /// The number of the last message of each topic.
    seen: HashMap<String, u64>,
    unacknowledged: Vec<u16>,
}

impl Reader {
    fn connect(hub: &Hub) -> Self {
        let seat = hub.enter("client", false);
        listen_to_all(hub);
        Self {
            seat,
            seen: HashMap::new(),
            unacknowledged: Vec::new(),
        }
    }

    fn read(&mut self) {
        let Seat {
            mailbox,
            connection,
            ..
        } = &self.seat;
        let Some(batch) = mailbox.next_batch(*connection).now_or_never() else {
            return;
        };
        let mut batch = batch.unwrap();
        while let Ok(Packet::Publish(publish)) = Packet::read(&mut batch, usize::MAX) {
            let number = std::str::from_utf8(&publish.payload).unwrap();
            let number = number.trim_end().parse().unwrap();
            let before = self.seen.insert(publish.topic.clone(), number);
            assert!(before.is_none_or(|before| before <= number), "{publish:?}");
            self.unacknowledged.push(publish.pkid);
        }
    }

    fn acknowledge(&mut self) {
        for id in self.unacknowledged.drain(..) {
            self.seat.mailbox.acknowledged(self.seat.connection, id);
        }
    }
}

fn listen_to_all(hub: &Hub) {
    hub.subscribe("client", vec![("t/#".to_owned(), QoS::AtLeastOnce)], |_| ());
}

proptest! {
    #[test]
    fn of_each_topic_the_newest_message_comes_last(steps in steps()) {
        let hub = Hub::default();
        let (mut reader, mut newest) = (Reader::connect(&hub), HashMap::new());
        for (number, step) in (0..).zip(&steps) {
            match step {
                Step::Publish { topic, qos } => {
                    let topic = format!("t/{topic}");
                    hub.publish(&topic, format!("{number}").as_bytes(), *qos, true);
                    newest.insert(topic, number);
                }
                Step::Read => reader.read(),
                Step::Acknowledge => reader.acknowledge(),
                Step::Subscribe => listen_to_all(&hub),
                Step::Reconnect => {
                    hub.leave("client", reader.seat.connection);
                    reader = Reader::connect(&hub);
                }
            }
        }
        reader.acknowledge();
        while reader.seat.mailbox.emptied().now_or_never().is_none() {
            reader.read();
            reader.acknowledge();
        }
        prop_assert_eq!(reader.seen, newest);
    }
}
