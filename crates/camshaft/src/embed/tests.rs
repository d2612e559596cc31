//! Workflows of an embedding program, with a real engine on a folder.

use camshaft_model::Status;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Builder, Handle, In, Workflow};
use crate::exit::CliError;

#[derive(Serialize, Deserialize)]
struct Two {
    a: In<i64>,
    b: In<i64>,
}

fn chain() -> Workflow {
    let mut workflow = Workflow::new("math.twice").unwrap();
    let n: Handle<i64> = workflow.parameter("n");
    let add = |_context, two: Two| async move {
        let (a, b) = (two.a.into_value(), two.b.into_value());
        a.zip(b).and_then(|(a, b)| a.checked_add(b)).ok_or("no sum")
    };
    let first = workflow.task(
        "first",
        add,
        &Two {
            a: (&n).into(),
            b: 1.into(),
        },
    );
    let second = workflow.task(
        "second",
        add,
        &Two {
            a: (&first).into(),
            b: (&n).into(),
        },
    );
    workflow.output(&second);
    workflow
}

async fn run(n: Value) -> (Status, Option<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Builder::new(folder.path())
        .workflow(chain())
        .unwrap()
        .start()
        .await
        .unwrap();
    let execution = engine.run("math.twice", json!({ "n": n })).await.unwrap();
    engine.stop().await;
    (
        execution.state.status,
        execution.state.result.as_deref().cloned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_gets_the_result_of_another_by_its_handle() {
    assert_eq!(run(json!(4)).await, (Status::Completed, Some(json!(9))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fails_fails_the_run() {
    assert_eq!(run(json!(i64::MAX)).await.0, Status::Failed);
}

#[test]
fn two_tasks_of_one_name_are_refused() {
    let mut workflow = Workflow::new("math.twice").unwrap();
    let echo = |_context, value: Value| async move { Ok::<_, String>(value) };
    workflow.task("same", echo, &json!({}));
    workflow.task("same", echo, &json!({}));
    let refused: Result<Builder, CliError> = Builder::new("unused").workflow(workflow);
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("two tasks 'same'"), "{message}");
}
