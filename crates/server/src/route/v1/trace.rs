//! `GET /api/v1/executions/{id}/trace`: where the time of a run went.

use axum::Json;
use axum::extract::State;
use camshaft_engine::trace::Trace;
use camshaft_model::ExecutionId;

use crate::body::At;
use crate::mask::Masks;
use crate::problem::Problem;
use crate::route::v1::executions::find;
use crate::state::Api;

/// `GET /api/v1/executions/{id}/trace`
pub(crate) async fn show(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Trace>, Problem> {
    let mut trace = api.engine.trace(id).await?;
    let spec = find(&api, id).await?.spec;
    // Reasons of a run come from expressions, which may have read secrets.
    let hidden = Masks::new(&api).hidden(&spec).await;
    let reasons = trace
        .steps
        .iter_mut()
        .filter_map(|step| step.reason.as_mut());
    reasons.for_each(|reason| hidden.text(reason));
    let messages = trace
        .anomalies
        .iter_mut()
        .map(|anomaly| &mut anomaly.message);
    messages.for_each(|message| hidden.text(message));
    Ok(Json(trace))
}
