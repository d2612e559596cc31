//! Why a task was skipped or a run came to nothing, in sentences.

use camshaft_model::Status;
use camshaft_model::definition::workflow::{Need, Workflow};

use super::frontier::{Cause, MAX_VISITS};

/// How many tasks a sentence names before it only counts them.
const MAX_NAMED: usize = 5;

/// Of a task that was not reached by any transition.
pub(super) const NOT_REACHED: &str = "not reached";

/// Of a `finally` task that was still to come when the run was stopped again.
pub(super) const STOPPED_AGAIN: &str =
    "the run was stopped once more while its finally tasks were running";

impl Cause {
    /// What went wrong, as a sentence that can follow a colon.
    pub(crate) fn describe(&self, workflow: &Workflow) -> String {
        match self {
            Self::Task { task, status } => {
                format!("task '{}' {}", name(workflow, *task), ended(*status))
            }
            Self::Join { task, missing } => {
                let task = name(workflow, *task);
                let missing = names(workflow, missing);
                format!("task '{task}' still waited for {missing} when nothing ran any more")
            }
            Self::Visits { task } => {
                let task = name(workflow, *task);
                format!(
                    "task '{task}' was to start for the {}th time",
                    MAX_VISITS + 1
                )
            }
            Self::Outside => "it was stopped".to_owned(),
            Self::Recorded => "its error says of what".to_owned(),
        }
    }

    /// Why a task that was still to come is skipped.
    pub(super) fn skips(&self, workflow: &Workflow) -> String {
        match self {
            Self::Outside => "the run was stopped".to_owned(),
            Self::Recorded => "the run had failed".to_owned(),
            cause => format!("the run had failed: {}", cause.describe(workflow)),
        }
    }
}

/// Why a need can no longer be met.
pub(super) fn unmet(workflow: &Workflow, task: usize, need: &Need, status: Status) -> String {
    format!(
        "'{}' needs '{}' to have {}, and it {}",
        name(workflow, task),
        name(workflow, need.task),
        wanted(&need.on),
        ended(status),
    )
}

/// Why a need can never be met.
pub(super) fn too_late(workflow: &Workflow, task: usize, need: &Need) -> String {
    format!(
        "'{}' needs '{}', which runs only once everything else has settled",
        name(workflow, task),
        name(workflow, need.task),
    )
}

/// Why a task that waits for others, none of which can come any more, is skipped.
pub(super) fn waited(workflow: &Workflow, missing: &[usize]) -> String {
    let missing = names(workflow, missing);
    format!("it still waited for {missing} when nothing ran any more")
}

fn wanted(on: &[Status]) -> String {
    let words: Vec<&str> = if on == Need::FAILED {
        vec!["failed"]
    } else {
        on.iter().copied().map(participle).collect()
    };
    listed(&words, "or")
}

fn names(workflow: &Workflow, tasks: &[usize]) -> String {
    let mut words: Vec<String> = tasks
        .iter()
        .take(MAX_NAMED)
        .map(|task| format!("'{}'", name(workflow, *task)))
        .collect();
    if tasks.len() > MAX_NAMED {
        words.push(format!("{} more", tasks.len() - MAX_NAMED));
    }
    listed(&words, "and")
}

fn name(workflow: &Workflow, task: usize) -> &str {
    workflow.tasks.get(task).map_or("?", |task| &task.name)
}

/// `a`, `a and b`, `a, b and c`.
fn listed<T: AsRef<str>>(words: &[T], last: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        // A join of more tasks than lead to it.
        None => "tasks that do not exist".to_owned(),
        Some((only, [])) => (*only).to_owned(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// What a task is to have done.
const fn participle(status: Status) -> &'static str {
    match status {
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::TimedOut => "timed out",
        Status::Cancelled => "been cancelled",
        Status::Abandoned => "been abandoned",
        Status::Skipped => "been skipped",
        open => open.as_str(),
    }
}

/// What a task has done.
const fn ended(status: Status) -> &'static str {
    match status {
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::TimedOut => "timed out",
        Status::Cancelled => "was cancelled",
        Status::Abandoned => "was abandoned",
        Status::Skipped => "was skipped",
        open => open.as_str(),
    }
}
