//! The end of a task: what it publishes, which transitions it takes, what the planner makes of it.

use camshaft_model::port::store::Change;
use camshaft_model::run::CachedResult;
use camshaft_model::{Execution, ExecutionId, Object, Status, StepEventType, TaskRecord};

use super::start::Ended;
use crate::decision::{Decision, Unit};
use crate::state::{Context, State};
use crate::workflow::{Active, ActiveWork, Run, Step, TaskEnd, item_error, truth};

impl State {
    /// Takes the end of an execution into the run that it was a part of.
    pub(crate) fn child_ended(
        &mut self,
        child: &Execution,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let (Some(parent), Some(place)) = (child.spec.parent, &child.spec.task) else {
            return;
        };
        let Some(mut run) = self.runs.remove(&parent) else {
            return;
        };
        let task = run.program.place(&place.name);
        let current = task.filter(|_| place.lap == run.record.lap);
        let ended = current.and_then(|task| {
            let end = self.child_end(&mut run, task, child, unit, context)?;
            Some((task, end))
        });
        let steps = ended.map(|(task, end)| self.settle_active(&mut run, task, end, unit, context));
        self.runs.insert(parent, run);
        if let Some(steps) = steps {
            self.advance(parent, steps, unit, decision, context);
        }
    }

    /// How the task of an execution that ended has ended, if it has.
    fn child_end(
        &mut self,
        run: &mut Run,
        task: usize,
        child: &Execution,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Option<TaskEnd> {
        let state = &child.state;
        let item = child.spec.task.as_ref().and_then(|place| place.item);
        let mut active = run.active.remove(&task)?;
        let end = match &mut active.work {
            ActiveWork::Child(id) if *id == child.spec.id => Some(TaskEnd {
                status: state.status,
                result: state.result.clone().unwrap_or_default(),
                error: state.error.clone(),
                attempt: state.attempt,
                errors: None,
            }),
            ActiveWork::Items(fan)
                if let Some(item) = item
                    && fan.running.get(&item) == Some(&child.spec.id) =>
            {
                let error = item_error(state);
                if state.status == Status::Cancelled {
                    fan.cancelled |= run.record.ending.is_some();
                }
                let held = fan.bytes;
                let (result, error) = run.item_end(fan, state.result.clone(), error);
                match error {
                    Some(error) if state.status == Status::Completed => fan.failed(item, error),
                    error => fan.ended(item, result, error),
                }
                run.hold_fan(held, fan.bytes);
                let record = &mut active.record;
                let end = self.start_items(run, task, fan, &record.task, unit, context);
                if let Some(errors) = fan.untold(record.item_errors.as_ref()) {
                    record.item_errors = Some(errors);
                    // The end of the task is recorded anyway.
                    if end.is_none() {
                        unit.changes.push(Change::PutTask(Box::new(record.clone())));
                    }
                }
                end
            }
            _ => None,
        };
        run.active.insert(task, active);
        end
    }

    /// Ends a task that was under way.
    pub(super) fn settle_active(
        &mut self,
        run: &mut Run,
        task: usize,
        end: TaskEnd,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Vec<Step> {
        let Some(active) = run.active.remove(&task) else {
            return Vec::new();
        };
        self.forget_wait(run.id(), task, &active);
        if let ActiveWork::Items(fan) = &active.work {
            run.hold_fan(fan.bytes, 0);
        }
        let ended = Ended {
            record: active.record,
            end,
        };
        self.settle(run, task, ended, unit, context)
    }

    /// Records the end of a task and gives what follows from it.
    pub(super) fn settle(
        &mut self,
        run: &mut Run,
        task: usize,
        ended: Ended,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Vec<Step> {
        let Ended { mut record, end } = ended;
        // Its own end is in scope by its name too.
        let end = run.end_known(task, end);
        let (end, taken) = run.conclude_task(task, end);
        let handled = taken.is_some();
        let taken = taken.unwrap_or_default();
        run.note_error(task, &end);
        record.status = end.status;
        record.error.clone_from(&end.error);
        record.ended_at = Some(context.now);
        if record.taken_from.is_some() {
            record.item_errors.clone_from(&end.errors);
        }
        let has_execution = record.execution.is_some() || record.items.is_some();
        if !has_execution && end.status == Status::Completed {
            record.result = Some(end.result.clone());
        }
        let cache_key = record.cache_key.take();
        if let Some(key) = cache_key.filter(|_| end.status == Status::Completed) {
            self.keep_result(run, task, key, &end, unit, context);
        }
        unit.steps.push(run.task_ended(&record, &end, context));
        unit.changes.push(Change::PutTask(Box::new(record)));
        run.frontier
            .settle_handled(task, end.status, &taken, handled)
    }

    fn keep_result(
        &mut self,
        run: &Run,
        task: usize,
        key: String,
        end: &TaskEnd,
        unit: &mut Unit,
        context: &Context<'_>,
    ) {
        let Some(cache) = run.task(task).and_then(|task| task.cache.as_ref()) else {
            return;
        };
        let cached = CachedResult {
            key,
            result: end.result.clone(),
            item_errors: end.errors.clone(),
            kept_at: context.now,
            expires_at: context.now + cache.ttl,
        };
        self.cache.put(&cached, context.now);
        unit.changes.push(Change::PutCached(Box::new(cached)));
    }

    /// Settles what of these tasks waits for a person or an event, because the run is stopped.
    pub(super) fn end_waits(
        &mut self,
        id: ExecutionId,
        tasks: &[usize],
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Vec<Step> {
        let Some(mut run) = self.runs.remove(&id) else {
            return Vec::new();
        };
        let mut steps = Vec::new();
        for task in tasks.iter().copied() {
            if !run.active.get(&task).is_some_and(Active::waits) {
                continue;
            }
            let end = TaskEnd::ended(
                Status::Cancelled,
                camshaft_model::FailureKind::Cancelled,
                "the run was stopped while it waited",
            );
            self.withdraw(&run, task, unit, context);
            steps.extend(self.settle_active(&mut run, task, end, unit, context));
        }
        self.runs.insert(id, run);
        steps
    }
}

impl Run {
    /// Publishes what a task that ended publishes, and finds the targets of the transitions that are taken;
    /// `None` if none is. A task whose expressions cannot be evaluated has failed.
    fn conclude_task(&mut self, task: usize, end: TaskEnd) -> (TaskEnd, Option<Vec<usize>>) {
        let program = self.program.clone();
        let (Some(definition), Some(expressions)) =
            (program.workflow.tasks.get(task), program.tasks.get(task))
        else {
            return (end, None);
        };
        let name = &definition.name;
        let publishes = end.status == Status::Completed && !expressions.publish.is_empty();
        if !publishes && definition.next.is_empty() {
            return (end, None);
        }
        let scope = self.end_scope(task, &end);
        let attempt = end.attempt;
        let failed = |run: &mut Self, message: String| {
            let failure = TaskEnd {
                attempt,
                ..TaskEnd::expression(format!("tasks.{name}.{message}"))
            };
            (run.end_known(task, failure), None)
        };
        if end.status == Status::Completed
            && let Err(error) = self.assign(&expressions.publish, &scope)
        {
            let error = error
                .trim_start_matches(&format!("tasks.{name}."))
                .to_owned();
            return failed(self, error);
        }
        let mut taken: Option<Vec<usize>> = None;
        for (next, (when, publish)) in definition.next.iter().zip(&expressions.next) {
            let is_taken = match when {
                None => end.status == Status::Completed,
                Some(_) if end.status == Status::Skipped => false,
                Some(when) => match truth(when, &scope) {
                    Ok(truth) => truth,
                    Err(error) => return failed(self, format!("next.when: {error}")),
                },
            };
            if !is_taken {
                continue;
            }
            if let Err(error) = self.assign(publish, &scope) {
                let error = error
                    .trim_start_matches(&format!("tasks.{name}."))
                    .to_owned();
                return failed(self, error);
            }
            taken
                .get_or_insert_default()
                .extend(next.to.iter().copied());
        }
        (end, taken)
    }

    /// The line of the event log that tells of the end of a task.
    fn task_ended(
        &self,
        record: &TaskRecord,
        end: &TaskEnd,
        context: &Context<'_>,
    ) -> camshaft_model::StepEventDraft {
        if end.status == Status::Skipped {
            let reason = record.reason.clone().unwrap_or_default();
            let payload = Object::from_iter([("reason".to_owned(), reason.into())]);
            return self.step(record, StepEventType::StepSkipped, payload, context);
        }
        let event_type = match end.status {
            Status::Completed => StepEventType::TaskCompleted,
            Status::Cancelled => StepEventType::TaskCancelled,
            _ => StepEventType::TaskFailed,
        };
        let started_at = Some(record.started_at);
        let mut payload = super::end_payload(end.status, end.error.as_ref(), started_at, context);
        if let Some(total) = record.items {
            payload.insert("items".into(), total.into());
            let failed = end.errors.iter().flatten().flatten().count();
            payload.insert("items_failed".into(), failed.into());
        }
        if let Some(taken_from) = &record.taken_from {
            let value = serde_json::to_value(taken_from).unwrap_or_default();
            payload.insert("taken_from".into(), value);
        }
        if record.task.visit > 1 {
            payload.insert("visit".into(), record.task.visit.into());
        }
        self.step(record, event_type, payload, context)
    }
}
