//! P9: a fan-out of 10,000 items: the last ones must cost what the first ones cost.

use camshaft::embed::Builder;
use camshaft_model::port::store::{Laps, PageRequest, Store, Values};
use camshaft_model::{Status, Timestamp};
use serde_json::json;

use super::Bench;
use crate::report::Sample;
use crate::{Failure, packs};

const ITEMS: usize = 10_000;
const CONCURRENCY: usize = 16;
const SHARE: f64 = 0.9;
const PAGE: u32 = 1_000;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let folder = tempfile::tempdir_in(&bench.dir)?;
    packs::shell(folder.path())?;
    let task = format!(
        "  each: {{ action: core.noop, items: \"{{{{ range({ITEMS}) | list }}}}\", concurrency: {CONCURRENCY} }}\noutput: \"{{{{ tasks.each.result | length }}}}\"\n"
    );
    packs::workflow(folder.path(), "fan", &task)?;
    let data = tempfile::tempdir_in(&bench.dir)?;
    let engine = Builder::new(data.path().join("data"))
        .slots(CONCURRENCY as u32)
        .packs(folder.path())
        .start()
        .await?;
    let run = engine.run("bench.fan", json!({})).await?;
    if run.state.status != Status::Completed || run.state.result.as_deref() != Some(&json!(ITEMS)) {
        return Err(format!("the run ended {:?}", run.state).into());
    }
    let mut ends: Vec<Timestamp> = Vec::with_capacity(ITEMS);
    let mut after = None;
    loop {
        let page = PageRequest { after, limit: PAGE };
        let children = engine
            .system()
            .store()
            .children(run.spec.id, Laps::All, page, Values::Read)
            .await?;
        ends.extend(children.iter().filter_map(|child| child.state.ended_at));
        match children.last() {
            Some(last) => after = Some(last.spec.id),
            None => break,
        }
    }
    engine.stop().await;
    ends.sort_unstable();
    let tenth = ITEMS / 10;
    let rate = |from: Timestamp, to: Timestamp| tenth as f64 / to.since(from).as_secs_f64();
    let began = run.state.started_at.ok_or("a run without a start")?;
    let (Some(first), Some(before_last), Some(last)) = (
        ends.get(tenth - 1),
        ends.get(ITEMS - tenth - 1),
        ends.last(),
    ) else {
        return Err(format!("{} of {ITEMS} items have ended", ends.len()).into());
    };
    let (first, last_tenth) = (rate(began, *first), rate(*before_last, *last));
    let all = ITEMS as f64 / last.since(began).as_secs_f64();
    Ok(vec![
        Sample::share("items of the last tenth", "/s", last_tenth, first, SHARE),
        Sample::plain("items of all", "/s", all),
    ])
}
