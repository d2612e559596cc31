//! A workflow with its expressions compiled: made once for all the runs of one definition.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use camshaft_model::Object;
use camshaft_model::definition::Workflow;
use camshaft_model::definition::workflow::{LoopMode, Next, Task, Work};
use serde_json::Value;

use super::graph::Graph;
use super::readers::Readers;
use crate::expression::{Template, TemplateTree};

/// See the module.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) vars: Assignments,
    pub(crate) until: Option<Template>,
    pub(crate) output: Option<TemplateTree>,
    pub(crate) tasks: Vec<TaskProgram>,
    pub(crate) readers: Readers,
    places: HashMap<String, usize>,
}

/// Names and the templates of their values, in order.
pub(crate) type Assignments = Vec<(String, TemplateTree)>;

/// The expressions of one task.
#[derive(Debug)]
pub(crate) struct TaskProgram {
    pub(crate) when: Option<Template>,
    pub(crate) items: Option<TemplateTree>,
    /// Parameters of an action, patterns of an awaited event's criteria in their order.
    pub(crate) with: TemplateTree,
    /// The `when` of an awaited event.
    pub(crate) accepts: Option<Template>,
    pub(crate) prompt: Option<Template>,
    pub(crate) cache_key: Option<Template>,
    pub(crate) publish: Assignments,
    pub(crate) next: Vec<(Option<Template>, Assignments)>,
}

impl Program {
    /// Compiles a workflow.
    ///
    /// # Errors
    /// The first text that does not compile, with its place. A workflow of a loaded pack has none.
    pub(crate) fn new(workflow: Arc<Workflow>) -> Result<Self, String> {
        let until = match &workflow.cycles.mode {
            LoopMode::Until(condition) => Some(expression(condition, "loop.condition")?),
            LoopMode::Once | LoopMode::Fixed => None,
        };
        let output = workflow.output.as_ref();
        let output = output.map(|value| tree(value, "output")).transpose()?;
        let tasks: Vec<TaskProgram> = workflow
            .tasks
            .iter()
            .map(TaskProgram::new)
            .collect::<Result<_, _>>()?;
        let mut at_end = output
            .as_ref()
            .map_or_else(BTreeSet::new, TemplateTree::names);
        at_end.extend(until.iter().flat_map(Template::names));
        let names = workflow.tasks.iter().map(|task| task.name.clone());
        Ok(Self {
            places: names.zip(0..).collect(),
            readers: Readers::new(&workflow, &tasks, &at_end),
            graph: Arc::new(Graph::new(&workflow)),
            vars: assignments(&workflow.vars, "vars")?,
            until,
            output,
            tasks,
            workflow,
        })
    }
}

impl Program {
    /// The place of a task.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// A task and its place.
    pub(crate) fn task(&self, name: &str) -> Option<(usize, &Task)> {
        let place = self.place(name)?;
        Some((place, self.workflow.tasks.get(place)?))
    }
}

impl TaskProgram {
    fn new(task: &Task) -> Result<Self, String> {
        let at = |key: &str| format!("tasks.{}.{key}", task.name);
        let optional = |text: Option<&String>, key: &str| {
            text.map(|text| expression(text, &at(key))).transpose()
        };
        let (with, accepts, prompt) = match &task.work {
            Work::Action { with, .. } => (Value::Object(with.clone()), None, None),
            Work::WaitFor(awaited) => {
                let patterns = awaited.criteria.iter().map(|c| c.pattern.clone());
                (patterns.collect(), awaited.when.as_ref(), None)
            }
            Work::Inquiry(question) => (Value::Null, None, Some(&question.prompt)),
            Work::Nothing => (Value::Null, None, None),
        };
        let text = |text: Option<&String>, key: &str| {
            text.map(|text| template(text, &at(key))).transpose()
        };
        Ok(Self {
            when: optional(task.when.as_ref(), "when")?,
            items: task
                .items
                .as_ref()
                .map(|items| tree(&items.over, &at("items")))
                .transpose()?,
            with: tree(&with, &at("with"))?,
            accepts: optional(accepts, "wait_for.when")?,
            prompt: text(prompt, "inquiry.prompt")?,
            cache_key: text(task.cache.as_ref().map(|cache| &cache.key), "cache.key")?,
            publish: assignments(&task.publish, &at("publish"))?,
            next: task
                .next
                .iter()
                .map(|next| transition(next, &at("next")))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn transition(next: &Next, at: &str) -> Result<(Option<Template>, Assignments), String> {
    let when = next.when.as_ref();
    Ok((
        when.map(|text| expression(text, &format!("{at}.when")))
            .transpose()?,
        assignments(&next.publish, &format!("{at}.publish"))?,
    ))
}

fn expression(text: &str, at: &str) -> Result<Template, String> {
    Template::expression(text).map_err(|error| format!("{at}: {error}"))
}

fn template(text: &str, at: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| format!("{at}: {error}"))
}

fn tree(value: &Value, at: &str) -> Result<TemplateTree, String> {
    TemplateTree::compile(value, at).map_err(|errors| {
        let mut errors = errors.iter().map(ToString::to_string);
        errors.next().unwrap_or_default()
    })
}

fn assignments(values: &Object, at: &str) -> Result<Assignments, String> {
    values
        .iter()
        .map(|(name, value)| Ok((name.clone(), tree(value, &format!("{at}.{name}"))?)))
        .collect()
}

/// The programs of the definitions that runs use, by the address of the definition.
#[derive(Debug, Default)]
pub(crate) struct Programs(HashMap<usize, Weak<Program>>);

impl Programs {
    /// The program of a definition; compiled if no run has it.
    pub(crate) fn of(&mut self, workflow: &Arc<Workflow>) -> Result<Arc<Program>, String> {
        let address = Arc::as_ptr(workflow) as usize;
        // A program keeps its definition, so an address cannot belong to another one while it lives.
        if let Some(program) = self.0.get(&address).and_then(Weak::upgrade) {
            return Ok(program);
        }
        self.0.retain(|_, program| program.strong_count() > 0);
        let program = Arc::new(Program::new(workflow.clone())?);
        self.0.insert(address, Arc::downgrade(&program));
        Ok(program)
    }
}
