//! Who is told of everything by a program that embeds the engine.

use std::sync::{Arc, Mutex, mpsc};

use camshaft::embed::{Builder, Json, Notice, Status, Subscriber, Workflow};
use camshaft::inputs;
use serde_json::json;

use crate::in_time;

/// Goes on with nothing before it is let go.
struct Blocking {
    gate: Mutex<mpsc::Receiver<()>>,
    ended: Mutex<Vec<Status>>,
}

impl Subscriber for Blocking {
    fn name(&self) -> &str {
        "blocking"
    }

    fn notice(&self, notice: &Notice) {
        // Nobody sends anything: it ends with the sender.
        let _ = self.gate.lock().unwrap().recv();
        if let Notice::Execution(execution) = notice
            && execution.spec.id == execution.spec.root
        {
            self.ended.lock().unwrap().push(execution.state.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_blocks_stops_no_run_and_hears_of_it_later() {
    let (held, gate) = mpsc::channel();
    let blocking = Arc::new(Blocking {
        gate: Mutex::new(gate),
        ended: Mutex::default(),
    });
    let mut w = Workflow::<Json>::builder("use.core");
    let echo = w
        .task("echo")
        .action::<Json>("core.echo", inputs!({ "message": 1 }));
    let workflow = w.build(&echo).unwrap();
    let engine = Builder::in_memory()
        .workflow(&workflow)
        .subscriber(blocking.clone())
        .start()
        .await
        .unwrap();
    let end = in_time(workflow.run(&engine, &json!({}))).await.unwrap();
    assert_eq!(end, json!({ "message": 1 }));
    assert!(blocking.ended.lock().unwrap().is_empty());
    drop(held);
    engine.stop().await;
    assert_eq!(
        blocking.ended.lock().unwrap().last(),
        Some(&Status::Completed)
    );
}
