//! The library facade: an engine inside another program.
//!
//! Async functions become actions with typed parameters and results. They run under everything that
//! other actions run under: recorded, retried, limited, explained. Packs on disk work as well.
//!
//! ```
//! use camshaft::embed::Builder;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Add { a: i64, b: i64 }
//!
//! #[derive(Serialize)]
//! struct Sum { sum: i64 }
//!
//! # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let engine = Builder::new(folder.path().join("data"))
//!     .action("math.add", |_context, add: Add| async move {
//!         add.a.checked_add(add.b).map(|sum| Sum { sum }).ok_or("the sum is too large")
//!     })?
//!     .start()
//!     .await?;
//! let execution = engine.run("math.add", serde_json::json!({ "a": 2, "b": 3 })).await?;
//! assert_eq!(execution.state.result.as_deref(), Some(&serde_json::json!({ "sum": 5 })));
//! engine.stop().await;
//! # Ok(())
//! # }
//! ```

mod workflow;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use camshaft_engine::Engine;
use camshaft_engine::handle::{ExecutionRequest, Requested};
use camshaft_model::definition::{Action, EntryPoint, Pack, PackOrigin, RetryPolicy};
use camshaft_model::notice::Subscriber;
use camshaft_model::{Execution, Object, Origin, Ref};
use camshaft_worker::{NativeContext, NativeRegistry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::exit::CliError;
use crate::pack::service::Packs;
use crate::wire::{Part, Parts, System};

pub use workflow::{Handle, In, Workflow};

/// How long what runs gets when the engine stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What an embedded engine is made of.
pub struct Builder {
    config: Config,
    native: NativeRegistry,
    actions: Vec<Action>,
    packs: Vec<PathBuf>,
    workflows: Vec<Arc<Pack>>,
    subscribers: Vec<Arc<dyn Subscriber>>,
}

impl Builder {
    /// An engine that keeps everything in this folder, with the defaults of the configuration.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let config = Config {
            data_dir: data_dir.into(),
            ..Config::default()
        };
        Self {
            config,
            native: NativeRegistry::new(),
            actions: Vec::new(),
            packs: Vec::new(),
            workflows: Vec::new(),
            subscribers: Vec::new(),
        }
    }

    /// How many attempts run at once.
    #[must_use]
    pub const fn slots(mut self, slots: u32) -> Self {
        self.config.worker.slots = slots;
        self
    }

    /// Applies every pack of this folder at the start.
    #[must_use]
    pub fn packs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.packs.push(folder.into());
        self
    }

    /// Tells somebody of everything that is committed.
    #[must_use]
    pub fn subscriber(mut self, subscriber: Arc<dyn Subscriber>) -> Self {
        self.subscribers.push(subscriber);
        self
    }

    /// Makes an async function the action `reference`, tried once. Parameters that do not
    /// deserialize, errors and panics fail the attempt, with the reason.
    ///
    /// # Errors
    /// `reference` is not `pack.name`, or begins with `core.`.
    pub fn action<P, R, E, F, Fut>(self, reference: &str, function: F) -> Result<Self, CliError>
    where
        P: DeserializeOwned,
        R: Serialize + 'static,
        E: Display + 'static,
        F: Fn(NativeContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        self.action_with(reference, RetryPolicy::default(), function)
    }

    /// The same with a policy for further attempts.
    ///
    /// # Errors
    /// As [`Builder::action`].
    pub fn action_with<P, R, E, F, Fut>(
        mut self,
        reference: &str,
        retry: RetryPolicy,
        function: F,
    ) -> Result<Self, CliError>
    where
        P: DeserializeOwned,
        R: Serialize + 'static,
        E: Display + 'static,
        F: Fn(NativeContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let name = own_reference(reference)?;
        self.native = self.native.register(reference, function);
        let function = EntryPoint::Native(reference.to_owned());
        self.actions.push(Action {
            retry,
            ..Action::new(name, "native", function)
        });
        Ok(self)
    }

    /// Adds a workflow and the functions of its tasks. It has a pack of its own: the first part of its ref.
    ///
    /// # Errors
    /// The workflow is not valid.
    pub fn workflow(mut self, workflow: Workflow) -> Result<Self, CliError> {
        let (pack, native) = workflow.load(self.native)?;
        self.native = native;
        self.workflows.push(Arc::new(pack));
        Ok(self)
    }

    /// Starts the engine. Executions that an earlier life left are taken up.
    ///
    /// # Errors
    /// The data directory is in use, a pack is not valid, or the machine refuses a resource.
    pub async fn start(self) -> Result<Embedded, CliError> {
        let mut native_packs = packs_of(self.actions);
        for pack in self.workflows {
            let name = &pack.origin.pack;
            if native_packs.iter().any(|other| other.origin.pack == *name) {
                return Err(CliError::invalid(format!(
                    "two workflows, or a workflow and an action, are in the pack '{name}': give each workflow a pack of its own"
                )));
            }
            native_packs.push(pack);
        }
        let data = DataDir::hold(&self.config.data_dir)?;
        let system = System::start(Parts {
            config: self.config,
            data,
            native: self.native,
            native_packs,
            api_url: String::new(),
            subscribers: self.subscribers,
            part: Part::Everything,
        })
        .await?;
        let packs = Packs::new(
            system.engine().clone(),
            system.clock().clone(),
            system.data().path().to_owned(),
        );
        for folder in &self.packs {
            packs
                .apply_folder(folder)
                .await
                .map_err(|error| crate::lifecycle::pack_error(folder, error))?;
        }
        Ok(Embedded { system })
    }
}

/// An engine inside this program.
pub struct Embedded {
    system: System,
}

impl Embedded {
    /// Requests an execution and waits until it is terminal, however it ended.
    ///
    /// # Errors
    /// There is no such action, or the parameters are no object or do not fit.
    pub async fn run(&self, action: &str, parameters: Value) -> Result<Arc<Execution>, CliError> {
        let action: Ref =
            action
                .parse()
                .map_err(|error: camshaft_model::reference::RefError| {
                    CliError::invalid(error.to_string())
                })?;
        let Value::Object(parameters) = parameters else {
            return Err(CliError::invalid("parameters are a JSON object"));
        };
        let accepted = self.engine().request(request(action, parameters)).await?;
        Ok(self.engine().wait(accepted.execution.spec.id).await?)
    }

    /// The engine, for everything else.
    pub const fn engine(&self) -> &Engine {
        self.system.engine()
    }

    /// The parts behind it.
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// Stops what runs and returns once everything is recorded.
    pub async fn stop(self) {
        self.system.stop(STOP_GRACE).await;
    }
}

/// A ref that a program may give to something of its own.
fn own_reference(reference: &str) -> Result<Ref, CliError> {
    let name: Ref = reference
        .parse()
        .map_err(|error: camshaft_model::reference::RefError| {
            CliError::invalid(error.to_string())
        })?;
    if name.pack() == "core" {
        return Err(CliError::invalid(format!(
            "'{name}': the pack 'core' belongs to Camshaft"
        )));
    }
    Ok(name)
}

/// A plain request for an action by the program that embeds the engine.
pub fn request(action: Ref, parameters: Object) -> ExecutionRequest {
    ExecutionRequest {
        what: Requested::Action(action),
        parameters,
        priority: 0,
        not_before: None,
        idempotency_key: None,
        origin: Origin::Library,
        trace_parent: None,
    }
}

/// The native actions of the program, as packs without files.
fn packs_of(actions: Vec<Action>) -> Vec<Arc<Pack>> {
    let mut packs: BTreeMap<String, BTreeMap<Ref, Arc<Action>>> = BTreeMap::new();
    for action in actions {
        let pack = action.reference.pack().to_owned();
        packs
            .entry(pack)
            .or_default()
            .insert(action.reference.clone(), Arc::new(action));
    }
    packs
        .into_iter()
        .map(|(pack, actions)| {
            Arc::new(Pack {
                origin: PackOrigin {
                    pack,
                    hash: "native".into(),
                    dir: PathBuf::new(),
                    python: None,
                },
                version: env!("CARGO_PKG_VERSION").to_owned(),
                description: "Functions of the program that embeds the engine".to_owned(),
                actions,
                triggers: BTreeMap::new(),
                rules: BTreeMap::new(),
                runtimes: BTreeMap::new(),
            })
        })
        .collect()
}

impl From<camshaft_engine::handle::ControlError> for CliError {
    fn from(error: camshaft_engine::handle::ControlError) -> Self {
        let shown = Self::new(error.code, error.message);
        match error.hint {
            Some(hint) => shown.hint(hint),
            None => shown,
        }
    }
}

#[cfg(test)]
mod tests;
