//! What is odd about a run.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use camshaft_model::{ExecutionId, FailureKind, Ref, Status, StepEvent, StepEventType, duration};
use serde::Serialize;
use serde_json::Value;

use super::build::Built;
use super::{Material, Part, StepKind, TraceStep};

/// A wait for a slot that is shorter is never odd.
const LONG_QUEUE: Duration = Duration::from_secs(1);
/// A wait for a slot that is longer is always odd.
const VERY_LONG_QUEUE: Duration = Duration::from_secs(60);
/// More than so many times the median is long.
const LONG_FACTOR: u32 = 3;
/// A run that is shorter is never odd, whatever the median.
const LONG_RUN: Duration = Duration::from_millis(100);
/// Fewer completed executions are no history.
const MIN_HISTORY: usize = 3;

/// What kind of thing is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// It wrote next to nothing for several heartbeats.
    LowOutput,
    /// It waited long for a slot, compared with what it then did.
    LongQueueWait,
    /// It ran much longer than its action usually does.
    LongRunning,
    /// It had to be tried again.
    Retried,
    /// The same attempt was started, or reported its end, more than once.
    DuplicateAttempt,
    /// The engine or worker died, or was stopped, while it ran.
    InterruptedAttempt,
    /// It was not run.
    Skipped,
}

/// Something odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// What kind.
    pub kind: AnomalyKind,
    /// The step, as the timeline calls it.
    pub step: String,
    /// Its execution, if it has one.
    pub execution: Option<ExecutionId>,
    /// Which try.
    pub attempt: Option<u32>,
    /// A sentence.
    pub message: String,
    /// When it began, from the request of the run.
    pub offset_us: u64,
}

/// Looks for everything odd, in the order of the timeline.
pub(super) fn find(material: &Material, built: &Built<'_>) -> Vec<Anomaly> {
    let events = Events::of(&material.events);
    let interrupted: HashMap<(ExecutionId, u32), &str> = material
        .attempts
        .iter()
        .filter_map(|attempt| {
            let error = attempt.error.as_ref()?;
            (error.kind == FailureKind::Interrupted).then_some((
                (attempt.key.execution, attempt.key.attempt),
                &*error.message,
            ))
        })
        .collect();
    let medians: HashMap<&Ref, Duration> = material
        .usual
        .iter()
        .filter_map(|(action, times)| Some((action, median(times)?)))
        .collect();
    let mut found = Vec::new();
    for step in &built.steps {
        let mut say = |kind, message: String| {
            found.push(Anomaly {
                kind,
                step: step.step.clone(),
                execution: step.execution,
                attempt: step.attempt,
                message,
                offset_us: step.offset_us,
            });
        };
        if step.status == Status::Skipped {
            let reason = step.reason.as_deref().unwrap_or("no reason is recorded");
            say(AnomalyKind::Skipped, format!("skipped: {reason}"));
        }
        if step.kind != StepKind::Attempt {
            continue;
        }
        if let Some(message) = long_queue(step) {
            say(AnomalyKind::LongQueueWait, message);
        }
        let median = step.action.as_ref().and_then(|action| medians.get(action));
        if let Some(message) = median.and_then(|median| long_run(step, *median)) {
            say(AnomalyKind::LongRunning, message);
        }
        let (Some(execution), Some(attempt)) = (step.execution, step.attempt) else {
            continue;
        };
        let key = (execution, attempt);
        if let Some(secs) = events.low_output.get(&key) {
            let silence = duration::display(Duration::from_secs_f64(secs.clamp(0.0, 1e9)));
            say(
                AnomalyKind::LowOutput,
                format!("wrote next to nothing, seen after {silence}"),
            );
        }
        if let Some(message) = events.retried.get(&key) {
            say(AnomalyKind::Retried, message.clone());
        }
        if let Some(message) = interrupted.get(&key) {
            say(AnomalyKind::InterruptedAttempt, (*message).to_owned());
        }
        if events.duplicates.contains(&key) {
            say(
                AnomalyKind::DuplicateAttempt,
                format!("attempt {attempt} was started or reported its end more than once"),
            );
        }
    }
    found.sort_by_key(|anomaly| anomaly.offset_us);
    found
}

fn spent(step: &TraceStep, part: Part) -> Duration {
    let spent = step.phases.iter().filter(|phase| phase.part == part);
    Duration::from_micros(spent.map(|phase| phase.duration_us).sum())
}

fn long_queue(step: &TraceStep) -> Option<String> {
    let (queue, run) = (spent(step, Part::Queue), spent(step, Part::Run));
    let long = queue >= VERY_LONG_QUEUE || (queue >= LONG_QUEUE && queue > run);
    long.then(|| {
        format!(
            "waited {} for a slot and ran for {}",
            duration::display(queue),
            duration::display(run)
        )
    })
}

fn long_run(step: &TraceStep, median: Duration) -> Option<String> {
    let run = spent(step, Part::Run);
    (run >= LONG_RUN && run > median * LONG_FACTOR).then(|| {
        format!(
            "ran for {}; usually it is {}",
            duration::display(run),
            duration::display(median)
        )
    })
}

fn median(times: &[Duration]) -> Option<Duration> {
    if times.len() < MIN_HISTORY {
        return None;
    }
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// What the event log says of attempts.
#[derive(Default)]
struct Events {
    /// Seconds after which low output was first seen.
    low_output: HashMap<(ExecutionId, u32), f64>,
    retried: HashMap<(ExecutionId, u32), String>,
    duplicates: HashSet<(ExecutionId, u32)>,
}

impl Events {
    fn of(events: &[StepEvent]) -> Self {
        let mut all = Self::default();
        let mut starts = HashSet::new();
        // A heartbeat does not say which attempt it is of: it is of the one that started last.
        let mut latest: HashMap<ExecutionId, u32> = HashMap::new();
        for event in events {
            let id = event.item_id.unwrap_or(event.execution_id);
            let number = event.payload.get("attempt").and_then(Value::as_u64);
            let attempt = number
                .and_then(|n| u32::try_from(n).ok())
                .or_else(|| latest.get(&id).copied());
            let Some(attempt) = attempt else {
                continue;
            };
            let key = (id, attempt);
            match event.event_type {
                StepEventType::StepStarted => {
                    latest.insert(id, attempt);
                    if !starts.insert(key) {
                        all.duplicates.insert(key);
                    }
                }
                StepEventType::ResultRefused => {
                    all.duplicates.insert(key);
                }
                StepEventType::StepRetrying => {
                    all.retried.insert(key, retried(event));
                }
                StepEventType::StepHeartbeat if is_low(event) => {
                    let secs = event.payload.get("elapsed_secs").and_then(Value::as_f64);
                    all.low_output.entry(key).or_insert(secs.unwrap_or(0.0));
                }
                _ => {}
            }
        }
        all
    }
}

fn is_low(heartbeat: &StepEvent) -> bool {
    heartbeat
        .payload
        .get("output_state")
        .and_then(Value::as_str)
        == Some("low_output")
}

fn retried(event: &StepEvent) -> String {
    let delay = event
        .payload
        .get("delay_ms")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let again = match delay {
        0 => "tried again at once".to_owned(),
        delay => format!(
            "tried again after {}",
            duration::display(Duration::from_millis(delay))
        ),
    };
    match event.payload.get("reason").and_then(Value::as_str) {
        Some(reason) if !reason.is_empty() => format!("{again}: {reason}"),
        _ => again,
    }
}
