//! What the tasks of a workflow are to one another, compiled once for each definition.
//!
//! A definition says of each task what it waits for and where it leads. Here this is turned round, so
//! that the end of a task finds those that it concerns without looking at any other.

use camshaft_model::Status;
use camshaft_model::definition::workflow::{Entry, Workflow};

/// The edges of a workflow, from the side of the task that ends.
#[derive(Debug)]
pub(crate) struct Graph {
    /// By task: the needs that its end decides. Only those of tasks of the same phase, since what a
    /// `finally` task needs of the others is looked at once, when all of them have settled.
    dependents: Vec<Vec<Edge>>,
    /// By task: the tasks with a transition to it, sorted.
    sources: Vec<Vec<usize>>,
    /// By task: the ends that another task waits for, as a set of bits.
    awaited: Vec<u32>,
    /// Whether a task runs once everything else has settled.
    finally: Vec<bool>,
}

/// One need of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    /// The task that has the need.
    pub(super) task: usize,
    /// Its place among the needs of that task.
    pub(super) need: usize,
}

impl Graph {
    pub(crate) fn new(workflow: &Workflow) -> Self {
        let finally: Vec<bool> = workflow.tasks.iter().map(|task| task.finally).collect();
        let count = finally.len();
        let mut graph = Self {
            dependents: vec![Vec::new(); count],
            sources: vec![Vec::new(); count],
            awaited: vec![0; count],
            finally,
        };
        for (place, task) in workflow.tasks.iter().enumerate() {
            if let Entry::Needs(needs) = &task.entry {
                for (need, of) in needs.iter().enumerate().filter(|(_, of)| of.task < count) {
                    graph.connect(Edge { task: place, need }, of.task, &of.on);
                }
            }
            let leads_to = task.next.iter().flat_map(|next| next.to.iter().copied());
            for target in leads_to.filter(|target| *target < count) {
                if !graph.finally[place] && !graph.finally[target] {
                    graph.sources[target].push(place);
                }
            }
        }
        for sources in &mut graph.sources {
            sources.dedup();
        }
        graph
    }

    fn connect(&mut self, edge: Edge, source: usize, on: &[Status]) {
        if self.finally[source] == self.finally[edge.task] {
            self.dependents[source].push(edge);
        }
        if !self.finally[edge.task] && source != edge.task {
            for status in on {
                self.awaited[source] |= bit(*status);
            }
        }
    }

    /// How many tasks there are.
    pub(super) fn len(&self) -> usize {
        self.finally.len()
    }

    /// The needs that the end of a task decides.
    pub(super) fn dependents(&self, task: usize) -> &[Edge] {
        &self.dependents[task]
    }

    /// The tasks with a transition to this one, sorted.
    pub(super) fn sources(&self, task: usize) -> &[usize] {
        &self.sources[task]
    }

    /// Whether the task is there for the end of the run.
    pub(super) fn is_finally(&self, task: usize) -> bool {
        self.finally[task]
    }

    /// Whether another task, `finally` ones aside, waits for this end of the task.
    pub(super) fn is_handled(&self, task: usize, status: Status) -> bool {
        self.awaited[task] & bit(status) != 0
    }
}

/// Codes of statuses are below 32.
const fn bit(status: Status) -> u32 {
    1 << status.code()
}
