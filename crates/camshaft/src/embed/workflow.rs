//! Workflows while they are built, and once they are.

use std::fmt::Display;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::Ref;
use camshaft_worker::{NativeContext, NativeRegistry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::definition::{Definition, Files, Kind, native};
use super::error::Error;
use super::own_reference;
use super::shape::{Shape, shape_of};
use super::task::{TaskBuilder, duration_text};
use super::value::{Handle, Input, Owner, Uses};

/// A workflow that was built: what a run takes is a `P`, and what one that completes gives is an `R`.
///
/// An engine is started with it ([`Builder::workflow`](super::Builder::workflow)), then it is
/// [`run`](Workflow::run) or [`start`](Workflow::start)ed there. It is cheap to clone.
pub struct Workflow<P = (), R = ()> {
    pub(super) definition: Arc<Definition>,
    of: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for Workflow<P, R> {
    fn clone(&self) -> Self {
        Self {
            definition: self.definition.clone(),
            of: PhantomData,
        }
    }
}

impl<P, R> Workflow<P, R> {
    /// Its ref, by which rules, the API and the command line run it too.
    pub fn reference(&self) -> &Ref {
        &self.definition.reference
    }
}

impl<P: DeserializeOwned> Workflow<P, ()> {
    /// Begins a workflow with a ref, such as `shop.order`. Mistakes are told of by
    /// [`build`](WorkflowBuilder::build), all at once.
    pub fn builder(reference: &str) -> WorkflowBuilder<P> {
        let mut draft = Draft {
            owner: Owner::new(),
            reference: own_reference(reference),
            keys: Map::new(),
            tasks: Map::new(),
            actions: Vec::new(),
            functions: NativeRegistry::new(),
            parts: Vec::new(),
            used: Vec::new(),
            problems: Vec::new(),
        };
        let parameters = match shape_of::<P>() {
            Shape::Nothing => None,
            Shape::Any => Some("any".into()),
            Shape::Fields(fields) => {
                let declared = |(name, is_required): (&'static str, bool)| {
                    let property = if is_required {
                        json!({ "required": true })
                    } else {
                        json!({ "default": null })
                    };
                    (name.to_owned(), property)
                };
                Some(Value::Object(fields.into_iter().map(declared).collect()))
            }
            Shape::NoObject => {
                let problem = "the parameters of a workflow are a struct, a map or ()";
                draft.problems.push(problem.to_owned());
                None
            }
        };
        if let Some(parameters) = parameters {
            draft.keys.insert("parameters".to_owned(), parameters);
        }
        WorkflowBuilder {
            draft,
            of: PhantomData,
        }
    }
}

/// A workflow that is being built.
pub struct WorkflowBuilder<P> {
    draft: Draft,
    of: PhantomData<fn(P)>,
}

impl<P> WorkflowBuilder<P> {
    /// What a run was started with.
    pub fn parameters(&self) -> Handle<P> {
        Handle::new(self.draft.owner, "params".to_owned())
    }

    /// Begins a task. Its name has lower-case letters, digits, `_` and `-`, and is unique.
    pub fn task(&mut self, name: &str) -> TaskBuilder<'_> {
        TaskBuilder::new(&mut self.draft, name.to_owned())
    }

    /// What an expression of definitions will give, in which `params`, `tasks.<name>.result` and `run.id`
    /// are names: for what handles cannot say. `T` is what it is read as, and nothing checks that before
    /// the run.
    pub fn expression<T>(&self, expression: &str) -> Handle<T> {
        Handle::new(self.draft.owner, format!("({expression})"))
    }

    /// What the workflow is for, in a sentence.
    #[must_use]
    pub fn description(mut self, description: &str) -> Self {
        self.draft
            .keys
            .insert("description".to_owned(), description.into());
        self
    }

    /// How long a run may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        let text = duration_text(timeout);
        self.draft.keys.insert("timeout".to_owned(), text.into());
        self
    }

    /// Ends the building: what a run that completes has as its result is a value, the handle of one, a
    /// task, [`inputs!`](crate::inputs), or `()`.
    ///
    /// # Errors
    /// Every mistake, with its task. What the actions of other packs take is checked when an engine is
    /// started with them.
    pub fn build<R>(mut self, output: impl Input<R>) -> Result<Workflow<P, R>, Error> {
        let output = output.given();
        self.draft
            .check("(output)", output.uses(), output.problems());
        let output = match output.template() {
            // Without an output, the result would be the variables.
            Value::Null => "{{ none }}".into(),
            output => output,
        };
        self.draft.keys.insert("output".to_owned(), output);
        let definition = Arc::new(self.draft.finish()?);
        Ok(Workflow {
            definition,
            of: PhantomData,
        })
    }
}

/// What is known of a workflow so far.
pub(super) struct Draft {
    owner: Owner,
    reference: Result<Ref, String>,
    keys: Map<String, Value>,
    tasks: Map<String, Value>,
    /// Refs and definitions of the actions that are functions of the program.
    actions: Vec<(String, Value)>,
    functions: NativeRegistry,
    parts: Vec<Arc<Definition>>,
    used: Vec<(Kind, String)>,
    problems: Vec<String>,
}

impl Draft {
    pub(super) const fn owner(&self) -> Owner {
        self.owner
    }

    pub(super) fn problem(&mut self, task: &str, problem: &str) {
        self.problems.push(format!("task '{task}': {problem}"));
    }

    /// Notes what is wrong with something that a task was given.
    pub(super) fn check(&mut self, task: &str, uses: &Uses, problems: &[String]) {
        for problem in problems {
            self.problem(task, problem);
        }
        if uses.owners.iter().any(|owner| *owner != self.owner) {
            self.problem(task, "a handle of another workflow is given to it");
        }
    }

    pub(super) fn add(&mut self, name: String, keys: Map<String, Value>) -> Owner {
        if self.tasks.contains_key(&name) {
            self.problem(&name, "there are two tasks of this name");
        }
        self.tasks.insert(name, keys.into());
        self.owner
    }

    /// Makes a function the action of a task.
    pub(super) fn function<P, R, E, F, Fut>(
        &mut self,
        task: &str,
        at_most_once: bool,
        function: F,
    ) -> String
    where
        P: DeserializeOwned,
        R: Serialize + 'static,
        E: Display + 'static,
        F: Fn(NativeContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let Ok(reference) = &self.reference else {
            return "core.noop".to_owned();
        };
        let action = format!("{reference}_{task}");
        if action.parse::<Ref>().is_err() {
            self.problem(
                task,
                "the name of a task that runs a function has lower-case letters, digits, '_' and '-'",
            );
            return "core.noop".to_owned();
        }
        let mut definition = native(&action);
        if at_most_once {
            definition["idempotent"] = false.into();
        }
        self.actions.push((action.clone(), definition));
        let functions = std::mem::take(&mut self.functions);
        self.functions = functions.register(&action, function);
        action
    }

    /// Notes that a task names a definition which may be the program's or not.
    pub(super) fn uses(&mut self, kind: Kind, reference: &str) {
        self.used.push((kind, reference.to_owned()));
    }

    /// Adds a workflow that a task runs.
    pub(super) fn part<P, R>(&mut self, workflow: &Workflow<P, R>) -> String {
        self.parts.push(workflow.definition.clone());
        workflow.definition.reference.to_string()
    }

    fn finish(mut self) -> Result<Definition, Error> {
        let reference = self.reference.map_err(|problem| Error::Definition {
            what: "the workflow".to_owned(),
            problems: vec![problem],
        })?;
        let mut workflow = Map::from_iter([("ref".to_owned(), reference.as_str().into())]);
        workflow.append(&mut self.keys);
        workflow.insert("tasks".to_owned(), self.tasks.into());
        let mut files = Files::default();
        let mut problems = self.problems;
        let mut add = |kind: Kind, name: &str, definition: &Value| {
            let text = definition.to_string().into_bytes();
            files.add(reference.pack(), kind.path(name), text)
        };
        problems.extend(add(Kind::Workflow, reference.as_str(), &workflow.into()).err());
        for (name, action) in &self.actions {
            problems.extend(add(Kind::Action, name, action).err());
        }
        let own = files.of(reference.pack());
        for part in &self.parts {
            problems.extend(files.add_workflow(part).err());
        }
        files.check(&reference, &self.used, problems)?;
        Ok(Definition {
            files: own,
            functions: self.functions,
            parts: self.parts,
            reference,
        })
    }
}
