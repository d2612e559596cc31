//! A run as the program sees it: its handle, its events, its end.

use std::sync::Arc;

use camshaft::embed::{Builder, Context, Error, ErrorCode, Json, Question, Status, Workflow};
use camshaft::inputs;
use serde_json::json;
use tokio::sync::Notify;

use crate::{engine, in_time, same, steps, text_of};

fn echo() -> Workflow<Json, Json> {
    let mut w = Workflow::<Json>::builder("control.echo");
    let given = w.parameters();
    let first = w
        .task("first")
        .run(same::<Json>, inputs!({ "n": given.get::<i64>("n") }));
    let second = w
        .task("second")
        .run(same::<Json>, inputs!({ "of": &first }));
    w.build(second).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_log_of_a_run_is_followed_to_its_end_and_read_again_later() {
    let workflow = echo();
    let engine = engine(&workflow).await;
    let run = workflow.start(&engine, &json!({ "n": 1 })).await.unwrap();
    let live = steps(&run).await;
    let finished: Vec<&String> = live
        .iter()
        .filter(|step| step.ends_with("step_finished"))
        .collect();
    assert_eq!(finished, ["first step_finished", "second step_finished"]);
    assert_eq!(steps(&run).await, live);
    assert_eq!(
        in_time(run.result()).await.unwrap(),
        json!({ "of": { "n": 1 } })
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cancelled_stops_its_function_and_says_so() {
    let begun = Arc::new(Notify::new());
    let told = begun.clone();
    let mut w = Workflow::<()>::builder("control.hang");
    let hangs = move |context: Context, (): ()| {
        let told = told.clone();
        async move {
            told.notify_one();
            context.cancelled.cancelled().await;
            Err::<(), _>("stopped")
        }
    };
    let hangs = w.task("hang").run(hangs, ());
    w.task("after").after(&hangs).gather();
    let workflow = w.build(()).unwrap();
    let engine = engine(&workflow).await;
    let run = workflow.start(&engine, &()).await.unwrap();
    in_time(begun.notified()).await;
    run.pause().await.unwrap();
    run.resume().await.unwrap();
    run.cancel().await.unwrap();
    let Err(Error::Ended { status, id, .. }) = in_time(run.result()).await else {
        panic!("it must not complete");
    };
    assert_eq!((status, id), (Status::Cancelled, run.id()));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_one_run_however_often_it_is_started() {
    let workflow = echo();
    let engine = engine(&workflow).await;
    let first = workflow
        .start_once(&engine, "seven", &json!({ "n": 7 }))
        .await
        .unwrap();
    let again = workflow
        .start_once(&engine, "seven", &json!({ "n": 7 }))
        .await
        .unwrap();
    assert_eq!(first.id(), again.id());
    let other = text_of(
        workflow
            .start_once(&engine, "seven", &json!({ "n": 8 }))
            .await,
    );
    assert!(other.contains("idempotency key"), "{other}");
    let found = workflow.find(&engine, first.id()).await.unwrap();
    assert_eq!(
        in_time(found.result()).await.unwrap(),
        json!({ "of": { "n": 7 } })
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_without_the_workflow_and_a_run_of_another_are_told() {
    let workflow = echo();
    let bare = Builder::in_memory().start().await.unwrap();
    let unknown = text_of(workflow.start(&bare, &json!({ "n": 1 })).await);
    assert!(unknown.contains("control.echo"), "{unknown}");
    bare.stop().await;

    let engine = engine(&workflow).await;
    let noop = engine.run("core.noop", json!({})).await.unwrap();
    let other = text_of(workflow.find(&engine, noop.spec.id).await);
    assert!(other.contains("no run"), "{other}");
    let list = text_of(workflow.start(&engine, &json!([1])).await);
    assert!(list.contains("no object"), "{list}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_another_workflow_runs_is_followed_like_any_other() {
    let mut w = Workflow::<()>::builder("control.part");
    w.task("person").ask::<Json>(Question::new("Well?"));
    let part = w.build(()).unwrap();
    let mut w = Workflow::<()>::builder("control.whole");
    w.task("part").workflow(&part, ());
    let whole = w.build(()).unwrap();
    let engine = engine(&whole).await;
    let run = whole.start(&engine, &()).await.unwrap();
    let mut of_whole = run.events();
    let part_id = loop {
        let line = in_time(of_whole.next()).await.unwrap().unwrap();
        if line.step.as_deref() == Some("part")
            && let Some(item) = line.item_id
        {
            break item;
        }
    };
    let found = part.find(&engine, part_id).await.unwrap();
    let asked = in_time(found.asked("person")).await.unwrap();
    let follows = steps(&found);
    let answers = asked.approve("ada", json!(null));
    let (followed, answered) = tokio::join!(follows, answers);
    answered.unwrap();
    in_time(run.ended()).await.unwrap();
    let lines = [
        "part step_started",
        "person task_blocked",
        "person task_completed",
        "part task_completed",
    ];
    assert_eq!(followed, lines);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_in_memory_share_nothing_and_leave_nothing() {
    let workflow = echo();
    let first = engine(&workflow).await;
    let second = engine(&workflow).await;
    let run = workflow.start(&first, &json!({ "n": 1 })).await.unwrap();
    in_time(run.result()).await.unwrap();
    let absent = text_of(workflow.find(&second, run.id()).await);
    assert!(absent.contains("no run"), "{absent}");
    let folder = first.system().data().path().to_owned();
    assert!(folder.is_dir());
    first.stop().await;
    second.stop().await;
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_run_is_told_that_the_engine_stops() {
    for drops in [false, true] {
        let mut w = Workflow::<()>::builder("control.stops");
        w.task("person").ask::<Json>(Question::new("Well?"));
        let workflow = w.build(()).unwrap();
        let engine = engine(&workflow).await;
        let run = workflow.start(&engine, &()).await.unwrap();
        in_time(run.asked("person")).await.unwrap();
        let mut events = run.events();
        let told = async {
            loop {
                match events.next().await {
                    Ok(Some(_)) => {}
                    end => return end.map(drop),
                }
            }
        };
        let stops = async {
            if drops {
                drop(engine);
            } else {
                engine.stop().await;
            }
        };
        let (result, told, ()) = in_time(async { tokio::join!(run.result(), told, stops) }).await;
        for ended in [
            result,
            told,
            in_time(run.result()).await,
            run.asked("other").await.map(drop),
        ] {
            assert_eq!(
                ended.as_ref().err().and_then(Error::code),
                Some(ErrorCode::Unavailable),
                "{ended:?}"
            );
        }
    }
}
