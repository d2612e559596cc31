//! Sensors that need this machine's files or processes. The host makes what runs equal to what the
//! enabled rules want; each sensor is one task that ends when it is no longer wanted.

mod file;
mod lines;
mod process;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::TriggerKind;
use camshaft_model::port::clock::Clock;
use camshaft_model::port::sensor::{Intake, IntakeError, SensorHealth, SensorHost, SensorSpec};
use camshaft_model::{EventDraft, EventSource, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Longer than the grace that a child of a sensor is given.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What one sensor works with.
struct Watch {
    spec: SensorSpec,
    intake: Arc<dyn Intake>,
    clock: Arc<dyn Clock>,
    environment: BTreeMap<String, String>,
    stop: CancellationToken,
    problem: Arc<Mutex<Option<String>>>,
}

impl Watch {
    fn say(&self, problem: Option<String>) {
        let mut said = self.problem.lock();
        if *said != problem {
            match &problem {
                Some(problem) => tracing::warn!(sensor = %self.spec.key, "{problem}"),
                None => tracing::info!(sensor = %self.spec.key, "the sensor works again"),
            }
            *said = problem;
        }
    }

    /// Waits, unless the sensor is stopped: `false` then.
    async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }

    /// Hands an event in until it is recorded, refused, or the sensor is stopped.
    async fn emit(
        &self,
        payload: Value,
        dedup_key: Option<String>,
        occurred_at: Option<Timestamp>,
    ) {
        let kind = if self.spec.kind == TriggerKind::File {
            "file"
        } else {
            "process"
        };
        let draft = EventDraft {
            trigger: self.spec.trigger.clone(),
            payload,
            source: EventSource {
                kind: kind.to_owned(),
                name: Some(self.spec.key.clone()),
            },
            dedup_key,
            occurred_at,
            sensor: Some(self.spec.key.clone()),
            depth: 0,
            trace_parent: None,
        };
        let mut delay = FIRST_RETRY;
        loop {
            match self.intake.emit(draft.clone()).await {
                Ok(_) => return,
                Err(IntakeError::Refused(why)) => {
                    tracing::warn!(sensor = %self.spec.key, "an event was refused: {why}");
                    return;
                }
                Err(IntakeError::Unavailable(why)) => {
                    tracing::warn!(sensor = %self.spec.key, "{why}; it is handed in again");
                    if !self.pause(delay).await {
                        return;
                    }
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        }
    }
}

struct Running {
    spec: SensorSpec,
    stop: CancellationToken,
    problem: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

/// The host of `core.file` and `core.process` sensors.
pub struct Sensors {
    intake: Arc<dyn Intake>,
    clock: Arc<dyn Clock>,
    tokio: tokio::runtime::Handle,
    environment: BTreeMap<String, String>,
    running: Mutex<HashMap<String, Running>>,
    /// Sensors that are no longer wanted and have not let go of their child yet.
    leaving: Mutex<HashMap<String, JoinHandle<()>>>,
}

impl Sensors {
    /// A host without sensors. `environment` is the whole environment of children; it should hold
    /// `CAMSHAFT_INSTANCE`, by which they are found after a crash.
    pub fn new(
        intake: Arc<dyn Intake>,
        clock: Arc<dyn Clock>,
        tokio: tokio::runtime::Handle,
        environment: BTreeMap<String, String>,
    ) -> Arc<Self> {
        Arc::new(Self {
            intake,
            clock,
            tokio,
            environment,
            running: Mutex::default(),
            leaving: Mutex::default(),
        })
    }

    /// Stops every sensor and waits until its child is gone, at most 5 s.
    pub async fn shutdown(&self) {
        let stopped: Vec<Running> = self
            .running
            .lock()
            .drain()
            .map(|(_, running)| running)
            .collect();
        stopped.iter().for_each(|running| running.stop.cancel());
        let leaving: Vec<JoinHandle<()>> =
            self.leaving.lock().drain().map(|(_, task)| task).collect();
        let tasks = futures::future::join_all(
            stopped
                .into_iter()
                .map(|running| running.task)
                .chain(leaving),
        );
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks).await.is_err() {
            tracing::error!("sensors did not end in time for the shutdown");
        }
    }

    fn start(&self, spec: &SensorSpec, after: Option<JoinHandle<()>>) -> Running {
        let (stop, problem) = (CancellationToken::new(), Arc::default());
        let watch = Watch {
            spec: spec.clone(),
            intake: Arc::clone(&self.intake),
            clock: Arc::clone(&self.clock),
            environment: self.environment.clone(),
            stop: stop.clone(),
            problem: Arc::clone(&problem),
        };
        let task = self.tokio.spawn(async move {
            // A changed sensor starts when the old one has let go of its child.
            if let Some(before) = after {
                let _ = before.await;
            }
            match watch.spec.kind {
                TriggerKind::File => file::run(&watch).await,
                _ => process::run(&watch).await,
            }
        });
        Running {
            spec: spec.clone(),
            stop,
            problem,
            task,
        }
    }
}

/// Whether two specs watch the same. Which rules need it does not matter.
fn same(a: &SensorSpec, b: &SensorSpec) -> bool {
    a.key == b.key && a.kind == b.kind && a.trigger == b.trigger && a.parameters == b.parameters
}

impl SensorHost for Sensors {
    fn reconcile(&self, desired: &[SensorSpec]) {
        let ours =
            |spec: &&SensorSpec| matches!(spec.kind, TriggerKind::File | TriggerKind::Process);
        let wanted: HashMap<&str, &SensorSpec> = desired
            .iter()
            .filter(ours)
            .map(|spec| (spec.key.as_str(), spec))
            .collect();
        let (mut running, mut leaving) = (self.running.lock(), self.leaving.lock());
        leaving.retain(|_, task| !task.is_finished());
        let stale = |key: &String, sensor: &mut Running| {
            let same = wanted
                .get(key.as_str())
                .is_some_and(|spec| same(&sensor.spec, spec));
            !same || sensor.task.is_finished()
        };
        for (key, sensor) in running.extract_if(stale) {
            sensor.stop.cancel();
            leaving.insert(key, sensor.task);
        }
        for (key, spec) in wanted {
            running
                .entry(key.to_owned())
                .or_insert_with(|| self.start(spec, leaving.remove(key)));
        }
    }

    fn health(&self) -> Vec<SensorHealth> {
        let running = self.running.lock();
        let mut all: Vec<_> = running
            .values()
            .map(|sensor| {
                let problem = sensor.problem.lock().clone();
                let dead = || {
                    sensor
                        .task
                        .is_finished()
                        .then(|| "the sensor has died".to_owned())
                };
                SensorHealth {
                    key: sensor.spec.key.clone(),
                    trigger: sensor.spec.trigger.clone(),
                    problem: problem.or_else(dead),
                }
            })
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }
}

#[cfg(test)]
mod tests;
