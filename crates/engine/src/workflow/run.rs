//! One run: its variables, what its tasks gave, which of them are under way, and what its expressions
//! make of all that. Synchronous and without knowledge of executions or a store: `apply/workflow`
//! turns what happens here into changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camshaft_model::definition::workflow::{LoopMode, Task};
use camshaft_model::port::store::Change;
use camshaft_model::run::Ending;
use camshaft_model::{
    Event, ExecutionId, ExecutionSpec, Failure, FailureKind, Object, RunRecord, Status, TaskRecord,
    Timestamp,
};
use serde_json::{Value, json};

use super::active::{Active, ActiveItems, ActiveWork, TaskEnd};
use super::frontier::{Cause, Frontier};
use super::held::{Entries, Held, Witness};
use super::program::{Assignments, Program};
use super::weight;
use crate::expression::{Namespace, Scope, Shared, Template};
use crate::hidden::Hidden;
use crate::rule;

/// What a run looks forward to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// Its deadline.
    Deadline(ExecutionId),
    /// Its next lap.
    Lap(ExecutionId),
    /// The end of a task's wait for a person or an event.
    Wait(ExecutionId, usize),
}

impl Alarm {
    /// Whose it is.
    pub(crate) const fn run(&self) -> ExecutionId {
        match self {
            Self::Deadline(run) | Self::Lap(run) | Self::Wait(run, _) => *run,
        }
    }
}

/// Tasks that a run keeps of an earlier one, by name.
pub(crate) type Kept = BTreeMap<String, TaskRecord>;

/// See the module.
pub(crate) struct Run {
    pub(crate) spec: Arc<ExecutionSpec>,
    pub(crate) program: Arc<Program>,
    pub(crate) record: RunRecord,
    /// Whether the record differs from what was written last, and whether its variables do.
    pub(crate) dirty: bool,
    vars_dirty: bool,
    pub(crate) frontier: Frontier,
    /// The tasks that have started and not ended.
    pub(crate) active: BTreeMap<usize, Active>,
    pub(crate) kept: Kept,
    pub(crate) deadline: Option<Timestamp>,
    /// What must not be seen of it.
    pub(crate) hidden: Hidden,
    /// Why tasks of this lap did not complete.
    errors: BTreeMap<usize, String>,
    started_at: Timestamp,
    tasks: Namespace,
    vars: Namespace,
    scope: Scope,
    held: Held,
    /// Tasks that have ended or were skipped since it was last looked what may be dropped.
    closed: Vec<usize>,
}

/// What follows a lap that went well.
pub(crate) enum NextLap {
    Begins,
    Ends(Arc<Value>),
    Fails(Ending),
}

/// What a run needs of the engine to begin.
pub(crate) struct Beginning<'a> {
    pub(crate) spec: Arc<ExecutionSpec>,
    pub(crate) program: Arc<Program>,
    pub(crate) started_at: Timestamp,
    pub(crate) hidden: Hidden,
    pub(crate) secrets: &'a BTreeMap<String, String>,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) memory_bytes: u64,
}

impl Run {
    /// A run at the beginning of a lap, before its variables are made.
    pub(crate) fn new(beginning: Beginning<'_>, record: RunRecord) -> Self {
        let Beginning {
            spec,
            program,
            started_at,
            hidden,
            secrets,
            env,
            memory_bytes,
        } = beginning;
        let (tasks, vars) = (Namespace::default(), Namespace::default());
        let mut held = Held::new(memory_bytes);
        for (name, value) in &record.vars {
            vars.set(name, Shared::new(value));
            held.hold_var(name, Some(weight::bytes(value)));
        }
        let scope = Scope::new()
            .with("params", &*spec.parameters)
            .with("env", env)
            .with("secrets", secrets)
            .with_shared("vars", vars.shared())
            .with_shared("tasks", tasks.shared());
        let frontier = Frontier::new(program.graph.clone(), program.workflow.clone());
        let mut run = Self {
            spec,
            program,
            record,
            dirty: true,
            vars_dirty: true,
            frontier,
            active: BTreeMap::new(),
            kept: Kept::new(),
            deadline: None,
            errors: BTreeMap::new(),
            hidden,
            started_at,
            tasks,
            vars,
            scope,
            held,
            closed: Vec::new(),
        };
        run.rescope();
        run
    }

    fn rescope(&mut self) {
        let described = json!({
            "id": self.spec.id,
            "started_at": self.started_at,
            "cycle": self.record.cycle,
        });
        self.scope = std::mem::take(&mut self.scope).with("run", &described);
    }

    pub(crate) fn id(&self) -> ExecutionId {
        self.spec.id
    }

    pub(crate) fn task(&self, task: usize) -> Option<&Task> {
        self.program.workflow.tasks.get(task)
    }

    /// Notes that its record is what was written last.
    pub(crate) fn is_written(&mut self) {
        self.dirty = false;
        self.vars_dirty = false;
    }

    /// What is to be written of its record; nothing if that is as it was written last. Variables are
    /// written only where one of them has changed: they may be large, and the rest of the record changes
    /// with every transition that arrives at a join.
    pub(crate) fn change(&mut self) -> Option<Change> {
        if !self.dirty {
            return None;
        }
        let change = if self.vars_dirty {
            Change::PutRun(Box::new(self.record.clone()))
        } else {
            progress(&mut self.record)
        };
        self.is_written();
        Some(change)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.record.paused
    }

    /// The executions that are under way for it.
    pub(crate) fn children(&self) -> Vec<ExecutionId> {
        self.active.values().flat_map(Active::executions).collect()
    }

    /// The tasks under way that a stop of the run concerns: the first stop spares `finally` tasks.
    pub(crate) fn stopped_tasks(&self) -> Vec<usize> {
        let again = self.frontier.cause() == Some(&Cause::Outside);
        let concerned = |task: &usize| again || self.task(*task).is_none_or(|task| !task.finally);
        self.active.keys().copied().filter(concerned).collect()
    }

    /// Makes the variables that a run begins with.
    pub(crate) fn make_vars(&mut self) -> Result<(), Failure> {
        let program = self.program.clone();
        self.assign(&program.vars, &self.scope.clone())
            .map_err(|message| Failure {
                kind: FailureKind::Expression,
                message,
            })
    }

    /// Sets variables, in order; each sees those before it. None is set if one cannot be made.
    pub(crate) fn assign(
        &mut self,
        assignments: &Assignments,
        scope: &Scope,
    ) -> Result<(), String> {
        let mut before = Vec::with_capacity(assignments.len());
        for (name, tree) in assignments {
            let value = tree.render(scope).map_err(|error| error.to_string());
            match value.and_then(|value| self.fits_var(name, value)) {
                Ok(value) => {
                    self.vars.set(name, Shared::new(&value));
                    before.push((name, self.record.vars.insert(name.clone(), value)));
                    self.dirty = true;
                    self.vars_dirty = true;
                }
                Err(error) => {
                    before
                        .into_iter()
                        .rev()
                        .for_each(|(name, value)| self.reset(name, value));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Gives a variable the value that it had, if it had one.
    fn reset(&mut self, name: &str, value: Option<Value>) {
        self.held.hold_var(name, value.as_ref().map(weight::bytes));
        if let Some(value) = value {
            self.vars.set(name, Shared::new(&value));
            self.record.vars.insert(name.to_owned(), value);
        } else {
            self.vars.remove(name);
            self.record.vars.shift_remove(name);
        }
    }

    fn fits_var(&mut self, name: &str, value: Value) -> Result<Value, String> {
        let bytes = weight::bytes(&value);
        let before = self.held.var(name);
        if !self.held.has_room(bytes.saturating_sub(before)) {
            return Err(self
                .held
                .no_room(&format!("publish.{name}: the value"), bytes));
        }
        self.held.hold_var(name, Some(bytes));
        Ok(value)
    }

    /// Why so many more bytes cannot be held.
    pub(crate) fn no_room_for(&self, what: &str, bytes: usize) -> Option<String> {
        (!self.held.has_room(bytes)).then(|| self.held.no_room(what, bytes))
    }

    /// The names that every expression of the run can use.
    pub(crate) fn scope(&self) -> Scope {
        self.scope.clone()
    }

    /// The same for one item.
    pub(crate) fn item_scope(&self, item: &Value, index: u32) -> Scope {
        self.scope().with("item", item).with("item_index", &index)
    }

    /// The same for what follows the end of a task.
    pub(crate) fn end_scope(&self, task: usize, end: &TaskEnd) -> Scope {
        let failed = end.status != Status::Completed && end.status != Status::Skipped;
        let scope = if self.program.readers.own(task) {
            self.scope().with("result", &*end.result)
        } else {
            self.scope()
        };
        scope
            .with("status", end.status.as_str())
            .with("succeeded", &(end.status == Status::Completed))
            .with("failed", &failed)
            .with("error", &end.error.as_ref().map(|error| &error.message))
    }

    /// Whether an event is the one that a task waits for.
    pub(crate) fn accepts(
        &self,
        task: usize,
        event: &Event,
        now: Timestamp,
    ) -> Result<bool, String> {
        let awaited = match self.active.get(&task).map(|active| &active.work) {
            Some(ActiveWork::Event(awaited)) => awaited,
            _ => return Ok(false),
        };
        if !awaited.is_met_by(event, now) {
            return Ok(false);
        }
        let program = self.program.tasks.get(task);
        let Some(when) = program.and_then(|program| program.accepts.as_ref()) else {
            return Ok(true);
        };
        let scope = self
            .scope()
            .with("trigger", &event.draft.payload)
            .with("event", &rule::described(event, now));
        truth(when, &scope)
    }

    /// Keeps why a task did not complete, for the error of the run.
    pub(crate) fn note_error(&mut self, task: usize, end: &TaskEnd) {
        if let Some(error) = &end.error {
            self.errors.insert(task, error.message.clone());
        }
    }

    /// Makes what became of a task known to expressions: its result only if one of them may still
    /// read it.
    ///
    /// # Errors
    /// What it ended as instead, because the run cannot hold its result.
    fn tell(&mut self, task: usize, end: &TaskEnd) -> Result<(), TaskEnd> {
        let Some(definition) = self.task(task) else {
            return Ok(());
        };
        let (name, fans_out) = (definition.name.clone(), definition.items.is_some());
        self.held.release(task);
        let message = end.error.as_ref().map(|error| &error.message);
        let mut without: Entries = vec![
            ("status", Shared::new(end.status.as_str())),
            ("attempt", Shared::new(&end.attempt)),
            ("error", Shared::new(&message)),
        ];
        if fans_out {
            without.push(("errors", Shared::new(&end.item_errors())));
        }
        let Some(witness) = self.witness(task) else {
            self.tasks.set(&name, Shared::map(without));
            return Ok(());
        };
        let bytes = weight::bytes(&end.result);
        if let Some(message) = self.no_room_for(&format!("the result of task '{name}'"), bytes) {
            return Err(TaskEnd {
                attempt: end.attempt,
                ..TaskEnd::ended(Status::Failed, FailureKind::Task, message)
            });
        }
        let result = ("result", Shared::new(&*end.result));
        let entries = without.iter().cloned().chain([result]);
        self.tasks.set(&name, Shared::map(entries));
        self.held.hold(task, bytes, witness, without);
        Ok(())
    }

    /// Something that may still read the result of a task.
    fn witness(&self, task: usize) -> Option<Witness> {
        let readers = &self.program.readers;
        if let Some(reader) = readers
            .of(task)
            .find(|reader| self.frontier.is_open(*reader))
        {
            return Some(Witness::Task(reader));
        }
        if readers.at_end(task) && self.may_complete() {
            return Some(Witness::End);
        }
        // A reader that has ended starts again if a transition leads to it once more.
        let mut seen: BTreeSet<usize> = readers.of(task).collect();
        let mut next: Vec<usize> = seen.iter().copied().collect();
        while let Some(reached) = next.pop() {
            if self.frontier.is_open(reached) {
                return Some(Witness::Task(reached));
            }
            let sources = self.frontier.sources(reached).iter();
            next.extend(sources.filter(|source| seen.insert(**source)));
        }
        None
    }

    /// Whether `output` and `loop.condition` may still be asked.
    fn may_complete(&self) -> bool {
        self.record.ending.is_none() && self.frontier.cause().is_none()
    }

    /// Makes the end of a task known and notes that it is one. Gives the end as it is then: one whose
    /// result cannot be held is a failure.
    pub(crate) fn end_known(&mut self, task: usize, end: TaskEnd) -> TaskEnd {
        self.closed.push(task);
        match self.tell(task, &end) {
            Ok(()) => end,
            Err(instead) => {
                // There is always room for the end of this one.
                let _ = self.tell(task, &instead);
                instead
            }
        }
    }

    /// Whether the result of a task that has ended is held.
    pub(crate) fn holds_result(&self, task: usize) -> bool {
        self.held.holds(task)
    }

    /// Takes the result of a task that has ended and whose end is known, in the place of the one that
    /// is held.
    pub(crate) fn take_result(&mut self, task: usize, result: Arc<Value>) {
        let name = self.task(task).map(|task| task.name.clone());
        if let (Some(name), Some(without)) = (name, self.held.take(task, weight::bytes(&result))) {
            let result = ("result", Shared::new(&*result));
            self.tasks
                .set(&name, Shared::map(without.into_iter().chain([result])));
        }
    }

    /// Whether the results of the items of a task are asked for by anything.
    pub(crate) fn reads_items(&self, task: usize) -> bool {
        let is_cached = self.task(task).is_some_and(|task| task.cache.is_some());
        is_cached || self.program.readers.are_any(task)
    }

    /// Drops the results that nothing can read any more.
    pub(crate) fn drop_unread(&mut self) {
        let mut gone: Vec<Witness> = std::mem::take(&mut self.closed)
            .into_iter()
            .filter(|task| !self.frontier.is_open(*task))
            .map(Witness::Task)
            .collect();
        if !self.may_complete() {
            gone.push(Witness::End);
        }
        let orphans: Vec<usize> = gone
            .into_iter()
            .flat_map(|gone| self.held.orphans(gone))
            .collect();
        for orphan in orphans {
            if let Some(witness) = self.witness(orphan) {
                self.held.witnessed(orphan, witness);
                continue;
            }
            let name = self
                .program
                .workflow
                .tasks
                .get(orphan)
                .map(|task| &task.name);
            if let (Some(without), Some(name)) = (self.held.release(orphan), name) {
                self.tasks.set(name, Shared::map(without));
            }
        }
    }

    /// How an item ended, once it is known whether its result can be held.
    pub(crate) fn item_end(
        &self,
        fan: &ActiveItems,
        result: Option<Arc<Value>>,
        error: Option<String>,
    ) -> (Option<Arc<Value>>, Option<String>) {
        let Some(result) = result.filter(|_| fan.is_read) else {
            return (None, error);
        };
        match self.no_room_for("its result", weight::bytes(&result)) {
            Some(full) => (None, error.or(Some(full))),
            None => (Some(result), error),
        }
    }

    /// Takes note of what a fan-out under way holds, or has ceased to hold.
    pub(crate) fn hold_fan(&mut self, before: usize, after: usize) {
        self.held.fan_bytes = (self.held.fan_bytes + after).saturating_sub(before);
    }

    /// What a run ends as for a cause.
    pub(crate) fn ending(&self, cause: &Cause) -> Ending {
        let name = |task: usize| self.task(task).map_or("?", |task| task.name.as_str());
        let message = match cause {
            Cause::Task { task, status } => {
                let why = self.errors.get(task).map(|error| format!(": {error}"));
                let (name, why) = (name(*task), why.unwrap_or_default());
                format!("task '{name}' {}{why}", past(*status))
            }
            Cause::Join { task, missing } => {
                let missing: Vec<_> = missing
                    .iter()
                    .map(|task| format!("'{}'", name(*task)))
                    .collect();
                format!(
                    "the join of task '{}' can never be met: nothing came from {}",
                    name(*task),
                    missing.join(", ")
                )
            }
            Cause::Visits { task } => format!(
                "task '{}' was started too often: a cycle in the graph does not end",
                name(*task)
            ),
            Cause::Outside | Cause::Recorded => cause.describe(&self.program.workflow),
        };
        Ending {
            status: Status::Failed,
            error: Failure {
                kind: FailureKind::Task,
                message,
            },
        }
    }

    /// Notes that the run will fail, as soon as that is clear.
    pub(crate) fn note_failure(&mut self) {
        if self.record.ending.is_none()
            && let Some(cause) = self.frontier.cause()
        {
            self.record.ending = Some(self.ending(cause));
            self.dirty = true;
            for (task, active) in &mut self.active {
                let definition = self.program.workflow.tasks.get(*task);
                if definition.is_some_and(|task| task.finally) {
                    continue;
                }
                if let ActiveWork::Items(fan) = &mut active.work {
                    fan.start_no_more();
                }
            }
        }
    }

    /// What follows a lap in which nothing failed.
    pub(crate) fn after_lap(&self) -> NextLap {
        let failed = |message: String, kind| {
            NextLap::Fails(Ending {
                status: Status::Failed,
                error: Failure { kind, message },
            })
        };
        let cycles = &self.program.workflow.cycles;
        let capped = self.record.cycle >= cycles.max;
        match (&cycles.mode, &self.program.until) {
            (LoopMode::Fixed, _) if !capped => return NextLap::Begins,
            (LoopMode::Until(text), Some(until)) => match truth(until, &self.scope) {
                Ok(true) => {}
                Ok(false) if !capped => return NextLap::Begins,
                Ok(false) => {
                    let message = format!(
                        "'{text}' did not become true within {} cycles (loop.max_cycles)",
                        cycles.max
                    );
                    return failed(message, FailureKind::Task);
                }
                Err(error) => {
                    return failed(format!("loop.condition: {error}"), FailureKind::Expression);
                }
            },
            _ => {}
        }
        match &self.program.output {
            None => NextLap::Ends(Arc::new(Value::Object(self.record.vars.clone()))),
            Some(output) => match output.render(&self.scope) {
                Ok(value) => NextLap::Ends(Arc::new(value)),
                Err(error) => failed(error.to_string(), FailureKind::Expression),
            },
        }
    }

    /// Begins the next lap: every task anew, the variables as they are.
    pub(crate) fn turn(&mut self) {
        self.record.lap += 1;
        self.record.cycle += 1;
        self.record.next_lap_at = None;
        self.dirty = true;
        self.kept.clear();
        self.errors.clear();
        self.tasks.clear();
        self.held.clear_results();
        self.closed.clear();
        self.frontier = Frontier::new(self.program.graph.clone(), self.program.workflow.clone());
        self.rescope();
    }

    /// The transitions that its record says have arrived.
    pub(crate) fn recorded_arrivals(&self) -> BTreeMap<usize, Vec<usize>> {
        let place = |name: &String| self.program.place(name);
        let recorded = self.record.arrivals.iter();
        recorded
            .filter_map(|(target, sources)| {
                Some((place(target)?, sources.iter().filter_map(place).collect()))
            })
            .collect()
    }

    /// Notes which transitions have arrived at joins that are not met.
    pub(crate) fn note_arrivals(&mut self) {
        let name = |task: &usize| self.task(*task).map(|task| task.name.clone());
        let arrivals: BTreeMap<String, Vec<String>> = self
            .frontier
            .arrivals()
            .iter()
            .filter_map(|(target, sources)| {
                Some((name(target)?, sources.iter().filter_map(name).collect()))
            })
            .collect();
        if arrivals != self.record.arrivals {
            self.record.arrivals = arrivals;
            self.dirty = true;
        }
    }
}

/// Whether an expression is true; anything but true or false is an error.
pub(crate) fn truth(expression: &Template, scope: &Scope) -> Result<bool, String> {
    match expression.render(scope) {
        Ok(Value::Bool(truth)) => Ok(truth),
        Ok(other) => Err(format!(
            "'{}' must be true or false, and is {other}",
            expression.source()
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// How a status reads after the name of a task.
fn past(status: Status) -> &'static str {
    match status {
        Status::TimedOut => "timed out",
        Status::Abandoned => "was abandoned",
        Status::Cancelled => "was cancelled",
        _ => "failed",
    }
}

/// What is to be written of the record of a run whose variables are as they were.
pub(crate) fn progress(record: &mut RunRecord) -> Change {
    let vars = std::mem::take(&mut record.vars);
    let progress = Box::new(record.clone());
    record.vars = vars;
    Change::PutRunProgress(progress)
}

/// The variables of a run that has none yet.
pub(crate) fn first_record(execution: ExecutionId, lap: u32) -> RunRecord {
    RunRecord {
        execution,
        lap,
        cycle: 1,
        vars: Object::new(),
        paused: false,
        arrivals: BTreeMap::new(),
        ending: None,
        next_lap_at: None,
    }
}
