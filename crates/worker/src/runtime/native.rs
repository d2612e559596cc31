//! `native`: functions of the program that embeds Camshaft, registered by name with typed parameters
//! and a typed result. They run as tasks on the program's own runtime: cheap, and trusted not to
//! block a thread. A function that is to be stopped sees it in [`NativeContext::cancelled`] and is
//! dropped at its next await point when the grace is over.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use camshaft_model::definition::EntryPoint;
use camshaft_model::port::dispatch::Job;
use camshaft_model::{AttemptKey, Failure, FailureKind, Object};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::failure;

/// What a native function is told about the attempt that it runs for.
#[derive(Debug, Clone)]
pub struct NativeContext {
    /// Which attempt.
    pub key: AttemptKey,
    /// Its try, from 1.
    pub attempt: u32,
    /// The same for every attempt of the execution: hand it to whatever has an effect.
    pub idempotency_key: String,
    /// Becomes cancelled when the attempt is to stop.
    pub cancelled: CancellationToken,
    log: Arc<Mutex<Vec<u8>>>,
    log_limit: usize,
}

impl NativeContext {
    pub(crate) fn new(job: &Job, cancelled: CancellationToken, log_limit: usize) -> Self {
        Self {
            key: job.key,
            attempt: job.key.attempt,
            idempotency_key: job.idempotency_key.clone(),
            cancelled,
            log: Arc::default(),
            log_limit,
        }
    }

    /// Writes a line to the standard output of the attempt. Lines beyond the limit of what the
    /// database keeps of one attempt are counted and left out.
    pub fn log(&self, text: &str) {
        let mut log = self.log.lock();
        // One byte beyond the limit is what tells later that something was left out.
        let room = (self.log_limit + 1).saturating_sub(log.len());
        let line = text.as_bytes().iter().chain(b"\n");
        log.extend(line.take(room));
    }

    pub(crate) fn logged(&self) -> Vec<u8> {
        std::mem::take(&mut self.log.lock())
    }
}

type Function =
    dyn Fn(NativeContext, &Object) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync;

/// The native functions of a program, by the name that actions use as their entry point.
#[derive(Clone)]
pub struct NativeRegistry {
    functions: HashMap<String, Arc<Function>>,
}

impl Default for NativeRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl NativeRegistry {
    /// A registry with `noop` (does nothing) and `echo` (returns its parameters).
    pub fn new() -> Self {
        let mut registry = Self {
            functions: HashMap::new(),
        };
        registry.insert("noop", |_, _| {
            futures::future::ready(Ok(Value::Null)).boxed()
        });
        registry.insert("echo", |_, parameters| {
            futures::future::ready(Ok(Value::Object(parameters.clone()))).boxed()
        });
        registry
    }

    fn insert<F>(&mut self, name: &str, function: F)
    where
        F: Fn(NativeContext, &Object) -> BoxFuture<'static, Result<Value, Failure>>
            + Send
            + Sync
            + 'static,
    {
        self.functions.insert(name.to_owned(), Arc::new(function));
    }

    /// Adds the functions of another registry. They replace earlier ones of the same names.
    pub fn extend(&mut self, other: &Self) {
        let others = other.functions.iter();
        self.functions
            .extend(others.map(|(name, function)| (name.clone(), function.clone())));
    }

    /// Whether there is a function of this name.
    pub fn has(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// Registers an async function. It replaces an earlier one of the same name. One that takes `()` is
    /// for actions without parameters.
    #[must_use]
    pub fn register<P, R, E, F, Fut>(mut self, name: &str, function: F) -> Self
    where
        P: DeserializeOwned,
        R: Serialize + 'static,
        E: Display + 'static,
        F: Fn(NativeContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        self.insert(name, move |context, parameters| {
            let parameters = match P::deserialize(parameters) {
                Ok(parameters) => Ok(parameters),
                Err(_) if parameters.is_empty() && P::deserialize(Value::Null).is_ok() => {
                    P::deserialize(Value::Null)
                }
                Err(error) => Err(error),
            };
            let parameters = match parameters {
                Ok(parameters) => parameters,
                Err(error) => {
                    let refused = failure(
                        FailureKind::Parameters,
                        format!("the parameters do not fit: {error}"),
                    );
                    return futures::future::ready(Err(refused)).boxed();
                }
            };
            let running = function(context, parameters);
            async move {
                let result = running
                    .await
                    .map_err(|error| failure(FailureKind::Native, error.to_string()))?;
                serde_json::to_value(result).map_err(|error| {
                    failure(
                        FailureKind::Native,
                        format!("the result cannot be written as JSON: {error}"),
                    )
                })
            }
            .boxed()
        });
        self
    }

    /// Runs the function that the job's action names. The function is called when the future is
    /// first polled, so that a panic in it is one of the future.
    pub(crate) async fn call(&self, job: &Job, context: NativeContext) -> Result<Value, Failure> {
        let EntryPoint::Native(name) = &job.action.entry_point else {
            let message = format!(
                "runtime 'native' runs a function: name it as the entry_point of '{}'",
                job.action.reference
            );
            return Err(failure(FailureKind::Runtime, message));
        };
        let Some(function) = self.functions.get(name) else {
            let mut known: Vec<&str> = self.functions.keys().map(String::as_str).collect();
            known.sort_unstable();
            let message = format!(
                "native function '{name}' not found (available: {})",
                known.join(", ")
            );
            return Err(failure(FailureKind::Runtime, message));
        };
        function(context, &job.parameters).await
    }
}
