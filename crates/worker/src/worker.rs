//! The worker's front: takes attempts, runs each on a thread or as a task, and answers each with
//! exactly one last report.
//!
//! ```text
//! start -> running table -> pool thread: prepare, process::run, result   \
//!                        -> task: native function or HTTP request         > last report, table entry gone
//! cancel ------^ the entry's stop handle or token                        /
//! ```

mod child;
mod ending;
mod pool;
mod secrets;
mod task;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camshaft_model::definition::Runtime;
use camshaft_model::port::clock::Clock;
use camshaft_model::port::dispatch::{Capacity, Dispatch, Job, Report, Reports};
use camshaft_model::{AttemptKey, FailureKind};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::process::journal::Journal;
use crate::process::{Limits, StopHandle};
use crate::registry::Registry;
use crate::runtime::http::Http;
use crate::runtime::native::NativeRegistry;
use crate::runtime::schema::Schemas;
use crate::runtime::{Site, delivery, failure};
use ending::Ending;
use pool::Pool;

/// Threads besides one for each slot: attempts that are being stopped have given their slot back.
const SPARE_THREADS: usize = 16;
/// How much longer than the grace of its attempts a shutdown may take.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(3);

/// What a worker is made of.
pub struct WorkerConfig {
    /// Its name.
    pub id: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// Named capacities.
    pub resources: BTreeMap<String, u32>,
    /// Where logs, environments and temporary files go.
    pub data_dir: PathBuf,
    /// The identity of the data directory.
    pub instance: String,
    /// The API as processes reach it.
    pub api_url: String,
    /// The native functions.
    pub native: NativeRegistry,
    /// Limits of each attempt; its timeouts come with its job.
    pub limits: Limits,
    /// Variables for every process.
    pub environment: BTreeMap<String, String>,
    /// Variables that the making of a pack's environment gets besides (`PIP_INDEX_URL`, a proxy).
    pub packs_environment: BTreeMap<String, String>,
}

/// How a running attempt is stopped.
enum Stop {
    Process(Arc<ProcessStop>),
    Task(Arc<TaskStop>),
}

struct ProcessStop {
    handle: StopHandle,
    stopped: AtomicBool,
    interrupted: AtomicBool,
}

struct TaskStop {
    token: CancellationToken,
    grace: Mutex<Duration>,
    interrupted: AtomicBool,
}

/// Who wants an attempt to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Somebody cancelled it.
    Cancel,
    /// The worker is shut down. An attempt that was cancelled before stays cancelled.
    Shutdown,
}

impl Stop {
    fn stop(&self, grace: Duration, by: By) {
        match self {
            Self::Process(process) => {
                let first = !process.stopped.swap(true, Ordering::SeqCst);
                process
                    .interrupted
                    .fetch_or(first && by == By::Shutdown, Ordering::SeqCst);
                process.handle.stop(grace);
            }
            Self::Task(task) => {
                let first = !task.token.is_cancelled();
                task.interrupted
                    .fetch_or(first && by == By::Shutdown, Ordering::SeqCst);
                *task.grace.lock() = grace;
                task.token.cancel();
            }
        }
    }
}

/// What threads and tasks of a worker share.
struct Shared {
    id: String,
    site: Site,
    logs: PathBuf,
    limits: Limits,
    registry: Registry,
    native: NativeRegistry,
    http: Http,
    schemas: Schemas,
    journal: Journal,
    reports: Arc<dyn Reports>,
    clock: Arc<dyn Clock>,
    running: Mutex<HashMap<AttemptKey, Stop>>,
    closing: AtomicBool,
    emptied: Notify,
}

impl Shared {
    /// The last report of an attempt. The entry goes first, so that whoever hears of the end finds
    /// the worker without it.
    fn finish(&self, key: AttemptKey, ending: Ending) {
        let empty = {
            let mut running = self.running.lock();
            running.remove(&key);
            running.is_empty()
        };
        self.reports.report(Report {
            key,
            events: ending.events,
            end: Some(Box::new(ending.end)),
        });
        if empty {
            self.emptied.notify_waiters();
        }
    }
}

/// A worker in this process.
pub struct Worker {
    shared: Arc<Shared>,
    pool: Pool,
    slots: u32,
    resources: BTreeMap<String, u32>,
    tokio: tokio::runtime::Handle,
    problem: Mutex<Option<String>>,
}

impl Worker {
    /// A worker that is ready for attempts. Files with parameters of an earlier life are removed.
    ///
    /// # Errors
    /// The data directory cannot be used.
    pub fn new(
        config: WorkerConfig,
        reports: Arc<dyn Reports>,
        clock: Arc<dyn Clock>,
        tokio: tokio::runtime::Handle,
    ) -> io::Result<Arc<Self>> {
        delivery::sweep(&config.data_dir)?;
        let journal = Journal::open(&config.data_dir)?;
        let logs = config.data_dir.join("logs");
        let site = Site {
            data_dir: config.data_dir,
            environment: config.environment,
            install_environment: config.packs_environment,
            instance: config.instance,
            api_url: config.api_url,
        };
        let shared = Shared {
            id: config.id,
            registry: Registry::find(site.search_path()),
            site,
            logs,
            limits: config.limits,
            native: config.native,
            http: Http::default(),
            schemas: Schemas::default(),
            journal,
            reports,
            clock,
            running: Mutex::default(),
            closing: AtomicBool::new(false),
            emptied: Notify::new(),
        };
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            pool: Pool::new(config.slots as usize + SPARE_THREADS),
            slots: config.slots,
            resources: config.resources,
            tokio,
            problem: Mutex::new(None),
        }))
    }

    /// What this worker offers.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            worker: self.shared.id.clone(),
            slots: self.slots,
            runtimes: self.shared.registry.available(),
            resources: self.resources.clone(),
        }
    }

    /// The runtimes, for resolving files without a definition.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Why the worker cannot take attempts; `None` if it can.
    pub fn health(&self) -> Option<String> {
        if self.shared.closing.load(Ordering::Relaxed) {
            return Some("the worker is shutting down".to_owned());
        }
        self.problem.lock().clone()
    }

    /// Stops everything: TERM, `grace`, KILL, and waits until each attempt has had its last report,
    /// at most 3 s longer than `grace`. Attempts that end by it, and those that are handed over from
    /// now on, are reported as `Failed` with `Interrupted`: nobody asked for them to be cancelled.
    pub async fn shutdown(&self, grace: Duration) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared
            .running
            .lock()
            .values()
            .for_each(|stop| stop.stop(grace, By::Shutdown));
        let all_gone = async {
            loop {
                let emptied = self.shared.emptied.notified();
                tokio::pin!(emptied);
                emptied.as_mut().enable();
                if self.shared.running.lock().is_empty() {
                    return;
                }
                emptied.await;
            }
        };
        if tokio::time::timeout(grace + SHUTDOWN_MARGIN, all_gone)
            .await
            .is_err()
        {
            let left = self.shared.running.lock().len();
            tracing::error!(left, "attempts did not end in time for the shutdown");
        }
    }

    fn stop(&self, key: AttemptKey, grace: Duration, by: By) {
        if let Some(stop) = self.shared.running.lock().get(&key) {
            stop.stop(grace, by);
        }
    }

    /// Enters an attempt in the table. `false` if it is there already: its end is reported once.
    fn enter(&self, key: AttemptKey, stop: Stop) -> bool {
        let mut running = self.shared.running.lock();
        if running.contains_key(&key) {
            tracing::warn!(execution = %key.execution, attempt = key.attempt, "an attempt was handed over twice");
            return false;
        }
        running.insert(key, stop);
        true
    }

    fn start_task(&self, job: Job) {
        let (token, grace) = (CancellationToken::new(), Mutex::new(Duration::ZERO));
        let stop = Arc::new(TaskStop {
            token,
            grace,
            interrupted: AtomicBool::new(false),
        });
        if self.enter(job.key, Stop::Task(Arc::clone(&stop))) {
            self.tokio
                .spawn(task::run(Arc::clone(&self.shared), job, stop));
        }
    }

    fn start_process(&self, job: Job) {
        let handle = match StopHandle::new() {
            Ok(handle) => handle,
            Err(error) => return self.refuse(&job, format!("no attempt can be started: {error}")),
        };
        let stop = Arc::new(ProcessStop {
            handle,
            stopped: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
        });
        if !self.enter(job.key, Stop::Process(Arc::clone(&stop))) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let job = Arc::new(job);
        let attempt = Arc::clone(&job);
        let work = Box::new(move || {
            let run = || child::run(&shared, &attempt, &stop);
            let ending = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
                let message = format!("the worker failed: {}", ending::panic_text(&*panic));
                Ending::unstarted(&shared, &attempt, failure(FailureKind::Internal, message))
            });
            shared.finish(attempt.key, ending);
        });
        match self.pool.run(work) {
            Ok(()) => *self.problem.lock() = None,
            Err(error) => self.refuse(&job, format!("no thread can be started: {error}")),
        }
    }

    /// Answers an attempt for which there is not even a thread, and says so in the health.
    fn refuse(&self, job: &Job, why: String) {
        tracing::error!(execution = %job.key.execution, "{why}");
        let ending = Ending::unstarted(&self.shared, job, failure(FailureKind::Spawn, why.clone()));
        *self.problem.lock() = Some(why);
        self.shared.finish(job.key, ending);
    }
}

impl Dispatch for Worker {
    fn start(&self, job: Job) {
        let key = job.key;
        if self.shared.closing.load(Ordering::SeqCst) {
            let interrupted = failure(FailureKind::Interrupted, "the worker is shutting down");
            let ending = Ending::unstarted(&self.shared, &job, interrupted);
            return self.shared.finish(key, ending);
        }
        if job.action.runtime_definition.is_none()
            && matches!(job.action.runtime.as_str(), "native" | "http")
        {
            self.start_task(job);
        } else {
            self.start_process(job);
        }
        // A shutdown that began in between has not seen this attempt.
        if self.shared.closing.load(Ordering::SeqCst) {
            self.stop(key, Duration::ZERO, By::Shutdown);
        }
    }

    fn cancel(&self, key: AttemptKey, grace: Duration) {
        self.stop(key, grace, By::Cancel);
    }

    fn resolve_adhoc(&self, file: &Path, defined: &[Arc<Runtime>]) -> Result<String, String> {
        self.shared.registry.resolve_adhoc(file, defined)
    }

    fn health(&self) -> Option<String> {
        Self::health(self)
    }
}

#[cfg(test)]
mod tests;
