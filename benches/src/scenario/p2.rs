//! P2: native executions that do nothing, in process: what recording itself costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use camshaft::embed::{Builder, request};
use camshaft_model::{Object, Ref, Status};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Bench;
use crate::report::Sample;
use crate::{Failure, limit};

const EXECUTIONS: usize = 50_000;
const IN_FLIGHT: u32 = 256;
const SHARE: f64 = 0.04;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let rows = limit::group_commit_rate(&bench.dir)?;
    let data = tempfile::tempdir_in(&bench.dir)?;
    let engine = Arc::new(
        Builder::new(data.path().join("data"))
            .slots(IN_FLIGHT)
            .start()
            .await?,
    );
    let noop: Ref = "core.noop".parse()?;
    let left = Arc::new(AtomicUsize::new(EXECUTIONS));
    let before = engine.system().store().commits();
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (engine, left, noop) = (engine.clone(), left.clone(), noop.clone());
        clients.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                let accepted = engine
                    .engine()
                    .request(request(noop.clone(), Object::new()))
                    .await?;
                let ended = engine.engine().wait(accepted.execution.spec.id).await?;
                if ended.state.status != Status::Completed {
                    return Err(format!("an execution ended {}", ended.state.status).into());
                }
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let rate = EXECUTIONS as f64 / began.elapsed().as_secs_f64();
    let commits = engine.system().store().commits() - before;
    if let Some(engine) = Arc::into_inner(engine) {
        engine.stop().await;
    }
    Ok(vec![
        Sample::share("executions, requested to ended", "/s", rate, rows, SHARE),
        Sample::plain(
            "flushes per execution",
            "",
            commits as f64 / EXECUTIONS as f64,
        ),
    ])
}
