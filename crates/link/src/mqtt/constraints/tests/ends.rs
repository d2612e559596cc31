//! What was ended, by whom and when, and what is told of that.

use super::*;
use crate::mqtt::session::Message;

#[tokio::test]
async fn what_is_ended_here_is_ended_by_the_broker_for_all() {
    let mut bench = Bench::new();
    bench
        .connect(&[(TASK, PAUSE), (&of_type("pause"), PAUSE)])
        .await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    assert_eq!(bench.told(), [ended()]);
    bench.calls();
    bench.end_comes_back().await;
    // The topic of the scope has it still.
    assert_eq!(bench.told(), [(TASK.to_owned(), over(PAUSE))]);
    bench.receive(TASK, &over(PAUSE), false).await;
    assert_eq!(bench.calls(), Vec::<String>::new());
    assert_eq!(bench.standing(), None);
    bench.receive(TASK, "", false).await;
    assert_eq!(bench.calls(), ["clear all on task:x"]);
}

#[tokio::test]
async fn another_engine_ends_what_came_by_the_broker_and_nothing_else() {
    for via in [Via::Mqtt, Via::Api] {
        let mut bench = Bench::new();
        bench.connect(&[(&of_type("pause"), PAUSE)]).await;
        bench.fake.held.lock()[0].via = via;
        let end = with(&ended().1, r#""mark": "of another""#);
        bench.receive(&of_type("pause"), &end, false).await;
        assert_eq!(bench.fake.constraints().is_empty(), via == Via::Mqtt);
        assert_eq!(bench.standing(), None);
    }
}

#[tokio::test]
async fn what_was_ended_without_a_broker_does_not_come_back_with_it() {
    let mut bench = Bench::new();
    bench
        .connect(&[(TASK, PAUSE), (&of_type("pause"), PAUSE)])
        .await;
    bench.disconnect().await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    assert_eq!(bench.told(), []);
    bench.calls();
    for _ in 0..2 {
        // The broker did not take it, or does not let us: then it is told again.
        bench.connect(&[(TASK, PAUSE)]).await;
        assert_eq!(bench.calls(), ["gate true", "gate false"]);
        assert_eq!(bench.told(), [ended()]);
        bench.disconnect().await;
    }
    bench.connect(&[(TASK, &over(PAUSE))]).await;
    bench.told();
    bench.end_comes_back().await;
    assert_eq!(bench.standing(), None);
    bench.receive(TASK, PAUSE, false).await;
    assert_eq!(bench.fake.constraints().len(), 1, "somebody pauses again");
}

#[tokio::test]
async fn a_pause_after_one_that_was_ended_holds_whenever_that_is_told() {
    let mut bench = Bench::new();
    let both = [(TASK, PAUSE), (&of_type("pause"), PAUSE)];
    bench.connect(&both).await;
    let first = bench.fake.constraints().remove(0);
    // The end of the first is told of when the second holds already.
    bench.receive(TASK, "", false).await;
    bench.receive(TASK, PAUSE, false).await;
    bench.told();
    let cleared = Input::Changed(Arc::new(first), ConstraintChange::Cleared);
    bench.constraints.take(cleared).await;
    assert_eq!(bench.told(), []);
    // The one that was renewed while its end was on the way.
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    bench.told();
    let renewed = until(60_000_000);
    bench.receive(&of_type("pause"), &renewed, false).await;
    bench.receive(TASK, &renewed, false).await;
    bench.calls();
    bench.end_comes_back().await;
    bench.receive(TASK, &over(PAUSE), false).await;
    assert_eq!(bench.calls(), Vec::<String>::new());
    assert_eq!(bench.told()[0], (of_type("pause"), kept(&renewed)));
}

#[tokio::test]
async fn what_could_not_be_handed_over_is_told_later() {
    let mut bench = Bench::new();
    let (full, _nobody) = mpsc::channel(1);
    bench.connect(&[(TASK, PAUSE)]).await;
    full.try_send(Tell {
        connection: 0,
        message: Message::retained("t".into(), ""),
    })
    .unwrap();
    bench.constraints.tell = full;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    assert_eq!(bench.standing(), Some(Standing::Ended));
}

#[tokio::test]
async fn what_was_ended_without_a_broker_does_not_come_back_after_a_restart_either() {
    let paper = Arc::new(Paper::default());
    let mut bench = Bench::new();
    bench.constraints = bench.constraints.keeping(paper.clone());
    bench.connect(&[(TASK, PAUSE)]).await;
    bench.constraints.state.words.note();
    assert_eq!(paper.read(), "");
    bench.disconnect().await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    bench.constraints.state.words.note();
    assert_eq!(paper.read(), format!("ended {PAUSE}\n"));
    let mut bench = Bench::new();
    bench.constraints = bench.constraints.keeping(paper.clone());
    bench.connect(&[(TASK, PAUSE)]).await;
    assert_eq!(bench.calls(), ["gate true", "gate false"]);
    assert_eq!(bench.told(), [ended()]);
    bench.disconnect().await;
    bench.connect(&[]).await;
    assert_eq!(bench.told(), [ended()], "other engines may hold it");
    bench.end_comes_back().await;
    bench.constraints.state.words.note();
    assert_eq!(paper.read(), "");
}

#[tokio::test]
async fn a_wish_that_had_expired_brings_nothing_back_that_was_ended() {
    for by_the_api in [false, true] {
        let mut bench = Bench::new();
        let both = [(TASK, PAUSE), (&of_type("pause"), PAUSE)];
        bench.connect(&both).await;
        if by_the_api {
            bench
                .clear_here("task:x", "pause", ConstraintChange::Cleared)
                .await;
        } else {
            bench.receive(&of_type("pause"), "", false).await;
        }
        bench.told();
        bench.receive(TASK, &until(-60_000_000), false).await;
        assert_eq!(bench.told(), []);
        assert!(bench.fake.constraints().is_empty());
    }
}

#[tokio::test]
async fn what_was_ended_here_does_not_come_back_with_the_copy_of_one_that_came_in_between() {
    let mut bench = Bench::new();
    let both = [(TASK, PAUSE), (&of_type("pause"), PAUSE)];
    bench.connect(&both).await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    bench.told();
    bench.end_comes_back().await;
    bench.receive(TASK, &over(PAUSE), false).await;
    bench.told();
    // Two came, who still found it on the topic of the scope.
    for _ in 0..2 {
        bench.receive(&of_type("pause"), &kept(PAUSE), false).await;
        assert_eq!(bench.told(), [emptied()]);
        bench.end_comes_back().await;
        assert!(bench.fake.constraints().is_empty());
    }
    // Another one is no copy of it.
    let copy = kept(&until(60_000_000));
    bench.receive(&of_type("pause"), &copy, false).await;
    assert_eq!(bench.fake.constraints().len(), 1);
    bench.receive(TASK, "", false).await;
    bench.told();
    bench.receive(TASK, PAUSE, false).await;
    bench.receive(&of_type("pause"), &kept(PAUSE), false).await;
    assert_eq!(bench.fake.constraints().len(), 1, "somebody pauses again");
}

#[tokio::test]
async fn a_pause_like_the_one_that_was_just_ended_holds_everywhere() {
    let mut here = Bench::new();
    let mut there = Bench::new();
    for bench in [&mut here, &mut there] {
        bench
            .connect(&[(TASK, PAUSE), (&of_type("pause"), PAUSE)])
            .await;
    }
    here.clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    here.told();
    // It was published before the end of the other was.
    for bench in [&mut here, &mut there] {
        bench.receive(TASK, PAUSE, false).await;
    }
    let [(topic, copy)] = here.told().try_into().unwrap();
    assert_eq!(copy, kept(PAUSE));
    let (_, end) = here.end.clone().unwrap();
    here.end_comes_back().await;
    there.receive(&topic, &end, false).await;
    assert_eq!(here.fake.constraints().len(), 1);
    assert!(there.fake.constraints().is_empty(), "it cannot know");
    assert_eq!(here.told(), []);
    assert_eq!(there.told(), [(TASK.to_owned(), over(PAUSE))]);
    // A copy may be older than the end, but not if it comes again and again.
    for _ in 0..MAX_ANSWERS_AFTER_END {
        for bench in [&mut here, &mut there] {
            bench.receive(&topic, &copy, false).await;
        }
        assert!(there.fake.constraints().is_empty());
        assert_eq!(there.told(), [emptied()]);
        let (_, answer) = there.end.clone().unwrap();
        for bench in [&mut here, &mut there] {
            bench.receive(&topic, &answer, false).await;
        }
        assert_eq!(here.told(), [(topic.clone(), copy.clone())]);
    }
    there.receive(&topic, &copy, false).await;
    assert_eq!(there.fake.constraints().len(), 1);
    assert_eq!(there.standing(), Some(Standing::InForce));
}

#[tokio::test]
async fn what_was_ended_while_an_engine_was_away_ends_there_too() {
    let mut bench = Bench::with(&[PAUSE, LIMIT]);
    bench.connect(&[(&of_type("pause"), &ended().1)]).await;
    let left = bench.fake.constraints();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].terms.kind(), ConstraintType::Concurrency);
    // Not if somebody wished for it again, nor if it was another.
    for (plain, end) in [
        (PAUSE, ended().1),
        ("", ended().1.replace(r#""was": null"#, r#""was": 9.5"#)),
    ] {
        let mut bench = Bench::with(&[PAUSE]);
        bench
            .connect(&[(TASK, plain), (&of_type("pause"), &end)])
            .await;
        assert_eq!(bench.fake.constraints().len(), 1);
    }
}

#[tokio::test]
async fn what_was_emptied_leaves_its_end_for_who_was_away() {
    let mut bench = Bench::with(&[PAUSE]);
    bench
        .connect(&[(TASK, PAUSE), (&of_type("pause"), &kept(PAUSE))])
        .await;
    bench.receive(TASK, "", false).await;
    assert_eq!(bench.told(), [emptied()]);
    // Who has heard the empty message passes it by, also if somebody has wished for the same since.
    bench.receive(TASK, PAUSE, false).await;
    bench.receive(&of_type("pause"), &emptied().1, false).await;
    assert_eq!(bench.fake.constraints().len(), 1);
    // Who has not follows it, while it is on the way or retained.
    for is_retained in [false, true] {
        let mut away = Bench::with(&[PAUSE]);
        let (topic, end) = emptied();
        if is_retained {
            away.connect(&[(&topic, &end)]).await;
        } else {
            away.connect(&[]).await;
            away.receive(&topic, &end, false).await;
        }
        assert!(away.fake.constraints().is_empty());
    }
}

#[tokio::test]
async fn an_end_that_a_broker_retains_again_is_no_news() {
    let end = with(&ended().1, r#""mark": "of another""#);
    let mut bench = Bench::with(&[PAUSE]);
    bench.connect(&[]).await;
    bench.receive(&of_type("pause"), &end, false).await;
    bench.receive(TASK, PAUSE, false).await;
    bench.disconnect().await;
    // It has lost what followed.
    bench.connect(&[(&of_type("pause"), &end)]).await;
    assert_eq!(bench.fake.constraints().len(), 1);
}

#[tokio::test]
async fn an_end_is_told_to_a_broker_that_has_forgotten_everything() {
    let mut bench = Bench::with(&[PAUSE]);
    bench.connect(&[(TASK, PAUSE)]).await;
    bench.disconnect().await;
    bench
        .clear_here("task:x", "pause", ConstraintChange::Cleared)
        .await;
    bench.told();
    bench.connect(&[]).await;
    assert_eq!(bench.told(), [ended()]);
    bench.end_comes_back().await;
    assert_eq!(bench.standing(), None);
    bench.disconnect().await;
    bench.connect(&[]).await;
    assert_eq!(bench.told(), []);
}

#[tokio::test]
async fn who_followed_an_end_finishes_what_its_engine_began() {
    let mut bench = Bench::new();
    bench
        .connect(&[(TASK, PAUSE), (&of_type("pause"), PAUSE)])
        .await;
    let end = with(&ended().1, r#""mark": "of another""#);
    bench.receive(&of_type("pause"), &end, false).await;
    assert_eq!(bench.told(), [(TASK.to_owned(), over(PAUSE))]);
    // One has come in between and found it on the topic of the scope.
    bench.receive(&of_type("pause"), &kept(PAUSE), false).await;
    assert!(bench.fake.constraints().is_empty());
    assert_eq!(bench.told(), [emptied()]);
}

#[tokio::test]
async fn a_copy_of_what_an_expired_wish_replaced_is_passed_over() {
    let mut bench = Bench::new();
    let expired = until(-1);
    let copy = kept(PAUSE);
    bench
        .connect(&[(TASK, &expired), (&of_type("pause"), &copy)])
        .await;
    assert!(bench.fake.constraints().is_empty());
}

#[tokio::test]
async fn ends_of_what_nobody_has_are_not_kept() {
    let mut bench = Bench::with(&[PAUSE]);
    bench.constraints.take(Input::Connected(0)).await;
    let (topic, end) = ended();
    let of_another = |text: &str| text.replace("task:x", "task:y").replace("task/x", "task/y");
    for _ in 0..2 {
        bench
            .receive(&of_another(&topic), &of_another(&end), true)
            .await;
    }
    bench.receive(&topic, &end, true).await;
    let gathering = bench.constraints.state.gathering.as_ref().unwrap();
    assert_eq!(gathering.ended.len(), 1);
}
