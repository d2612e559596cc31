//! How many executions a second the store takes, and how many bytes each of them costs, beside what
//! the disk gives bare group-committed inserts in the same run.
//!
//! `cargo run --release -p camshaft-store --example rate -- [executions] [in flight]`

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use camshaft_model::Execution;
use camshaft_model::port::store::{Change, OnCommit, Outcome, Store, StoreError, Transaction};
use camshaft_store::SqliteStore;
use camshaft_testkit::store_contract::Maker;
use tokio::time::Instant;

/// Rows of the bare comparison.
const ROWS: usize = 500_000;
/// Rows that share a commit there.
const ROWS_PER_COMMIT: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let executions: usize = args.next().map_or(Ok(100_000), |n| n.parse())?;
    let in_flight: usize = args.next().map_or(Ok(256), |n| n.parse())?;
    let dir = tempfile::tempdir_in(".")?;

    let bare = bare_rows(&dir.path().join("bare.db"))?;
    let path = dir.path().join("store.db");
    let store = Arc::new(SqliteStore::open(&path)?);
    let elapsed = run(&store, executions, in_flight)?;
    store.checkpoint().await?;
    let rate = executions as f64 / elapsed.as_secs_f64();
    let bytes = std::fs::metadata(&path)?.len() as f64 / executions as f64;
    let with_events = with_events(&dir.path().join("events.db"), 20_000).await?;
    report(bare, rate, bytes, with_events);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what this program is for")]
fn report(bare: f64, rate: f64, bytes: f64, with_events: f64) {
    println!("bare group-committed rows   {bare:>10.0}/s");
    println!(
        "executions                  {rate:>10.0}/s   {:.3} of that",
        rate / bare
    );
    println!(
        "bytes per execution         {bytes:>10.0}     two commits each, three step events, attempt"
    );
    println!("with event and enforcement  {with_events:>10.0}");
}

fn bare_rows(path: &Path) -> Result<f64, Box<dyn Error>> {
    let connection = rusqlite::Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE row (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")?;
    let began = Instant::now();
    for batch in 0..ROWS / ROWS_PER_COMMIT {
        let transaction = connection.unchecked_transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO row (a, b) VALUES (?1, ?2)")?;
        for _ in 0..ROWS_PER_COMMIT {
            insert.execute(rusqlite::params![batch, "a small row"])?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok(ROWS as f64 / began.elapsed().as_secs_f64())
}

/// Keeps so many executions going; each is recorded running and, once that is durable, completed.
fn run(
    store: &Arc<SqliteStore>,
    executions: usize,
    in_flight: usize,
) -> Result<Duration, Box<dyn Error>> {
    let maker = Maker::new(1);
    let failed = Arc::new(AtomicUsize::new(0));
    let (ended, ends) = channel();
    let began = Instant::now();
    for started in 0..executions + in_flight {
        if started >= in_flight {
            ends.recv()?;
        }
        if started < executions {
            start(store, &maker, &ended, &failed);
        }
    }
    let elapsed = began.elapsed();
    match failed.load(Ordering::SeqCst) {
        0 => Ok(elapsed),
        n => Err(format!("{n} transactions failed").into()),
    }
}

fn start(store: &Arc<SqliteStore>, maker: &Maker, ended: &Sender<()>, failed: &Arc<AtomicUsize>) {
    let execution = maker.running();
    let first = Transaction {
        changes: vec![
            Change::InsertExecution(Box::new(execution.clone())),
            maker.step_started(&execution),
        ],
    };
    let second = maker.ending(&execution);
    let (store_again, ended, failed) = (Arc::clone(store), ended.clone(), Arc::clone(failed));
    store.submit(
        first,
        Box::new(move |result: Result<Outcome, StoreError>| {
            let failed_too = Arc::clone(&failed);
            let done: OnCommit = Box::new(move |result: Result<Outcome, StoreError>| {
                failed_too.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
                let _ = ended.send(());
            });
            failed.fetch_add(usize::from(result.is_err()), Ordering::SeqCst);
            store_again.submit(second, done);
        }),
    );
}

/// Bytes for an execution that a rule requested, with its event and its enforcement.
async fn with_events(path: &Path, executions: usize) -> Result<f64, Box<dyn Error>> {
    let store = SqliteStore::open(path)?;
    let maker = Maker::new(2);
    let (ended, ends) = channel();
    for number in 0..executions {
        let event = maker.event(Some(&format!("core.interval/{number}")));
        let execution: Execution = maker.requested_by(&event);
        let changes = vec![
            Change::InsertEvent(Arc::new(event.clone())),
            Change::InsertExecution(Box::new(execution.clone())),
            Change::InsertEnforcement(Box::new(maker.enforcement(&event, &execution))),
            maker.step_started(&execution),
        ];
        store.submit(Transaction { changes }, Box::new(drop));
        let ended = ended.clone();
        store.submit(
            maker.ending(&execution),
            Box::new(move |result: Result<Outcome, StoreError>| {
                let _ = ended.send(result.map(drop));
            }),
        );
    }
    for _ in 0..executions {
        ends.recv()??;
    }
    store.checkpoint().await?;
    Ok(std::fs::metadata(path)?.len() as f64 / executions as f64)
}
