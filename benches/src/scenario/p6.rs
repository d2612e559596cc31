//! P6: memory of an idle engine, and how long it takes to start.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use camshaft_model::port::store::{Change, Store, Transaction};
use camshaft_store::SqliteStore;
use camshaft_testkit::store_contract::Maker;

use super::Bench;
use crate::Failure;
use crate::limit::millis;
use crate::report::{Sample, Want};
use crate::served::Served;

const MILLION: usize = 1_000_000;
/// How many are on their way to the writer at any time while they are made.
const IN_FLIGHT: usize = 10_000;
const IDLE_MB: f64 = 40.0;
const EMPTY_MS: f64 = 100.0;
const MILLION_MS: f64 = 1_000.0;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let served = Served::start(&bench.binary, &bench.dir, None)?;
    // Whatever is made at the first request is there afterwards.
    served.get("/api/v1/executions").await?;
    let mut samples = vec![
        Sample::fixed(
            "memory when idle",
            "MB",
            served.resident_mb()?,
            Want::AtMost,
            IDLE_MB,
        ),
        Sample::fixed(
            "start to ready, empty",
            "ms",
            millis(served.ready_after),
            Want::AtMost,
            EMPTY_MS,
        ),
    ];
    drop(served);
    if bench.million {
        let data = bench.dir.join("million");
        if !data.join("complete").is_file() {
            make(&data).await?;
        }
        let served = Served::start_on(&bench.binary, data, None, &[])?;
        served.get("/api/v1/executions").await?;
        let name = "memory when idle, 1,000,000 executions";
        samples.push(Sample::fixed(
            name,
            "MB",
            served.resident_mb()?,
            Want::AtMost,
            IDLE_MB,
        ));
        let name = "start to ready, 1,000,000 executions";
        samples.push(Sample::fixed(
            name,
            "ms",
            millis(served.ready_after),
            Want::AtMost,
            MILLION_MS,
        ));
    }
    Ok(samples)
}

/// Makes the large database once; later rounds and runs find it.
async fn make(data: &Path) -> Result<(), Failure> {
    if data.exists() {
        std::fs::remove_dir_all(data)?;
    }
    std::fs::create_dir_all(data)?;
    let store = SqliteStore::open(&data.join("camshaft.db"))?;
    let maker = Maker::new(6);
    let (ended, ends) = channel();
    for number in 0..MILLION {
        if number >= IN_FLIGHT {
            ends.recv()??;
        }
        let event = maker.event(None);
        let execution = maker.requested_by(&event);
        let changes = vec![
            Change::InsertEvent(Arc::new(event.clone())),
            Change::InsertExecution(Box::new(execution.clone())),
            Change::InsertEnforcement(Box::new(maker.enforcement(&event, &execution))),
            maker.step_started(&execution),
        ];
        store.submit(Transaction { changes }, Box::new(drop));
        let ended = ended.clone();
        let done = move |result: Result<_, _>| {
            // Whoever made the database has given up if nobody listens.
            let _ = ended.send(result.map(drop));
        };
        store.submit(maker.ending(&execution), Box::new(done));
    }
    drop(ended);
    for last in ends {
        last?;
    }
    store.checkpoint().await?;
    store.close();
    std::fs::write(data.join("complete"), "")?;
    Ok(())
}
