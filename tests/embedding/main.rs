//! Workflows that a program builds, through the public facade alone, with a real engine.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must fail"
)]

mod actions;
mod control;
mod example;
mod graph;
mod literal;
mod policy;
mod process;
mod refused;
mod restart;
mod subscriber;
mod wait;

use std::fmt::Display;
use std::time::Duration;

use camshaft::embed::{Builder, Context, Embedded, Error, Run, Workflow};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts an engine in memory with one workflow.
async fn engine<P, R>(workflow: &Workflow<P, R>) -> Embedded {
    let started = Builder::in_memory().workflow(workflow).start().await;
    started.unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a workflow in memory.
async fn run<P: Serialize, R: DeserializeOwned>(
    workflow: &Workflow<P, R>,
    parameters: &P,
) -> Result<R, Error> {
    let engine = engine(workflow).await;
    let result = in_time(workflow.run(&engine, parameters)).await;
    engine.stop().await;
    result
}

/// What becomes of something, or the test fails.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.expect("it takes too long")
}

/// How the steps of a run ended, in the order in which they did.
async fn steps<R>(run: &Run<R>) -> Vec<String> {
    let mut events = run.events();
    let mut steps = Vec::new();
    while let Some(event) = in_time(events.next()).await.expect("events are read") {
        if let Some(step) = event.step {
            steps.push(format!("{step} {}", event.event_type));
        }
    }
    steps
}

/// A function that gives back what it is given.
async fn same<T: Send>(_: Context, value: T) -> Result<T, String> {
    Ok(value)
}

/// The text of an error that must be there.
fn text_of<T, E: Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => panic!("it must not work"),
        Err(error) => error.to_string(),
    }
}
