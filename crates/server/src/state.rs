//! What every handler needs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use camshaft_engine::Engine;
use camshaft_model::Timestamp;
use camshaft_model::notice::Sinks;
use serde::Serialize;

use crate::auth::Operators;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::packs::PackService;

/// What whoever has the token of the data directory is called.
pub const ADMIN: &str = "admin";

/// A bearer token besides that of the data directory.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedToken {
    /// What its owner is called; not [`ADMIN`].
    pub name: String,
    /// The token.
    pub token: String,
    /// Which inquiries its owner may answer.
    pub roles: Vec<String>,
}

/// How the server is set up.
#[derive(Clone)]
pub struct ServerConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The largest body that it reads; webhooks have limits of their own.
    pub max_body_bytes: usize,
    /// The bearer token of the data directory.
    pub token: String,
    /// Those of others.
    pub named_tokens: Vec<NamedToken>,
    /// The folder of the logs of attempts.
    pub logs_dir: PathBuf,
    /// What `GET /api/v1/info` answers, beside the sinks.
    pub info: Info,
}

/// What is running here.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// The version of the program.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The folder with its data, absolute.
    pub data_dir: PathBuf,
    /// When it started.
    pub started_at: Timestamp,
    /// The worker inside it.
    pub worker: WorkerInfo,
}

/// The worker inside this process.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerInfo {
    /// Its name.
    pub id: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// The runtimes that it has.
    pub runtimes: Vec<String>,
}

/// The state behind the routes; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Parts>);

/// What [`Api`] shares; its fields are the server's own.
pub struct Parts {
    pub(crate) engine: Engine,
    pub(crate) packs: Arc<dyn PackService>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) sinks: Arc<dyn Sinks>,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) operators: Operators,
    pub(crate) config: ServerConfig,
}

impl Api {
    /// The state behind the routes. `feed` must be subscribed to the bus that the engine publishes on,
    /// which is `sinks` as well; without `metrics` there are none.
    pub fn new(
        engine: Engine,
        packs: Arc<dyn PackService>,
        feed: Arc<Feed>,
        sinks: Arc<dyn Sinks>,
        metrics: Option<Metrics>,
        config: ServerConfig,
    ) -> Self {
        let operators = Operators::new(&config.token, &config.named_tokens);
        Self(Arc::new(Parts {
            engine,
            packs,
            feed,
            sinks,
            metrics,
            operators,
            config,
        }))
    }
}

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
