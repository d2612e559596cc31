//! R6: what timers do when the clock is set, daylight saving begins or ends, and the engine is down
//! for a day. The real clock cannot be set here, so engine, timers and database run in this process
//! on a clock that is moved by hand; every start of the engine is a new one on the same database.
//!
//! What ought to fire is not asked of the schedule: the instants of each timer are written down, and
//! what becomes of those that nobody watched follows from the declared catch-up alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camshaft_engine::driver::timers::Timers;
use camshaft_engine::{Engine, Recovery, Settings, TokenSigner, World};
use camshaft_link::bus::Bus;
use camshaft_model::definition::{Pack, PackOrigin, ParameterSchema, Trigger, TriggerKind};
use camshaft_model::port::clock::Clock;
use camshaft_model::port::sensor::{SensorHost, SensorSpec};
use camshaft_model::port::store::{EventFilter, PageRequest, Store};
use camshaft_model::{Object, Output, Ref, Timestamp};
use camshaft_store::SqliteStore;
use camshaft_testkit::{ManualClock, SeededEntropy};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::Trouble;
use crate::report::Report;

const KEY: &str = "chaos.timer#1";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Less than an hour and more than an occurrence may be late: no move ends just when something is due.
const ODD: Duration = Duration::from_secs(600);
/// How many courses of events each timer goes through with each catch-up.
const COURSES: u64 = 20;

/// A timer, and when it is due according to the calendar on the wall.
struct Case {
    name: &'static str,
    kind: TriggerKind,
    parameters: Value,
    start: &'static str,
    due: Vec<Timestamp>,
}

/// What happens to the clock and the engine.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// Time goes by and is watched.
    Watched(Duration),
    /// The engine is down for so long.
    Down(Duration),
    /// The clock is set forward while the engine runs.
    Forward(Duration),
    /// The clock is set back while the engine runs.
    Back(Duration),
}

pub(crate) async fn run(seed: u64, report: &mut Report) -> Result<(), Trouble> {
    for case in cases()? {
        for catchup in ["skip", "once", "all"] {
            let mut broken = Vec::new();
            for course in 0..COURSES {
                let moves = moves(&mut StdRng::seed_from_u64(seed.wrapping_add(course)));
                let expected = expected(&case, catchup, &moves)?;
                let fired = fired(&case, catchup, &moves, seed).await?;
                if fired != expected {
                    broken.push(format!("{moves:?}: {}", difference(&fired, &expected)));
                }
            }
            report.promise(
                "R6",
                &format!("{}, catchup: {catchup}", case.name),
                format!("{COURSES} courses"),
                broken,
            );
        }
    }
    Ok(())
}

fn difference(fired: &[Timestamp], expected: &[Timestamp]) -> String {
    let at = fired
        .iter()
        .zip(expected)
        .take_while(|(a, b)| a == b)
        .count();
    let (fired_at, expected_at) = (fired.get(at), expected.get(at));
    format!(
        "fired {}, expected {}; occurrence {at} is {fired_at:?} instead of {expected_at:?}",
        fired.len(),
        expected.len()
    )
}

fn instant(text: &str) -> Result<Timestamp, Trouble> {
    Ok(text.parse()?)
}

fn cases() -> Result<Vec<Case>, Trouble> {
    let spring = [
        "2026-03-27T01:30:00Z",
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-30T00:30:00Z",
    ];
    let autumn = [
        "2026-10-23T00:30:00Z",
        "2026-10-24T00:30:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-26T01:30:00Z",
    ];
    let nightly = json!({"expression": "30 2 * * *", "timezone": "Europe/Berlin"});
    let nightly_rule = |start: &str| {
        let rule = "FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=0";
        json!({"rule": rule, "start": start, "timezone": "Europe/Berlin"})
    };
    let case = |name, kind, parameters, start, due| Case {
        name,
        kind,
        parameters,
        start,
        due,
    };
    Ok(vec![
        case(
            "interval of 1 h",
            TriggerKind::Interval,
            json!({"every": "1h"}),
            "2026-05-01T00:10:00Z",
            hourly("2026-05-01T01:10:00Z")?,
        ),
        case(
            "cron, each hour",
            TriggerKind::Cron,
            json!({"expression": "0 * * * *", "timezone": "UTC"}),
            "2026-05-01T00:10:00Z",
            hourly("2026-05-01T01:00:00Z")?,
        ),
        case(
            "cron, spring in Berlin",
            TriggerKind::Cron,
            nightly.clone(),
            "2026-03-26T12:10:00Z",
            nights(spring, "2026-03-31T00:30:00Z")?,
        ),
        case(
            "cron, autumn in Berlin",
            TriggerKind::Cron,
            nightly,
            "2026-10-22T12:10:00Z",
            nights(autumn, "2026-10-27T01:30:00Z")?,
        ),
        case(
            "rrule, spring in Berlin",
            TriggerKind::Rrule,
            nightly_rule("2026-03-01T00:00:00"),
            "2026-03-26T12:10:00Z",
            nights(spring, "2026-03-31T00:30:00Z")?,
        ),
        case(
            "rrule, autumn in Berlin",
            TriggerKind::Rrule,
            nightly_rule("2026-10-01T00:00:00"),
            "2026-10-22T12:10:00Z",
            nights(autumn, "2026-10-27T01:30:00Z")?,
        ),
    ])
}

/// Every hour from `first` on, for longer than a course lasts.
fn hourly(first: &str) -> Result<Vec<Timestamp>, Trouble> {
    let first = instant(first)?;
    Ok((0..24 * 30).map(|hour| first + HOUR * hour).collect())
}

/// The nights round a change of the clock, and every later night at the same time as `regular`.
fn nights(first: [&str; 4], regular: &str) -> Result<Vec<Timestamp>, Trouble> {
    let mut due = first
        .into_iter()
        .map(instant)
        .collect::<Result<Vec<_>, _>>()?;
    let regular = instant(regular)?;
    due.extend((0..20).map(|day| regular + DAY * day));
    Ok(due)
}

/// About a week, with a day of downtime and steps of the clock in both directions.
fn moves(rng: &mut StdRng) -> Vec<Move> {
    let hours = |rng: &mut StdRng, range: std::ops::Range<u32>| HOUR * rng.random_range(range);
    let mut moves = vec![
        Move::Watched(hours(rng, 1..40) + ODD),
        Move::Down(DAY),
        Move::Watched(hours(rng, 1..30)),
    ];
    for _ in 0..4 {
        moves.push(match rng.random_range(0..4) {
            0 => Move::Forward(hours(rng, 1..30)),
            1 => Move::Back(hours(rng, 1..30)),
            2 => Move::Down(hours(rng, 0..5)),
            _ => Move::Down(DAY),
        });
        moves.push(Move::Watched(hours(rng, 1..40)));
    }
    moves
}

/// What ought to fire: everything that is due while it is watched, and of what is not watched what
/// the catch-up says. An instant that has been dealt with is never due again.
fn expected(case: &Case, catchup: &str, moves: &[Move]) -> Result<Vec<Timestamp>, Trouble> {
    let mut now = instant(case.start)?;
    let mut dealt_with = now;
    let mut expected = Vec::new();
    for step in moves {
        let (until, watched) = match *step {
            Move::Watched(time) => (now + time, true),
            Move::Down(time) | Move::Forward(time) => (now + time, false),
            Move::Back(time) => (now - time, false),
        };
        let due: Vec<Timestamp> = case
            .due
            .iter()
            .copied()
            .filter(|at| *at > dealt_with && *at <= until)
            .collect();
        match (watched, catchup) {
            (true, _) | (_, "all") => expected.extend(due),
            (false, "once") => expected.extend(due.last()),
            (false, _) => {}
        }
        now = until;
        dealt_with = dealt_with.max(now);
    }
    Ok(expected)
}

/// What did fire, in the order of recording.
async fn fired(
    case: &Case,
    catchup: &str,
    moves: &[Move],
    seed: u64,
) -> Result<Vec<Timestamp>, Trouble> {
    let folder = tempfile::tempdir()?;
    let clock = Arc::new(ManualClock::at(case.start));
    let mut life = Life::start(folder.path(), case, catchup, &clock, seed).await?;
    for step in moves {
        match *step {
            Move::Watched(time) => life.watch(&clock, clock.now() + time).await,
            Move::Forward(time) => {
                clock.advance(time);
                life.timers.tick(clock.now()).await;
            }
            Move::Back(time) => {
                clock.set(clock.now() - time);
                life.timers.tick(clock.now()).await;
            }
            Move::Down(time) => {
                life.store.close();
                clock.advance(time);
                life = Life::start(folder.path(), case, catchup, &clock, seed).await?;
            }
        }
    }
    let page = PageRequest {
        after: None,
        limit: 100_000,
    };
    let mut events = life.store.events(EventFilter::default(), page).await?;
    life.store.close();
    events.reverse();
    events
        .iter()
        .map(|event| {
            event
                .draft
                .occurred_at
                .ok_or_else(|| "a timer's event has its instant".into())
        })
        .collect()
}

/// The engine from a start to its end.
struct Life {
    timers: Arc<Timers>,
    store: Arc<SqliteStore>,
}

impl Life {
    async fn start(
        folder: &std::path::Path,
        case: &Case,
        catchup: &str,
        clock: &Arc<ManualClock>,
        seed: u64,
    ) -> Result<Self, Trouble> {
        let store = Arc::new(SqliteStore::open(&folder.join("camshaft.db"))?);
        let settings = Settings {
            max_depth: 1,
            run_memory_bytes: camshaft_engine::RUN_MEMORY_BYTES,
            cancel_grace: Duration::ZERO,
            secrets: BTreeMap::new(),
            env: BTreeMap::new(),
            signer: TokenSigner::new(&[0; 32]),
            project: "chaos".to_owned(),
        };
        let entropy = Arc::new(SeededEntropy::new(
            seed ^ clock.now().as_micros().unsigned_abs(),
        ));
        let world = World {
            store: store.clone(),
            bus: Bus::new(),
            clock: clock.clone(),
            entropy,
            load_pack: Arc::new(|_, _| Err("there is one version".to_owned())),
        };
        let engine = Engine::new(settings, world, "chaos");
        let trigger: Ref = "chaos.timer".parse()?;
        engine.load(vec![pack(&trigger, case.kind)]);
        let nothing = |_: &camshaft_model::AttemptKey| (Output::default(), Output::default());
        engine.recover(Recovery { outputs: &nothing }).await?;
        let timers = Timers::new(Arc::new(engine), store.clone(), clock.clone());
        let mut parameters: Object = case.parameters.as_object().cloned().unwrap_or_default();
        parameters.insert("catchup".to_owned(), catchup.into());
        timers.reconcile(&[SensorSpec {
            key: KEY.to_owned(),
            trigger,
            kind: case.kind,
            parameters,
        }]);
        timers.tick(clock.now()).await;
        Ok(Self { timers, store })
    }

    /// Lets time go by until `end`; the timers look whenever they want to.
    async fn watch(&self, clock: &ManualClock, end: Timestamp) {
        while let Some(at) = self.timers.next_look().filter(|at| *at <= end) {
            clock.set(at.max(clock.now()));
            self.timers.tick(clock.now()).await;
        }
        clock.set(end);
    }
}

fn pack(trigger: &Ref, kind: TriggerKind) -> Arc<Pack> {
    let definition = Trigger {
        reference: trigger.clone(),
        description: String::new(),
        kind,
        parameters: ParameterSchema::default(),
        payload_schema: None,
    };
    let origin = PackOrigin {
        pack: "chaos".to_owned(),
        hash: "chaos".into(),
        dir: std::path::PathBuf::new(),
        python: None,
    };
    Arc::new(Pack {
        origin,
        version: "1".to_owned(),
        description: String::new(),
        actions: BTreeMap::new(),
        triggers: [(trigger.clone(), Arc::new(definition))].into(),
        rules: BTreeMap::new(),
        runtimes: BTreeMap::new(),
    })
}
