//! Tasks of a workflow that is being built.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use camshaft_model::definition::RetryPolicy;
use camshaft_worker::NativeContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::condition::Condition;
use super::definition::Kind;
use super::value::{AnyInput, Given, Handle, Input, Uses};
use super::wait::{Answer, Awaited, Question, Received};
use super::workflow::{Draft, Workflow};

/// A task of a workflow, and the handle of its result.
///
/// It can be handed on like a handle: who is given it starts once it has completed.
pub struct Task<R> {
    name: String,
    result: Handle<R>,
}

impl<R> Clone for Task<R> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            result: self.result.clone(),
        }
    }
}

impl<R> Deref for Task<R> {
    type Target = Handle<R>;

    fn deref(&self) -> &Handle<R> {
        &self.result
    }
}

impl<R> Input<R> for &Task<R> {
    fn given(self) -> Given {
        Input::<R>::given(&self.result)
    }
}

impl<R> Input<R> for Task<R> {
    fn given(self) -> Given {
        Input::<R>::given(self.result)
    }
}

impl<R> AnyInput for &Task<R> {
    fn given(self) -> Given {
        AnyInput::given(&self.result)
    }
}

impl<R> AnyInput for Task<R> {
    fn given(self) -> Given {
        AnyInput::given(self.result)
    }
}

impl<R> Task<R> {
    /// A part of what is known of it once it has ended, however that was.
    fn part<U>(&self, part: &str) -> Handle<U> {
        let uses = Uses {
            owners: self.result.uses().owners.clone(),
            ended: BTreeSet::from([self.name.clone()]),
            completed: BTreeSet::new(),
        };
        Handle::using(uses, format!("tasks['{}'].{part}", self.name))
    }

    /// Its result, or nothing if it did not complete.
    ///
    /// A task that is given this, [`status`](Self::status), [`error`](Self::error),
    /// [`attempt`](Self::attempt) or [`item_errors`](Self::item_errors), and nothing of the result itself,
    /// waits until this one has ended in any way: as [`after`](TaskBuilder::after) [`ended`](Self::ended),
    /// so that its failure does not end the run. A [`finally`](TaskBuilder::finally) task may be given
    /// them without changing how the run ends.
    pub fn optional(&self) -> Handle<Option<R>> {
        self.part("result")
    }

    /// How it ended: `completed`, `failed`, `timed_out`, `cancelled`, `abandoned` or `skipped`. See
    /// [`optional`](Self::optional) for who waits for what.
    pub fn status(&self) -> Handle<String> {
        self.part("status")
    }

    /// Why it did not complete. See [`optional`](Self::optional) for who waits for what.
    pub fn error(&self) -> Handle<Option<String>> {
        self.part("error")
    }

    /// How many attempts there were; 0 if it was skipped. See [`optional`](Self::optional) for who waits
    /// for what.
    pub fn attempt(&self) -> Handle<u32> {
        self.part("attempt")
    }

    /// Of a task over items: why each of them failed, and nothing for those that did not. See
    /// [`optional`](Self::optional) for who waits for what.
    pub fn item_errors(&self) -> Handle<Vec<Option<String>>> {
        self.part("errors")
    }

    /// Met once it has completed.
    pub fn completed(&self) -> Need {
        self.ends([Outcome::Completed])
    }

    /// Met once it has failed, timed out or was abandoned. Its failure does not end the run then.
    pub fn failed(&self) -> Need {
        self.ends([Outcome::Failed])
    }

    /// Met once it was skipped.
    pub fn skipped(&self) -> Need {
        self.ends([Outcome::Skipped])
    }

    /// Met once it has ended, however that was. Its failure does not end the run then.
    pub fn ended(&self) -> Need {
        self.ends([Outcome::Ended])
    }

    /// Met once it has ended in one of these ways.
    pub fn ends(&self, outcomes: impl IntoIterator<Item = Outcome>) -> Need {
        Need {
            uses: Uses {
                owners: self.result.uses().owners.clone(),
                ..Uses::default()
            },
            task: self.name.clone(),
            outcomes: outcomes.into_iter().collect(),
        }
    }
}

/// How a task can end, as a [`Need`] sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It completed.
    Completed,
    /// It failed, timed out or was abandoned.
    Failed,
    /// It timed out.
    TimedOut,
    /// It was abandoned.
    Abandoned,
    /// It was skipped.
    Skipped,
    /// It ended in any way.
    Ended,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Abandoned => "abandoned",
            Self::Skipped => "skipped",
            Self::Ended => "ended",
        }
    }
}

/// That a task waits for an end of another one, without its data.
#[derive(Debug, Clone)]
#[must_use = "a need does nothing until a task is given it"]
pub struct Need {
    uses: Uses,
    task: String,
    outcomes: BTreeSet<Outcome>,
}

/// The other task must have completed or been skipped.
impl<R> From<&Task<R>> for Need {
    fn from(task: &Task<R>) -> Self {
        task.ends([Outcome::Completed, Outcome::Skipped])
    }
}

/// A task while its policies are being said. What it does comes last, and adds it to the workflow:
/// [`run`](Self::run), [`action`](Self::action), [`workflow`](Self::workflow), [`ask`](Self::ask),
/// [`wait_for`](Self::wait_for), [`gather`](Self::gather), or one of these for [`each`](Self::each) item.
#[must_use = "a task is added by saying what it does, such as .run(function, inputs)"]
pub struct TaskBuilder<'w> {
    draft: &'w mut Draft,
    name: String,
    keys: Map<String, Value>,
    needs: Vec<Need>,
    uses: Uses,
    timeout: Option<Duration>,
    at_most_once: bool,
}

impl<'w> TaskBuilder<'w> {
    pub(super) fn new(draft: &'w mut Draft, name: String) -> Self {
        Self {
            draft,
            name,
            keys: Map::new(),
            needs: Vec::new(),
            uses: Uses::default(),
            timeout: None,
            at_most_once: false,
        }
    }

    /// Runs only if this is true by the time it would start; else it is skipped, and so are those that
    /// need its result. Said twice, both must be true.
    pub fn when(mut self, condition: impl Into<Condition>) -> Self {
        let condition = condition.into();
        self.take(condition.uses(), condition.problems());
        let text = condition.expression();
        let whole = match self.keys.get("when").and_then(Value::as_str) {
            Some(earlier) => format!("({earlier}) and ({text})"),
            None => text.to_owned(),
        };
        self.keys.insert("when".to_owned(), whole.into());
        self
    }

    /// Waits for an end of another task whose data it does not use: a [`Task`] itself (it completed or
    /// was skipped), or what [`Task::failed`] and the like give.
    pub fn after(mut self, need: impl Into<Need>) -> Self {
        let need = need.into();
        self.take(&need.uses, &[]);
        self.needs.push(need);
        self
    }

    /// When it is tried again, and how often.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.keys.insert("retry".to_owned(), retry_keys(&policy));
        self
    }

    /// How long each attempt may take, or how long it waits for a person or an event.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes a result that an earlier run of this workflow had here for the same key, if it is not older
    /// than `ttl`, in place of running.
    pub fn cache(mut self, key: impl AnyInput, ttl: Duration) -> Self {
        let key = key.given();
        self.take(key.uses(), key.problems());
        let cache = json!({
            "key": format!("{{{{ {} | hash }}}}", key.operand()),
            "ttl": duration_text(ttl),
        });
        self.keys.insert("cache".to_owned(), cache);
        self
    }

    /// Runs once everything else has settled, however the run ends. It may use handles of tasks that did
    /// not complete: see [`Task::optional`].
    pub fn finally(mut self) -> Self {
        self.keys.insert("finally".to_owned(), true.into());
        self
    }

    /// Is never started again by the engine after an attempt of which it is not known how far it came:
    /// the task ends `abandoned` then. Without it, a task whose attempt was cut off by a crash runs again.
    /// For tasks that [`run`](Self::run) a function.
    pub const fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    /// Calls an async function of the program with these parameters: its own type, or
    /// [`inputs!`](crate::inputs) with handles in it. An error and a panic fail the attempt.
    pub fn run<P, R, E, F, Fut>(self, function: F, parameters: impl Input<P>) -> Task<R>
    where
        P: DeserializeOwned,
        R: Serialize + 'static,
        E: Display + 'static,
        F: Fn(NativeContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let action = self.draft.function(&self.name, self.at_most_once, function);
        self.call(action, &parameters.given())
    }

    /// Runs an action by its ref: of the core pack, of a pack that the engine is started with, or of this
    /// program. `R` is what its result is read as, and nothing checks that before the run.
    pub fn action<R>(mut self, reference: &str, parameters: impl Input<Value>) -> Task<R> {
        self.only_functions();
        self.draft.uses(Kind::Action, reference);
        self.call(reference.to_owned(), &parameters.given())
    }

    /// Runs another workflow as a run below this one.
    pub fn workflow<P, R>(
        mut self,
        workflow: &Workflow<P, R>,
        parameters: impl Input<P>,
    ) -> Task<R> {
        self.only_functions();
        let reference = self.draft.part(workflow);
        self.call(reference, &parameters.given())
    }

    /// Asks a person, and holds no slot meanwhile. `T` is what the response is read as.
    pub fn ask<T>(mut self, question: Question) -> Task<Answer<T>> {
        self.only_functions();
        for given in question.parts() {
            self.take(given.uses(), given.problems());
        }
        self.wait("inquiry", question.definition())
    }

    /// Waits for an event, and holds no slot meanwhile. Events from before do not count. `T` is what the
    /// payload is read as.
    pub fn wait_for<T>(mut self, awaited: Awaited) -> Task<Received<T>> {
        self.only_functions();
        for given in awaited.parts() {
            self.take(given.uses(), given.problems());
        }
        if let Some(path) = awaited.path_twice() {
            let problem =
                format!("there are two criteria about '{path}': say one of them by when()");
            self.draft.problem(&self.name, &problem);
        }
        self.draft.uses(Kind::Trigger, awaited.trigger());
        self.wait("wait_for", awaited.definition())
    }

    /// Does nothing: it is there to wait for several others, or to decide once for several.
    pub fn gather(mut self) -> Task<()> {
        self.only_functions();
        self.add()
    }

    /// Does the same for each element of a list: of values, or of a handle. At most 16 are under way at a
    /// time, started in order.
    pub fn each<U>(mut self, items: impl Input<Vec<U>>) -> Each<'w, U> {
        let items = items.given();
        self.take(items.uses(), items.problems());
        self.keys.insert("items".to_owned(), items.template());
        Each {
            task: self,
            of: PhantomData,
        }
    }

    /// Notes what it uses of the run, and what is wrong with that.
    fn take(&mut self, uses: &Uses, problems: &[String]) {
        self.draft.check(&self.name, uses, problems);
        self.uses.add(uses.clone());
    }

    fn only_functions(&mut self) {
        if self.at_most_once {
            let problem = "at_most_once is for tasks that run a function of the program";
            self.draft.problem(&self.name, problem);
        }
    }

    fn call<R>(mut self, action: String, parameters: &Given) -> Task<R> {
        self.take(parameters.uses(), parameters.problems());
        self.keys.insert("action".to_owned(), action.into());
        match parameters.template() {
            // The parameters of a function that takes `()`.
            Value::Null => {}
            with @ Value::Object(_) => {
                self.keys.insert("with".to_owned(), with);
            }
            _ => {
                let problem =
                    "its parameters are no object: give a struct, inputs! with its fields, or ()";
                self.draft.problem(&self.name, problem);
            }
        }
        if let Some(timeout) = self.timeout.take() {
            self.keys
                .insert("timeout".to_owned(), duration_text(timeout).into());
        }
        self.add()
    }

    fn wait<R>(mut self, key: &str, mut definition: Map<String, Value>) -> Task<R> {
        if let Some(timeout) = self.timeout.take() {
            definition.insert("timeout".to_owned(), duration_text(timeout).into());
        }
        self.keys.insert(key.to_owned(), definition.into());
        self.add()
    }

    fn add<R>(mut self) -> Task<R> {
        if let Some(timeout) = self.timeout {
            self.keys
                .insert("timeout".to_owned(), duration_text(timeout).into());
        }
        let needs = self.needs();
        if !needs.is_empty() {
            self.keys.insert("needs".to_owned(), needs.into());
        }
        let owner = self.draft.add(self.name.clone(), self.keys);
        let uses = Uses {
            owners: BTreeSet::from([owner]),
            completed: BTreeSet::from([self.name.clone()]),
            ended: BTreeSet::new(),
        };
        Task {
            result: Handle::using(uses, format!("tasks['{}'].result", self.name)),
            name: self.name,
        }
    }

    /// What it says that it is after, and the tasks whose end alone it uses.
    fn needs(&mut self) -> Map<String, Value> {
        let mut needs: Map<String, Value> = Map::new();
        for need in &self.needs {
            if needs.contains_key(&need.task) {
                let problem = format!(
                    "it is after '{}' twice: say all ends in one ends()",
                    need.task
                );
                self.draft.problem(&self.name, &problem);
            }
            let outcomes = need.outcomes.iter().map(|outcome| outcome.as_str().into());
            needs.insert(need.task.clone(), Value::Array(outcomes.collect()));
        }
        // In the end everything has ended, and a need would mean that a failure was expected.
        if !self.keys.contains_key("finally") {
            let ended = self.uses.ended.difference(&self.uses.completed);
            for task in ended.filter(|task| *task != &self.name) {
                needs
                    .entry(task.clone())
                    .or_insert_with(|| json!([Outcome::Ended.as_str()]));
            }
        }
        needs
    }
}

/// What one item of a task is, where its inputs are said.
pub struct Item<U> {
    /// The element of the list.
    pub value: Handle<U>,
    /// Its place in the list, from 0.
    pub index: Handle<usize>,
}

/// What a failed item means for the others: [`Stop`] or [`Continue`].
pub trait OnItemFailure {
    /// The results of all items.
    type Results<R>;
}

/// Those that run finish, no new ones start, and the task fails.
pub struct Stop;

/// All of them run, and the task completes, with nothing in the place of a result that is not there.
pub struct Continue;

impl OnItemFailure for Stop {
    type Results<R> = Vec<R>;
}

impl OnItemFailure for Continue {
    type Results<R> = Vec<Option<R>>;
}

/// A task over the elements of a list, while it is being said what is done for each.
#[must_use = "a task is added by saying what it does, such as .run(function, |item| inputs)"]
pub struct Each<'w, U, F: OnItemFailure = Stop> {
    task: TaskBuilder<'w>,
    of: PhantomData<fn(U) -> F>,
}

impl<'w, U, F: OnItemFailure> Each<'w, U, F> {
    /// How many are under way at a time, at most.
    pub fn concurrency(mut self, limit: u32) -> Self {
        self.task
            .keys
            .insert("concurrency".to_owned(), limit.into());
        self
    }

    /// Lets all items run although some fail. The results of those are missing, and
    /// [`Task::item_errors`] says why.
    pub fn continue_on_failure(mut self) -> Each<'w, U, Continue> {
        self.task
            .keys
            .insert("on_item_failure".to_owned(), "continue".into());
        Each {
            task: self.task,
            of: PhantomData,
        }
    }

    /// Calls an async function of the program for each; see [`TaskBuilder::run`].
    pub fn run<P, R, E, G, Fut, I>(
        self,
        function: G,
        parameters: impl FnOnce(Item<U>) -> I,
    ) -> Task<F::Results<R>>
    where
        P: DeserializeOwned,
        R: Serialize + 'static,
        E: Display + 'static,
        G: Fn(NativeContext, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        I: Input<P>,
    {
        let parameters = parameters(self.item()).given();
        let Self { task, .. } = self;
        let action = task.draft.function(&task.name, task.at_most_once, function);
        task.call(action, &parameters)
    }

    /// Runs an action for each; see [`TaskBuilder::action`].
    pub fn action<R, I: Input<Value>>(
        mut self,
        reference: &str,
        parameters: impl FnOnce(Item<U>) -> I,
    ) -> Task<F::Results<R>> {
        let parameters = parameters(self.item()).given();
        self.task.only_functions();
        self.task.draft.uses(Kind::Action, reference);
        self.task.call(reference.to_owned(), &parameters)
    }

    /// Runs another workflow for each; see [`TaskBuilder::workflow`].
    pub fn workflow<P, R, I: Input<P>>(
        mut self,
        workflow: &Workflow<P, R>,
        parameters: impl FnOnce(Item<U>) -> I,
    ) -> Task<F::Results<R>> {
        let parameters = parameters(self.item()).given();
        self.task.only_functions();
        let reference = self.task.draft.part(workflow);
        self.task.call(reference, &parameters)
    }

    fn item(&self) -> Item<U> {
        let owner = self.task.draft.owner();
        Item {
            value: Handle::new(owner, "item".to_owned()),
            index: Handle::new(owner, "item_index".to_owned()),
        }
    }
}

/// A duration as definitions have it.
pub(super) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    if millis.is_multiple_of(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{millis}ms")
    }
}

/// A retry policy as definitions have it.
pub(super) fn retry_keys(policy: &RetryPolicy) -> Value {
    json!({
        "max_attempts": policy.max_attempts,
        "delay": duration_text(policy.delay),
        "backoff": policy.backoff,
        "max_delay": duration_text(policy.max_delay),
        "jitter": policy.jitter,
        "on": policy.on,
    })
}
