//! What is told of a run, as it is on the wire: a flat header and one body.

use camshaft_model::{ExecutionId, Timestamp};
use serde::Serialize;

/// The version of the format.
const VERSION: &str = "1.0";
/// The most characters of an error or a reason. The whole of it is in the event log.
const MAX_TEXT_CHARS: usize = 4_096;

/// Who tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The organisation.
    pub org_id: String,
    /// The project.
    pub project_id: String,
    /// Host and process.
    pub source: String,
}

/// What happened. The names and the order of the fields are the wire's.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type")]
pub(crate) enum Body {
    LifecycleEvent(Lifecycle),
    TaskStateEvent(Box<TaskState>),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Lifecycle {
    pub(crate) event: &'static str,
    /// Whether the run had begun in an earlier life of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct TaskState {
    pub(crate) task_id: String,
    pub(crate) task_name: String,
    pub(crate) state: State,
    pub(crate) duration_ms: f64,
    pub(crate) error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) item: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The label of the constraint that holds the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) constraint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum State {
    Pending,
    Running,
    Completed,
    Failed,
    Skipped,
    Blocked,
    Retrying,
}

impl TaskState {
    pub(crate) fn new(task_id: String, task_name: &str, state: State) -> Self {
        Self {
            task_id,
            task_name: task_name.to_owned(),
            state,
            duration_ms: 0.0,
            error: String::new(),
            attempt: None,
            item: None,
            reason: None,
            constraint: None,
            worker: None,
        }
    }
}

/// The beginning of a text.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One message that waits to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Queued {
    pub(crate) run: ExecutionId,
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    /// How many messages of the run before this one were given up.
    pub(crate) dropped: u64,
    pub(crate) body: Body,
}

impl Queued {
    /// What it takes while it waits, more or less.
    pub(super) fn bytes(&self) -> usize {
        let long = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = match &self.body {
            Body::LifecycleEvent(body) => long(&body.error),
            Body::TaskStateEvent(body) => {
                let names = body.task_id.len() + body.task_name.len() + body.error.len();
                names + long(&body.reason) + long(&body.constraint) + long(&body.worker)
            }
        };
        size_of::<Self>() + size_of::<TaskState>() + texts
    }

    pub(crate) fn write(&self, identity: &Identity) -> Vec<u8> {
        #[derive(Serialize)]
        struct Envelope<'a> {
            v: &'static str,
            ts: String,
            run_id: ExecutionId,
            org_id: &'a str,
            project_id: &'a str,
            source: &'a str,
            body: &'a Body,
            seq: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            dropped: Option<u64>,
        }
        let mut ts = self.at.to_string();
        if ts.ends_with('Z') {
            ts.pop();
            ts.push_str("+00:00");
        }
        let envelope = Envelope {
            v: VERSION,
            ts,
            run_id: self.run,
            org_id: &identity.org_id,
            project_id: &identity.project_id,
            source: &identity.source,
            body: &self.body,
            seq: self.seq,
            dropped: (self.dropped > 0).then_some(self.dropped),
        };
        // Texts and finite numbers can always be written.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: Body, dropped: u64) -> String {
        let identity = Identity {
            org_id: "local".into(),
            project_id: "default".into(),
            source: "host-7".into(),
        };
        let queued = Queued {
            run: ExecutionId::new(uuid::Uuid::from_u128(1)),
            seq: 3,
            at: Timestamp::from_micros(1_795_224_509_590_000),
            dropped,
            body,
        };
        String::from_utf8(queued.write(&identity)).unwrap()
    }

    #[test]
    fn messages_byte_by_byte() {
        let mut task = TaskState::new("exec_x".into(), "fetch", State::Completed);
        assert_eq!(
            written(Body::TaskStateEvent(Box::new(task.clone())), 0),
            r#"{"v":"1.0","ts":"2026-11-21T01:28:29.590000+00:00","run_id":"exec_00000000000000000000000001","org_id":"local","project_id":"default","source":"host-7","body":{"type":"TaskStateEvent","task_id":"exec_x","task_name":"fetch","state":"COMPLETED","duration_ms":0.0,"error":""},"seq":3}"#
        );
        task.state = State::Blocked;
        task.duration_ms = 1.5;
        task.attempt = Some(1);
        task.item = Some(0);
        task.reason = Some("held".into());
        task.constraint = Some("pause-global".into());
        task.worker = Some("w".into());
        assert_eq!(
            written(Body::TaskStateEvent(Box::new(task)), 12),
            r#"{"v":"1.0","ts":"2026-11-21T01:28:29.590000+00:00","run_id":"exec_00000000000000000000000001","org_id":"local","project_id":"default","source":"host-7","body":{"type":"TaskStateEvent","task_id":"exec_x","task_name":"fetch","state":"BLOCKED","duration_ms":1.5,"error":"","attempt":1,"item":0,"reason":"held","constraint":"pause-global","worker":"w"},"seq":3,"dropped":12}"#
        );
        let started = Lifecycle {
            event: "ENGINE_STARTED",
            ..Lifecycle::default()
        };
        assert_eq!(
            written(Body::LifecycleEvent(started), 0),
            r#"{"v":"1.0","ts":"2026-11-21T01:28:29.590000+00:00","run_id":"exec_00000000000000000000000001","org_id":"local","project_id":"default","source":"host-7","body":{"type":"LifecycleEvent","event":"ENGINE_STARTED"},"seq":3}"#
        );
        let stopped = Lifecycle {
            event: "ENGINE_STOPPED",
            resumed: None,
            status: Some("failed"),
            duration_ms: Some(12.0),
            error: Some("[red]no markup[/red]".into()),
        };
        assert!(written(Body::LifecycleEvent(stopped), 0).contains(
            r#""body":{"type":"LifecycleEvent","event":"ENGINE_STOPPED","status":"failed","duration_ms":12.0,"error":"[red]no markup[/red]"}"#
        ));
    }
}
