//! `/healthz`, `/readyz` and `/metrics`: for machines that watch, without a token.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::metrics;
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

/// Counts, in the text format of Prometheus.
pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let page = metrics::render(&api.feed, &api.engine.health());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page,
    )
}
