//! Workflows of an embedding program: typed native tasks, and data passed by handles.
//!
//! The builder writes the same definition that a person writes in YAML, and the same loader checks it.
//! A task needs those whose handles are among its parameters.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::marker::PhantomData;
use std::path::PathBuf;

use camshaft_model::Ref;
use camshaft_model::definition::{Catalog, Pack, PackSource, load_packs};
use camshaft_worker::{NativeContext, NativeRegistry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::exit::CliError;
use crate::pack::EngineChecks;

/// What a value is that the run will have: a parameter, or the result of a task.
pub struct Handle<T> {
    path: String,
    of: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    fn new(path: String) -> Self {
        let of = PhantomData;
        Self { path, of }
    }

    fn template(&self) -> String {
        format!("{{{{ {} }}}}", self.path)
    }
}

/// A field of a task's parameters that takes a value or the handle of one. The function of the task
/// finds the value.
pub struct In<T>(Source<T>);

enum Source<T> {
    Value(T),
    Handle(String),
}

impl<T> In<T> {
    /// The value; `None` while it is a handle, which it never is inside a task.
    pub fn into_value(self) -> Option<T> {
        match self.0 {
            Source::Value(value) => Some(value),
            Source::Handle(_) => None,
        }
    }
}

impl<T> From<T> for In<T> {
    fn from(value: T) -> Self {
        Self(Source::Value(value))
    }
}

impl<T> From<&Handle<T>> for In<T> {
    fn from(handle: &Handle<T>) -> Self {
        Self(Source::Handle(handle.template()))
    }
}

impl<T: Serialize> Serialize for In<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Source::Value(value) => value.serialize(serializer),
            Source::Handle(template) => template.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for In<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

type Register = Box<dyn FnOnce(NativeRegistry) -> NativeRegistry>;

/// A workflow while it is put together.
pub struct Workflow {
    reference: Ref,
    parameters: Map<String, Value>,
    tasks: Map<String, Value>,
    actions: BTreeMap<String, Value>,
    functions: Vec<Register>,
    output: Option<String>,
    problems: Vec<String>,
}

impl Workflow {
    /// A workflow without tasks.
    ///
    /// # Errors
    /// `reference` is not `pack.name`, or begins with `core.`.
    pub fn new(reference: &str) -> Result<Self, CliError> {
        let reference = super::own_reference(reference)?;
        Ok(Self {
            reference,
            parameters: Map::new(),
            tasks: Map::new(),
            actions: BTreeMap::new(),
            functions: Vec::new(),
            output: None,
            problems: Vec::new(),
        })
    }

    /// A parameter that every run must be given.
    pub fn parameter<T>(&mut self, name: &str) -> Handle<T> {
        self.parameters
            .insert(name.to_owned(), json!({ "required": true }));
        Handle::new(format!("params['{name}']"))
    }

    /// A task that calls a function with these parameters; a handle of its result.
    pub fn task<P, R, E, F, Fut>(&mut self, name: &str, function: F, with: &P) -> Handle<R>
    where
        P: Serialize + DeserializeOwned,
        R: Serialize + 'static,
        E: Display + 'static,
        F: Fn(NativeContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let action = format!("{}_{name}", self.reference);
        let with = serde_json::to_value(with).unwrap_or_else(|error| {
            self.problems.push(format!("task '{name}': {error}"));
            Value::Null
        });
        let task = json!({ "action": action, "with": with });
        if self.tasks.insert(name.to_owned(), task).is_some() {
            self.problems.push(format!("there are two tasks '{name}'"));
        }
        let fields = with.as_object().into_iter().flat_map(Map::keys);
        let declared: Map<String, Value> = fields.map(|key| (key.clone(), json!({}))).collect();
        let definition = json!({ "ref": action, "runtime": "native", "entry_point": action, "parameters": declared });
        self.actions.insert(action.clone(), definition);
        self.functions.push(Box::new(move |registry| {
            registry.register(&action, function)
        }));
        Handle::new(format!("tasks['{name}'].result"))
    }

    /// What a run that completes has as its result.
    pub fn output<T>(&mut self, result: &Handle<T>) {
        self.output = Some(result.template());
    }

    /// The definition as a pack, checked like one of files, and the functions that it calls.
    pub(super) fn load(
        self,
        mut native: NativeRegistry,
    ) -> Result<(Pack, NativeRegistry), CliError> {
        if !self.problems.is_empty() {
            return Err(CliError::invalid(self.problems.join("; ")));
        }
        let pack = self.reference.pack().to_owned();
        let mut workflow = json!({ "ref": self.reference.as_str(), "parameters": self.parameters, "tasks": self.tasks });
        if let Some(output) = self.output {
            workflow["output"] = output.into();
        }
        let manifest = json!({ "ref": pack, "version": env!("CARGO_PKG_VERSION") });
        let mut files = BTreeMap::from([
            (
                PathBuf::from("pack.yaml"),
                manifest.to_string().into_bytes(),
            ),
            (
                PathBuf::from("workflows/workflow.yaml"),
                workflow.to_string().into_bytes(),
            ),
        ]);
        for (action, definition) in &self.actions {
            files.insert(
                format!("actions/{action}.yaml").into(),
                definition.to_string().into_bytes(),
            );
        }
        let mut hash = Sha256::new();
        for text in files.values() {
            hash.update(text);
        }
        let hash = format!("{:x}", hash.finalize());
        let source = PackSource {
            label: String::new(),
            files,
            dir: PathBuf::new(),
            hash,
        };
        let refused = |problems: camshaft_model::definition::Problems| {
            CliError::invalid(format!("the workflow {} is not valid", self.reference))
                .problems(problems.into_list().into_iter().map(Into::into).collect())
        };
        let loaded = load_packs(&[source], &Catalog::default(), &EngineChecks).map_err(refused)?;
        for register in self.functions {
            native = register(native);
        }
        let loaded = loaded.into_iter().next();
        let pack = loaded
            .ok_or_else(|| CliError::invalid("nothing was loaded"))?
            .pack;
        Ok((pack, native))
    }
}
