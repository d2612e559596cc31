//! Which expressions of a workflow read what a task returned: known once it is compiled, so that a
//! run need not hold, and a restart need not read, what nothing will ask for.

use super::program::{Assignments, TaskProgram};
use crate::expression::{NamePath, Template, TemplateTree};
use camshaft_model::definition::Workflow;

/// See the module.
#[derive(Debug)]
pub(crate) struct Readers {
    /// By task, those whose expressions read its result by its name.
    by_name: Vec<Vec<usize>>,
    /// Those that may read the result of any task: `tasks[item].result`.
    any: Vec<usize>,
    /// By task, whether `output` or `loop.condition` reads its result.
    at_end: Vec<bool>,
    /// By task, whether what follows its end reads `result`.
    own: Vec<bool>,
}

/// Which results a path leads to.
enum Reads {
    None,
    Task(usize),
    Any,
    Own,
}

impl Readers {
    pub(super) fn new<'a>(
        workflow: &Workflow,
        tasks: &[TaskProgram],
        at_end: impl IntoIterator<Item = &'a NamePath>,
    ) -> Self {
        let count = workflow.tasks.len();
        let mut readers = Self {
            by_name: vec![Vec::new(); count],
            any: Vec::new(),
            at_end: vec![false; count],
            own: vec![false; count],
        };
        for path in at_end {
            match reads(workflow, path) {
                Reads::Task(task) => readers.at_end[task] = true,
                Reads::Any => readers.at_end.fill(true),
                Reads::None | Reads::Own => {}
            }
        }
        for (task, program) in tasks.iter().enumerate() {
            for path in program.names() {
                match reads(workflow, &path) {
                    Reads::Task(of) if readers.by_name[of].last() != Some(&task) => {
                        readers.by_name[of].push(task);
                    }
                    Reads::Any if readers.any.last() != Some(&task) => readers.any.push(task),
                    Reads::Own => readers.own[task] = true,
                    Reads::None | Reads::Task(_) | Reads::Any => {}
                }
            }
        }
        readers
    }

    /// The tasks whose expressions may read the result of this one.
    pub(crate) fn of(&self, task: usize) -> impl Iterator<Item = usize> + '_ {
        let by_name = self.by_name.get(task).into_iter().flatten();
        by_name.chain(&self.any).copied()
    }

    /// Whether the end of a lap may read its result.
    pub(crate) fn at_end(&self, task: usize) -> bool {
        self.at_end.get(task).copied().unwrap_or(false)
    }

    /// Whether what follows the end of the task reads `result`.
    pub(crate) fn own(&self, task: usize) -> bool {
        self.own.get(task).copied().unwrap_or(false)
    }

    /// Whether anything may read its result.
    pub(crate) fn are_any(&self, task: usize) -> bool {
        self.own(task) || self.at_end(task) || self.of(task).next().is_some()
    }
}

/// What is not known to be something else is taken for a use of everything.
fn reads(workflow: &Workflow, path: &NamePath) -> Reads {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["result", ..] => Reads::Own,
        ["tasks", _, "status" | "attempt" | "error" | "errors", ..] => Reads::None,
        ["tasks", name, ..] => match workflow.task(name) {
            Some((task, _)) => Reads::Task(task),
            None => Reads::Any,
        },
        ["tasks"] => Reads::Any,
        _ => Reads::None,
    }
}

impl TaskProgram {
    /// Every path that an expression of the task uses.
    fn names(&self) -> Vec<NamePath> {
        let texts = [&self.when, &self.accepts, &self.prompt, &self.cache_key];
        let conditions = self.next.iter().filter_map(|(when, _)| when.as_ref());
        let texts = texts.into_iter().flatten().chain(conditions);
        let assigned = self.next.iter().map(|(_, publish)| publish);
        let assigned = assigned.chain([&self.publish]).flat_map(values);
        let trees = self.items.iter().chain([&self.with]).chain(assigned);
        texts
            .flat_map(Template::names)
            .chain(trees.flat_map(TemplateTree::names))
            .collect()
    }
}

fn values(assignments: &Assignments) -> impl Iterator<Item = &TemplateTree> {
    assignments.iter().map(|(_, tree)| tree)
}
