//! P4: workflows of processes that do nothing: many beside one another, and one after another.

use std::fmt::Write as _;
use std::path::Path;

use camshaft::embed::Builder;
use camshaft_model::Status;
use serde_json::json;

use super::Bench;
use crate::limit::{self, millis};
use crate::report::Sample;
use crate::{Failure, packs};

const WIDE: usize = 1_000;
const LONG: usize = 100;
/// What peers are measured with: so many steps, both ways.
const TINY: usize = 40;
const SLOTS: u32 = 8;
const SHARE: f64 = 0.7;
/// The bar for a link, in milliseconds beside a commit and a process.
const LINK_MARGIN: f64 = 0.5;

pub(super) async fn measure(bench: &Bench) -> Result<Vec<Sample>, Failure> {
    let bare = limit::xargs_rate(WIDE, SLOTS)?;
    let commit = limit::commit_latency(&bench.dir)?;
    let spawn = limit::spawn_latency("true")?;
    let folder = tempfile::tempdir_in(&bench.dir)?;
    packs::shell(folder.path())?;
    for (name, text) in [
        ("wide", beside(WIDE)),
        ("long", chain(LONG)),
        ("tiny_wide", beside(TINY)),
        ("tiny_long", chain(TINY)),
    ] {
        packs::workflow(folder.path(), name, &text)?;
    }
    let wide = took(bench, folder.path(), "wide").await?;
    let long = took(bench, folder.path(), "long").await?;
    let tiny_wide = took(bench, folder.path(), "tiny_wide").await?;
    let tiny_long = took(bench, folder.path(), "tiny_long").await?;
    let rate = WIDE as f64 / (wide / 1_000.0);
    Ok(vec![
        Sample::share("1,000 tasks beside one another", "/s", rate, bare, SHARE),
        Sample::within(
            "a link of a chain of 100",
            "ms",
            long / LONG as f64,
            commit + spawn.ended,
            LINK_MARGIN,
        ),
        Sample::plain("40 tiny steps beside one another", "ms", tiny_wide),
        Sample::plain("40 tiny steps in a chain", "ms", tiny_long),
    ])
}

/// Tasks that need nothing.
fn beside(tasks: usize) -> String {
    (0..tasks).fold(String::new(), |mut text, task| {
        let _ = writeln!(text, "  t{task}: {{ action: bench.true }}");
        text
    })
}

/// Tasks of which each needs the one before it.
fn chain(tasks: usize) -> String {
    (0..tasks).fold(String::new(), |mut text, task| {
        let needs = match task.checked_sub(1) {
            Some(before) => format!("needs: [t{before}], "),
            None => String::new(),
        };
        let _ = writeln!(text, "  t{task}: {{ {needs}action: bench.true }}");
        text
    })
}

/// How long a run takes from request to end, in milliseconds.
async fn took(bench: &Bench, packs: &Path, workflow: &str) -> Result<f64, Failure> {
    let data = tempfile::tempdir_in(&bench.dir)?;
    let engine = Builder::new(data.path().join("data"))
        .slots(SLOTS)
        .packs(packs)
        .start()
        .await?;
    let ended = engine.run(&format!("bench.{workflow}"), json!({})).await?;
    let end = ended.state.ended_at.ok_or("a run without an end")?;
    let took = millis(end.since(ended.spec.requested_at));
    engine.stop().await;
    match ended.state.status {
        Status::Completed => Ok(took),
        other => Err(format!("the run ended {other}: {:?}", ended.state.error).into()),
    }
}
