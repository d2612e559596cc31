//! `GET /metrics`: what was counted since the start and how busy the engine is, as text.
//!
//! What happens is added up as it happens ([`Counted`]); how things are is looked up when somebody asks, at
//! most every [`LOAD_KEPT`], because anybody may ask and the look takes the engine's lock. Every label has
//! few values: actions, constraints and resources are shown up to a limit. docs/observability.md lists
//! every metric.

mod counted;
mod exposition;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camshaft_engine::Engine;
use camshaft_engine::handle::{ComponentHealth, Load};
use camshaft_model::notice::{Sink, Sinks};
use camshaft_model::port::store::{COMMIT_SIZES, Commits};
use camshaft_model::{Status, StepEventType, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::counted::Counted;
use self::counted::{BOUNDS_MICROS, Histogram, OTHER, PerAction};
use self::exposition::{Format, Kind, Page};
use crate::state::Info;

/// How long a look at the engine is shown to whoever asks again.
const LOAD_KEPT: Duration = Duration::from_millis(250);

/// Everything that `/metrics` shows.
pub struct Metrics {
    counted: Arc<Counted>,
    sinks: Arc<dyn Sinks>,
    dropped_by_broker: Option<Arc<AtomicU64>>,
    load: Mutex<Option<(Instant, Arc<Load>)>>,
}

/// What is shown besides what was counted.
struct Now<'a> {
    version: &'a str,
    started_at: Timestamp,
    now: Timestamp,
    components: &'a [ComponentHealth],
    load: &'a Load,
    commits: Commits,
    sinks: &'a [Sink],
    dropped_by_broker: Option<u64>,
}

impl Metrics {
    /// What `counted` adds up, and how the `sinks` fare.
    pub fn new(counted: Arc<Counted>, sinks: Arc<dyn Sinks>) -> Self {
        Self {
            counted,
            sinks,
            dropped_by_broker: None,
            load: Mutex::default(),
        }
    }

    /// Shows what the broker in the process counts: the messages that it dropped.
    #[must_use]
    pub fn of_broker(mut self, dropped: Option<Arc<AtomicU64>>) -> Self {
        self.dropped_by_broker = dropped;
        self
    }

    /// The type of the page, and the page.
    pub(crate) fn page(
        &self,
        engine: &Engine,
        info: &Info,
        accept: Option<&str>,
    ) -> (&'static str, String) {
        let format = Format::accepted(accept);
        let now = Now {
            version: &info.version,
            started_at: info.started_at,
            now: engine.now(),
            components: &engine.health(),
            load: &self.load(engine),
            commits: engine.store().commits(),
            sinks: &self.sinks.sinks(),
            dropped_by_broker: self.dropped_by_broker.as_deref().map(read),
        };
        (format.content_type(), written(format, &self.counted, &now))
    }

    fn load(&self, engine: &Engine) -> Arc<Load> {
        let mut kept = self.load.lock();
        match &*kept {
            Some((at, load)) if at.elapsed() < LOAD_KEPT => load.clone(),
            _ => {
                let load = Arc::new(engine.current_load());
                *kept = Some((Instant::now(), load.clone()));
                load
            }
        }
    }
}

fn written(format: Format, counted: &Counted, now: &Now<'_>) -> String {
    let mut page = Page::new(format);
    process(&mut page, now);
    happened(&mut page, counted);
    actions(&mut page, counted);
    queue(&mut page, now);
    constraints(&mut page, now.load);
    store(&mut page, &now.commits);
    telemetry(&mut page, now.sinks);
    broker(&mut page, now.dropped_by_broker);
    page.finish()
}

fn process(page: &mut Page, now: &Now<'_>) {
    page.family("camshaft_up", Kind::Gauge, "1 while the engine answers.")
        .sample(&[], 1);
    page.family(
        "camshaft_build_info",
        Kind::Gauge,
        "The version of the program.",
    )
    .sample(&[("version", now.version)], 1);
    page.family(
        "camshaft_start_time_seconds",
        Kind::Gauge,
        "When it started, since 1970.",
    )
    .sample(&[], seconds(now.started_at.since(Timestamp::default())));
    page.family(
        "camshaft_component_up",
        Kind::Gauge,
        "1 while a part works.",
    );
    for part in now.components {
        let works = u8::from(part.problem.is_none());
        page.sample(&[("component", &part.component)], works);
    }
}

fn happened(page: &mut Page, counted: &Counted) {
    page.family("camshaft_events", Kind::Counter, "Events recorded.")
        .sample(&[], read(&counted.events));
    page.family(
        "camshaft_enforcements",
        Kind::Counter,
        "Answers of rules to events.",
    );
    let outcomes = ["requested", "failed", "skipped"];
    for (outcome, counter) in outcomes.into_iter().zip(&counted.enforcements) {
        page.sample(&[("outcome", outcome)], read(counter));
    }
    page.family(
        "camshaft_execution_changes",
        Kind::Counter,
        "States that executions came to.",
    );
    for (status, counter) in Status::ALL.iter().zip(&counted.changes) {
        page.sample(&[("status", status.as_str())], read(counter));
    }
    page.family(
        "camshaft_step_events",
        Kind::Counter,
        "Lines added to event logs.",
    );
    for (kind, counter) in StepEventType::KNOWN.iter().zip(&counted.steps) {
        page.sample(&[("type", kind.as_str())], read(counter));
    }
    let help = "From the request of an execution to the start of its first attempt.";
    page.family("camshaft_execution_wait_seconds", Kind::Histogram, help);
    histogram(page, &[], &counted.wait);
}

fn actions(page: &mut Page, counted: &Counted) {
    let actions = counted.actions.read();
    let mut shown: Vec<(&str, &PerAction)> = actions
        .iter()
        .map(|(action, numbers)| (action.as_str(), &**numbers))
        .collect();
    shown.sort_unstable_by_key(|(action, _)| *action);
    shown.push((OTHER, &counted.rest));
    page.family(
        "camshaft_attempts_started",
        Kind::Counter,
        "Attempts started.",
    );
    for (action, numbers) in &shown {
        page.sample(&[("action", action)], read(&numbers.attempts));
    }
    page.family(
        "camshaft_executions_ended",
        Kind::Counter,
        "Executions that ended.",
    );
    for (action, numbers) in &shown {
        let ends = Status::ALL.iter().zip(&numbers.ended);
        for (status, counter) in ends.filter(|(status, _)| status.is_terminal()) {
            page.sample(
                &[("action", action), ("status", status.as_str())],
                read(counter),
            );
        }
    }
    let help = "From the start of the last attempt of an execution to its end.";
    page.family("camshaft_execution_duration_seconds", Kind::Histogram, help);
    for (action, numbers) in &shown {
        histogram(page, &[("action", action)], &numbers.duration);
    }
}

fn queue(page: &mut Page, now: &Now<'_>) {
    let load = now.load;
    page.family(
        "camshaft_executions_live",
        Kind::Gauge,
        "Executions that have not ended.",
    )
    .sample(&[], load.live);
    page.family(
        "camshaft_queue_depth",
        Kind::Gauge,
        "Executions that wait for their start.",
    )
    .sample(&[("for", "slot")], load.ready)
    .sample(&[("for", "constraint")], load.held)
    .sample(&[("for", "capacity")], load.unprovided)
    .sample(&[("for", "time")], load.delayed);
    let help = "How long ago the one that waits longest in line was asked for.";
    let age = load
        .oldest
        .map_or(Duration::ZERO, |oldest| now.now.since(oldest));
    page.family("camshaft_queue_oldest_age_seconds", Kind::Gauge, help)
        .sample(&[], seconds(age));
    page.family(
        "camshaft_slots",
        Kind::Gauge,
        "Attempts that the worker runs at once.",
    )
    .sample(&[], load.slots);
    page.family("camshaft_slots_used", Kind::Gauge, "Slots that are taken.")
        .sample(&[], load.slots_used);
    page.family(
        "camshaft_resource_capacity",
        Kind::Gauge,
        "Named capacities of the worker.",
    );
    for (name, (capacity, _)) in &load.resources {
        page.sample(&[("resource", name)], capacity);
    }
    page.family(
        "camshaft_resource_used",
        Kind::Gauge,
        "How much of them is taken.",
    );
    for (name, (_, used)) in &load.resources {
        page.sample(&[("resource", name)], used);
    }
}

fn constraints(page: &mut Page, load: &Load) {
    page.family("camshaft_constraints", Kind::Gauge, "Constraints in force.")
        .sample(&[], load.constraints);
    let named = load.by_constraint.iter().map(|(key, of)| {
        let scope = key.scope.to_string();
        (scope, key.kind.as_str(), of)
    });
    let named: Vec<_> = named.collect();
    let help = "Executions in the scope of a constraint that hold a slot.";
    page.family("camshaft_constraint_used", Kind::Gauge, help);
    for (scope, kind, of) in &named {
        page.sample(&[("scope", scope), ("type", kind)], of.leases);
    }
    let help = "How many more may start now, as far as a constraint goes.";
    page.family("camshaft_constraint_free", Kind::Gauge, help);
    for (scope, kind, of) in &named {
        if let Some(room) = of.room {
            page.sample(&[("scope", scope), ("type", kind)], room);
        }
    }
    let help = "Executions that a constraint holds.";
    page.family("camshaft_constraint_blocked", Kind::Gauge, help);
    for (scope, kind, of) in &named {
        page.sample(&[("scope", scope), ("type", kind)], of.held);
    }
}

fn store(page: &mut Page, commits: &Commits) {
    let bounds = COMMIT_SIZES.map(|size| size as f64);
    let help = "Transactions that shared a durable commit.";
    page.family("camshaft_commit_transactions", Kind::Histogram, help)
        .histogram(&[], &bounds, &commits.by_size, commits.transactions as f64);
    page.family(
        "camshaft_commits_failed",
        Kind::Counter,
        "Commits that failed.",
    )
    .sample(&[], commits.failed);
}

fn telemetry(page: &mut Page, sinks: &[Sink]) {
    let help = "Pieces of telemetry that a sink could not deliver.";
    page.family("camshaft_telemetry_dropped", Kind::Counter, help);
    for sink in sinks {
        page.sample(&[("sink", &sink.name)], sink.dropped);
    }
    let help = "Messages from outside that a sink could make nothing of.";
    page.family("camshaft_messages_refused", Kind::Counter, help);
    for sink in sinks {
        page.sample(&[("sink", &sink.name)], sink.refused);
    }
    let help = "Panics of a subscriber over a notice.";
    page.family("camshaft_subscriber_panics", Kind::Counter, help);
    for sink in sinks {
        page.sample(&[("sink", &sink.name)], sink.panics);
    }
    let help = "1 while a sink's connection is there, 0 while it is not.";
    page.family("camshaft_connection_up", Kind::Gauge, help);
    for sink in sinks {
        if let Some(connection) = &sink.connection {
            page.sample(&[("sink", &sink.name)], u8::from(connection.up));
        }
    }
}

fn broker(page: &mut Page, dropped: Option<u64>) {
    if let Some(dropped) = dropped {
        let help = "Messages that the embedded broker dropped because too many waited.";
        page.family("camshaft_broker_messages_dropped", Kind::Counter, help)
            .sample(&[], dropped);
    }
}

fn histogram(page: &mut Page, labels: exposition::Labels<'_>, times: &Histogram) {
    let bounds = BOUNDS_MICROS.map(|micros| micros as f64 / 1e6);
    let counts = times.counts.each_ref().map(read);
    let sum = read(&times.sum_micros) as f64 / 1e6;
    page.histogram(labels, &bounds, &counts, sum);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests;
