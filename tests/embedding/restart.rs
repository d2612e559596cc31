//! What a start makes of runs that an earlier life of the program left.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use camshaft::embed::{
    Builder, Context, Embedded, Error, ErrorCode, Json, Question, Run, Workflow,
};
use camshaft::inputs;
use serde_json::json;
use tokio::sync::Notify;

use crate::{in_time, same, text_of};

/// What a life of the program does: the second task ends only in a later one.
#[derive(Clone, Default)]
struct Life {
    first: Arc<AtomicU32>,
    second_begun: Arc<Notify>,
    second_ends: bool,
}

/// Two tasks in a chain, and a third with a name of its own for each definition.
fn chain(life: &Life, second: &str, last: &str) -> Workflow<Json, Json> {
    let mut w = Workflow::<Json>::builder("lives.chain");
    let n = w.parameters().get::<i64>("n");
    let (count, begun, ends) = (
        life.first.clone(),
        life.second_begun.clone(),
        life.second_ends,
    );
    let first = w.task("first").run(
        move |_: Context, given: Json| {
            count.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, String>(given) }
        },
        inputs!({ "n": &n }),
    );
    let items = w.task(second).each(vec![1, 2]).run(
        move |context: Context, given: Json| {
            let begun = begun.clone();
            async move {
                if !ends && given["item"] == 2 {
                    begun.notify_one();
                    std::future::pending::<()>().await;
                }
                Ok::<_, String>(json!({ "attempt": context.attempt, "item": given["item"] }))
            }
        },
        |item| inputs!({ "item": item.value, "first": &first }),
    );
    let last = w
        .task(last)
        .run(same::<Json>, inputs!({ "items": &items, "first": &first }));
    w.build(last).unwrap()
}

async fn start(folder: &Path, workflow: &Workflow<Json, Json>) -> Result<Embedded, Error> {
    in_time(Builder::new(folder).workflow(workflow).start()).await
}

/// Starts a run, and drops its engine in the middle of the second task.
async fn left(folder: &Path, life: &Life, second: &str, last: &str) -> Run<Json> {
    let workflow = chain(life, second, last);
    let engine = start(folder, &workflow).await.unwrap();
    let run = workflow
        .start_once(&engine, "seven", &json!({ "n": 7 }))
        .await
        .unwrap();
    in_time(life.second_begun.notified()).await;
    // The first item has ended, and that is recorded.
    let mut events = run.events();
    loop {
        let event = in_time(events.next()).await.unwrap().unwrap();
        if event.step.as_deref() == Some(second) && event.event_type.as_str() == "step_finished" {
            break;
        }
    }
    drop(engine);
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_where_it_was_and_what_completed_is_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::default();
    let run = left(folder.path(), &life, "second", "last").await;
    let later = Life {
        second_ends: true,
        ..life.clone()
    };
    let workflow = chain(&later, "second", "last");
    let engine = start(folder.path(), &workflow).await.unwrap();
    let found = workflow
        .start_once(&engine, "seven", &json!({ "n": 7 }))
        .await
        .unwrap();
    assert_eq!(found.id(), run.id());
    let end = in_time(found.result()).await.unwrap();
    let items = json!([{ "attempt": 1, "item": 1 }, { "attempt": 2, "item": 2 }]);
    assert_eq!(end, json!({ "items": items, "first": { "n": 7 } }));
    assert_eq!(
        life.first.load(Ordering::SeqCst),
        1,
        "what completed is not run again"
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_with_the_definition_that_it_started_with_and_a_new_one_has_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::default();
    let run = left(folder.path(), &life, "second", "last").await;
    let later = Life {
        second_ends: true,
        ..life.clone()
    };
    // The new definition has another last task, and the program still has the function of the old one.
    let mut w = Workflow::<Json>::builder("lives.other");
    w.task("unused").gather();
    let unrelated = w.build(()).unwrap();
    let new = chain(&later, "second", "last_of_all");
    let engine = Builder::new(folder.path())
        .workflow(&new)
        .workflow(&unrelated)
        .action("lives.chain_last", same::<Json>)
        .start();
    let engine = in_time(engine).await.unwrap();
    let old = new.find(&engine, run.id()).await.unwrap();
    let end = in_time(old.result()).await.unwrap();
    assert_eq!(end["items"][1], json!({ "attempt": 2, "item": 2 }));
    assert!(
        crate::steps(&old)
            .await
            .contains(&"last step_finished".to_owned())
    );
    let fresh = new.start(&engine, &json!({ "n": 8 })).await.unwrap();
    in_time(fresh.result()).await.unwrap();
    let steps = crate::steps(&fresh).await;
    assert!(
        steps.contains(&"last_of_all step_finished".to_owned()),
        "{steps:?}"
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_lost_a_function_of_an_unfinished_run_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::default();
    let run = left(folder.path(), &life, "second", "last").await;
    let later = Life {
        second_ends: true,
        ..life.clone()
    };
    // Neither the task that runs nor the one after it has its function any more; the first has ended.
    let new = chain(&later, "other", "other_last");
    let refused = start(folder.path(), &new).await;
    assert_eq!(
        refused.as_ref().err().and_then(Error::code),
        Some(ErrorCode::FunctionMissing)
    );
    let message = text_of(refused);
    for part in [
        "'lives.chain_second'",
        "'lives.chain_last'",
        "task 'last'",
        &run.id().to_string(),
        "without_functions",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("chain_first"), "{message}");

    // A program without the workflow at all is told the same.
    let nothing = in_time(Builder::new(folder.path()).start()).await;
    assert!(text_of(nothing).contains("'lives.chain_last'"));

    // What was refused has changed nothing: with its functions the run goes on.
    let workflow = chain(&later, "second", "last");
    let engine = start(folder.path(), &workflow).await.unwrap();
    let found = workflow.find(&engine, run.id()).await.unwrap();
    assert_eq!(
        in_time(found.result()).await.unwrap()["first"],
        json!({ "n": 7 })
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_starts_without_functions_fails_their_tasks_and_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::default();
    let run = left(folder.path(), &life, "second", "last").await;
    let later = Life {
        second_ends: true,
        ..life.clone()
    };
    let new = chain(&later, "other", "other_last");
    let engine = Builder::new(folder.path())
        .workflow(&new)
        .without_functions()
        .start();
    let engine = in_time(engine).await.unwrap();
    let old = new.find(&engine, run.id()).await.unwrap();
    let failed = text_of(in_time(old.result()).await);
    assert!(
        failed.contains("'lives.chain_second' not found"),
        "{failed}"
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_that_was_open_can_be_answered_however_many_there_are() {
    let mut w = Workflow::<Json>::builder("lives.asks");
    for number in 0..1_001 {
        w.task(&format!("q{number}"))
            .ask::<Json>(Question::new("Go on?"));
    }
    let workflow = w.build(()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let start = || in_time(Builder::new(folder.path()).workflow(&workflow).start());
    let engine = start().await.unwrap();
    let run = workflow.start(&engine, &json!({})).await.unwrap();
    in_time(run.asked("q0")).await.unwrap();
    engine.stop().await;

    let engine = start().await.unwrap();
    let run = workflow.find(&engine, run.id()).await.unwrap();
    for task in ["q0", "q1", "q1000"] {
        let asked = in_time(run.asked(task)).await.unwrap();
        asked.approve("ada", json!(null)).await.unwrap();
    }
    engine.stop().await;
}
