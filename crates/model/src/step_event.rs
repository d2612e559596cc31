//! Step events: the durable lines of the event log of a run, and how loud each is in a log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ExecutionId, Object, Timestamp};

/// How loud a step event is in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For following one execution in detail.
    Debug,
    /// Progress.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

macro_rules! step_event_types {
    ($($variant:ident = $text:literal, $level:ident;)*) => {
        /// What a step event tells.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum StepEventType {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// A type that a newer version or another program wrote; kept as it is.
            Other(String),
        }

        impl StepEventType {
            /// Every type that this version writes.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire and in the database.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// How loud it is; what is not known is debug.
            pub fn level(&self) -> LogLevel {
                match self {
                    $(Self::$variant => LogLevel::$level,)*
                    Self::Other(_) => LogLevel::Debug,
                }
            }

            /// Reads a name; one that is not known is kept.
            pub fn from_name(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

step_event_types! {
    StepSpawned = "step_spawned", Debug;
    StepStarted = "step_started", Info;
    StepHeartbeat = "step_heartbeat", Debug;
    StepFinished = "step_finished", Info;
    StepSkipped = "step_skipped", Info;
    StepRetrying = "step_retrying", Info;
    StepTimeout = "step_timeout", Warn;
    CycleStarted = "cycle_started", Info;
    SandboxDenied = "sandbox_denied", Warn;
    SandboxResourceExceeded = "sandbox_resource_exceeded", Warn;
    SandboxNetworkBlocked = "sandbox_network_blocked", Warn;
    DaemonPidKillBlocked = "daemon_pid_kill_blocked", Warn;
    TaskCompleted = "task_completed", Info;
    TaskFailed = "task_failed", Error;
    TaskPaused = "task_paused", Info;
    TaskBlocked = "task_blocked", Info;
    TaskCancelled = "task_cancelled", Info;
    AutoRollbackFailed = "auto_rollback_failed", Warn;
    ResultRefused = "result_refused", Warn;
}

impl fmt::Display for StepEventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for StepEventType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for StepEventType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(Self::from_name(&text))
    }
}

/// Whether a step event is about a whole task or one item of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepScope {
    /// A task.
    Task,
    /// One item of a task.
    Item,
}

impl StepScope {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Item => "item",
        }
    }
}

impl FromStr for StepScope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "task" => Ok(Self::Task),
            "item" => Ok(Self::Item),
            _ => Err(()),
        }
    }
}

/// A step event before the database has numbered it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepEventDraft {
    /// The root execution: the run.
    pub root: ExecutionId,
    /// The execution that the event is about, where it is not the root itself.
    pub item: Option<ExecutionId>,
    /// What it tells.
    pub event_type: StepEventType,
    /// The name of the task, or of the action outside a workflow.
    pub step: Option<String>,
    /// Task or item.
    pub step_scope: Option<StepScope>,
    /// The details.
    pub payload: Object,
    /// When it happened.
    pub created_at: Timestamp,
}

/// One durable line of the event log of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// Rises by at least one with every line of the database; what followers resume from.
    pub id: i64,
    /// The root execution: the run.
    pub execution_id: ExecutionId,
    /// The execution that the event is about, where it is not the root itself.
    pub item_id: Option<ExecutionId>,
    /// What it tells.
    pub event_type: StepEventType,
    /// The name of the task, or of the action outside a workflow.
    pub step: Option<String>,
    /// Task or item; `None` where it is not said or not known.
    pub step_scope: Option<StepScope>,
    /// The details. A stored payload that is not a JSON object is shown under the key `unreadable`.
    pub payload: Object,
    /// When it happened.
    pub created_at: Timestamp,
}

impl StepEvent {
    /// The line that a draft becomes once the database has given it a number.
    pub fn numbered(id: i64, draft: StepEventDraft) -> Self {
        Self {
            id,
            execution_id: draft.root,
            item_id: draft.item,
            event_type: draft.event_type,
            step: draft.step,
            step_scope: draft.step_scope,
            payload: draft.payload,
            created_at: draft.created_at,
        }
    }

    /// The line behind a stored row: promoted columns win, the payload fills what they leave open,
    /// and a payload that is not an object is kept as text.
    #[expect(
        clippy::too_many_arguments,
        reason = "one argument for each stored column"
    )]
    pub fn from_row(
        id: i64,
        execution_id: ExecutionId,
        item_id: Option<ExecutionId>,
        event_type: &str,
        step: Option<String>,
        step_scope: Option<&str>,
        payload: &str,
        created_at: Timestamp,
    ) -> Self {
        let payload: Object = serde_json::from_str(payload).unwrap_or_else(|_| {
            Object::from_iter([("unreadable".to_owned(), payload.to_owned().into())])
        });
        let text = |key: &str| payload.get(key).and_then(|v| v.as_str());
        let step = step.or_else(|| text("step").or_else(|| text("phase")).map(str::to_owned));
        let step_scope = step_scope
            .or_else(|| text("step_scope"))
            .and_then(|scope| scope.parse().ok());
        Self {
            id,
            execution_id,
            item_id,
            event_type: StepEventType::from_name(event_type),
            step,
            step_scope,
            payload,
            created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn read(step: Option<&str>, scope: Option<&str>, payload: &str) -> StepEvent {
        let id = ExecutionId::new(Uuid::nil());
        StepEvent::from_row(
            1,
            id,
            None,
            "step_started",
            step.map(str::to_owned),
            scope,
            payload,
            Timestamp::default(),
        )
    }

    #[test]
    fn columns_win_over_the_payload_and_the_payload_fills_gaps() {
        let payload = r#"{"step":"a","phase":"b","step_scope":"item"}"#;
        assert_eq!(
            read(Some("c"), Some("task"), payload).step.as_deref(),
            Some("c")
        );
        assert_eq!(read(None, None, payload).step.as_deref(), Some("a"));
        assert_eq!(
            read(None, None, r#"{"phase":"b"}"#).step.as_deref(),
            Some("b")
        );
        assert_eq!(read(None, None, payload).step_scope, Some(StepScope::Item));
        assert_eq!(read(None, Some("galaxy"), "{}").step_scope, None);
    }

    #[test]
    fn a_row_that_does_not_parse_is_shown_as_it_is() {
        assert_eq!(
            read(None, None, "not json").payload["unreadable"],
            "not json"
        );
    }

    #[test]
    fn an_unknown_type_is_kept_and_quiet() {
        let event_type = StepEventType::from_name("from_the_future");
        assert_eq!(
            (event_type.as_str(), event_type.level()),
            ("from_the_future", LogLevel::Debug)
        );
    }
}
