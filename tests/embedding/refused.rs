//! Mistakes in a workflow: all of them at once, each with its task, and never a panic.

use std::time::Duration;

use camshaft::embed::{Awaited, Builder, Error, Json, Question, RetryPolicy, Workflow};
use camshaft::{field, inputs};
use serde::{Deserialize, Serialize};

use crate::{run, same, text_of};

#[derive(Serialize, Deserialize)]
struct Two {
    a: i64,
    #[serde(rename = "second")]
    b: Option<i64>,
}

fn problems<T>(built: Result<T, Error>) -> Vec<String> {
    match built {
        Err(Error::Definition { problems, .. }) => problems,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it must be refused"),
    }
}

#[test]
fn every_mistake_is_told_at_once_with_its_task() {
    let mut other = Workflow::<Two>::builder("wrong.other");
    let elsewhere = other.task("elsewhere").run(same::<Json>, inputs!({}));

    let mut w = Workflow::<Two>::builder("wrong.all");
    let two = w.parameters();
    w.task("twice").run(same::<Json>, inputs!({}));
    w.task("twice").run(same::<Json>, inputs!({}));
    w.task("foreign")
        .run(same::<Json>, inputs!({ "x": &elsewhere }));
    w.task("renamed")
        .run(same::<Json>, inputs!({ "x": &field!(two.b) }));
    w.task("Upper").run(same::<Json>, inputs!({}));
    w.task("no object").run(same::<Vec<u8>>, vec![1]);
    let mut item = None;
    w.task("items").each(vec![1]).run(same::<Json>, |each| {
        item = Some(each.value.clone());
        inputs!({ "x": each.value })
    });
    let escaped = item.unwrap();
    w.task("escaped")
        .run(same::<Json>, inputs!({ "x": escaped }));
    let syntax = w.expression::<bool>("1 +");
    w.task("syntax").when(syntax).run(same::<Json>, inputs!({}));
    w.task("patient")
        .retry(RetryPolicy::default())
        .ask::<()>(Question::new("Well?"));
    w.task("no_time")
        .timeout(Duration::ZERO)
        .run(same::<Json>, inputs!({}));
    w.task("no_try")
        .retry(RetryPolicy {
            max_attempts: 0,
            ..RetryPolicy::default()
        })
        .run(same::<Json>, inputs!({}));
    w.task("no_ref").action::<Json>("not a ref", inputs!({}));
    w.task("core").action::<Json>("core.ecco", inputs!({}));
    w.task("once")
        .at_most_once()
        .action::<Json>("core.noop", inputs!({}));
    w.task("criteria").wait_for::<Json>(
        Awaited::new("a.b")
            .matching("trigger.x", 1)
            .matching("trigger.x", 2),
    );
    w.task("no_items")
        .each(vec![1])
        .concurrency(0)
        .run(same::<Json>, |_| inputs!({}));
    let all = problems(w.build(())).join("\n");
    for part in [
        "task 'twice': there are two tasks of this name",
        "task 'foreign': a handle of another workflow is given to it",
        "tasks.renamed.with.x: the workflow has no parameter 'b'",
        "task 'Upper': the name of a task that runs a function has lower-case letters",
        "task 'no object': ",
        "tasks.escaped.with.x: there is no 'item' here",
        "tasks.syntax.when: ",
        "tasks.patient.retry: a task that asks a person has no retry",
        "tasks.no_time.timeout: ",
        "tasks.no_try.retry.max_attempts: ",
        "tasks.no_ref.action: ",
        "tasks.core.action: unknown action 'core.ecco'; did you mean 'core.echo'?",
        "task 'once': at_most_once is for tasks that run a function",
        "task 'criteria': there are two criteria about 'trigger.x'",
        "tasks.no_items.concurrency: ",
    ] {
        assert!(all.contains(part), "{part}\n--- is not in\n{all}");
    }
}

#[test]
fn tasks_that_wait_for_one_another_are_refused() {
    let mut w = Workflow::<()>::builder("wrong.circle");
    let later = w.expression::<i64>("tasks.second.result");
    let first = w.task("first").run(same::<Json>, inputs!({ "x": later }));
    w.task("second").run(same::<Json>, inputs!({ "x": &first }));
    let all = problems(w.build(())).join("\n");
    assert!(all.contains("first") && all.contains("second"), "{all}");
}

#[test]
fn a_workflow_without_tasks_or_with_a_bad_ref_or_parameters_is_refused() {
    let empty = Workflow::<()>::builder("wrong.empty").build(());
    assert!(problems(empty)[0].contains("at least one task"));
    let core = Workflow::<()>::builder("core.mine").build(());
    assert!(problems(core)[0].contains("belongs to Camshaft"));
    let no_ref = Workflow::<()>::builder("Nothing").build(());
    assert!(problems(no_ref)[0].contains("is not a ref"));
    let mut w = Workflow::<Vec<i64>>::builder("wrong.list");
    w.task("any").gather();
    assert!(problems(w.build(()))[0].contains("a struct, a map or ()"));
}

#[tokio::test]
async fn two_different_definitions_of_one_name_are_refused_at_the_start() {
    let workflow = |name: &str| {
        let mut w = Workflow::<()>::builder("wrong.same");
        w.task(name).gather();
        w.build(()).unwrap()
    };
    let started = Builder::in_memory()
        .workflow(&workflow("one"))
        .workflow(&workflow("one"))
        .workflow(&workflow("two"))
        .action("core.mine", same::<Json>)
        .action("no ref", same::<Json>)
        .start()
        .await;
    let all = problems(started);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(
        all[0].contains("two different definitions of 'wrong.same'"),
        "{all:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_needs_the_parameters_that_have_no_default() {
    let mut w = Workflow::<Two>::builder("wrong.parameters");
    let two = w.parameters();
    let b = two.get::<Option<i64>>("second");
    let same = w
        .task("same")
        .run(same::<Json>, inputs!({ "a": field!(two.a), "b": b }));
    let workflow = w.build(same).unwrap();
    let given = run(&workflow, &Two { a: 1, b: None }).await.unwrap();
    assert_eq!(given, serde_json::json!({ "a": 1, "b": null }));
    let engine = crate::engine(&workflow).await;
    let missing = text_of(
        engine
            .run("wrong.parameters", serde_json::json!({ "second": 2 }))
            .await,
    );
    assert!(
        missing.contains("'a'") || missing.contains("\"a\""),
        "{missing}"
    );
    let done = engine
        .run("wrong.parameters", serde_json::json!({ "a": 2 }))
        .await
        .unwrap();
    assert_eq!(
        done.state.result.as_deref(),
        Some(&serde_json::json!({ "a": 2, "b": null }))
    );
    engine.stop().await;
}

#[tokio::test]
async fn a_folder_of_packs_that_is_not_there_is_told_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let builder = Builder::new(&data).packs(dir.path().join("typo"));
    let told = text_of(builder.start().await);
    assert!(told.contains("there is no folder"), "{told}");
    assert!(!data.exists());
}
