//! The composition root: the one place that knows every part and puts them together.
//!
//! [`System::start`] brings an engine up in this process, in this order: what an earlier life left
//! running is killed, the database is opened, packs are loaded, unfinished executions are taken up,
//! the worker is attached (from here attempts start), sensors are started. [`System::stop`] goes the
//! other way.

mod functions;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use camshaft_engine::driver::timers::Timers;
use camshaft_engine::{Engine, Recovery, Settings, TokenSigner, World};
use camshaft_link::bus::Bus;
use camshaft_link::mqtt::{Listener, MqttSensors};
use camshaft_link::otlp;
use camshaft_link::tracing_sink::TracingSink;
use camshaft_model::definition::{Catalog, Pack};
use camshaft_model::notice::Subscriber;
use camshaft_model::port::clock::{Clock, Entropy};
use camshaft_model::port::dispatch::OutputStream;
use camshaft_model::port::store::{
    AtOnce, Change, PackRecord, Store, StoreError, Transaction, Violation,
};
use camshaft_model::{AttemptKey, ErrorCode, Output, Timestamp};
use camshaft_store::{Memory, SqliteStore};
use camshaft_worker::process::Limits;
use camshaft_worker::process::sweep::sweep;
use camshaft_worker::runtime::native::NativeRegistry;
use camshaft_worker::sensor::Sensors;
use camshaft_worker::{Worker, WorkerConfig};
use tokio::sync::{oneshot, watch};

use crate::clock::{SystemClock, SystemEntropy};
use crate::config::{Config, Identity, host_name};
use crate::connector::{self, Mqtt};
use crate::data_dir::DataDir;
use crate::exit::CliError;
use crate::lifecycle::folders::pack_error;
use crate::pack::{self, Candidate, Program};

/// How long the last sensors and loops may take to stop.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// How long who is told apart may take at the end for what has not been told yet.
const FINISH: Duration = Duration::from_secs(2);

/// What a system is made from.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The data directory, held by this process.
    pub data: DataDir,
    /// Native functions.
    pub native: NativeRegistry,
    /// The packs that the embedding program brings along.
    pub program: Program,
    /// Whether it starts although unfinished work calls native functions that are not there.
    pub without_functions: bool,
    /// The address at which child processes reach the API.
    pub api_url: String,
    /// Who is told of what was committed, and never waits.
    pub subscribers: Vec<Arc<dyn Subscriber>>,
    /// The same of whom that is not known, besides the log.
    pub apart: Vec<Arc<dyn Subscriber>>,
    /// Who is told how the connection to the MQTT broker is.
    pub on_link: Listener,
    /// How much of the work it takes up.
    pub part: Part,
}

/// How much of the work an engine takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All that waits and all that sensors bring.
    Everything,
    /// What is asked of it from now on, and what that leads to. It has no sensors.
    OnlyWhatIsAsked,
}

/// A running engine with its worker and sensors.
pub struct System {
    engine: Engine,
    store: Arc<SqliteStore>,
    worker: Arc<Worker>,
    sensors: Arc<Sensors>,
    mqtt_sensors: Arc<MqttSensors>,
    mqtt: Option<Mqtt>,
    clock: Arc<dyn Clock>,
    config: Config,
    data: DataDir,
    stop: watch::Sender<bool>,
    loops: Vec<tokio::task::JoinHandle<()>>,
    bus: Arc<Bus>,
    export: Option<otlp::Export>,
}

/// The database of a data directory.
fn open_store(data_dir: &Path) -> Result<SqliteStore, CliError> {
    let path = data_dir.join("camshaft.db");
    SqliteStore::open(&path).map_err(|error| {
        let code = match error {
            StoreError::Unavailable(_) | StoreError::Delayed(_) => ErrorCode::Unavailable,
            StoreError::Broken(_) => ErrorCode::Internal,
        };
        CliError::new(code, format!("{}: {error}", path.display()))
    })
}

fn of_store(error: StoreError) -> CliError {
    CliError::new(ErrorCode::Unavailable, error.to_string())
}

fn no_thread(error: io::Error) -> CliError {
    CliError::new(
        ErrorCode::Unavailable,
        format!("no thread can be started: {error}"),
    )
}

impl System {
    /// Brings everything up.
    ///
    /// # Errors
    /// The database cannot be used, a secret is missing, or the machine refuses a resource.
    pub async fn start(parts: Parts) -> Result<Self, CliError> {
        let Parts {
            config,
            data,
            mut native,
            program,
            without_functions,
            api_url,
            subscribers,
            apart,
            on_link,
            part,
        } = parts;
        kill_survivors(&data);
        let store = Arc::new(if data.is_temporary() {
            SqliteStore::in_memory(&Memory::default()).map_err(of_store)?
        } else {
            open_store(data.path())?
        });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let bus = Bus::new();
        bus.subscribe_apart(Arc::new(TracingSink))
            .map_err(no_thread)?;
        for subscriber in apart {
            bus.subscribe_apart(subscriber).map_err(no_thread)?;
        }
        for subscriber in subscribers {
            bus.subscribe(subscriber);
        }
        let brokers = config
            .brokers(|name| std::env::var(name).ok())
            .map_err(invalid_configuration)?;
        let project = brokers.identity.project_id.clone();
        let mut mqtt = Mqtt::prepare(brokers, &data, &bus, clock.clone()).await?;
        let broker = mqtt.as_ref().map(|mqtt| mqtt.settings().broker.clone());
        native = connector::with_publish(native, broker.clone());
        let export = start_traces(&config, &data, &store, &bus)?;
        let secrets = config
            .read_secrets(|name| std::env::var(name).ok())
            .map_err(invalid_configuration)?;
        let allowed = config
            .env_allow
            .iter()
            .filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)));
        let settings = Settings {
            max_depth: config.engine.max_depth,
            run_memory_bytes: config.engine.run_memory_bytes,
            cancel_grace: config.worker.grace,
            secrets,
            env: allowed.collect(),
            signer: TokenSigner::new(&data.signing_key()),
            project,
        };
        let world = World {
            store: store.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            load_pack: Arc::new(|record, world| {
                pack::load_pinned(record, world).map_err(|error| error.to_string())
            }),
        };
        let engine = Engine::new(settings, world, &config.worker.id);

        if part == Part::OnlyWhatIsAsked {
            engine.focus();
        }
        load_packs(&engine, &store, &program, &data, clock.now()).await?;
        if !without_functions && part == Part::Everything {
            functions::check(&engine, &native).await?;
        }
        if let Some(mqtt) = &mqtt {
            mqtt.end_again(store.as_ref()).await.map_err(of_store)?;
        }
        if let Some(mqtt) = mqtt.as_ref().filter(|_| part == Part::Everything) {
            // Before what recovery changes is told.
            mqtt.resume(store.as_ref()).await.map_err(of_store)?;
        }
        let logs = data.path().join("logs");
        let recovered = engine
            .recover(Recovery {
                outputs: &|key| kept_output(&logs, key),
            })
            .await
            .map_err(of_store)?;
        if recovered.waiting + recovered.interrupted > 0 {
            tracing::info!(
                waiting = recovered.waiting,
                interrupted = recovered.interrupted,
                "took up what an earlier life left"
            );
        }
        if let Some(mqtt) = &mut mqtt {
            // Before a worker is there nothing starts, so what the broker retains is not too late.
            mqtt.connect(&engine, &bus, (clock.clone(), entropy), on_link);
        }

        let runtime = tokio::runtime::Handle::current();
        let worker = Worker::new(
            worker_config(&config, &data, native, api_url),
            engine.reports(),
            clock.clone(),
            runtime.clone(),
        )
        .map_err(|error| {
            CliError::new(
                ErrorCode::Unavailable,
                format!("the worker does not start: {error}"),
            )
        })?;
        engine.attach_worker(worker.clone(), worker.capacity());
        if let Some(mqtt) = &mqtt {
            mqtt.tell_what_waits();
        }

        let (stop, stopped) = watch::channel(false);
        let timers = Timers::new(Arc::new(engine.clone()), store.clone(), clock.clone());
        let sensors = Sensors::new(
            Arc::new(engine.clone()),
            clock.clone(),
            runtime,
            child_environment(&config, &data),
        );
        let mqtt_sensors = MqttSensors::new(
            Arc::new(engine.clone()),
            tokio::runtime::Handle::current(),
            broker,
            format!("camshaft-{}", data.instance()),
        );
        if part == Part::Everything {
            engine.attach_sensors(mqtt_sensors.clone());
            engine.attach_sensors(timers.clone());
            engine.attach_sensors(sensors.clone());
            engine.reconcile_sensors();
        }
        let pulse = {
            let (engine, stopped) = (engine.clone(), stopped.clone());
            async move { engine.run(stopped).await }
        };
        let loops = vec![tokio::spawn(pulse), tokio::spawn(timers.run(stopped))];
        tokio::task::yield_now().await;
        Ok(Self {
            engine,
            store,
            worker,
            sensors,
            mqtt_sensors,
            mqtt,
            clock,
            config,
            data,
            stop,
            loops,
            bus,
            export,
        })
    }

    /// The engine.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The worker.
    pub const fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// What there is of MQTT, if the configuration names a broker.
    pub const fn mqtt(&self) -> Option<&Mqtt> {
        self.mqtt.as_ref()
    }

    /// The clock that everything here uses.
    pub const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The data directory.
    pub const fn data(&self) -> &DataDir {
        &self.data
    }

    /// What tells of everything that was committed.
    pub const fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// The database.
    pub fn store(&self) -> &Arc<SqliteStore> {
        &self.store
    }

    /// Stops sensors and loops, then what still runs: TERM, `grace`, KILL. What that cuts off is
    /// recorded, and everything recorded is flushed to the disk before this returns.
    pub async fn stop(mut self, grace: Duration) {
        self.engine.drain();
        let _ = self.stop.send(true);
        self.engine.detach_sensors();
        tokio::join!(self.sensors.shutdown(), self.mqtt_sensors.shutdown());
        self.worker.shutdown(grace).await;
        for task in std::mem::take(&mut self.loops) {
            if tokio::time::timeout(STOP_MARGIN, task).await.is_err() {
                tracing::error!("a loop did not stop in time");
            }
        }
        self.store.close();
        self.engine.close();
        // What was decided is committed or never will be, so nothing more is told.
        self.bus.finish(FINISH).await;
        if let Some(mqtt) = self.mqtt.take() {
            mqtt.stop().await;
        }
        if let Some(export) = self.export.take() {
            export.stop(self.config.otlp.flush).await;
        }
    }
}

/// Without [`System::stop`] it ends as by a crash: no attempt starts any more, what runs is stopped at
/// once, and nothing more is recorded. So whoever takes the data directory next has it alone.
impl Drop for System {
    fn drop(&mut self) {
        self.engine.drain();
        let _ = self.stop.send(true);
        for task in &self.loops {
            task.abort();
        }
        self.engine.detach_sensors();
        self.mqtt_sensors.cut_off();
        if let Some(mqtt) = &self.mqtt {
            mqtt.cut_off();
        }
        self.engine.close();
        self.store.close();
        self.engine.interrupt_all(Duration::ZERO);
    }
}

/// Has traces exported, if the configuration or the environment says where to.
fn start_traces(
    config: &Config,
    data: &DataDir,
    store: &Arc<SqliteStore>,
    bus: &Bus,
) -> Result<Option<otlp::Export>, CliError> {
    let host = host_name();
    let identity = Identity {
        instance: data.instance(),
        host: &host,
    };
    let settings = config
        .otlp_settings(&identity, |name| std::env::var(name).ok())
        .map_err(invalid_configuration)?;
    let Some(settings) = settings else {
        return Ok(None);
    };
    let (traces, export) = otlp::Traces::start(settings, store.clone()).map_err(|error| {
        CliError::new(ErrorCode::InvalidConfiguration, format!("otlp: {error}"))
    })?;
    bus.subscribe(traces);
    Ok(Some(export))
}

fn kill_survivors(data: &DataDir) {
    match sweep(data.path(), data.instance()) {
        Ok(survivors) => {
            for survivor in survivors {
                tracing::warn!(execution = %survivor.key.execution, attempt = survivor.key.attempt, pid = survivor.pid, gone = survivor.gone, "killed a process that an earlier life had left");
            }
        }
        Err(error) => tracing::error!(%error, "processes of an earlier life cannot be looked for"),
    }
}

/// The core pack, those of the program, and every pack that was applied.
async fn load_packs(
    engine: &Engine,
    store: &Arc<SqliteStore>,
    program: &Program,
    data: &DataDir,
    now: Timestamp,
) -> Result<(), CliError> {
    let core = pack::core_pack().map_err(|problems| {
        CliError::new(ErrorCode::Internal, format!("the core pack: {problems}"))
    })?;
    let records = store.packs().await.map_err(of_store)?;
    let mut packs = vec![core.clone()];
    if !program.own.is_empty() {
        let own = pack::load_program(program, &records, data.path(), &core);
        let own =
            own.map_err(|error| pack_error(Path::new("the definitions of the program"), error))?;
        packs.extend(keep_versions(own, store, data, now).await?);
    }
    let mut world = Catalog::default();
    world.packs.extend(
        packs
            .iter()
            .map(|pack| (pack.origin.pack.clone(), pack.clone())),
    );
    match pack::load_installed(&records, &world) {
        Ok(loaded) => packs.extend(loaded.into_iter().map(|loaded| Arc::new(loaded.pack))),
        Err(error) => {
            tracing::error!(%error, "the packs that were applied cannot be loaded; apply them again")
        }
    }
    engine.load(packs);
    Ok(())
}

/// Keeps the packs of the program for the runs that will be pinned to them.
async fn keep_versions(
    candidates: Vec<Candidate>,
    store: &Arc<SqliteStore>,
    data: &DataDir,
    now: Timestamp,
) -> Result<Vec<Arc<Pack>>, CliError> {
    let mut packs = Vec::new();
    let mut changes = Vec::new();
    for candidate in candidates {
        for warning in &candidate.warnings {
            tracing::warn!("{warning}");
        }
        let origin = &candidate.pack.origin;
        let dir = pack::install(&candidate.folder, &origin.pack, data.path())
            .map_err(|error| pack_error(Path::new("the definitions of the program"), error))?;
        changes.push(Change::PutPackVersion(PackRecord {
            pack: origin.pack.clone(),
            version: candidate.pack.version.clone(),
            hash: origin.hash.to_string(),
            dir: dir.display().to_string(),
            applied_at: now,
        }));
        packs.push(candidate.pack);
    }
    let (done, is_done) = oneshot::channel();
    store.submit(
        Transaction { changes },
        AtOnce::new(move |outcome| {
            let _ = done.send(outcome);
        }),
    );
    let stopped = |_| CliError::new(ErrorCode::Unavailable, "the database has stopped");
    is_done.await.map_err(stopped)?.map_err(of_store)?;
    Ok(packs)
}

/// What the log files of an attempt that was cut off hold.
fn kept_output(logs: &Path, key: &AttemptKey) -> (Output, Output) {
    let of = |stream: OutputStream| {
        let bytes = std::fs::metadata(logs.join(stream.log_file(key))).map_or(0, |file| file.len());
        Output {
            bytes,
            stored: bytes,
            ..Output::default()
        }
    };
    (of(OutputStream::Stdout), of(OutputStream::Stderr))
}

fn worker_config(
    config: &Config,
    data: &DataDir,
    native: NativeRegistry,
    api_url: String,
) -> WorkerConfig {
    WorkerConfig {
        id: config.worker.id.clone(),
        slots: config.worker.slots,
        resources: config.worker.resources.clone(),
        data_dir: data.path().to_owned(),
        instance: data.instance().to_owned(),
        api_url,
        native,
        limits: Limits {
            output_bytes: config.worker.output_limit_bytes,
            heartbeat: config.worker.heartbeat,
            grace: config.worker.grace,
            ..Limits::default()
        },
        environment: config.worker.environment.clone(),
        packs_environment: pip_environment(),
    }
}

/// Where pip finds packages is a matter of the machine: these variables of the engine's environment
/// reach the making of a pack's environment, and nothing else.
fn pip_environment() -> BTreeMap<String, String> {
    const NAMES: &[&str] = &[
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_TRUSTED_HOST",
        "PIP_CERT",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
    ];
    NAMES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect()
}

fn child_environment(config: &Config, data: &DataDir) -> BTreeMap<String, String> {
    let mut environment = config.worker.environment.clone();
    environment.insert("CAMSHAFT_INSTANCE".to_owned(), data.instance().to_owned());
    environment
}

/// Mistakes in the configuration, each with its place.
pub fn invalid_configuration(problems: camshaft_model::definition::Problems) -> CliError {
    CliError::new(
        ErrorCode::InvalidConfiguration,
        "the configuration is not valid",
    )
    .problems(problems.into_list().into_iter().map(Into::into).collect())
}

/// Checks the promises of the database in a data directory that no engine uses.
///
/// # Errors
/// An engine uses it, or it cannot be read.
pub fn check_database(data_dir: &Path) -> Result<Vec<Violation>, CliError> {
    if !data_dir.join("camshaft.db").is_file() {
        return Err(CliError::new(
            ErrorCode::NotFound,
            format!("there is no database in {}", data_dir.display()),
        ));
    }
    let _held = DataDir::hold(data_dir)?;
    let store = open_store(data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| CliError::new(ErrorCode::Internal, error.to_string()))?;
    let violations = runtime.block_on(store.check()).map_err(of_store);
    store.close();
    violations
}
