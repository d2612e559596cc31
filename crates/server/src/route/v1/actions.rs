//! What can run, and what can happen: actions and triggers of every current pack.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use camshaft_model::Ref;
use serde_json::Value;

use crate::body::At;
use crate::mask;
use crate::page::all;
use crate::problem::Problem;
use crate::state::Api;

/// `GET /api/v1/actions`
pub(crate) async fn list(State(api): State<Api>) -> impl IntoResponse {
    let catalog = api.engine.catalog();
    let actions = catalog
        .packs
        .values()
        .flat_map(|pack| pack.actions.values());
    all(actions
        .map(|action| mask::action(action))
        .collect::<Vec<Value>>())
}

/// `GET /api/v1/actions/{ref}`
pub(crate) async fn show(
    State(api): State<Api>,
    At(reference): At<Ref>,
) -> Result<Json<Value>, Problem> {
    let catalog = api.engine.catalog();
    let action = catalog
        .action(&reference)
        .ok_or_else(|| Problem::not_found(format!("action '{reference}'")))?;
    Ok(Json(mask::action(action)))
}

/// `GET /api/v1/triggers`
pub(crate) async fn triggers(State(api): State<Api>) -> impl IntoResponse {
    let catalog = api.engine.catalog();
    let triggers = catalog
        .packs
        .values()
        .flat_map(|pack| pack.triggers.values());
    all(triggers
        .map(|trigger| mask::trigger(trigger))
        .collect::<Vec<Value>>())
}
