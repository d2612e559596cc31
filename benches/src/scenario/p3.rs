//! P3: what one event costs in time when nothing else happens.

use camshaft::clock::SystemClock;
use camshaft_model::Timestamp;
use camshaft_model::port::clock::Clock;
use serde_json::json;

use super::Bench;
use crate::limit::{self, millis};
use crate::report::{Sample, quantile};
use crate::served::Served;
use crate::{Failure, packs};

const EVENTS: usize = 200;
/// What the first few take is not what the others take: threads are started, files are opened.
const WARM_UP: usize = 20;
/// The bar for the start, in milliseconds beside a commit and a spawn.
const START_MARGIN: f64 = 0.5;
/// The bar for the end, in milliseconds beside two commits and a spawn.
const END_MARGIN: f64 = 1.0;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let commit = limit::commit_latency(&bench.dir)?;
    let spawn = limit::spawn_latency("true")?;
    let folder = tempfile::tempdir_in(&bench.dir)?;
    packs::shell(folder.path())?;
    let served = Served::start(&bench.binary, &bench.dir, Some(folder.path()))?;
    let Latencies {
        started,
        ended,
        accepted,
    } = events(&served).await?;
    let to_start = commit + spawn.started;
    let to_end = 2.0 * commit + spawn.ended;
    Ok(vec![
        Sample::within(
            "event posted -> process started, p50",
            "ms",
            quantile(&started, 0.5),
            to_start,
            START_MARGIN,
        ),
        Sample::plain("the same, p95", "ms", quantile(&started, 0.95)),
        Sample::within(
            "event posted -> end visible, p50",
            "ms",
            quantile(&ended, 0.5),
            to_end,
            END_MARGIN,
        ),
        Sample::plain("that, p95", "ms", quantile(&ended, 0.95)),
        Sample::plain(
            "event posted -> acknowledged, p50",
            "ms",
            quantile(&accepted, 0.5),
        ),
        Sample::plain("bare commit, p50", "ms", commit),
        Sample::plain("bare spawn, p50", "ms", spawn.started),
        Sample::plain("bare spawn to end, p50", "ms", spawn.ended),
    ])
}

/// What each event took, in milliseconds from the instant at which it was posted.
#[derive(Default)]
pub(super) struct Latencies {
    /// Until its process was started.
    pub(super) started: Vec<f64>,
    /// Until its end could be seen.
    pub(super) ended: Vec<f64>,
    /// Until it was acknowledged.
    pub(super) accepted: Vec<f64>,
}

impl Latencies {
    /// Those of more events.
    pub(super) fn add(&mut self, more: Self) {
        self.started.extend(more.started);
        self.ended.extend(more.ended);
        self.accepted.extend(more.accepted);
    }
}

/// Posts events one after another, each once the one before has ended.
pub(super) async fn events(served: &Served) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::default();
    for number in 0..WARM_UP + EVENTS {
        let event = json!({ "trigger": "bench.happened", "payload": { "number": number } });
        let posted = SystemClock.now();
        let answer = served.post("/api/v1/events", &event).await?;
        let acknowledged = SystemClock.now();
        let id = answer["executions"][0].as_str().ok_or("no rule matched")?;
        let execution = served.get(&format!("/api/v1/executions/{id}/wait")).await?;
        let visible = SystemClock.now();
        if execution["status"] != "completed" {
            return Err(format!("{execution}").into());
        }
        let log = served
            .get(&format!("/api/v1/executions/{id}/events?type=step_spawned"))
            .await?;
        let spawned: Timestamp = log["items"][0]["created_at"]
            .as_str()
            .ok_or("no process")?
            .parse()?;
        if number >= WARM_UP {
            latencies.accepted.push(millis(acknowledged.since(posted)));
            latencies.started.push(millis(spawned.since(posted)));
            latencies.ended.push(millis(visible.since(posted)));
        }
    }
    Ok(latencies)
}
