//! Running once more what was run before: `retry` follows one that has ended and may keep what
//! completed, `rerun` asks for the same anew, whatever became of it.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use camshaft_engine::RetryFrom;
use camshaft_engine::handle::RequestAccepted;
use camshaft_model::ExecutionId;
use serde::Deserialize;

use crate::body::{At, Raw, idempotency_key, parse, trace_parent};
use crate::problem::Problem;
use crate::route::v1::executions::shown;
use crate::state::Api;

/// What a retry keeps of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetryBody {
    from: Option<String>,
    failed_only: bool,
}

impl RetryBody {
    /// Nothing at all asks for a retry from the start.
    fn read(bytes: &[u8]) -> Result<RetryFrom, Problem> {
        let body = if bytes.is_empty() {
            Self::default()
        } else {
            parse(bytes)?
        };
        match (body.from, body.failed_only) {
            (None, false) => Ok(RetryFrom::Start),
            (None, true) => Ok(RetryFrom::Failed),
            (Some(task), false) => Ok(RetryFrom::Task(task)),
            (Some(_), true) => Err(Problem::invalid(
                "Give either from or failed_only: both say which tasks are kept",
            )),
        }
    }
}

/// `POST /api/v1/executions/{id}/retry`
pub(crate) async fn retry(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let from = RetryBody::read(&body)?;
    let key = idempotency_key(&headers)?;
    answer(&api, api.engine.retry(id, from, key).await?).await
}

/// `POST /api/v1/executions/{id}/rerun`
pub(crate) async fn rerun(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let parent = trace_parent(&headers);
    answer(&api, api.engine.rerun(id, key, parent).await?).await
}

async fn answer(api: &Api, accepted: RequestAccepted) -> Result<Response, Problem> {
    let status = if accepted.duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, shown(api, &accepted.execution).await).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_says_in_one_way_what_it_keeps() {
        let read = |text: &str| RetryBody::read(text.as_bytes());
        for text in ["", "{}", r#"{"from":null,"failed_only":false}"#] {
            assert_eq!(read(text).unwrap(), RetryFrom::Start, "{text}");
        }
        assert_eq!(
            read(r#"{"from":"load"}"#).unwrap(),
            RetryFrom::Task("load".to_owned())
        );
        assert_eq!(read(r#"{"failed_only":true}"#).unwrap(), RetryFrom::Failed);
        for text in [
            r#"{"from":"load","failed_only":true}"#,
            r#"{"task":"load"}"#,
            r#"{"failed_only":1}"#,
            "x",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
