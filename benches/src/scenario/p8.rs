//! P8: what a trivial execution, with its event, its enforcement and its event log, leaves on the disk.

use camshaft::embed::Builder;
use camshaft_model::port::store::Store;
use camshaft_model::{ExecutionId, Ref};

use super::{Bench, p7};
use crate::report::{Sample, Want};
use crate::{Failure, packs};

const EXECUTIONS: usize = 5_000;
const BATCH: usize = 500;
const BYTES: f64 = 2_048.0;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let folder = tempfile::tempdir_in(&bench.dir)?;
    packs::rules(folder.path(), 1)?;
    let data = tempfile::tempdir_in(&bench.dir)?;
    let database = data.path().join("data/camshaft.db");
    let engine = Builder::new(data.path().join("data"))
        .packs(folder.path())
        .start()
        .await?;
    let store = engine.system().store();
    store.checkpoint().await?;
    let empty = std::fs::metadata(&database)?.len();
    let trigger: Ref = "bench.happened".parse()?;
    for _ in 0..EXECUTIONS / BATCH {
        let drafts = (0..BATCH).map(|_| p7::event(&trigger, 0)).collect();
        let mut requested: Vec<ExecutionId> = Vec::with_capacity(BATCH);
        for accepted in engine.engine().ingest_batch(drafts).await {
            requested.extend(accepted?.executions);
        }
        for id in requested {
            engine.engine().wait(id).await?;
        }
    }
    store.checkpoint().await?;
    let bytes = (std::fs::metadata(&database)?.len() - empty) as f64 / EXECUTIONS as f64;
    engine.stop().await;
    Ok(vec![Sample::fixed(
        "database bytes per execution",
        "B",
        bytes,
        Want::AtMost,
        BYTES,
    )])
}
