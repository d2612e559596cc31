//! How long executions with results and parameters of 8 MB take through the store, one after another,
//! and how long small commits wait while somebody stores them.
//!
//! `cargo run --release -p camshaft-store --example large -- [executions] [megabytes]`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use camshaft_model::port::store::{Change, Store};
use camshaft_model::{Execution, Object, Transition};
use camshaft_store::SqliteStore;
use camshaft_testkit::store_contract::{Maker, commit};
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let executions: u32 = args.next().map_or(Ok(3), |n| n.parse())?;
    let megabytes: usize = args.next().map_or(Ok(8), |n| n.parse())?;
    let dir = tempfile::tempdir_in(".")?;
    let store = Arc::new(SqliteStore::open(&dir.path().join("store.db"))?);
    let alone = waits(&store, 1, || Ok(()))?;
    let mut elapsed = Duration::ZERO;
    let beside = waits(&store, 2, || {
        elapsed = in_a_row(&store, executions, megabytes << 20)?;
        Ok(())
    })?;
    report(executions, megabytes, elapsed, &alone, &beside);
    Ok(())
}

/// Each has parameters of that size that nobody had before, and a result likewise; it is read back
/// between the two, as what runs next would.
fn in_a_row(store: &SqliteStore, executions: u32, size: usize) -> Result<Duration, Box<dyn Error>> {
    let maker = Maker::new(3);
    let runtime = Builder::new_current_thread().build()?;
    let mut pairs = Vec::new();
    for number in 0..executions {
        let mut execution = maker.running();
        let parameters = Object::from_iter([("big".to_owned(), text(size, 2 * number))]);
        maker.change(&mut execution, |spec| {
            spec.parameters = Arc::new(parameters)
        });
        let mut to = maker
            .transition(&execution, camshaft_model::Status::Completed)
            .to()
            .clone();
        to.result = Some(Arc::new(text(size, 2 * number + 1)));
        let ends = Transition::new(execution.spec.id, &execution.state, &[], to)?;
        pairs.push((execution, ends));
    }
    let began = Instant::now();
    for (execution, ends) in pairs {
        let id = execution.spec.id;
        runtime.block_on(async {
            commit(store, vec![insert(execution)]).await?;
            store.execution(id).await?;
            commit(store, vec![Change::Move(Box::new(ends))]).await?;
            store.execution(id).await
        })?;
    }
    Ok(began.elapsed())
}

/// Something that no other number makes.
fn text(size: usize, number: u32) -> Value {
    let word = format!("{number} is a number. ");
    word.repeat(size / word.len()).into()
}

fn insert(execution: Execution) -> Change {
    Change::InsertExecution(Box::new(execution))
}

/// How long small commits took, one after another, shortest first, while something else was done, or
/// for a thousand of them.
fn waits(
    store: &Arc<SqliteStore>,
    seed: u64,
    meanwhile: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let (stop, store) = (Arc::new(AtomicBool::new(false)), Arc::clone(store));
    let until = Arc::clone(&stop);
    let commits = thread::spawn(move || {
        let (maker, mut waits) = (Maker::new(seed), Vec::new());
        let runtime = Builder::new_current_thread().build()?;
        while waits.len() < 1_000 || !until.load(Ordering::SeqCst) {
            let began = Instant::now();
            runtime
                .block_on(commit(&*store, vec![insert(maker.running())]))
                .map_err(std::io::Error::other)?;
            waits.push(began.elapsed());
        }
        Ok::<_, std::io::Error>(waits)
    });
    meanwhile()?;
    stop.store(true, Ordering::SeqCst);
    let mut waits = commits.join().map_err(|_| "a thread panicked")??;
    waits.sort_unstable();
    Ok(waits)
}

#[expect(clippy::print_stdout, reason = "what this program is for")]
fn report(
    executions: u32,
    megabytes: usize,
    elapsed: Duration,
    alone: &[Duration],
    beside: &[Duration],
) {
    println!("{executions} executions of {megabytes} MB and {megabytes} MB   {elapsed:?}");
    for (name, waits) in [("alone", alone), ("beside them", beside)] {
        let at = |part: usize| waits.get((waits.len() - 1) * part / 1_000);
        println!(
            "small commits {name}: {} of them, p50 {:?}, p99 {:?}, longest {:?}",
            waits.len(),
            at(500).unwrap_or(&Duration::ZERO),
            at(990).unwrap_or(&Duration::ZERO),
            at(1_000).unwrap_or(&Duration::ZERO),
        );
    }
}
