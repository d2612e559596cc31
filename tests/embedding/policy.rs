//! Retries, timeouts, caches, tasks that start at most once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use camshaft::embed::{Context, Error, Json, RetryPolicy, Status, Workflow};
use camshaft::{field, inputs};
use serde::{Deserialize, Serialize};

use crate::{engine, in_time, run, steps};

fn three_tries() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 3,
        delay: Duration::from_millis(1),
        ..RetryPolicy::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_tried_as_often_as_its_policy_says_and_no_more() {
    let tried = Arc::new(AtomicU32::new(0));
    let count = tried.clone();
    let flaky = move |context: Context, succeeds_at: Json| {
        let now = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            assert_eq!(context.attempt, now);
            if u64::from(now) == succeeds_at["at"].as_u64().unwrap_or_default() {
                Ok(now)
            } else {
                Err(format!("attempt {now} fails"))
            }
        }
    };
    let mut w = Workflow::<Json>::builder("policy.retry");
    let at = w.parameters().get::<u64>("at");
    let flaky = w
        .task("flaky")
        .retry(three_tries())
        .run(flaky, inputs!({ "at": &at }));
    let retried = w
        .build(inputs!({ "result": &flaky, "attempt": flaky.attempt() }))
        .unwrap();
    let end = run(&retried, &serde_json::json!({ "at": 3 }))
        .await
        .unwrap();
    assert_eq!(end, serde_json::json!({ "result": 3, "attempt": 3 }));

    tried.store(0, Ordering::SeqCst);
    let failed = run(&retried, &serde_json::json!({ "at": 4 }))
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("attempt 3 fails"), "{failed}");
    assert_eq!(tried.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_takes_too_long_and_a_run_that_does_are_timed_out() {
    let for_ever = |_: Context, (): ()| std::future::pending::<Result<(), String>>();
    let mut w = Workflow::<()>::builder("policy.task_timeout");
    let slow = w
        .task("slow")
        .timeout(Duration::from_millis(20))
        .run(for_ever, ());
    let told = w
        .task("told")
        .after(slow.ends([camshaft::embed::Outcome::TimedOut]))
        .run(
            |_: Context, status: Json| async move { Ok::<_, String>(status) },
            inputs!({ "status": slow.status() }),
        );
    let of_task = w.build(told).unwrap();
    assert_eq!(run(&of_task, &()).await.unwrap()["status"], "timed_out");

    let mut w = Workflow::<()>::builder("policy.run_timeout").timeout(Duration::from_millis(20));
    let until_told = |context: Context, (): ()| async move {
        context.cancelled.cancelled().await;
        Ok::<_, String>(())
    };
    w.task("slow").run(until_told, ());
    let of_run = w.build(()).unwrap();
    let Err(Error::Ended { status, .. }) = run(&of_run, &()).await else {
        panic!("it must not complete");
    };
    assert_eq!(status, Status::TimedOut);
}

#[derive(Serialize, Deserialize)]
struct Ask {
    what: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_taken_from_the_cache_for_the_same_key_only() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let mut w = Workflow::<Ask>::builder("policy.cache");
    let what = w.parameters();
    let answer = w
        .task("answer")
        .cache(field!(what.what), Duration::from_secs(3_600))
        .run(
            move |_: Context, _: Ask| {
                let now = count.fetch_add(1, Ordering::SeqCst);
                async move { Ok::<_, String>(now) }
            },
            inputs!(Ask {
                what: field!(what.what)
            }),
        );
    let cached = w.build(answer).unwrap();
    let engine = engine(&cached).await;
    let mut results = Vec::new();
    for what in ["a", "b", "a"] {
        let what = Ask {
            what: what.to_owned(),
        };
        results.push(in_time(cached.run(&engine, &what)).await.unwrap());
    }
    assert_eq!(results, [0, 1, 0]);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_fails_the_attempt_and_nothing_else() {
    let mut w = Workflow::<()>::builder("policy.panic");
    let panics = |_: Context, (): ()| async {
        if tokio::runtime::Handle::try_current().is_ok() {
            panic!("on purpose");
        }
        Ok::<(), String>(())
    };
    w.task("panics").retry(three_tries()).run(panics, ());
    let workflow = w.build(()).unwrap();
    let engine = engine(&workflow).await;
    let running = workflow.start(&engine, &()).await.unwrap();
    let failed = in_time(running.result()).await.unwrap_err();
    assert!(failed.to_string().contains("on purpose"), "{failed}");
    let steps = steps(&running).await;
    let tries = steps
        .iter()
        .filter(|step| *step == "panics step_retrying")
        .count();
    assert_eq!(tries, 2, "{steps:?}");
    engine.stop().await;
}
