//! One sentence of what is promised of workflows to one test.

use std::collections::BTreeMap;
use std::sync::Arc;

use camshaft_model::definition::workflow::{Entry, Join, Need, Next, Task, Work, Workflow};
use camshaft_model::{Object, Status};

use super::frontier::{Cause, Frontier, Lap, MAX_VISITS, Step};
use super::graph::Graph;

use Status::{Abandoned, Cancelled, Completed, Failed, Skipped, TimedOut};

/// A task without entry, to be filled in.
pub(super) fn task(name: &str) -> Task {
    Task {
        name: name.to_owned(),
        work: Work::Nothing,
        entry: Entry::Needs(Vec::new()),
        when: None,
        items: None,
        retry: None,
        timeout: None,
        publish: Object::new(),
        cache: None,
        finally: false,
        next: Vec::new(),
    }
}

/// A lap of a workflow that is written in words.
struct Run {
    workflow: Arc<Workflow>,
    frontier: Frontier,
}

/// Tasks in the form of needs: name, and for each need the other task and the ends that meet it.
fn needs(tasks: &[(&str, &[(&str, &[Status])])]) -> Workflow {
    let place = |name: &str| tasks.iter().position(|task| task.0 == name).unwrap();
    let tasks = tasks.iter().map(|(name, needs)| Task {
        entry: Entry::Needs(
            needs
                .iter()
                .map(|(other, on)| Need {
                    task: place(other),
                    on: on.to_vec(),
                    implied: false,
                })
                .collect(),
        ),
        ..task(name)
    });
    Workflow {
        tasks: tasks.collect(),
        ..Workflow::default()
    }
}

/// Tasks in the form of transitions: name, join, targets.
fn leads(tasks: &[(&str, Join, &[&str])]) -> Workflow {
    let place = |name: &&str| tasks.iter().position(|task| task.0 == *name).unwrap();
    let tasks = tasks.iter().map(|(name, join, targets)| Task {
        entry: Entry::Transitions(*join),
        next: targets
            .iter()
            .map(|target| Next {
                when: None,
                publish: Object::new(),
                to: vec![place(target)],
            })
            .collect(),
        ..task(name)
    });
    Workflow {
        tasks: tasks.collect(),
        ..Workflow::default()
    }
}

/// The workflow with some of its tasks moved to its end.
fn with_finally(mut workflow: Workflow, names: &[&str]) -> Workflow {
    for task in &mut workflow.tasks {
        task.finally |= names.contains(&task.name.as_str());
    }
    workflow
}

impl Run {
    fn new(workflow: Workflow) -> Self {
        let workflow = Arc::new(workflow);
        let graph = Arc::new(Graph::new(&workflow));
        Self {
            frontier: Frontier::new(graph, Arc::clone(&workflow)),
            workflow,
        }
    }

    fn place(&self, name: &str) -> usize {
        self.workflow.task(name).unwrap().0
    }

    /// `a` starts, `a#2` starts again, `-a: reason` is skipped.
    fn say(&self, steps: Vec<Step>) -> Vec<String> {
        let name = |task: usize| &self.workflow.tasks[task].name;
        let say = |step| match step {
            Step::Start { task, visit: 1 } => name(task).clone(),
            Step::Start { task, visit } => format!("{}#{visit}", name(task)),
            Step::Skip { task, reason } => format!("-{}: {reason}", name(task)),
        };
        steps.into_iter().map(say).collect()
    }

    fn begin(&mut self) -> Vec<String> {
        let steps = self.frontier.begin();
        self.say(steps)
    }

    fn settle(&mut self, name: &str, status: Status, taken: &[&str]) -> Vec<String> {
        let taken: Vec<usize> = taken.iter().map(|name| self.place(name)).collect();
        let steps = self.frontier.settle(self.place(name), status, &taken);
        self.say(steps)
    }

    fn ends(&mut self, name: &str, status: Status) -> Vec<String> {
        self.settle(name, status, &[])
    }

    fn stop(&mut self) -> Vec<String> {
        let steps = self.frontier.stop();
        self.say(steps)
    }

    fn release(&mut self) -> Vec<String> {
        let steps = self.frontier.release();
        self.say(steps)
    }

    /// What the lap has come to: `-` if it goes on.
    fn over(&self) -> String {
        match self.frontier.over() {
            None => "-".to_owned(),
            Some(Lap::Completed) => "completed".to_owned(),
            Some(Lap::Failed(cause)) => cause.describe(&self.workflow),
        }
    }

    fn arrivals(&self) -> BTreeMap<usize, Vec<usize>> {
        self.frontier.arrivals()
    }
}

const NONE: [&str; 0] = [];
const ONLY: &[Status] = &[Completed];

#[test]
fn a_task_starts_as_soon_as_all_its_needs_are_met() {
    let mut run = Run::new(needs(&[
        ("a", &[]),
        ("b", &[]),
        ("c", &[("a", ONLY), ("b", Need::DEFAULT)]),
    ]));
    assert_eq!(run.begin(), ["a", "b"]);
    assert_eq!(run.ends("a", Completed), NONE);
    assert_eq!(run.ends("b", Completed), ["c"]);
    assert_eq!(run.over(), "-");
    assert_eq!(run.ends("c", Completed), NONE);
    assert_eq!(run.over(), "completed");
}
