//! `POST /api/v1/executions` and `…/batch`: asking for executions.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use camshaft_engine::handle::{ExecutionRequest, Pinned, RequestAccepted, Requested};
use camshaft_model::{Adhoc, Object, Origin, Ref, Timestamp};
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{Body, Params, check_key, idempotency_key, trace_parent};
use crate::mask::Masks;
use crate::problem::Problem;
use crate::route::v1::executions::{shown, wait_for, wait_of};
use crate::serve::Stopping;
use crate::state::Api;

/// The most executions of one batch.
const MAX_BATCH: usize = 1_000;
/// So many of them are on their way to the disk at a time.
const MAX_UNDER_WAY: usize = 128;
/// The most characters of a path or an argument of an ad-hoc file.
const MAX_TEXT: usize = 131_072;

/// A request for an execution.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitBody {
    action: Option<Ref>,
    adhoc: Option<AdhocBody>,
    workflow: Option<PathBuf>,
    #[serde(default)]
    parameters: Object,
    #[serde(default)]
    priority: i32,
    not_before: Option<Timestamp>,
    idempotency_key: Option<String>,
}

/// A file without a definition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdhocBody {
    path: String,
    #[serde(default)]
    args: Vec<String>,
    working_dir: String,
    #[serde(default)]
    runtime: String,
    timeout_ms: Option<u64>,
}

impl AdhocBody {
    fn read(self) -> Result<Adhoc, Problem> {
        for (name, path) in [("path", &self.path), ("working_dir", &self.working_dir)] {
            if !path.starts_with('/') {
                return Err(Problem::invalid(format!(
                    "adhoc.{name} must be an absolute path: the server does not know where you are"
                )));
            }
        }
        let texts = self
            .args
            .iter()
            .chain([&self.path, &self.working_dir, &self.runtime]);
        if texts
            .into_iter()
            .any(|text| text.len() > MAX_TEXT || text.contains('\0'))
        {
            return Err(Problem::invalid(format!(
                "adhoc: a text has a NUL or is longer than {MAX_TEXT} bytes"
            )));
        }
        let Self {
            path,
            args,
            working_dir,
            runtime,
            timeout_ms,
        } = self;
        Ok(Adhoc {
            path,
            args,
            working_dir,
            runtime,
            timeout_ms,
        })
    }
}

impl SubmitBody {
    /// Loads the workflow of the file that is asked for, if one is.
    async fn pinned(&mut self, api: &Api) -> Result<Option<Pinned>, Problem> {
        match self.workflow.take() {
            None => Ok(None),
            Some(file) if file.is_absolute() => Ok(Some(api.packs.workflow(file).await?)),
            Some(_) => Err(Problem::invalid(
                "workflow must be an absolute path: the server does not know where you are",
            )),
        }
    }

    fn read(
        self,
        pinned: Option<Pinned>,
        header_key: Option<String>,
        trace_parent: Option<String>,
    ) -> Result<ExecutionRequest, Problem> {
        let what = match (self.action, self.adhoc, pinned) {
            (Some(action), None, None) => Requested::Action(action),
            (None, Some(adhoc), None) => Requested::Adhoc(adhoc.read()?),
            (None, None, Some(pinned)) => Requested::Pinned(Box::new(pinned)),
            _ => return Err(Problem::invalid("Give one of action, adhoc and workflow")),
        };
        if !(-100..=100).contains(&self.priority) {
            return Err(Problem::invalid(format!(
                "priority must be from -100 to 100, not {}",
                self.priority
            )));
        }
        if let Some(key) = &self.idempotency_key {
            check_key(key)
                .map_err(|problem| Problem::invalid(format!("idempotency_key {problem}")))?;
        }
        Ok(ExecutionRequest {
            what,
            parameters: self.parameters,
            priority: self.priority,
            not_before: self.not_before,
            idempotency_key: self.idempotency_key.or(header_key),
            origin: Origin::Api,
            trace_parent,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct SubmitQuery {
    wait: Option<String>,
}

/// `POST /api/v1/executions`
pub(crate) async fn one(
    State(api): State<Api>,
    Params(query): Params<SubmitQuery>,
    stopping: Stopping,
    headers: HeaderMap,
    Body(mut body): Body<SubmitBody>,
) -> Result<Response, Problem> {
    let wait = wait_of(query.wait.as_deref())?;
    let pinned = body.pinned(&api).await?;
    let request = body.read(pinned, idempotency_key(&headers)?, trace_parent(&headers))?;
    let RequestAccepted {
        execution,
        duplicate,
    } = api.engine.request(request).await?;
    let status = if duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let answer = match wait {
        Some(wait) => wait_for(&api, execution.spec.id, wait, &stopping).await?,
        None => shown(&api, &execution).await,
    };
    Ok((status, answer).into_response())
}

/// Several requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchBody {
    executions: Vec<SubmitBody>,
}

/// `POST /api/v1/executions/batch`: each for itself, in one go.
pub(crate) async fn batch(
    State(api): State<Api>,
    headers: HeaderMap,
    Body(body): Body<BatchBody>,
) -> Result<Json<Value>, Problem> {
    if body.executions.len() > MAX_BATCH {
        return Err(Problem::invalid(format!(
            "A batch has at most {MAX_BATCH} executions, not {}",
            body.executions.len()
        )));
    }
    let (key, trace) = (idempotency_key(&headers)?, trace_parent(&headers));
    let requests = body
        .executions
        .into_iter()
        .enumerate()
        .map(|(position, mut one)| {
            let key = key.as_ref().map(|key| format!("{key}/{position}"));
            let (api, trace) = (&api, trace.clone());
            async move {
                let pinned = one.pinned(api).await?;
                let request = one.read(pinned, key, trace)?;
                Ok::<_, Problem>(api.engine.request(request).await?)
            }
        });
    let mut masks = Masks::new(&api);
    let mut results = Vec::new();
    let mut accepted = stream::iter(requests).buffered(MAX_UNDER_WAY);
    while let Some(result) = accepted.next().await {
        results.push(match result {
            Ok(accepted) => json!({"execution": masks.execution(&accepted.execution).await}),
            Err(problem) => json!({"problem": problem.document()}),
        });
    }
    Ok(Json(json!({"results": results})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<ExecutionRequest, Problem> {
        crate::body::parse::<SubmitBody>(body.to_string().as_bytes())?.read(
            None,
            Some("header".to_owned()),
            None,
        )
    }

    #[test]
    fn a_request_is_for_an_action_or_a_file() {
        assert!(read(json!({"action": "demo.greet"})).is_ok());
        assert!(read(json!({"adhoc": {"path": "/a", "working_dir": "/"}})).is_ok());
        assert!(read(json!({})).is_err());
        assert!(
            read(json!({"action": "demo.greet", "adhoc": {"path": "/a", "working_dir": "/"}}))
                .is_err()
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for body in [
            json!({"action": "greet"}),
            json!({"action": "demo.greet", "priority": 101}),
            json!({"action": "demo.greet", "prio": 1}),
            json!({"action": "demo.greet", "idempotency_key": ""}),
            json!({"action": "demo.greet", "parameters": []}),
            json!({"action": "demo.greet", "not_before": "tomorrow"}),
            json!({"adhoc": {"path": "a", "working_dir": "/"}}),
            json!({"adhoc": {"path": "/a", "working_dir": "/", "args": ["\u{0}"]}}),
        ] {
            assert!(read(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_key_in_the_body_wins_over_the_header() {
        let key = |body| read(body).unwrap().idempotency_key.unwrap();
        assert_eq!(key(json!({"action": "demo.greet"})), "header");
        assert_eq!(
            key(json!({"action": "demo.greet", "idempotency_key": "body"})),
            "body"
        );
    }
}
