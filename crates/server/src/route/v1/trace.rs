//! `GET /api/v1/executions/{id}/trace`: where the time of a run went.

use axum::Json;
use axum::extract::State;
use camshaft_engine::trace::Trace;
use camshaft_model::ExecutionId;

use crate::body::At;
use crate::problem::Problem;
use crate::state::Api;

/// `GET /api/v1/executions/{id}/trace`
pub(crate) async fn show(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Trace>, Problem> {
    Ok(Json(api.engine.trace(id).await?))
}
