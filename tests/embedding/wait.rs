//! Questions that the program answers, and events that it posts.

use std::time::Duration;

use camshaft::embed::{Answer, Awaited, Builder, Error, Question, Received, Status, Workflow};
use camshaft::{field, inputs, text};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{engine, in_time, same, text_of};

#[derive(Serialize, Deserialize)]
struct Load {
    rows: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Version {
    version: String,
}

fn asks() -> Workflow<Load, Answer<Version>> {
    let mut w = Workflow::<Load>::builder("wait.person");
    let load = w.parameters();
    let schema = json!({ "type": "object", "required": ["version"], "properties": { "version": { "type": "string" } } });
    let prompt = text!("Load ", &field!(load.rows), " rows? {{ not rendered }}");
    let approve = w
        .task("approve")
        .ask::<Version>(Question::new(prompt).schema(schema).role("operator"));
    let seen = w.task("seen").run(
        same::<Version>,
        inputs!(Version {
            version: field!(approve.response.version)
        }),
    );
    w.task("at_last").after(&seen).gather();
    w.build(approve).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered_by_the_program() {
    let workflow = asks();
    let engine = engine(&workflow).await;
    let run = workflow.start(&engine, &Load { rows: 5 }).await.unwrap();
    let asked = in_time(run.asked("approve")).await.unwrap();
    assert_eq!(asked.inquiry().prompt, "Load 5 rows? {{ not rendered }}");
    assert_eq!(asked.inquiry().roles, ["operator"]);
    let refused = text_of(asked.approve("ada", 7).await);
    assert!(refused.contains("object"), "{refused}");
    let asked = in_time(run.asked("approve")).await.unwrap();
    let version = Version {
        version: "1.2".to_owned(),
    };
    asked.approve("ada", &version).await.unwrap();
    let answer = in_time(run.result()).await.unwrap();
    assert_eq!(
        answer,
        Answer {
            approved: true,
            response: version,
            by: "ada".to_owned()
        }
    );
    let Err(Error::Ended { status, .. }) = in_time(run.asked("approve")).await else {
        panic!("a run that has ended asks nothing");
    };
    assert_eq!(status, Status::Completed);

    let run = workflow.start(&engine, &Load { rows: 6 }).await.unwrap();
    in_time(run.asked("approve"))
        .await
        .unwrap()
        .reject("bob")
        .await
        .unwrap();
    let rejected = in_time(run.result()).await.unwrap_err();
    assert!(rejected.to_string().contains("bob"), "{rejected}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_nobody_answers_in_time_fails_or_is_skipped() {
    let workflow = |skips: bool| {
        let mut w = Workflow::<()>::builder("wait.nobody");
        let question = Question::new("Anybody?");
        let question = if skips {
            question.skip_on_timeout()
        } else {
            question
        };
        let asked = w
            .task("asked")
            .timeout(Duration::from_millis(20))
            .ask::<()>(question);
        w.task("then").after(&asked).gather();
        w.build(asked.status()).unwrap()
    };
    assert_eq!(crate::run(&workflow(true), &()).await.unwrap(), "skipped");
    let failed = crate::run(&workflow(false), &()).await.unwrap_err();
    assert!(failed.to_string().contains("asked"), "{failed}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Paid {
    order: u64,
    amount: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_waits_for_an_event_of_the_program_that_is_about_its_run() {
    let mut w = Workflow::<Load>::builder("wait.event");
    let load = w.parameters();
    let paid = w
        .task("paid")
        .timeout(Duration::from_secs(600))
        .wait_for::<Paid>(
            Awaited::new("bank.paid")
                .matching("trigger.order", field!(load.rows))
                .when("trigger.amount > 1"),
        );
    let workflow = w.build(&paid).unwrap();
    let engine = Builder::in_memory()
        .workflow(&workflow)
        .trigger("bank.paid")
        .start()
        .await
        .unwrap();
    let run = workflow.start(&engine, &Load { rows: 7 }).await.unwrap();
    let mut events = run.events();
    while in_time(events.next())
        .await
        .unwrap()
        .unwrap()
        .event_type
        .as_str()
        != "task_blocked"
    {}
    for (order, amount) in [(8, 50), (7, 1), (7, 20), (7, 30)] {
        engine
            .emit("bank.paid", Paid { order, amount })
            .await
            .unwrap();
    }
    let Received { payload, event } = in_time(run.result()).await.unwrap();
    assert_eq!(
        payload,
        Paid {
            order: 7,
            amount: 20
        }
    );
    assert!(event.starts_with("evt"), "{event}");
    let unknown = text_of(engine.emit("bank.gone", ()).await);
    assert!(unknown.contains("bank.gone"), "{unknown}");
    engine.stop().await;
}
