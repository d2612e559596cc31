//! What an embedded engine is made of.

use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use camshaft_model::definition::RetryPolicy;
use camshaft_model::notice::Subscriber;
use camshaft_worker::{NativeContext, NativeRegistry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::definition::{Definition, Files, Kind, native};
use super::engine::{Embedded, STOP_GRACE};
use super::error::Error;
use super::follow::Followers;
use super::own_reference;
use super::task::retry_keys;
use super::workflow::Workflow;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::lifecycle::folders;
use crate::pack::Program;
use crate::pack::service::Packs;
use crate::wire::{Part, Parts, System};

/// What an embedded engine is made of. Mistakes are told of by [`start`](Builder::start), all at once.
#[must_use = "an engine is there once it has been started"]
pub struct Builder {
    config: Config,
    in_memory: bool,
    functions: NativeRegistry,
    files: Files,
    packs: Vec<PathBuf>,
    subscribers: Vec<Arc<dyn Subscriber>>,
    without_functions: bool,
    problems: Vec<String>,
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
            in_memory: false,
            functions: NativeRegistry::new(),
            files: Files::default(),
            packs: Vec::new(),
            subscribers: Vec::new(),
            without_functions: false,
            problems: Vec::new(),
        }
    }

    /// An engine whose database is in memory: the same in everything, but that nothing is left of it once
    /// it stops. What files the programs of packs need meanwhile are in a temporary folder.
    pub fn in_memory() -> Self {
        Self {
            in_memory: true,
            ..Self::new(PathBuf::new())
        }
    }

    /// How many attempts run at once.
    pub const fn slots(mut self, slots: u32) -> Self {
        self.config.worker.slots = slots;
        self
    }

    /// Applies every pack of this folder at the start.
    pub fn packs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.packs.push(folder.into());
        self
    }

    /// Tells somebody of everything that is committed, in order, on a thread of their own. Who is 10,000 notices
    /// behind misses the next, which is logged and counted; at the stop they have 2 s for what is left.
    /// [`Run::events`](super::Run::events) follows one run and misses nothing.
    pub fn subscriber(mut self, subscriber: Arc<dyn Subscriber>) -> Self {
        self.subscribers.push(subscriber);
        self
    }

    /// Makes an async function the action `reference`, tried once: for rules, for the command line and
    /// for tasks of workflows. Parameters that do not deserialize, errors and panics fail the attempt,
    /// with the reason.
    pub fn action<P, R, E, F, Fut>(self, reference: &str, function: F) -> Self
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
    pub fn action_with<P, R, E, F, Fut>(
        mut self,
        reference: &str,
        retry: RetryPolicy,
        function: F,
    ) -> Self
    where
        P: DeserializeOwned,
        R: Serialize + 'static,
        E: Display + 'static,
        F: Fn(NativeContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let mut definition = native(reference);
        definition["retry"] = retry_keys(&retry);
        self.define(Kind::Action, reference, &definition);
        self.functions = self.functions.register(reference, function);
        self
    }

    /// Makes a kind of event that the program posts with [`Embedded::emit`], for rules of packs and for
    /// tasks that wait.
    pub fn trigger(mut self, reference: &str) -> Self {
        let definition = json!({ "ref": reference });
        self.define(Kind::Trigger, reference, &definition);
        self
    }

    /// Adds a workflow, the workflows that its tasks run, and the functions of all of them.
    pub fn workflow<P, R>(mut self, workflow: &Workflow<P, R>) -> Self {
        let added = self.files.add_workflow(&workflow.definition);
        self.problems.extend(added.err());
        self.functions_of(&workflow.definition);
        self
    }

    /// Starts also if unfinished runs call functions that this program does not have. Their tasks fail
    /// when it is their turn, with an error that names the function. Without this, [`start`](Self::start)
    /// refuses and nothing has changed.
    pub const fn without_functions(mut self) -> Self {
        self.without_functions = true;
        self
    }

    fn functions_of(&mut self, definition: &Definition) {
        self.functions.extend(&definition.functions);
        for part in &definition.parts {
            self.functions_of(part);
        }
    }

    fn define(&mut self, kind: Kind, reference: &str, definition: &Value) {
        let added = own_reference(reference).and_then(|reference| {
            let path = kind.path(reference.as_str());
            let text = definition.to_string().into_bytes();
            self.files.add(reference.pack(), path, text)
        });
        self.problems.extend(added.err());
    }

    /// Starts the engine. Runs that an earlier life left go on from where they were.
    ///
    /// # Errors
    /// Definitions have mistakes, the data directory is in use, unfinished runs call functions that this
    /// program does not have, or the machine refuses a resource.
    pub async fn start(self) -> Result<Embedded, Error> {
        if !self.problems.is_empty() {
            return Err(Error::Definition {
                what: "the definitions of the program".to_owned(),
                problems: self.problems,
            });
        }
        for folder in &self.packs {
            folders::there(folder)?;
        }
        let data = if self.in_memory {
            DataDir::temporary()?
        } else {
            DataDir::hold(&self.config.data_dir)?
        };
        let followers = Arc::new(Followers::default());
        let system = System::start(Parts {
            config: self.config,
            data,
            native: self.functions,
            program: Program {
                own: self.files.into_folders(),
                beside: self.packs.clone(),
            },
            without_functions: self.without_functions,
            api_url: String::new(),
            subscribers: vec![followers.clone()],
            apart: self.subscribers,
            on_link: crate::connector::log(),
            part: Part::Everything,
        })
        .await?;
        let packs = Packs::new(
            system.engine().clone(),
            system.clock().clone(),
            system.data().path().to_owned(),
        );
        for folder in &self.packs {
            if let Err(error) = packs.apply_folder(folder).await {
                // What was taken up meanwhile is stopped in order.
                system.stop(STOP_GRACE).await;
                return Err(folders::pack_error(folder, error).into());
            }
        }
        Ok(Embedded::new(system, followers))
    }
}
