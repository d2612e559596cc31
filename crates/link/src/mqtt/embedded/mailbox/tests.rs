use super::*;
use crate::mqtt::embedded::limits::{WINDOW, WINDOW_BYTES};

const MIB: usize = 1024 * 1024;

fn delivery(bytes: usize) -> Delivery {
    Delivery {
        topic: "t".into(),
        payload: vec![b'x'; bytes].into(),
        qos: QoS::AtLeastOnce,
        retain: false,
    }
}

fn mailbox(is_kept: bool) -> Arc<Mailbox> {
    Arc::new(Mailbox::new(
        "client",
        is_kept,
        Arc::default(),
        Arc::default(),
    ))
}

fn packets(mut batch: BytesMut) -> Vec<Packet> {
    std::iter::from_fn(|| Packet::read(&mut batch, usize::MAX).ok()).collect()
}

fn ids(packets: &[Packet]) -> Vec<u16> {
    let id = |packet: &Packet| match packet {
        Packet::Publish(publish) => Some(publish.pkid),
        _ => None,
    };
    packets.iter().filter_map(id).collect()
}

#[tokio::test]
async fn only_the_connection_that_came_last_reads_and_is_answered() {
    let mailbox = mailbox(true);
    mailbox.attach(1);
    mailbox.deliver(delivery(1));
    let first = mailbox.next_batch(1).await.unwrap();
    mailbox.attach(2);
    mailbox.answer(1, Packet::PingResp);
    mailbox.acknowledged(1, 1);
    assert_eq!(mailbox.next_batch(1).await, Err(Closed::TakenOver));
    let again = mailbox.next_batch(2).await.unwrap();
    // The same message, marked as a repetition.
    assert_eq!((first[0] | 0x08, &first[1..]), (again[0], &again[1..]));
}

#[tokio::test]
async fn one_that_reads_learns_that_it_was_taken_over() {
    let mailbox = mailbox(true);
    let end = mailbox.attach(1);
    let reading = {
        let mailbox = mailbox.clone();
        tokio::spawn(async move {
            end.cancelled().await;
            mailbox.closed(1)
        })
    };
    tokio::task::yield_now().await;
    mailbox.attach(2);
    assert_eq!(reading.await.unwrap(), Closed::TakenOver);
    mailbox.deliver(delivery(1));
    assert!(mailbox.next_batch(2).await.is_ok());
}

#[tokio::test]
async fn answers_do_not_wait_for_messages() {
    let mailbox = mailbox(true);
    mailbox.attach(1);
    for _ in 0..MAX_WAITING {
        mailbox.deliver(delivery(1));
    }
    mailbox.answer(1, Packet::PingResp);
    let first = packets(mailbox.next_batch(1).await.unwrap());
    assert_eq!((&first[0], first.len()), (&Packet::PingResp, 1 + WINDOW));
    // None of those is acknowledged.
    mailbox.answer(1, Packet::PingResp);
    let next = packets(mailbox.next_batch(1).await.unwrap());
    assert_eq!(next, [Packet::PingResp]);
    mailbox.acknowledged(1, 1);
    let next = packets(mailbox.next_batch(1).await.unwrap());
    assert_eq!(next.len(), 1);
}

#[tokio::test]
async fn what_a_client_had_waiting_is_kept_when_it_leaves_and_what_comes_too_until_the_bound() {
    let mailbox = mailbox(true);
    mailbox.attach(1);
    for _ in 0..MAX_WAITING - 10 {
        mailbox.deliver(delivery(1));
    }
    let sent = ids(&packets(mailbox.next_batch(1).await.unwrap()));
    mailbox.detach();
    for _ in 0..15 {
        mailbox.deliver(delivery(1));
    }
    assert_eq!(mailbox.state.lock().dropped, 5);
    assert_eq!(mailbox.dropped.load(Ordering::Relaxed), 5);
    mailbox.attach(2);
    assert_eq!(
        ids(&packets(mailbox.next_batch(2).await.unwrap())),
        sent,
        "what was on its way comes again, and first"
    );
    let (mut received, mut next) = (0, sent);
    while received < MAX_WAITING {
        for id in &next {
            mailbox.acknowledged(2, *id);
        }
        received += next.len();
        if received < MAX_WAITING {
            next = ids(&packets(mailbox.next_batch(2).await.unwrap()));
        }
    }
    let state = mailbox.state.lock();
    assert_eq!(
        (received, state.messages(), state.bytes),
        (MAX_WAITING, 0, 0)
    );
    assert_eq!(state.dropped, 0, "it has been told");
}

#[tokio::test]
async fn who_has_no_session_is_cut_off_at_the_bound_at_once_and_takes_no_more_memory() {
    let mailbox = mailbox(false);
    let end = mailbox.attach(1);
    let mut fitting = 0;
    while !end.is_cancelled() {
        mailbox.deliver(delivery(MIB));
        fitting += 1;
    }
    assert_eq!(fitting, MAX_WAITING_BYTES / MIB);
    mailbox.deliver(delivery(MIB));
    let left = |state: &State| (state.bytes, state.messages());
    assert_eq!(left(&mailbox.state.lock()), (0, 0));
    // With the one that did not fit, and the one after it.
    assert_eq!(mailbox.dropped.load(Ordering::Relaxed), fitting as u64 + 1);
    assert_eq!(mailbox.closed(1), Closed::Overfull);
    assert_eq!(mailbox.next_batch(1).await, Err(Closed::Overfull));
}

#[tokio::test]
async fn a_session_that_is_kept_has_the_same_bounds_whether_its_client_is_there_or_not() {
    let mailbox = mailbox(true);
    mailbox.attach(1);
    for _ in 0..40 {
        mailbox.deliver(delivery(MIB));
        // Each is on its way as far as may be, and none is acknowledged.
        mailbox.answer(1, Packet::PingResp);
        mailbox.next_batch(1).await.unwrap();
    }
    assert!(mailbox.state.lock().sent_bytes <= WINDOW_BYTES + 2 * MIB);
    let bytes = mailbox.detach();
    assert!(
        bytes > MAX_WAITING_BYTES - 2 * MIB && bytes <= MAX_WAITING_BYTES,
        "{bytes}"
    );
    assert_eq!(mailbox.deliver(delivery(MIB)), 0);
    assert!(mailbox.deliver(delivery(1)) > 0);
    mailbox.attach(2);
    assert_eq!(mailbox.closed(1), Closed::TakenOver);
    // It is not locked out by what it has waiting.
    mailbox.answer(2, Packet::PingResp);
    assert!(mailbox.next_batch(2).await.is_ok());
}

#[tokio::test]
async fn what_is_retained_comes_in_its_turn_and_what_came_after_the_subscription_after_it() {
    let retained = Arc::new(Retained::default());
    let keep = |number: usize, payload: &'static [u8]| {
        let topic = format!("t/{number:05}").as_str().into();
        retained.keep(&topic, &Bytes::from_static(payload), QoS::AtLeastOnce);
    };
    let all = MAX_WAITING + 10_000;
    (0..all).for_each(|number| keep(number, b"old"));
    let mailbox = Mailbox::new("client", false, retained.clone(), Arc::default());
    mailbox.attach(1);
    mailbox.deliver(delivery(1));
    mailbox.fetch(retained.cursor(vec![("t/#".to_owned(), QoS::AtLeastOnce)]));
    // The last one changes before the cursor has come to it.
    keep(all - 1, b"new");
    let mut news = delivery(0);
    (news.topic, news.payload) = (
        format!("t/{:05}", all - 1).as_str().into(),
        b"new"[..].into(),
    );
    mailbox.deliver(news);
    let mut received = Vec::new();
    while received.len() < all + 1 {
        for packet in packets(mailbox.next_batch(1).await.unwrap()) {
            let Packet::Publish(publish) = packet else {
                panic!("{packet:?}");
            };
            mailbox.acknowledged(1, publish.pkid);
            received.push((publish.topic, publish.payload, publish.retain));
        }
    }
    assert_eq!(received[0].0, "t");
    assert_eq!(received[1], ("t/00000".into(), b"old"[..].into(), true));
    let is_retained = |(_, _, retained): &&(String, Bytes, bool)| *retained;
    assert_eq!(received.iter().filter(is_retained).count(), all - 1);
    assert_eq!(
        received[all],
        (format!("t/{:05}", all - 1), b"new"[..].into(), false)
    );
    assert_eq!(mailbox.state.lock().bytes, 0);
}

#[tokio::test]
async fn a_subscription_goes_on_with_the_next_connection_and_passes_nothing_over() {
    let retained = Arc::new(Retained::default());
    let keep = |topic: &str, payload: &'static [u8]| {
        retained.keep(&topic.into(), &Bytes::from_static(payload), QoS::AtMostOnce);
    };
    keep("a", b"old");
    keep("b", b"old");
    let mailbox = Mailbox::new("client", true, retained.clone(), Arc::default());
    mailbox.attach(1);
    mailbox.fetch(retained.cursor(vec![("#".to_owned(), QoS::AtLeastOnce)]));
    mailbox.detach();
    // With QoS 0, so the client does not hear of it while it is away.
    keep("b", b"new");
    mailbox.deliver(delivery(1));
    mailbox.attach(2);
    let payload = |packet: &Packet| match packet {
        Packet::Publish(publish) => (publish.topic.clone(), publish.payload.clone()),
        _ => panic!("{packet:?}"),
    };
    let received: Vec<_> = packets(mailbox.next_batch(2).await.unwrap())
        .iter()
        .map(payload)
        .collect();
    let expected = [("t", "x"), ("a", "old"), ("b", "new")];
    assert_eq!(
        received,
        expected.map(|(t, p)| (t.to_owned(), Bytes::from(p)))
    );
}
