//! Tasks that wait for a person or an event.

use camshaft_model::definition::Criterion;
use camshaft_model::definition::workflow::{Awaited, OnTimeout, Question, Work};
use camshaft_model::port::store::Change;
use camshaft_model::{
    ErrorCode, Event, ExecutionId, FailureKind, Inquiry, InquiryId, InquiryStatus, Object, Status,
    StepEventType, TaskRecord,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::start::Begun;
use crate::catalog::AwaitedSensor;
use crate::decision::{Decision, Unit};
use crate::handle::{ControlError, InquiryAnswer, may_answer};
use crate::parameters;
use crate::rule::AwaitedEvent;
use crate::state::{Context, State};
use crate::workflow::{Active, ActiveWork, Alarm, Run, TaskEnd};

impl State {
    /// Asks a person.
    pub(super) fn ask(
        &mut self,
        run: &Run,
        task: usize,
        question: &Question,
        record: &mut TaskRecord,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Begun<ActiveWork> {
        let name = &record.task.name;
        let program = run.program.tasks.get(task);
        let prompt = program.and_then(|program| program.prompt.as_ref());
        let mut prompt = match prompt.map(|prompt| prompt.render(&run.scope())) {
            Some(Ok(Value::String(prompt))) => prompt,
            Some(Ok(other)) => other.to_string(),
            Some(Err(error)) => {
                let message = format!("tasks.{name}.inquiry.prompt: {error}");
                return Err(Box::new(TaskEnd::expression(message)));
            }
            None => String::new(),
        };
        // Whoever may answer may not see what the run was told in confidence.
        run.hidden.text(&mut prompt);
        let inquiry = Inquiry {
            id: InquiryId::new(context.entropy.uuid(context.now)),
            run: run.id(),
            root: run.spec.root,
            task: record.task.clone(),
            prompt,
            schema: question.schema.clone(),
            roles: question.roles.clone(),
            created_at: context.now,
            expires_at: self.set_timeout(run, task, context),
            status: InquiryStatus::Open,
            answer: None,
            answered_by: None,
            closed_at: None,
        };
        self.inquiries.insert(inquiry.id, (run.id(), task));
        record.status = Status::Waiting;
        record.until = inquiry.expires_at;
        let payload = Object::from_iter([
            ("reason".to_owned(), "waits for a person".into()),
            ("inquiry".to_owned(), inquiry.id.to_string().into()),
            ("prompt".to_owned(), inquiry.prompt.clone().into()),
        ]);
        unit.steps
            .push(run.step(record, StepEventType::TaskBlocked, payload, context));
        unit.changes
            .push(Change::PutInquiry(Box::new(inquiry.clone())));
        Ok(ActiveWork::Inquiry(Box::new(inquiry)))
    }

    /// Waits for an event.
    pub(super) fn await_event(
        &mut self,
        run: &Run,
        task: usize,
        awaited: &Awaited,
        record: &mut TaskRecord,
        unit: &mut Unit,
        context: &Context<'_>,
    ) -> Begun<ActiveWork> {
        let program = run.program.tasks.get(task);
        let patterns = program.map_or(Ok(Value::Null), |program| program.with.render(&run.scope()));
        let patterns = match patterns {
            Ok(Value::Array(patterns)) => patterns,
            Ok(_) => Vec::new(),
            Err(error) => return Err(Box::new(TaskEnd::expression(error.to_string()))),
        };
        record.status = Status::Waiting;
        record.awaited = Some(json!({ "trigger": awaited.trigger, "patterns": patterns }));
        record.until = self.set_timeout(run, task, context);
        let payload = Object::from_iter([
            ("reason".to_owned(), "waits for an event".into()),
            ("trigger".to_owned(), awaited.trigger.to_string().into()),
        ]);
        unit.steps
            .push(run.step(record, StepEventType::TaskBlocked, payload, context));
        Ok(ActiveWork::Event(self.listen(run, task, awaited, patterns)))
    }

    /// Has events of a trigger shown to a task.
    pub(super) fn listen(
        &mut self,
        run: &Run,
        task: usize,
        awaited: &Awaited,
        patterns: Vec<Value>,
    ) -> AwaitedEvent {
        let criteria = awaited.criteria.iter().zip(patterns);
        let criteria = criteria.map(|(criterion, pattern)| Criterion {
            pattern,
            ..criterion.clone()
        });
        let trigger = awaited.trigger.clone();
        let event = AwaitedEvent::new(trigger.clone(), &awaited.parameters, criteria.collect());
        let sensors = self.awaited.entry(trigger).or_default();
        let sensor = sensors.entry(event.sensor().to_owned());
        let sensor = sensor.or_insert_with(|| {
            self.sensors_changed = true;
            AwaitedSensor {
                parameters: awaited.parameters.clone(),
                ..AwaitedSensor::default()
            }
        });
        sensor.tasks.insert((run.id(), task));
        event
    }

    fn set_timeout(
        &mut self,
        run: &Run,
        task: usize,
        context: &Context<'_>,
    ) -> Option<camshaft_model::Timestamp> {
        let until = context.now + run.task(task)?.timeout?;
        self.alarms.insert((until, Alarm::Wait(run.id(), task)));
        Some(until)
    }

    /// Looks forward to nothing more for a task.
    pub(super) fn forget_wait(&mut self, run: ExecutionId, task: usize, active: &Active) {
        if let Some(until) = active.record.until {
            self.alarms.remove(&(until, Alarm::Wait(run, task)));
        }
        match &active.work {
            ActiveWork::Inquiry(inquiry) => {
                self.inquiries.remove(&inquiry.id);
            }
            ActiveWork::Event(awaited) => {
                let Some(sensors) = self.awaited.get_mut(awaited.trigger()) else {
                    return;
                };
                if let Some(sensor) = sensors.get_mut(awaited.sensor()) {
                    sensor.tasks.remove(&(run, task));
                    if sensor.tasks.is_empty() {
                        sensors.remove(awaited.sensor());
                        self.sensors_changed = true;
                    }
                }
                if sensors.is_empty() {
                    self.awaited.remove(awaited.trigger());
                }
            }
            ActiveWork::Child(_) | ActiveWork::Items(_) => {}
        }
    }

    /// Shows an event to the tasks that wait for one of its kind. What it leads to is stored with it.
    pub(crate) fn meet_waits(
        &mut self,
        event: &Event,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Some(sensors) = self.awaited.get(&event.draft.trigger) else {
            return;
        };
        let waiting = sensors.values().flat_map(|sensor| &sensor.tasks).copied();
        let waiting: BTreeSet<(ExecutionId, usize)> = waiting.collect();
        for (id, task) in waiting {
            // It was refused: who may yet be recorded has had the event held for it.
            if self.uncertain.has(id) {
                continue;
            }
            let run = self.runs.get(&id);
            // One that was held may be older than the wait.
            let is_older = |active: &Active| event.received_at < active.record.started_at;
            if run.is_some_and(|run| run.active.get(&task).is_some_and(is_older)) {
                continue;
            }
            let accepts = run.map(|run| run.accepts(task, event, context.now));
            let end = match accepts {
                Some(Ok(true)) => TaskEnd::completed(Arc::new(
                    json!({ "event": event.id, "payload": event.draft.payload }),
                )),
                // An event that is not as the condition expects is not the one that is waited for.
                Some(Err(error)) => {
                    tracing::warn!(run = %id, event = %event.id, %error, "wait_for.when cannot be evaluated on an event, which does not meet the wait");
                    continue;
                }
                Some(Ok(false)) | None => continue,
            };
            self.end_wait(id, task, end, unit, decision, context);
        }
    }

    fn end_wait(
        &mut self,
        id: ExecutionId,
        task: usize,
        end: TaskEnd,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Some(mut run) = self.runs.remove(&id) else {
            return;
        };
        let steps = self.settle_active(&mut run, task, end, unit, context);
        self.runs.insert(id, run);
        self.advance(id, steps, unit, decision, context);
    }

    /// Ends a wait whose time is over.
    pub(super) fn wait_is_over(
        &mut self,
        id: ExecutionId,
        task: usize,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let program = run.program.clone();
        let Some(definition) = program.workflow.tasks.get(task) else {
            return;
        };
        let Some(active) = run.active.get_mut(&task) else {
            return;
        };
        let (on_timeout, what) = match &definition.work {
            Work::Inquiry(question) => (question.on_timeout, "nobody answered in time"),
            Work::WaitFor(awaited) => (awaited.on_timeout, "no such event came in time"),
            Work::Action { .. } | Work::Nothing => return,
        };
        let mut unit = Unit::default();
        if let ActiveWork::Inquiry(inquiry) = &active.work {
            let expired = Inquiry {
                status: InquiryStatus::Expired,
                closed_at: Some(context.now),
                ..Inquiry::clone(inquiry)
            };
            unit.changes.push(Change::PutInquiry(Box::new(expired)));
        }
        let end = match on_timeout {
            OnTimeout::Fail => TaskEnd::ended(Status::TimedOut, FailureKind::Timeout, what),
            OnTimeout::Skip => {
                active.record.reason = Some(what.to_owned());
                TaskEnd::skipped()
            }
        };
        self.end_wait(id, task, end, &mut unit, decision, context);
        decision.units.push(unit);
    }

    /// Takes back what a task asked, because its run is stopped.
    pub(super) fn withdraw(
        &mut self,
        run: &Run,
        task: usize,
        unit: &mut Unit,
        context: &Context<'_>,
    ) {
        let work = run.active.get(&task).map(|active| &active.work);
        if let Some(ActiveWork::Inquiry(inquiry)) = work {
            let withdrawn = Inquiry {
                status: InquiryStatus::Withdrawn,
                closed_at: Some(context.now),
                ..Inquiry::clone(inquiry)
            };
            unit.changes.push(Change::PutInquiry(Box::new(withdrawn)));
        }
    }

    /// Takes a person's answer to an open inquiry. Its unit is the first of the decision.
    ///
    /// # Errors
    /// It is not open, who answers may not, or the answer does not fit its schema.
    pub(crate) fn answer(
        &mut self,
        id: InquiryId,
        answer: InquiryAnswer,
        context: &Context<'_>,
    ) -> Result<(Decision, Inquiry), ControlError> {
        let closed = || {
            ControlError::new(
                ErrorCode::InquiryClosed,
                format!("inquiry {id} is not open any more"),
            )
        };
        let (run_id, task) = *self.inquiries.get(&id).ok_or_else(closed)?;
        let work = self
            .runs
            .get(&run_id)
            .and_then(|run| run.active.get(&task))
            .map(|active| &active.work);
        let Some(ActiveWork::Inquiry(inquiry)) = work else {
            return Err(closed());
        };
        may_answer(inquiry, &answer)?;
        if answer.approve
            && let Some(schema) = &inquiry.schema
        {
            parameters::validate(schema, &answer.response).map_err(|problem| {
                ControlError::new(
                    ErrorCode::InvalidResponse,
                    format!("the response does not fit the inquiry's schema: {problem}"),
                )
            })?;
        }
        let status = if answer.approve {
            InquiryStatus::Approved
        } else {
            InquiryStatus::Rejected
        };
        let closed = Inquiry {
            status,
            answer: Some(answer.response.clone()),
            answered_by: Some(answer.by.clone()),
            closed_at: Some(context.now),
            ..Inquiry::clone(inquiry)
        };
        let mut unit = Unit::default();
        unit.changes
            .push(Change::PutInquiry(Box::new(closed.clone())));
        let end = if answer.approve {
            TaskEnd::completed(Arc::new(json!({
                "approved": true, "response": answer.response, "by": answer.by,
            })))
        } else {
            let message = match &answer.response {
                Value::Null => format!("rejected by {}", answer.by),
                response => format!("rejected by {}: {response}", answer.by),
            };
            TaskEnd::ended(Status::Failed, FailureKind::Rejected, message)
        };
        let mut decision = Decision::default();
        self.end_wait(run_id, task, end, &mut unit, &mut decision, context);
        decision.units.insert(0, unit);
        self.admit(context, &mut decision);
        Ok((decision, closed))
    }
}
