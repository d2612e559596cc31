//! `/healthz`, `/readyz` and `/metrics`: for machines that watch, without a token.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::state::Api;

/// The process answers.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Every part works, or which does not and why.
pub(super) async fn readyz(State(api): State<Api>) -> impl IntoResponse {
    let components = api.engine.health();
    let ready = components
        .iter()
        .all(|component| component.problem.is_none());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({"ready": ready, "components": components})),
    )
}

/// Counts, in the text format of Prometheus, or as OpenMetrics for who prefers that.
pub(super) async fn metrics(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let Some(metrics) = &api.metrics else {
        let off = Problem::not_found("endpoint '/metrics'");
        return Err(off.hint("the configuration says metrics.enabled: false"));
    };
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let (content_type, page) = metrics.page(&api.engine, &api.config.info, accept);
    Ok(([(header::CONTENT_TYPE, content_type)], page))
}
