//! The configuration: `camshaft.yaml`, then `CAMSHAFT__SECTION__KEY` in the environment, then flags;
//! each layer overrides the one before, key by key.
//!
//! The file and each variable go through the same tree and decoder as definitions, so an unknown key
//! is refused with its line and the nearest known one, and all mistakes are reported at once. Every
//! key is described in docs/configuration.md.

mod layer;
mod mqtt;
mod otlp;
mod secret;
mod token;
mod variable;

pub use mqtt::{Brokers, Embedded, Mqtt, PREFIX_RULE, Tls, is_prefix};
pub use otlp::{Identity, Otlp};
pub use secret::SecretSource;
pub use token::TokenSource;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camshaft_model::definition::decode::Cursor;
use camshaft_model::definition::problem::Reporter;
use camshaft_model::definition::{Problem, Problems, document};

/// The file that is read if none is named.
pub const DEFAULT_FILE: &str = "camshaft.yaml";
/// The most attempts that a worker runs at once.
pub(crate) const MAX_SLOTS: u32 = 4_096;

/// Every key, as docs/configuration.md lists them. `*` stands for a name of the person's own.
pub const KEYS: &[&str] = &[
    "data_dir",
    "packs_dir",
    "api.listen",
    "api.max_body_bytes",
    "api.tokens",
    "worker.id",
    "worker.slots",
    "worker.resources.*",
    "worker.grace",
    "worker.output_limit_bytes",
    "worker.heartbeat",
    "worker.environment.*",
    "engine.max_depth",
    "engine.run_memory_bytes",
    "engine.drain",
    "secrets.*.env",
    "secrets.*.file",
    "env_allow",
    "mqtt.host",
    "mqtt.port",
    "mqtt.user",
    "mqtt.password.env",
    "mqtt.password.file",
    "mqtt.tls.enabled",
    "mqtt.tls.ca",
    "mqtt.tls.cert",
    "mqtt.tls.key",
    "mqtt.client_id",
    "mqtt.prefix",
    "mqtt.org_id",
    "mqtt.project_id",
    "mqtt.flush",
    "broker.enabled",
    "broker.listen",
    "broker.user",
    "broker.password.env",
    "broker.password.file",
    "log.level",
    "log.format",
    "metrics.enabled",
    "metrics.actions",
    "otlp.endpoint",
    "otlp.headers.*.env",
    "otlp.headers.*.file",
    "otlp.timeout",
    "otlp.interval",
    "otlp.batch_spans",
    "otlp.queue_spans",
    "otlp.resource.*",
    "otlp.flush",
];

/// The configuration, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where everything durable is, absolute.
    pub data_dir: PathBuf,
    /// A folder of packs that is loaded and watched, absolute.
    pub packs_dir: Option<PathBuf>,
    /// The HTTP API.
    pub api: Api,
    /// The worker in this process.
    pub worker: Worker,
    /// The engine.
    pub engine: Engine,
    /// Where the values of `secrets.<name>` come from.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The variables that expressions may read as `env.<NAME>`.
    pub env_allow: Vec<String>,
    /// The broker that the engine connects to.
    pub mqtt: Mqtt,
    /// The broker that the engine brings along.
    pub broker: Embedded,
    /// The log.
    pub log: Log,
    /// The metrics.
    pub metrics: Metrics,
    /// Where traces go.
    pub otlp: Otlp,
}

/// The HTTP API.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The most bytes that a request's body may have.
    pub max_body_bytes: u64,
    /// The tokens of others than whoever has the data directory.
    pub tokens: Vec<TokenSource>,
}

/// The worker in this process.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Its name.
    pub id: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// Named capacities that it offers.
    pub resources: BTreeMap<String, u32>,
    /// How long a process has between TERM and KILL.
    pub grace: Duration,
    /// How many bytes of each output stream of an attempt are kept.
    pub output_limit_bytes: u64,
    /// How often a running attempt is said to be alive.
    pub heartbeat: Duration,
    /// Variables that every process gets.
    pub environment: BTreeMap<String, String>,
}

/// The engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    /// How many executions may follow from one another through events.
    pub max_depth: u32,
    /// What the results, variables and lists of items of one run may take in memory.
    pub run_memory_bytes: u64,
    /// How long running attempts may go on once a stop was asked for.
    pub drain: Duration,
}

/// The log.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// How lines are written.
    pub format: LogFormat,
}

/// The metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Whether `/metrics` is served and what it needs is counted.
    pub enabled: bool,
    /// So many actions have metrics of their own; the rest share one.
    pub actions: usize,
}

/// How severe a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What a developer wants to know.
    Debug,
    /// What an operator wants to know.
    Info,
    /// What may need somebody.
    Warn,
    /// What needs somebody.
    Error,
}

impl LogLevel {
    /// The name, as the configuration and filters of the log write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What flags say; each overrides file and environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--packs`
    pub packs_dir: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--slots`
    pub slots: Option<u32>,
    /// `--drain`
    pub drain: Option<Duration>,
    /// `--broker`, and where it listens if that was said.
    pub broker: Option<Option<SocketAddr>>,
}

impl Default for Config {
    fn default() -> Self {
        const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 7410);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Self {
            data_dir: PathBuf::from(".camshaft"),
            packs_dir: None,
            api: Api {
                listen: LISTEN.into(),
                max_body_bytes: 10 << 20,
                tokens: Vec::new(),
            },
            worker: Worker {
                id: host_name(),
                slots: u32::try_from(2 * cores).unwrap_or(u32::MAX).max(4),
                resources: BTreeMap::new(),
                grace: Duration::from_secs(10),
                output_limit_bytes: 64 << 20,
                heartbeat: Duration::from_secs(30),
                environment: [
                    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                    ("LANG", "C.UTF-8"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            },
            engine: Engine {
                max_depth: 16,
                run_memory_bytes: camshaft_engine::RUN_MEMORY_BYTES,
                drain: Duration::from_secs(30),
            },
            secrets: BTreeMap::new(),
            env_allow: Vec::new(),
            mqtt: Mqtt::default(),
            broker: Embedded::default(),
            log: Log {
                level: LogLevel::Info,
                format: LogFormat::Text,
            },
            metrics: Metrics {
                enabled: true,
                actions: 200,
            },
            otlp: Otlp::default(),
        }
    }
}

pub(crate) fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Puts the layers together. Without a file named, `camshaft.yaml` in the working directory is read
/// if it is there.
///
/// # Errors
/// Everything that is wrong with the file and the variables.
pub fn load<T: AsRef<OsStr>>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (T, T)>,
    flags: Overrides,
) -> Result<Config, Problems> {
    let mut config = Config::default();
    let mut problems = Vec::new();
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read(path) {
        Ok(bytes) => problems.extend(apply_file(&path.display().to_string(), &bytes, &mut config)),
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let message = format!("the configuration cannot be read: {error}");
            return Err(Problems::of_file(path.display().to_string(), message));
        }
    }
    for (name, value) in environment {
        problems.extend(variable::apply(name.as_ref(), value.as_ref(), &mut config));
    }
    Problems::check(problems)?;
    flags.apply(&mut config);
    config.data_dir = absolute(config.data_dir);
    config.packs_dir = config.packs_dir.map(absolute);
    Ok(config)
}

fn apply_file(file: &str, bytes: &[u8], config: &mut Config) -> Vec<Problem> {
    let reporter = Reporter::new(file);
    match document::parse(bytes) {
        Err(errors) => {
            for error in errors {
                reporter.report(error.position, "", error.message);
            }
        }
        // A file with nothing but comments is as good as none.
        Ok(node) if node.content == document::Content::Null => {}
        Ok(node) => layer::apply(&Cursor::root(&node, &reporter), config),
    }
    reporter.into_found()
}

/// Only an empty path has no absolute form; it stays as it is and is refused where it is opened.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

impl Overrides {
    fn apply(self, config: &mut Config) {
        layer::set(&mut config.data_dir, self.data_dir);
        layer::set(&mut config.api.listen, self.listen);
        layer::set(&mut config.worker.slots, self.slots);
        layer::set(&mut config.engine.drain, self.drain);
        if let Some(listen) = self.broker {
            config.broker.enabled = true;
            layer::set(&mut config.broker.listen, listen);
        }
        config.packs_dir = self.packs_dir.or(config.packs_dir.take());
    }
}

#[cfg(test)]
mod tests;
