//! P7: many rules on one trigger, of which each event matches one.

use camshaft::embed::Builder;
use camshaft_model::{EventDraft, EventSource, Ref};
use serde_json::json;
use tokio::time::Instant;

use super::Bench;
use crate::report::{Sample, Want};
use crate::{Failure, packs};

const RULES: usize = 1_000;
const EVENTS: usize = 20_000;
const BATCH: usize = 500;
const EVENTS_PER_SECOND: f64 = 10_000.0;

/// An event that rule number `number` matches.
pub(super) fn event(trigger: &Ref, number: usize) -> EventDraft {
    EventDraft {
        trigger: trigger.clone(),
        payload: json!({ "number": number }),
        source: EventSource {
            kind: "bench".to_owned(),
            name: None,
        },
        dedup_key: None,
        occurred_at: None,
        sensor: None,
        depth: 0,
        trace_parent: None,
    }
}

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let folder = tempfile::tempdir_in(&bench.dir)?;
    packs::rules(folder.path(), RULES)?;
    let data = tempfile::tempdir_in(&bench.dir)?;
    let began = Instant::now();
    let engine = Builder::new(data.path().join("data"))
        .packs(folder.path())
        .start()
        .await?;
    let loaded = began.elapsed().as_secs_f64() * 1_000.0;
    let trigger: Ref = "bench.happened".parse()?;
    let before = engine.system().store().commits();
    let began = Instant::now();
    for batch in 0..EVENTS / BATCH {
        let drafts = (0..BATCH)
            .map(|number| event(&trigger, (batch * BATCH + number) % RULES))
            .collect();
        for accepted in engine.engine().ingest_batch(drafts).await {
            let executions = accepted?.executions.len();
            if executions != 1 {
                return Err(format!("{executions} rules matched an event").into());
            }
        }
    }
    let acknowledged = began.elapsed().as_secs_f64();
    engine.engine().drain();
    let commits = engine.system().store().commits() - before;
    engine.stop().await;
    let rate = EVENTS as f64 / acknowledged;
    Ok(vec![
        Sample::fixed(
            "events acknowledged",
            "/s",
            rate,
            Want::AtLeast,
            EVENTS_PER_SECOND,
        ),
        Sample::plain("flushes per event", "", commits as f64 / EVENTS as f64),
        Sample::plain("start with 1,000 rules", "ms", loaded),
    ])
}
