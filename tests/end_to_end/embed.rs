//! The library facade: native actions of an embedding program survive its crash.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use camshaft::embed::{Builder, request};
use camshaft_model::{Object, Status};
use serde_json::json;
use tokio::sync::Notify;

use crate::harness::{PATIENCE, Site};

/// What is on the disk at this instant, as a crash would leave it for the next life.
fn crash_image(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            crash_image(&path, &copy);
        } else {
            fs::copy(&path, &copy).expect("copied");
        }
    }
}

#[test]
fn a_native_action_that_a_crash_cut_off_is_taken_up_and_what_was_done_stays_done() {
    let site = Site::new();
    let (first, second) = (site.path().join("first"), site.path().join("second"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (done, cut_off) = runtime.block_on(async {
        let begun = Arc::new(Notify::new());
        let told = begun.clone();
        let engine = Builder::new(&first)
            .action("math.add", |_, terms: Terms| async move {
                Ok::<_, String>(terms.a + terms.b)
            })
            .action("math.hang", move |_, _: Object| {
                let told = told.clone();
                async move {
                    told.notify_one();
                    std::future::pending::<Result<u32, String>>().await
                }
            })
            .start()
            .await
            .expect("it starts");
        let done = engine.run("math.add", json!({"a": 2, "b": 3})).await;
        let done = done.expect("it runs");
        assert_eq!(done.state.result.as_deref(), Some(&json!(5)));
        let hang = request("math.hang".parse().expect("a ref"), Object::new());
        let hanging = engine.engine().request(hang).await.expect("it is taken");
        begun.notified().await;
        crash_image(&first, &second);
        engine.stop().await;
        (done.spec.id, hanging.execution.spec.id)
    });

    runtime.block_on(async {
        let engine = Builder::new(&second)
            .action("math.add", |_, _: Terms| async move {
                Err::<u32, _>("what is done is not done again")
            })
            .action("math.hang", |context, _: Object| async move {
                Ok::<_, String>(context.attempt)
            })
            .start()
            .await
            .expect("it starts again");
        let taken_up = tokio::time::timeout(PATIENCE, engine.engine().wait(cut_off))
            .await
            .expect("in time")
            .expect("it ends");
        assert_eq!(taken_up.state.status, Status::Completed);
        assert_eq!(taken_up.state.result.as_deref(), Some(&json!(2)));
        let attempts = engine.engine().store().attempts(cut_off).await;
        let statuses: Vec<Status> = attempts
            .expect("read")
            .iter()
            .map(|attempt| attempt.status)
            .collect();
        assert_eq!(statuses, [Status::Abandoned, Status::Completed]);
        let done = engine.engine().wait(done).await.expect("it is there");
        assert_eq!(done.state.attempt, 1);
        assert_eq!(done.state.result.as_deref(), Some(&json!(5)));
        engine.stop().await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

#[derive(serde::Deserialize)]
struct Terms {
    a: i64,
    b: i64,
}
