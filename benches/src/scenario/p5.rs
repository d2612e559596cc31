//! P5: what 100,000 executions that a constraint holds cost everybody else, and how fast they start once
//! it is lifted.
//!
//! What they cost is the difference between two engines that have done the same before, asked in turn: one
//! of them holds everything, and the other has nothing else to do.

use std::time::Duration;

use camshaft::clock::SystemClock;
use camshaft_model::Timestamp;
use camshaft_model::port::clock::Clock;
use serde_json::{Value, json};

use super::Bench;
use super::p3::{self, Latencies};
use crate::report::{Sample, Want, quantile};
use crate::served::Served;
use crate::{Failure, limit, packs};

const HELD: usize = 100_000;
const BATCH: usize = 1_000;
/// P3 may take so much longer.
const SLOWER: f64 = 1.2;
const MEMORY_MB: f64 = 60.0;
/// So often both engines are asked, the first of them in turn.
const TURNS: usize = 2;
/// So long nobody asks for anything before it is looked how much the engine does.
const SETTLED: Duration = Duration::from_secs(1);
/// So long the engine is watched while all that it has is held.
const LAIN: Duration = Duration::from_secs(2);
/// So much of one processor it may use meanwhile.
const AT_REST_PERCENT: f64 = 1.0;
/// So long the work that was lifted is watched.
const WATCHED: Duration = Duration::from_secs(2);
const SHARE: f64 = 0.7;
const PAUSE: &str = "/api/v1/constraints/action:bench.hi/pause";

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let bare = limit::spawn_rate("echo hi", 2_000, 16)?;
    let folder = tempfile::tempdir_in(&bench.dir)?;
    packs::shell(folder.path())?;
    let start = || Served::start(&bench.binary, &bench.dir, Some(folder.path()));
    let (alone, served) = (start()?, start()?);
    // What a process does first takes longer.
    p3::events(&alone).await?;
    p3::events(&served).await?;
    let memory_before = served.resident_mb()?;

    served.put(PAUSE, &json!({ "reason": "bench" })).await?;
    pile_up(&served).await?;
    let memory = served.resident_mb()? - memory_before;
    let (mut by_itself, mut beside) = (Latencies::default(), Latencies::default());
    for turn in 0..TURNS {
        let mut engines = [(&alone, &mut by_itself), (&served, &mut beside)];
        if turn % 2 == 1 {
            engines.reverse();
        }
        for (engine, latencies) in engines {
            latencies.add(p3::events(engine).await?);
        }
    }
    tokio::time::sleep(SETTLED).await;
    let spent = (alone.cpu_secs()?, served.cpu_secs()?);
    tokio::time::sleep(LAIN).await;
    let at_rest = |spent: f64, before: f64| 100.0 * (spent - before) / LAIN.as_secs_f64();
    let at_rest_alone = at_rest(alone.cpu_secs()?, spent.0);
    let at_rest = at_rest(served.cpu_secs()?, spent.1);

    let lifted = SystemClock.now();
    served.delete(PAUSE).await?;
    tokio::time::sleep(WATCHED).await;
    served.put(PAUSE, &json!({ "reason": "bench" })).await?;
    let (count, last) = ended_since(&served, lifted).await?;
    let rate = count as f64 / last.since(lifted).as_secs_f64();

    let p50 = |latencies: &Latencies| {
        (
            quantile(&latencies.started, 0.5),
            quantile(&latencies.ended, 0.5),
        )
    };
    let ((start, end), (start_beside, end_beside)) = (p50(&by_itself), p50(&beside));
    Ok(vec![
        Sample::fixed(
            "start of an event beside 100,000 held, to that alone",
            "x",
            start_beside / start,
            Want::AtMost,
            SLOWER,
        ),
        Sample::fixed(
            "its end, to that alone",
            "x",
            end_beside / end,
            Want::AtMost,
            SLOWER,
        ),
        Sample::share("lifted work, ended", "/s", rate, bare, SHARE),
        Sample::fixed(
            "memory of 100,000 held",
            "MB",
            memory,
            Want::AtMost,
            MEMORY_MB,
        ),
        Sample::fixed(
            "processor used while 100,000 are held and nothing else happens",
            "%",
            at_rest,
            Want::AtMost,
            AT_REST_PERCENT,
        ),
        Sample::plain(
            "the same of an engine that holds nothing",
            "%",
            at_rest_alone,
        ),
        Sample::plain("event posted -> process started alone, p50", "ms", start),
        Sample::plain("the same beside 100,000 held", "ms", start_beside),
    ])
}

async fn pile_up(served: &Served) -> Result<(), Failure> {
    let events: Vec<Value> = (0..BATCH)
        .map(|number| json!({ "trigger": "bench.piled", "payload": { "number": number } }))
        .collect();
    let events = Value::Array(events);
    for _ in 0..HELD / BATCH {
        served.post("/api/v1/events", &events).await?;
    }
    Ok(())
}

/// How many of what was held ended after an instant, and the last of these ends.
async fn ended_since(served: &Served, since: Timestamp) -> Result<(usize, Timestamp), Failure> {
    let (mut count, mut last) = (0, since);
    let mut cursor = String::new();
    loop {
        let path = format!(
            "/api/v1/executions?status=completed&action=bench.hi&limit=1000&cursor={cursor}"
        );
        let page = served.get(&path).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            let at = item["ended_at"]
                .as_str()
                .ok_or("an execution without an end")?;
            count += 1;
            last = last.max(at.parse()?);
        }
        match &page["next_cursor"] {
            Value::String(next) => cursor.clone_from(next),
            _ => return Ok((count, last)),
        }
    }
}
