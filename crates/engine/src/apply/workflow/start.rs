//! The start of a task: conditions, kept and cached results, items, parameters, child executions.

use std::sync::Arc;

use camshaft_model::definition::Action;
use camshaft_model::definition::workflow::{OnItemFailure, Task, Work};
use camshaft_model::port::store::Change;
use camshaft_model::{
    ExecutionId, ExecutionSpec, ExecutionState, FailureKind, Object, Origin, Ref, Status,
    StepEventType, TakenFrom, TaskRecord, TaskRef,
};
use serde_json::Value;

use crate::decision::Unit;
use crate::expression::Scope;
use crate::parameters;
use crate::state::{Context, State};
use crate::workflow::{
    Active, ActiveItems, ActiveWork, Fanout, Program, Run, TaskEnd, cache, truth, weight,
};

/// What a task began, or how it ended before it did.
pub(super) type Begun<T> = Result<T, Box<TaskEnd>>;

/// How deep workflows may run workflows.
const MAX_NESTING: u32 = 20;
/// The most items of one task.
const MAX_ITEMS: usize = 100_000;

/// A start of a task that ended with it.
pub(super) struct Ended {
    pub(super) record: TaskRecord,
    pub(super) end: TaskEnd,
}

impl State {
    /// Starts a task, or says at once how it ended: skipped, taken from a cache, failed before it began.
    pub(super) fn start_task(
        &mut self,
        run: &mut Run,
        task: usize,
        visit: u32,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Option<Ended> {
        let name = run.task(task)?.name.clone();
        let mut record = run.record_of(&name, visit, Status::Running, context);
        let begun = self
            .condition(run, task, &mut record)
            .and_then(|()| self.cached(run, task, &mut record, context))
            .and_then(|()| self.begin_task(run, task, &mut record, unit, context));
        match begun {
            Ok(work) => {
                if let ActiveWork::Items(fan) = &work {
                    run.hold_fan(0, fan.bytes);
                }
                unit.changes.push(Change::PutTask(Box::new(record.clone())));
                run.active.insert(task, Active { record, work });
                None
            }
            Err(end) => Some(Ended { record, end: *end }),
        }
    }

    /// Whether a task is to run at all.
    fn condition(&self, run: &mut Run, task: usize, record: &mut TaskRecord) -> Begun<()> {
        if let Some(kept) = run.kept.remove(&record.task.name) {
            record.taken_from = kept.taken_from;
            let result = kept.result.unwrap_or_default();
            return Err(Box::new(TaskEnd {
                errors: kept.item_errors,
                ..TaskEnd::completed(result)
            }));
        }
        let when = run
            .program
            .tasks
            .get(task)
            .and_then(|task| task.when.as_ref());
        match when.map(|when| (truth(when, &run.scope()), when.source())) {
            None | Some((Ok(true), _)) => Ok(()),
            Some((Ok(false), source)) => {
                record.reason = Some(format!("'{source}' is not true"));
                Err(Box::new(TaskEnd::skipped()))
            }
            Some((Err(error), _)) => {
                let message = format!("tasks.{}.when: {error}", record.task.name);
                Err(Box::new(TaskEnd::expression(message)))
            }
        }
    }

    /// Takes a result that is kept from another run, if there is one.
    fn cached(
        &self,
        run: &Run,
        task: usize,
        record: &mut TaskRecord,
        context: &Context<'_>,
    ) -> Begun<()> {
        let program = run.program.tasks.get(task);
        let Some(template) = program.and_then(|program| program.cache_key.as_ref()) else {
            return Ok(());
        };
        let name = &record.task.name;
        let text = match template.render(&run.scope()) {
            Ok(Value::String(text)) => text,
            Ok(other) => other.to_string(),
            Err(error) => {
                let message = format!("tasks.{name}.cache.key: {error}");
                return Err(Box::new(TaskEnd::expression(message)));
            }
        };
        let key = cache::key(&run.spec.action, name, text);
        if let Some(end) = self.cache.get(&key, context.now) {
            record.taken_from = Some(TakenFrom::Cache);
            return Err(Box::new(end));
        }
        record.cache_key = Some(key);
        Ok(())
    }

    fn begin_task(
        &mut self,
        run: &Run,
        task: usize,
        record: &mut TaskRecord,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Begun<ActiveWork> {
        let program = run.program.clone();
        let Some(definition) = program.workflow.tasks.get(task) else {
            return Err(Box::new(TaskEnd::expression("there is no such task")));
        };
        match &definition.work {
            Work::Nothing => Err(Box::new(TaskEnd::completed(Arc::default()))),
            Work::Inquiry(question) => self.ask(run, task, question, record, unit, context),
            Work::WaitFor(awaited) => self.await_event(run, task, awaited, record, unit, context),
            Work::Action { .. } if definition.items.is_some() => {
                self.start_fanout(run, task, record, unit, context)
            }
            Work::Action { reference, .. } => {
                let child = Child {
                    run,
                    definition,
                    reference,
                    program: &program,
                    task,
                };
                let place = record.task.clone();
                let id = self.start_child(&child, place, &run.scope(), unit, context)?;
                record.execution = Some(id);
                Ok(ActiveWork::Child(id))
            }
        }
    }

    fn start_fanout(
        &mut self,
        run: &Run,
        task: usize,
        record: &mut TaskRecord,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Begun<ActiveWork> {
        let name = record.task.name.clone();
        let failed = |message: String| Err(Box::new(TaskEnd::expression(message)));
        let program = run.program.clone();
        let tree = program.tasks.get(task).and_then(|task| task.items.as_ref());
        let definition = run.task(task).and_then(|task| task.items.as_ref());
        let (Some(tree), Some(definition)) = (tree, definition) else {
            return failed(format!("tasks.{name}.items: there are none"));
        };
        let items = match tree.render(&run.scope()) {
            Ok(items) => items,
            Err(error) => return failed(error.to_string()),
        };
        let Some(total) = items.as_array().map(Vec::len) else {
            let shown: String = items.to_string().chars().take(80).collect();
            return failed(format!(
                "tasks.{name}.items: must be a list, and is {shown}"
            ));
        };
        if total > MAX_ITEMS {
            return failed(format!(
                "tasks.{name}.items: {total} items are more than the limit of {MAX_ITEMS}"
            ));
        }
        let bytes = weight::bytes(&items);
        if let Some(message) = run.no_room_for(&format!("tasks.{name}.items: the list"), bytes) {
            return failed(message);
        }
        let items = Arc::new(items);
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        record.items = Some(total);
        unit.changes.push(Change::PutItems {
            run: run.id(),
            task: record.task.clone(),
            items: items.clone(),
        });
        let mut fan =
            ActiveItems::new(Fanout::new(total, definition), items, run.reads_items(task));
        let end = self.start_items(run, task, &mut fan, &record.task, unit, context);
        record.item_errors = fan.untold(None);
        match end {
            Some(end) => Err(Box::new(end)),
            None => Ok(ActiveWork::Items(Box::new(fan))),
        }
    }

    /// Starts as many items as may run beside one another. Says how the task ended if none is left.
    pub(super) fn start_items(
        &mut self,
        run: &Run,
        task: usize,
        fan: &mut ActiveItems,
        place: &TaskRef,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Option<TaskEnd> {
        let program = run.program.clone();
        let definition = program.workflow.tasks.get(task)?;
        let Work::Action { reference, .. } = &definition.work else {
            return None;
        };
        let child = Child {
            run,
            definition,
            reference,
            program: &program,
            task,
        };
        loop {
            let next = fan.fanout.start();
            if next.is_empty() {
                break;
            }
            for item in next {
                let scope = run.item_scope(fan.item(item), item);
                let place = TaskRef {
                    item: Some(item),
                    ..place.clone()
                };
                match self.start_child(&child, place, &scope, unit, context) {
                    Ok(id) => {
                        fan.running.insert(item, id);
                    }
                    Err(end) => {
                        let message = end.error.map(|error| error.message);
                        fan.failed(item, message.unwrap_or_default());
                    }
                }
            }
        }
        let tolerant = definition
            .items
            .as_ref()
            .is_some_and(|items| items.on_failure == OnItemFailure::Continue);
        fan.fanout.is_over().then(|| fan.end(tolerant))
    }

    /// Requests the execution of a task or item.
    fn start_child(
        &mut self,
        child: &Child<'_>,
        place: TaskRef,
        scope: &Scope,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Begun<ExecutionId> {
        let Child {
            run, definition, ..
        } = child;
        let failed =
            |kind, message: String| Box::new(TaskEnd::ended(Status::Failed, kind, message));
        let with = child
            .program
            .tasks
            .get(child.task)
            .map_or(Ok(Value::Null), |task| task.with.render(scope))
            .map_err(|error| failed(FailureKind::Expression, error.to_string()))?;
        let given = match with {
            Value::Object(given) => given,
            _ => Object::new(),
        };
        let action = self
            .action_of_task(&run.spec, child.reference, definition)
            .ok_or_else(|| {
                let message = format!("there is no action '{}'", child.reference);
                failed(FailureKind::Parameters, message)
            })?;
        if action.workflow().is_some() && self.nesting(&run.spec) >= MAX_NESTING {
            let message = format!("workflows run workflows more than {MAX_NESTING} deep");
            return Err(failed(FailureKind::Task, message));
        }
        let parameters = parameters::check(&action.parameters, given).map_err(|problems| {
            let message = format!(
                "parameters of {}: {}",
                action.reference,
                parameters::sentence(&problems)
            );
            failed(FailureKind::Parameters, message)
        })?;
        let id = ExecutionId::new(context.entropy.uuid(context.now));
        let spec = ExecutionSpec {
            id,
            root: run.spec.root,
            parent: Some(run.spec.id),
            task: Some(Box::new(place)),
            action: action.reference.clone(),
            pack_hash: action.origin.as_ref().map(|origin| origin.hash.clone()),
            adhoc: None,
            parameters: self.shared(parameters),
            priority: run.spec.priority,
            requested_at: context.now,
            origin: Origin::Workflow,
            idempotency_key: None,
            depth: run.spec.depth,
            trace_parent: run.spec.trace_parent.clone(),
        };
        self.add(spec, ExecutionState::requested(None), action, unit);
        Ok(id)
    }

    /// The action of a task as the run is pinned to it, with what the task says in its place.
    pub(crate) fn action_of_task(
        &self,
        run: &ExecutionSpec,
        reference: &Ref,
        task: &Task,
    ) -> Option<Arc<Action>> {
        let pinned = run
            .pack_hash
            .as_ref()
            .and_then(|hash| self.versions.get(hash)?.actions.get(reference));
        let action = pinned.or_else(|| self.catalog.action(reference))?;
        Some(overridden(action, task))
    }

    fn nesting(&self, run: &ExecutionSpec) -> u32 {
        let mut depth = 0;
        let mut above = run.parent;
        while let Some(id) = above.filter(|_| depth <= MAX_NESTING) {
            depth += 1;
            above = self.live.get(&id).and_then(|live| live.spec.parent);
        }
        depth
    }
}

/// An action with what a task says in the place of its own policies.
pub(crate) fn overridden(action: &Arc<Action>, task: &Task) -> Arc<Action> {
    if task.retry.is_none() && task.timeout.is_none() {
        return action.clone();
    }
    Arc::new(Action {
        retry: task.retry.clone().unwrap_or_else(|| action.retry.clone()),
        timeout: task.timeout.or(action.timeout),
        ..Action::clone(action)
    })
}

/// What the executions of a task have in common.
struct Child<'a> {
    run: &'a Run,
    definition: &'a Task,
    reference: &'a Ref,
    program: &'a Program,
    task: usize,
}

impl Run {
    /// Records a task that the planner has skipped.
    pub(super) fn skip(
        &mut self,
        task: usize,
        reason: String,
        unit: &mut Unit,
        context: &Context<'_>,
    ) {
        let Some(name) = self.task(task).map(|task| task.name.clone()) else {
            return;
        };
        let mut record = self.record_of(&name, 1, Status::Skipped, context);
        record.reason = Some(reason.clone());
        record.ended_at = Some(context.now);
        let payload = Object::from_iter([("reason".to_owned(), reason.into())]);
        unit.steps
            .push(self.step(&record, StepEventType::StepSkipped, payload, context));
        unit.changes.push(Change::PutTask(Box::new(record)));
        self.end_known(task, TaskEnd::skipped());
    }
}
