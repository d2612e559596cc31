//! Events: one occurrence of a trigger. An event is immutable once it is recorded.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{EventId, Ref, Timestamp};

/// Where an event came from, for people and for `why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSource {
    /// What emitted it: `api`, `webhook`, `timer`, `file`, `process`, `engine`.
    pub kind: String,
    /// Which one: a sensor key, a remote address, an execution id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An event that has not been accepted yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventDraft {
    /// The kind of event.
    pub trigger: Ref,
    /// What happened; any JSON value, usually an object.
    pub payload: Value,
    /// Who says so.
    pub source: EventSource,
    /// At most one event with the same trigger and key is ever recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// When it happened, as far as the source knows; the time of acceptance otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// Only rules fed by this sensor see the event. `None`: every rule on the trigger whose own
    /// trigger parameters are empty or match (events posted by people and programs).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// How many executions led to this event, one after another; bounds rules that feed themselves.
    #[serde(default)]
    pub depth: u32,
    /// W3C trace context that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
}

/// A recorded event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// What was accepted.
    #[serde(flatten)]
    pub draft: EventDraft,
}
