//! R1: the whole system is killed again and again under load, and started on the same data.
//!
//! ```text
//! definition.rs what is run: actions that write down what they do, rules, workflows
//! load.rs       clients that post events and requests until they are acknowledged, and write that down
//! ledger.rs     what is there in the end: database, acknowledgements, files; and what contradicts what
//! run.rs        the same of runs of workflows, their tasks and their children
//! ```
//! In half of the rounds the process groups of children are killed before the engine. At the end the
//! load stops, everything becomes quiet, and the ledger is checked.

mod definition;
mod ledger;
mod load;
mod run;

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::Trouble;
use crate::engine::{Api, Engine, Site};
use crate::machine;
use crate::report::Report;
use ledger::Ledger;
use load::Load;

const SLOTS: u32 = 16;
const CLIENTS: u64 = 16;
/// How long a life lasts, from readiness to the kill.
const LIFE_MS: std::ops::Range<u64> = 20..600;
/// How often a life ends while it begins, and how long after its start.
const STILLBORN: f64 = 0.25;
const STILLBORN_MS: std::ops::Range<u64> = 0..80;
/// How long processes of an earlier life may be there after a start.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);
/// How long everything may take to become quiet once the load has stopped.
const QUIET_LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
const UNFINISHED: &str = "/executions?status=requested,scheduled,running,waiting,canceling&limit=1";

/// What was measured on the way.
#[derive(Default)]
struct Marks {
    orphans: Vec<String>,
    swept_after: Duration,
    ready_after: Duration,
    survivors: usize,
    stillborn: u32,
}

pub(crate) async fn run(
    binary: &Path,
    seed: u64,
    rounds: u32,
    report: &mut Report,
) -> Result<(), Trouble> {
    let site = Site::new(binary)?;
    definition::write(&site)?;
    let before = report.violations();
    let outcome = attack(&site, seed, rounds, report).await;
    if outcome.is_err() || report.violations() > before {
        report.keep(&site.keep());
    }
    outcome
}

async fn attack(site: &Site, seed: u64, rounds: u32, report: &mut Report) -> Result<(), Trouble> {
    let mut rng = StdRng::seed_from_u64(seed);
    let load = Load::start(CLIENTS, seed);
    let mut marks = Marks::default();
    for round in 0..rounds {
        if rng.random_bool(STILLBORN) {
            let after = Duration::from_millis(rng.random_range(STILLBORN_MS));
            site.up_and_kill(SLOTS, after).await?;
            marks.stillborn += 1;
        }
        let engine = start(site, &mut marks).await?;
        load.aim_at(Some(engine.api.clone()));
        sleep(Duration::from_millis(rng.random_range(LIFE_MS))).await;
        if round % 2 == 1 {
            machine::kill_groups(&machine::of_instance(&site.data_dir())?);
        }
        engine.kill().await?;
        load.aim_at(None);
    }
    let engine = start(site, &mut marks).await?;
    load.aim_at(Some(engine.api.clone()));
    sleep(Duration::from_millis(500)).await;
    let acknowledged = load.stop().await?;
    let quiet_after = become_quiet(&engine.api).await?;
    let ledger = Ledger::read(&engine.api, site.path(), acknowledged).await?;
    let slots = all_slots_at_once(&engine.api).await?;
    let left = left_behind(site, &engine)?;
    engine.stop().await?;

    let of = format!("{} lives", rounds + 1);
    report.row("R1", "lives that ended by kill -9", rounds, rounds, true);
    report.row(
        "R1",
        "starts that ended by kill -9",
        marks.stillborn,
        "any",
        true,
    );
    report.row(
        "R1",
        "children that outlived an engine",
        marks.survivors,
        "any",
        true,
    );
    report.row(
        "R1",
        "longest start to ready",
        format!("{:.0?}", marks.ready_after),
        "any",
        true,
    );
    report.row(
        "R1",
        "quiet after the load stopped",
        format!("{quiet_after:.1?}"),
        format!("{QUIET_LIMIT:?}"),
        quiet_after < QUIET_LIMIT,
    );
    report.row(
        "R1",
        "last orphan gone after ready",
        format!("{:.0?}", marks.swept_after),
        format!("{ORPHAN_LIMIT:?}"),
        marks.swept_after < ORPHAN_LIMIT,
    );
    report.promise(
        "R1",
        "no orphan of an earlier life",
        of,
        marks.orphans.into_iter().chain(left).collect(),
    );
    ledger.check(report);
    report.promise("R1", "doctor --check", "the database", site.check().await?);
    report.row(
        "R1",
        "slots that are free at the end",
        slots,
        SLOTS,
        slots == u64::from(SLOTS),
    );
    Ok(())
}

/// A new life. By the time it is ready, nothing of an earlier one may be alive.
async fn start(site: &Site, marks: &mut Marks) -> Result<Engine, Trouble> {
    if site.data_dir().join("instance").is_file() {
        marks.survivors += machine::of_instance(&site.data_dir())?.len();
    }
    let engine = site.up(SLOTS, &[]).await?;
    marks.ready_after = marks.ready_after.max(engine.ready_after);
    let ready = Instant::now();
    loop {
        let left = left_behind(site, &engine)?;
        if left.is_empty() {
            break;
        }
        if ready.elapsed() > ORPHAN_LIMIT {
            marks.orphans.extend(left);
            break;
        }
        sleep(PAUSE).await;
        marks.swept_after = ready.elapsed();
    }
    Ok(engine)
}

/// Processes that are older than the engine.
fn left_behind(site: &Site, engine: &Engine) -> Result<Vec<String>, Trouble> {
    let own = machine::stat(engine.pid()?).ok_or("the engine has ended by itself")?;
    let all = machine::of_instance(&site.data_dir())?;
    Ok(all
        .iter()
        .filter(|process| process.started < own.started)
        .map(|process| format!("{process:?}"))
        .collect())
}

/// Stops the timer and waits until every execution is terminal.
async fn become_quiet(api: &Api) -> Result<Duration, Trouble> {
    let began = Instant::now();
    api.must(Method::POST, "/rules/storm.tick/disable", None)
        .await?;
    while began.elapsed() < QUIET_LIMIT {
        let page = api.must(Method::GET, UNFINISHED, None).await?;
        let Some(id) = page["items"][0]["id"].as_str() else {
            break;
        };
        api.must(
            Method::GET,
            &format!("/executions/{id}/wait?timeout=5s"),
            None,
        )
        .await?;
    }
    Ok(began.elapsed())
}

/// Requests as many executions as there are slots, each of which ends well only if all run at once.
async fn all_slots_at_once(api: &Api) -> Result<u64, Trouble> {
    let mut ids = Vec::new();
    for _ in 0..SLOTS {
        let request = json!({"action": "storm.gather", "parameters": {"all": SLOTS}});
        let accepted = api
            .must(Method::POST, "/executions", Some(&request))
            .await?;
        ids.push(accepted["id"].as_str().ok_or("an id")?.to_owned());
    }
    let mut completed = 0;
    for id in ids {
        let ended = api
            .must(
                Method::GET,
                &format!("/executions/{id}/wait?timeout=25s"),
                None,
            )
            .await?;
        completed += u64::from(ended["status"] == "completed");
    }
    Ok(completed)
}
