//! What a person does to one run: try it again, hold it, let it go on, answer what it asks.

use camshaft_model::{ErrorCode, Execution, ExecutionId, Inquiry, InquiryId, Origin};
use serde_json::Value;

use super::{ControlError, Engine, ExecutionRequest, RequestAccepted, Requested};

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
    /// Requests a new execution with the action and parameters of one that has ended. A run of a
    /// workflow may keep what completed. Requests with the same key make one execution.
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
        if from != RetryFrom::Start {
            todo!("keeping tasks");
        }
        let spec = &earlier.spec;
        self.request(ExecutionRequest {
            what: spec
                .adhoc
                .clone()
                .map_or_else(|| Requested::Action(spec.action.clone()), Requested::Adhoc),
            parameters: (*spec.parameters).clone(),
            priority: spec.priority,
            not_before: None,
            idempotency_key,
            origin: Origin::Retry { of: id },
            trace_parent: None,
        })
        .await
    }

    /// Lets no new task of a run start, nor of the runs below it, until it is resumed. What runs goes
    /// on. A run that is paused already changes nothing.
    ///
    /// # Errors
    /// It does not exist, is no run of a workflow, or has ended.
    pub async fn pause(&self, _id: ExecutionId) -> Result<Execution, ControlError> {
        todo!("pausing runs")
    }

    /// Lets a paused run go on. One that is not paused changes nothing.
    ///
    /// # Errors
    /// It does not exist, is no run of a workflow, or has ended.
    pub async fn resume(&self, _id: ExecutionId) -> Result<Execution, ControlError> {
        todo!("resuming runs")
    }

    /// Answers an inquiry. The same answer given again changes nothing.
    ///
    /// # Errors
    /// It does not exist, is closed otherwise, the answer does not fit its schema, or who answers has
    /// none of its roles.
    pub async fn answer(
        &self,
        _id: InquiryId,
        _answer: InquiryAnswer,
    ) -> Result<Inquiry, ControlError> {
        todo!("answering")
    }
}
