//! Workflows that have been checked: one graph, whichever of the two forms it was written in.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Criterion, RetryPolicy};
use crate::{Object, Ref, Status};

/// What an action whose runtime is `workflow` consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Workflow {
    /// In the order of the file. A task is named by its place here wherever one names another.
    pub tasks: Vec<Task>,
    /// Templates for the variables that a run starts with; `params` is in scope.
    pub vars: Object,
    /// How often the graph is run.
    #[serde(rename = "loop")]
    pub cycles: Cycles,
    /// Template of the result; the variables if there is none.
    pub output: Option<Value>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Unique in its workflow: letters, digits, `_` and `-`.
    pub name: String,
    /// What it does.
    pub work: Work,
    /// What lets it start.
    pub entry: Entry,
    /// An expression; the task is skipped if it is not true.
    pub when: Option<String>,
    /// The list over which it fans out.
    pub items: Option<Items>,
    /// In place of its action's own policy.
    pub retry: Option<RetryPolicy>,
    /// In place of its action's own deadline; for an inquiry or an awaited event, how long to wait.
    pub timeout: Option<Duration>,
    /// Templates of variables that are set once it has completed; `result` is in scope.
    pub publish: Object,
    /// A completed result with the same key is taken in place of running.
    pub cache: Option<Cache>,
    /// Whether it runs once everything else has settled, however the run ends.
    pub finally: bool,
    /// Where the graph goes from here, in the form of transitions. Empty in the form of needs.
    pub next: Vec<Next>,
}

impl Task {
    /// A task with nothing but what it does: it starts with the run.
    pub fn new(name: impl Into<String>, work: Work) -> Self {
        Self {
            name: name.into(),
            work,
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
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Runs an action, which may be a workflow.
    Action {
        /// The action.
        #[serde(rename = "ref")]
        reference: Ref,
        /// Templates of its parameters.
        with: Object,
    },
    /// Asks a person.
    Inquiry(Question),
    /// Waits for an event.
    WaitFor(Awaited),
    /// Nothing: it is there to gather or to decide, and its result is null.
    Nothing,
}

/// What lets a task start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// All of these must be met; with none, the task starts with the run.
    Needs(Vec<Need>),
    /// Transitions that lead to it; without any, the task starts with the run.
    Transitions(Join),
}

/// How many transitions must have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// One: the task runs again for each.
    Each,
    /// One from every task that leads to it.
    All,
    /// From so many different tasks.
    Count(u32),
}

/// A dependency on another task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The other task's place in [`Workflow::tasks`].
    pub task: usize,
    /// The ends of the other task that meet it, sorted.
    pub on: Vec<Status>,
    /// Whether it follows from a use of the other task's result rather than from `needs`.
    pub implied: bool,
}

/// A transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// An expression over `status`, `succeeded`, `failed`, `result`, `error` and the usual names. With
    /// none, the transition is taken if the task completed.
    pub when: Option<String>,
    /// Templates of variables that are set when it is taken.
    pub publish: Object,
    /// The places of the tasks that it leads to; none if it only publishes.
    pub to: Vec<usize>,
}

/// A fan-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Items {
    /// Template of a list.
    pub over: Value,
    /// How many of them run or wait to run at a time.
    pub concurrency: u32,
    /// What a failed item means for the others.
    pub on_failure: OnItemFailure,
}

/// How many items of a task are under way at a time if it does not say.
pub const DEFAULT_ITEM_CONCURRENCY: u32 = 16;

/// What a failed item means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnItemFailure {
    /// Those that run finish, no new ones start, and the task fails.
    #[default]
    Stop,
    /// All of them run, and the task completes: the result is null where an item failed, and
    /// `tasks.<name>.errors` says why.
    Continue,
}

/// When a result may be taken in place of running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Template of the key. Keys are apart for each workflow and task.
    pub key: String,
    /// How long a result is good for.
    pub ttl: Duration,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Template of the text.
    pub prompt: String,
    /// JSON Schema of the answer.
    pub schema: Option<Value>,
    /// Who may answer: one of these; anybody if empty.
    pub roles: Vec<String>,
    /// What becomes of the task if nobody answers in time.
    pub on_timeout: OnTimeout,
}

/// An event that a task waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// The kind of event.
    pub trigger: Ref,
    /// What is asked of the trigger.
    pub parameters: Object,
    /// All must hold; patterns are templates, rendered when the wait begins.
    pub criteria: Vec<Criterion>,
    /// An expression over `trigger`, `event` and the run's names that must be true as well.
    pub when: Option<String>,
    /// What becomes of the task if no such event comes in time.
    pub on_timeout: OnTimeout,
}

/// What becomes of a task whose wait ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// It is `timed_out`, which is a failure.
    #[default]
    Fail,
    /// It is skipped.
    Skip,
}

/// How often the graph of a run is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycles {
    /// What ends the laps.
    pub mode: LoopMode,
    /// The most laps there are.
    pub max: u32,
    /// The pause between two laps.
    pub delay: Duration,
}

impl Default for Cycles {
    fn default() -> Self {
        Self {
            mode: LoopMode::Once,
            max: 1,
            delay: Duration::ZERO,
        }
    }
}

/// What ends the laps of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopMode {
    /// There is one.
    #[default]
    Once,
    /// There are as many as the cap says.
    Fixed,
    /// An expression that is true after a lap. A run that reaches the cap before that fails.
    Until(String),
}

impl Workflow {
    /// A task by its name, with its place.
    pub fn task(&self, name: &str) -> Option<(usize, &Task)> {
        self.tasks
            .iter()
            .enumerate()
            .find(|(_, task)| task.name == name)
    }

    /// A task and every task that comes after it.
    pub fn downstream(&self, task: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::from([task]);
        let mut open = vec![task];
        while let Some(before) = open.pop() {
            let follows = |(_, task): &(usize, &Task)| match &task.entry {
                Entry::Needs(needs) => needs.iter().any(|need| need.task == before),
                Entry::Transitions(_) => false,
            };
            let by_needs = self.tasks.iter().enumerate().filter(follows);
            let by_needs: Vec<usize> = by_needs.map(|(place, _)| place).collect();
            let next = self
                .tasks
                .get(before)
                .into_iter()
                .flat_map(|task| &task.next);
            let by_next = next.flat_map(|next| next.to.iter().copied());
            for after in by_needs.into_iter().chain(by_next) {
                if found.insert(after) {
                    open.push(after);
                }
            }
        }
        found
    }
}

impl Need {
    /// What a need is met by if nothing more is said.
    pub const DEFAULT: &'static [Status] = &[Status::Completed, Status::Skipped];
    /// What `failed` means.
    pub const FAILED: &'static [Status] = &[Status::Failed, Status::TimedOut, Status::Abandoned];
    /// What `ended` means.
    pub const ENDED: &'static [Status] = &[
        Status::Completed,
        Status::Failed,
        Status::TimedOut,
        Status::Cancelled,
        Status::Abandoned,
        Status::Skipped,
    ];
}
