//! An engine inside this program.

use std::sync::Arc;
use std::time::Duration;

use camshaft_engine::Engine;
use camshaft_engine::handle::{ExecutionRequest, Requested};
use camshaft_model::port::sensor::{Intake, IntakeError};
use camshaft_model::{ErrorCode, EventDraft, EventId, EventSource, Execution, Object, Origin, Ref};
use serde::Serialize;
use serde_json::Value;

use super::error::Error;
use super::follow::{Followed, Followers};
use super::run::refused;
use crate::wire::System;

/// How long what runs gets when the engine stops.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);

/// An engine inside this program. Dropped without [`stop`](Embedded::stop), it ends as by a crash:
/// nothing that was recorded is lost, and the next start goes on from there.
pub struct Embedded {
    system: System,
    followed: Followed,
}

impl Embedded {
    pub(super) const fn new(system: System, followers: Arc<Followers>) -> Self {
        let followed = Followed(followers);
        Self { system, followed }
    }

    pub(super) const fn followers(&self) -> &Arc<Followers> {
        &self.followed.0
    }

    /// Requests an execution of an action by its ref and waits until it is terminal, however it ended. A
    /// workflow of the program is [`run`](super::Workflow::run) with its types.
    ///
    /// # Errors
    /// There is no such action, or the parameters are no object or do not fit.
    pub async fn run(&self, action: &str, parameters: Value) -> Result<Arc<Execution>, Error> {
        let action = reference(action)?;
        let Value::Object(parameters) = parameters else {
            let message = "parameters are a JSON object".to_owned();
            return Err(refused(ErrorCode::InvalidRequest, message));
        };
        let accepted = self.engine().request(request(action, parameters)).await?;
        Ok(self.engine().wait(accepted.execution.spec.id).await?)
    }

    /// Posts an event: rules answer it, and tasks that wait for such a one go on. It is recorded once this
    /// returns.
    ///
    /// # Errors
    /// There is no such trigger, the payload does not fit it, or the database does not answer.
    pub async fn emit(&self, trigger: &str, payload: impl Serialize) -> Result<EventId, Error> {
        let invalid = |message: String| refused(ErrorCode::InvalidRequest, message);
        let payload = serde_json::to_value(payload)
            .map_err(|error| invalid(format!("the payload: {error}")))?;
        let draft = EventDraft {
            trigger: reference(trigger)?,
            payload,
            source: EventSource {
                kind: "library".to_owned(),
                name: None,
            },
            dedup_key: None,
            occurred_at: None,
            sensor: None,
            depth: 0,
            trace_parent: None,
        };
        match self.engine().emit(draft).await {
            Ok(accepted) => Ok(accepted.event),
            Err(IntakeError::Refused(message)) => Err(invalid(message)),
            Err(IntakeError::Unavailable(message)) => Err(refused(ErrorCode::Unavailable, message)),
        }
    }

    /// The engine, for everything else.
    pub const fn engine(&self) -> &Engine {
        self.system.engine()
    }

    /// The parts behind it.
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// Stops what runs and returns once everything is recorded. Runs that have not ended go on at the next
    /// start.
    pub async fn stop(self) {
        self.system.stop(STOP_GRACE).await;
    }
}

/// A plain request for an action by the program that embeds the engine.
pub fn request(action: Ref, parameters: Object) -> ExecutionRequest {
    ExecutionRequest {
        what: Requested::Action(action),
        parameters,
        priority: 0,
        not_before: None,
        idempotency_key: None,
        origin: Origin::Library,
        trace_parent: None,
    }
}

fn reference(text: &str) -> Result<Ref, Error> {
    text.parse()
        .map_err(|error: camshaft_model::reference::RefError| {
            refused(ErrorCode::InvalidRequest, error.to_string())
        })
}
