//! What watches the world on the engine's behalf. The set of sensors is derived from the enabled
//! rules; the engine hands the whole desired set over each time it changes, and the host starts,
//! changes and stops what differs.

use super::store::StoreError;
use async_trait::async_trait;
use serde::Serialize;

use crate::definition::TriggerKind;
use crate::{EventDraft, EventId, ExecutionId, Object, Ref};

/// One sensor that ought to exist.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorSpec {
    /// Identity: the trigger's ref and a hash of the parameters. Rules with equal trigger and
    /// parameters share one sensor. Goes into [`EventDraft::sensor`] of what it emits.
    pub key: String,
    /// The trigger that it feeds.
    pub trigger: Ref,
    /// How it watches.
    pub kind: TriggerKind,
    /// Its parameters, defaults filled in and checked against the trigger's schema.
    pub parameters: Object,
}

/// How a sensor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SensorHealth {
    /// Which.
    pub key: String,
    /// The trigger that it feeds.
    pub trigger: Ref,
    /// Why it does not work; `None` if it does.
    pub problem: Option<String>,
}

/// A place where sensors of some kinds run.
pub trait SensorHost: Send + Sync {
    /// Makes the running sensors equal to those of `desired` that are of this host's kinds. Returns
    /// at once; problems show in [`SensorHost::health`].
    fn reconcile(&self, desired: &[SensorSpec]);

    /// How each sensor of this host is.
    fn health(&self) -> Vec<SensorHealth>;
}

/// What became of an event that was handed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// The recorded event: the earlier one, if it is a duplicate.
    pub event: EventId,
    /// Whether an event with the same deduplication key had been recorded before.
    pub duplicate: bool,
    /// Executions that rules requested because of it.
    pub executions: Vec<ExecutionId>,
}

/// Why an event was not accepted. Nothing has been recorded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IntakeError {
    /// The event itself is wrong: do not send it again.
    #[error("{0}")]
    Refused(String),
    /// The engine cannot record now: send it again later.
    #[error("the event is not recorded: {0}")]
    Unavailable(String),
}

impl From<StoreError> for IntakeError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Where sensors hand in what they saw.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Records the event and what rules make of it; returns after the commit.
    ///
    /// # Errors
    /// See [`IntakeError`].
    async fn emit(&self, draft: EventDraft) -> Result<Accepted, IntakeError>;

    /// The same, and keeps what the sensor that emitted it ([`EventDraft::sensor`]) must remember, in
    /// the same commit: a timer's last instant is stored with its event or not at all. A duplicate
    /// changes nothing, also not the state.
    ///
    /// # Errors
    /// See [`IntakeError`].
    async fn emit_with_state(
        &self,
        draft: EventDraft,
        sensor_state: serde_json::Value,
    ) -> Result<Accepted, IntakeError>;
}
