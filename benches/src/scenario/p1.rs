//! P1: 2,000 executions of `echo hi`, each submitted with a request of its own, to the last end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use camshaft::clock::SystemClock;
use camshaft_model::Timestamp;
use camshaft_model::port::clock::Clock;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Bench;
use crate::report::Sample;
use crate::served::Served;
use crate::{Failure, limit, packs};

const EXECUTIONS: usize = 2_000;
const AT_ONCE: usize = 16;
const POLL: Duration = Duration::from_millis(20);
const SHARE: f64 = 0.7;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let bare = limit::spawn_rate("echo hi", EXECUTIONS, AT_ONCE)?;
    let folder = tempfile::tempdir_in(&bench.dir)?;
    packs::shell(folder.path())?;
    let served = Arc::new(Served::start(
        &bench.binary,
        &bench.dir,
        Some(folder.path()),
    )?);
    let idle_mb = served.resident_mb()?;

    let began = SystemClock.now();
    submit(&served).await?;
    let submitted = SystemClock.now().since(began).as_secs_f64();
    until_all_ended(&served).await?;
    let ended = last_end(&served).await?;
    let rate = EXECUTIONS as f64 / ended.since(began).as_secs_f64();
    Ok(vec![
        Sample::share("executions, submitted to ended", "/s", rate, bare, SHARE),
        Sample::plain(
            "submissions acknowledged meanwhile",
            "/s",
            EXECUTIONS as f64 / submitted,
        ),
        Sample::plain(
            "memory after it (before it, see P6)",
            "MB",
            served.resident_mb()?.max(idle_mb),
        ),
    ])
}

async fn submit(served: &Arc<Served>) -> Result<(), Failure> {
    let left = Arc::new(AtomicUsize::new(EXECUTIONS));
    let mut clients = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (served, left) = (served.clone(), left.clone());
        clients.spawn(async move {
            let body = json!({ "action": "bench.hi" });
            let take = |left: usize| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                served.post("/api/v1/executions", &body).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

async fn until_all_ended(served: &Served) -> Result<(), Failure> {
    loop {
        let open = served
            .get("/api/v1/executions?status=requested,scheduled,running&limit=1")
            .await?;
        if open["items"].as_array().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// When the last one ended. All must have completed.
async fn last_end(served: &Served) -> Result<Timestamp, Failure> {
    let (mut completed, mut last) = (0, Timestamp::default());
    let mut cursor = String::new();
    loop {
        let page = served
            .get(&format!(
                "/api/v1/executions?status=completed&limit=1000&cursor={cursor}"
            ))
            .await?;
        for item in page["items"].as_array().into_iter().flatten() {
            completed += 1;
            last = last.max(
                item["ended_at"]
                    .as_str()
                    .ok_or("an execution without an end")?
                    .parse()?,
            );
        }
        match &page["next_cursor"] {
            Value::String(next) => cursor.clone_from(next),
            _ if completed == EXECUTIONS => return Ok(last),
            _ => return Err(format!("{completed} of {EXECUTIONS} completed").into()),
        }
    }
}
