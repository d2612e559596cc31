//! What is running here, how its sensors are, what the database's own check says, and this interface
//! described.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use camshaft_model::definition::TriggerKind;
use camshaft_model::port::sensor::{SensorHealth, SensorSpec};
use serde_json::{Value, json};

use crate::openapi::openapi_json;
use crate::page::{all, json_of};
use crate::problem::Problem;
use crate::state::Api;

/// `GET /api/v1/info`
pub(crate) async fn info(State(api): State<Api>) -> Json<Value> {
    let mut info = json_of(&api.config.info);
    info["sinks"] = json_of(&api.sinks.sinks());
    Json(info)
}

/// `GET /api/v1/sensors`: those that hosts run, and the webhooks, which work as long as this server
/// answers.
pub(crate) async fn sensors(State(api): State<Api>) -> impl IntoResponse {
    let mut sensors = api.engine.sensors();
    let wanted = api.engine.wanted_sensors();
    let hooks = wanted
        .iter()
        .filter(|spec| spec.kind == TriggerKind::Webhook);
    let hooks = hooks
        .filter(|spec| sensors.iter().all(|sensor| sensor.key != spec.key))
        .map(working)
        .collect::<Vec<_>>();
    sensors.extend(hooks);
    all(sensors)
}

fn working(spec: &SensorSpec) -> SensorHealth {
    SensorHealth {
        key: spec.key.clone(),
        trigger: spec.trigger.clone(),
        problem: None,
    }
}

/// `GET /api/v1/check`
pub(crate) async fn check(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    Ok(Json(
        json!({"violations": api.engine.store().check().await?}),
    ))
}

/// `GET /api/v1/openapi.json`
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json())
}
