//! What a person does to one run: try it again, hold it, let it go on, answer what it asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use camshaft_model::definition::Workflow;
use camshaft_model::definition::document::shorten;
use camshaft_model::definition::problem::did_you_mean;
use camshaft_model::port::store::{Laps, PageRequest, Values};
use camshaft_model::run::ItemErrors;
use camshaft_model::{
    ErrorCode, Execution, ExecutionId, ExecutionSpec, Inquiry, InquiryId, InquiryStatus, Origin,
    Ref, Status, TakenFrom, TaskRecord, TaskRef,
};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    ControlError, Engine, ExecutionRequest, Pinned, RequestAccepted, Requested, committed,
    unavailable,
};
use crate::decision::Decision;
use crate::driver::VersionError;
use crate::state::{Context, State};
use crate::workflow::{ItemEnds, Kept, weight};

/// So many rows are read at once.
const PAGE: u32 = 1_000;
/// So many tasks are named to somebody who asked for one that is not there.
const MAX_NAMES: usize = 50;

/// What a retry of a run keeps of the run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryFrom {
    /// Nothing: it starts anew with the same parameters.
    Start,
    /// Every task that completed, except this one and those that come after it.
    Task(String),
    /// Every task that completed.
    Failed,
}

/// Somebody's answer to an inquiry.
#[derive(Debug, Clone, PartialEq)]
pub struct InquiryAnswer {
    /// Yes or no.
    pub approve: bool,
    /// What the inquiry's schema asks for; null if it has none.
    pub response: Value,
    /// Who answers, for the record.
    pub by: String,
    /// The roles of who answers; `None` for somebody who has every role.
    pub roles: Option<Vec<String>>,
}

impl Engine {
    /// Requests a new execution with the action, in the same version, and parameters of one that has
    /// ended. A run of a workflow may keep what completed. Requests with the same key make one
    /// execution.
    ///
    /// # Errors
    /// It does not exist, has not ended, or its action or the task is gone.
    pub async fn retry(
        &self,
        id: ExecutionId,
        from: RetryFrom,
        idempotency_key: Option<String>,
    ) -> Result<RequestAccepted, ControlError> {
        let earlier = self.stored(id).await?;
        if !earlier.state.status.is_terminal() {
            return Err(ControlError::new(
                ErrorCode::Conflict,
                format!("{id} has not ended: it is {}", earlier.state.status),
            ));
        }
        let what = self.as_it_ran(&earlier.spec).await?;
        let kept = match from {
            RetryFrom::Start => Kept::new(),
            from => self.kept_of(&earlier, &what, &from).await?,
        };
        let request = again(&earlier.spec, what, idempotency_key, None);
        self.request_keeping(request, kept).await
    }

    /// Requests what an execution was asked for once more, whatever became of it, with the definition
    /// that is current now. Requests with the same key make one execution.
    ///
    /// # Errors
    /// It does not exist, or its action is gone.
    pub async fn rerun(
        &self,
        id: ExecutionId,
        idempotency_key: Option<String>,
        trace_parent: Option<String>,
    ) -> Result<RequestAccepted, ControlError> {
        let spec = self.stored(id).await?.spec;
        let is_current = self.catalog().action(&spec.action).is_some();
        // A workflow of a file is in no catalog.
        let what = if is_current && spec.adhoc.is_none() {
            Requested::Action(spec.action.clone())
        } else {
            self.as_it_ran(&spec).await?
        };
        self.request(again(&spec, what, idempotency_key, trace_parent))
            .await
    }

    /// What to ask for so that an execution runs by the definition that it ran by before. What came
    /// with the program is as it is in this one.
    async fn as_it_ran(&self, spec: &ExecutionSpec) -> Result<Requested, ControlError> {
        if let Some(adhoc) = &spec.adhoc {
            return Ok(Requested::Adhoc((**adhoc).clone()));
        }
        let current = Requested::Action(spec.action.clone());
        let Some(hash) = &spec.pack_hash else {
            return Ok(current);
        };
        let version = self.core.version(hash).await;
        let version = version.map_err(|error| match error {
            VersionError::Store(error) => unavailable(error),
            error @ VersionError::Unloadable { .. } => {
                let hint = format!(
                    "run it by its current definition with: camshaft execution rerun {}",
                    spec.id
                );
                ControlError::new(ErrorCode::Conflict, error.to_string()).hint(hint)
            }
        })?;
        Ok(version.map_or(current, |pack| {
            Requested::Pinned(Box::new(Pinned {
                action: spec.action.clone(),
                pack,
                record: None,
            }))
        }))
    }

    /// The tasks of a run that has ended whose results a new run may have without running them.
    async fn kept_of(
        &self,
        earlier: &Execution,
        what: &Requested,
        from: &RetryFrom,
    ) -> Result<Kept, ControlError> {
        let id = earlier.spec.id;
        let conflict = |message: String| ControlError::new(ErrorCode::Conflict, message);
        let reference = &earlier.spec.action;
        let action = match what {
            Requested::Pinned(pinned) => pinned.pack.actions.get(reference).cloned(),
            Requested::Action(_) | Requested::Adhoc(_) => None,
        };
        let action = match action {
            Some(action) => action,
            None => self.core.read(|state| state.known_action(reference))?,
        };
        let Some(workflow) = action.workflow() else {
            return Err(conflict(format!(
                "{id} is no run of a workflow: there is nothing to keep"
            )));
        };
        let record = self.store().run(id).await.map_err(unavailable)?;
        let lap = record.map_or(0, |record| record.lap);
        let store = self.store();
        let tasks = store.tasks(id, Laps::Only(lap), Values::LeaveOut).await;
        let mut kept = Kept::new();
        let mut bytes = 0_usize;
        let limit = self.core.read(|state| state.settings.run_memory_bytes);
        for task in to_keep(workflow, reference, from, lap, tasks.map_err(unavailable)?)? {
            let (result, errors) = self.result_of(&task).await?;
            bytes = bytes.saturating_add(weight::bytes(&result));
            if bytes as u64 > limit {
                return Err(conflict(format!(
                    "the results that this retry would keep take more than {limit} bytes (engine.run_memory_bytes)"
                ))
                .hint(format!("run it anew with: camshaft execution rerun {id}")));
            }
            kept.insert(task.task.name.clone(), as_kept(task, result, errors));
        }
        Ok(kept)
    }

    /// What a task that completed returned, and of one with items why some did not.
    async fn result_of(
        &self,
        task: &TaskRecord,
    ) -> Result<(Arc<Value>, Option<ItemErrors>), ControlError> {
        if let Some(result) = &task.result {
            return Ok((result.clone(), task.item_errors.clone()));
        }
        if let Some(execution) = task.execution {
            let result = self.stored(execution).await?.state.result;
            return Ok((result.unwrap_or_default(), None));
        }
        let Some(items) = task.items else {
            let result = self.store().task_result(task.run, task.task.clone()).await;
            let result = Arc::new(result.map_err(unavailable)?.unwrap_or_default());
            return Ok((result, task.item_errors.clone()));
        };
        let mut ends = ItemEnds::new(items, task.item_errors.as_ref());
        let mut after = None;
        loop {
            let page = PageRequest { after, limit: PAGE };
            let children = self
                .store()
                .children(task.run, Laps::Only(task.task.lap), page, Values::Read)
                .await;
            let children = children.map_err(unavailable)?;
            for child in &children {
                let Some(place) = &child.spec.task else {
                    continue;
                };
                let whole = TaskRef {
                    item: None,
                    ..TaskRef::clone(place)
                };
                if whole == task.task {
                    ends.take(child);
                }
            }
            if children.len() < PAGE as usize {
                return Ok((Arc::new(Value::Array(ends.results)), Some(ends.errors)));
            }
            after = children.last().map(|child| child.spec.id);
        }
    }

    /// Lets no new task of a run start, nor of the runs below it, until it is resumed. What runs goes
    /// on. A run that is paused already changes nothing.
    ///
    /// # Errors
    /// It does not exist, is no run of a workflow, or has ended.
    pub async fn pause(&self, id: ExecutionId) -> Result<Execution, ControlError> {
        self.run_under_way(id).await?;
        self.decide(|state, context| Ok((state.pause(id, context)?, ())))
            .await?;
        self.stored(id).await
    }

    /// Lets a paused run go on. One that is not paused changes nothing.
    ///
    /// # Errors
    /// It does not exist, is no run of a workflow, or has ended.
    pub async fn resume(&self, id: ExecutionId) -> Result<Execution, ControlError> {
        self.run_under_way(id).await?;
        self.decide(|state, context| Ok((state.resume(id, context)?, ())))
            .await?;
        self.stored(id).await
    }

    /// Answers an inquiry. The same answer given again changes nothing.
    ///
    /// # Errors
    /// It does not exist, is closed otherwise, the answer does not fit its schema, or who answers has
    /// none of its roles.
    pub async fn answer(
        &self,
        id: InquiryId,
        answer: InquiryAnswer,
    ) -> Result<Inquiry, ControlError> {
        if let Some(answered) = self.answered(id, &answer).await? {
            return Ok(answered);
        }
        let given = answer.clone();
        match self
            .decide(|state, context| state.answer(id, answer, context))
            .await
        {
            // Somebody was faster, and it may have been with the same answer.
            Err(error) if error.code == ErrorCode::InquiryClosed => {
                self.settled().await?;
                self.answered(id, &given).await?.ok_or(error)
            }
            outcome => outcome,
        }
    }

    /// The inquiry, if this is the answer that it has; `None` while it is open.
    async fn answered(
        &self,
        id: InquiryId,
        answer: &InquiryAnswer,
    ) -> Result<Option<Inquiry>, ControlError> {
        let known = self.store().inquiry(id).await.map_err(unavailable)?;
        let known = known.ok_or_else(|| {
            ControlError::new(ErrorCode::NotFound, format!("there is no inquiry {id}"))
        })?;
        may_answer(&known, answer)?;
        let given = if answer.approve {
            InquiryStatus::Approved
        } else {
            InquiryStatus::Rejected
        };
        if known.status == InquiryStatus::Open {
            return Ok(None);
        }
        // No response is stored as none.
        let response = known.answer.as_ref().unwrap_or(&Value::Null);
        if known.status == given && *response == answer.response {
            return Ok(Some(known));
        }
        Err(closed(&known))
    }

    /// Whether a run can be held or let go on.
    async fn run_under_way(&self, id: ExecutionId) -> Result<(), ControlError> {
        let Execution { spec, state } = self.stored(id).await?;
        if self.store().run(id).await.map_err(unavailable)?.is_none() {
            return Err(ControlError::new(
                ErrorCode::Conflict,
                format!(
                    "{id} is no run: {} is not a workflow, or it has not begun",
                    spec.action
                ),
            )
            .hint(format!("stop it with: camshaft execution cancel {id}")));
        }
        if state.status.is_terminal() {
            return Err(ControlError::new(
                ErrorCode::RunEnded,
                format!("the run {id} has ended: it is {}", state.status),
            )
            .hint(format!("run it again with: camshaft execution retry {id}")));
        }
        Ok(())
    }

    /// Returns once everything is durable that was decided before.
    async fn settled(&self) -> Result<(), ControlError> {
        self.decide(|_, _| Ok((Decision::default(), ()))).await
    }

    /// Applies a command and returns after the commit.
    pub(super) async fn decide<T>(
        &self,
        command: impl FnOnce(&mut State, &Context<'_>) -> Result<(Decision, T), ControlError>,
    ) -> Result<T, ControlError> {
        let (sender, receiver) = oneshot::channel();
        let value = self.core.apply_with(command, move |outcome| {
            let _ = sender.send(outcome);
        })?;
        committed(receiver).await?;
        Ok(value)
    }
}

/// A request like that of an earlier execution.
fn again(
    earlier: &ExecutionSpec,
    what: Requested,
    idempotency_key: Option<String>,
    trace_parent: Option<String>,
) -> ExecutionRequest {
    ExecutionRequest {
        what,
        parameters: (*earlier.parameters).clone(),
        priority: earlier.priority,
        not_before: None,
        idempotency_key,
        origin: Origin::Retry { of: earlier.id },
        trace_parent,
    }
}

/// The answer to who answers what is not open any more.
fn closed(inquiry: &Inquiry) -> ControlError {
    let (id, status) = (inquiry.id, inquiry.status.as_str());
    let at = inquiry
        .closed_at
        .map_or_else(String::new, |at| format!(" at {at}"));
    let message = match (inquiry.status, &inquiry.answered_by) {
        (InquiryStatus::Expired, _) => {
            format!("nobody answered inquiry {id} in time: it expired{at}")
        }
        (InquiryStatus::Withdrawn, _) => {
            format!("inquiry {id} was withdrawn{at}: its run ended without an answer")
        }
        (_, Some(by)) => format!("inquiry {id} was {status} by {by}{at}; the first answer counts"),
        (_, None) => format!("inquiry {id} is {status} already; the first answer counts"),
    };
    ControlError::new(ErrorCode::InquiryClosed, message)
        .hint(format!("see it with: camshaft inquiry show {id}"))
}

/// Whether who answers has one of the roles that an inquiry names.
pub(crate) fn may_answer(inquiry: &Inquiry, answer: &InquiryAnswer) -> Result<(), ControlError> {
    let Some(roles) = &answer.roles else {
        return Ok(());
    };
    if inquiry.roles.is_empty() || inquiry.roles.iter().any(|role| roles.contains(role)) {
        return Ok(());
    }
    Err(ControlError::new(
        ErrorCode::Forbidden,
        format!(
            "inquiry {} asks for somebody with the role {}, and {} has {}",
            inquiry.id,
            inquiry.roles.join(" or "),
            answer.by,
            if roles.is_empty() {
                "none".to_owned()
            } else {
                roles.join(", ")
            }
        ),
    ))
}

/// The tasks that a retry keeps, as the run that has ended recorded them.
pub(crate) fn to_keep(
    workflow: &Workflow,
    reference: &Ref,
    from: &RetryFrom,
    lap: u32,
    tasks: Vec<TaskRecord>,
) -> Result<Vec<TaskRecord>, ControlError> {
    let again = match from {
        RetryFrom::Start => return Ok(Vec::new()),
        RetryFrom::Failed => BTreeSet::new(),
        RetryFrom::Task(name) => {
            let Some((task, _)) = workflow.task(name) else {
                return Err(no_task(workflow, reference, name));
            };
            workflow.downstream(task)
        }
    };
    let keeps = |record: &TaskRecord| {
        let known = workflow.task(&record.task.name);
        known.is_some_and(|(place, task)| !again.contains(&place) && !task.finally)
            && record.task.lap == lap
            && record.status == Status::Completed
    };
    Ok(tasks.into_iter().filter(keeps).collect())
}

/// A task of a run that has ended, as the next run begins with it.
pub(crate) fn as_kept(
    task: TaskRecord,
    result: Arc<Value>,
    item_errors: Option<ItemErrors>,
) -> TaskRecord {
    TaskRecord {
        task: TaskRef {
            lap: TaskRef::KEPT_LAP,
            visit: 1,
            ..task.task
        },
        execution: None,
        items: None,
        result: Some(result),
        item_errors,
        taken_from: Some(TakenFrom::Run { of: task.run }),
        cache_key: None,
        awaited: None,
        until: None,
        ..task
    }
}

fn no_task(workflow: &Workflow, reference: &Ref, name: &str) -> ControlError {
    let names = || workflow.tasks.iter().map(|task| task.name.as_str());
    let known: Vec<&str> = names().take(MAX_NAMES).collect();
    ControlError::new(
        ErrorCode::NotFound,
        format!(
            "{reference} has no task '{}'{}",
            shorten(name),
            did_you_mean(name, names())
        ),
    )
    .hint(format!("it has {}", known.join(", ")))
}
