//! What happens while nothing runs, and what does not: occurrences that were missed are caught up as
//! the rule declares, and an engine that has nothing to do writes nothing.
//!
//! Time passes here by the ticks of another engine: a test that only waited could not say for what.

use std::fs;
use std::os::unix::fs::MetadataExt;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::harness::{Engine, Site};

/// What the timers under test count.
const EVERY_MS: i64 = 100;

/// An engine whose only work is to tick.
struct Clock {
    engine: Engine,
    _site: Site,
}

impl Clock {
    fn start() -> Self {
        let site = Site::new();
        timer(&site, "{ every: 250ms }");
        let engine = site.up();
        Self {
            engine,
            _site: site,
        }
    }

    /// Returns at the next tick: 250 ms after the last one, if that was waited for as well.
    fn tick(&mut self) {
        self.engine.skip_lines();
        self.engine.wait_for("core.interval");
    }
}

fn timer(site: &Site, parameters: &str) {
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    let rule = format!(
        "ref: t.tick\ntrigger: {{ ref: core.interval, parameters: {parameters} }}\naction: core.noop\n"
    );
    site.pack_file("t/rules/tick.yaml", &rule);
}

/// A timer's occurrences over two lives of its engine, in order, with the time between the lives.
struct Lives {
    occurrences: Vec<(Timestamp, u64)>,
    down: std::ops::Range<Timestamp>,
}

impl Lives {
    fn of(catchup: &str, clock: &mut Clock) -> Self {
        let site = Site::new();
        timer(
            &site,
            &format!("{{ every: {EVERY_MS}ms, catchup: {catchup} }}"),
        );
        let mut engine = site.up();
        engine.wait_for("core.interval");
        engine.kill();
        let from = Timestamp::now();
        for _ in 0..4 {
            clock.tick();
        }
        let down = from..Timestamp::now();
        let mut engine = site.up();
        let later = |occurrences: &[(Timestamp, u64)]| {
            occurrences.last().is_some_and(|(at, _)| *at > down.end)
        };
        let mut occurrences = Self::read(&site);
        while !later(&occurrences) {
            engine.wait_for("core.interval");
            occurrences = Self::read(&site);
        }
        Self { occurrences, down }
    }

    fn read(site: &Site) -> Vec<(Timestamp, u64)> {
        let page = site.json([
            "event",
            "list",
            "--trigger",
            "core.interval",
            "--limit",
            "500",
        ]);
        let items = page["items"].as_array().expect("a list").iter();
        let mut occurrences: Vec<(Timestamp, u64)> = items
            .map(|event| {
                let at = event["payload"]["scheduled_at"].as_str();
                let missed = event["payload"]["missed"].as_u64();
                (
                    at.expect("an instant").parse().expect("one"),
                    missed.unwrap_or_default(),
                )
            })
            .collect();
        occurrences.sort();
        occurrences
    }

    /// How many instants there were from the first occurrence to the last.
    fn instants(&self) -> u64 {
        let (first, last) = (
            self.occurrences[0].0,
            self.occurrences.last().expect("one").0,
        );
        let span = last.duration_since(first).as_millis();
        u64::try_from(span / i128::from(EVERY_MS)).expect("a time") + 1
    }

    fn fired(&self) -> u64 {
        self.occurrences.len() as u64
    }

    fn missed(&self) -> u64 {
        self.occurrences.iter().map(|(_, missed)| missed).sum()
    }

    /// How many of the occurrences belong into the time when nothing ran.
    fn of_downtime(&self) -> usize {
        let margin = SignedDuration::from_millis(EVERY_MS);
        let inner = self.down.start + margin..self.down.end - margin;
        let within = self.occurrences.iter().filter(|(at, _)| inner.contains(at));
        within.count()
    }
}

#[test]
fn what_was_missed_while_nothing_ran_is_caught_up_as_the_rule_says() {
    let mut clock = Clock::start();
    let all = Lives::of("all", &mut clock);
    assert_eq!(
        (all.fired(), all.missed()),
        (all.instants(), 0),
        "each fires: {:?}",
        all.occurrences
    );
    assert!(all.of_downtime() >= 3, "{:?}", all.occurrences);

    let once = Lives::of("once", &mut clock);
    assert_eq!(
        once.fired() + once.missed(),
        once.instants(),
        "each has fired or is counted by one that did: {:?}",
        once.occurrences
    );
    assert!(once.of_downtime() <= 1, "{:?}", once.occurrences);
    assert!(
        once.occurrences.iter().any(|(_, missed)| *missed >= 3),
        "{:?}",
        once.occurrences
    );

    let skip = Lives::of("skip", &mut clock);
    assert_eq!(skip.of_downtime(), 0, "{:?}", skip.occurrences);
    assert!(
        skip.fired() + 3 <= skip.instants(),
        "what was missed stays missed: {:?}",
        skip.occurrences
    );
}

/// Everything by which a write of an engine could be seen: bytes that it handed to the disk, and size
/// and time of its database files.
fn writes(site: &Site, engine: &Engine) -> Vec<(String, i128)> {
    let io = fs::read_to_string(format!("/proc/{}/io", engine.pid())).expect("it lives");
    let bytes = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))
        .and_then(|bytes| bytes.parse().ok())
        .expect("the kernel counts");
    let mut writes = vec![("written".to_owned(), bytes)];
    for entry in fs::read_dir(site.data_dir()).expect("a folder") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("there");
        let name = entry.file_name().to_string_lossy().into_owned();
        let changed =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        writes.push((format!("{name} size"), metadata.size().into()));
        writes.push((format!("{name} changed"), changed));
    }
    writes.sort();
    writes
}

#[test]
fn an_engine_that_has_nothing_to_do_writes_nothing() {
    const QUIET_TICKS: usize = 12;
    const MOST_TICKS: usize = 200;
    let mut clock = Clock::start();
    let site = Site::new();
    let inbox = site.path().join("inbox");
    fs::create_dir(&inbox).expect("made");
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    for (name, trigger) in [
        (
            "file",
            format!("core.file, parameters: {{ path: {} }}", inbox.display()),
        ),
        (
            "line",
            "core.process, parameters: { command: [sleep, '1000'] }".to_owned(),
        ),
        (
            "hook",
            "core.webhook, parameters: { path: hook }".to_owned(),
        ),
    ] {
        let text = format!("ref: t.{name}\ntrigger: {{ ref: {trigger} }}\naction: core.noop\n");
        site.pack_file(&format!("t/rules/{name}.yaml"), &text);
    }
    let engine = site.up();
    let hooked = site.http("POST", "/api/v1/hooks/hook", &[], b"{}");
    assert_eq!(hooked.status, 202, "{}", hooked.text());
    // What it did before settles: the log of the database is moved into it once, after a second.
    let mut before = writes(&site, &engine);
    let mut quiet = 0;
    for _ in 0..MOST_TICKS {
        clock.tick();
        let now = writes(&site, &engine);
        quiet = if now == before { quiet + 1 } else { 0 };
        if quiet == QUIET_TICKS {
            let events: Value = site.get("/api/v1/events?trigger=core.webhook");
            assert_eq!(events["items"].as_array().map(Vec::len), Some(1));
            return;
        }
        before = now;
    }
    panic!("it never stopped writing; at last: {before:?}");
}
