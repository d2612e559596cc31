//! A program that is killed: this test program starts itself again as the one to be killed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use camshaft::embed::{Builder, Context, Error, Json, Workflow};
use camshaft::inputs;
use serde_json::json;

use crate::in_time;

/// Says in which folder the program to be killed works.
const FOLDER: &str = "EMBEDDING_FOLDER";
/// What it prints once its second task runs.
const BEGUN: &str = "the second task has begun";

#[expect(clippy::print_stdout, reason = "whoever kills the program reads it")]
fn chain(log: &Path, second_ends: bool) -> Result<Workflow<(), Json>, Error> {
    let log = log.to_owned();
    let mut w = Workflow::<()>::builder("killed.chain");
    let first = w.task("first").run(
        move |_: Context, (): ()| {
            let file = fs::OpenOptions::new().create(true).append(true).open(&log);
            let written = file.and_then(|mut file| writeln!(file, "first"));
            async move { written.map(|()| 1).map_err(|error| error.to_string()) }
        },
        (),
    );
    let second = w.task("second").run(
        move |context: Context, given: Json| async move {
            if !second_ends {
                println!("{BEGUN}");
                std::future::pending::<()>().await;
            }
            Ok::<_, String>(json!({ "attempt": context.attempt, "given": given }))
        },
        inputs!({ "first": &first }),
    );
    w.build(second)
}

async fn run(folder: &Path, second_ends: bool) -> Result<Json, Error> {
    let workflow = chain(&folder.join("log"), second_ends)?;
    let engine = Builder::new(folder.join("data"))
        .workflow(&workflow)
        .start()
        .await?;
    let run = workflow.start_once(&engine, "the only one", &()).await?;
    let result = run.result().await;
    engine.stop().await;
    result
}

/// Nothing by itself: the program that the test below starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_to_be_killed() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let ended = run(Path::new(&folder), false).await;
        panic!("it is killed before that: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_killed_goes_on_from_what_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "process::the_program_to_be_killed",
            "--nocapture",
        ])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    let begun = lines.map_while(Result::ok).any(|line| line.contains(BEGUN));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(begun, "it ended before its second task");

    let end = in_time(run(folder.path(), true)).await.unwrap();
    assert_eq!(end, json!({ "attempt": 2, "given": { "first": 1 } }));
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(log, "first\n", "what completed is not run again");
}
