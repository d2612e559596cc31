//! Packs: what is current, what a folder would change, and changing it.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use camshaft_model::Timestamp;
use camshaft_model::definition::{Catalog, Pack};
use camshaft_model::port::store::PackRecord;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{At, Body};
use crate::mask;
use crate::page::{all, json_of};
use crate::problem::Problem;
use crate::state::Api;

/// A folder with a pack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanBody {
    dir: PathBuf,
}

/// A folder with a pack, and the version that must still be current.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyBody {
    dir: PathBuf,
    check_version: Option<String>,
}

fn summary(pack: &Pack, records: &[PackRecord]) -> Value {
    let record = records
        .iter()
        .find(|record| record.pack == pack.origin.pack);
    let applied_at: Option<Timestamp> = record.map(|record| record.applied_at);
    json!({
        "pack": pack.origin.pack,
        "version": pack.version,
        "hash": pack.origin.hash,
        "applied_at": applied_at,
        "description": pack.description,
        "counts": {
            "actions": pack.actions.len(),
            "triggers": pack.triggers.len(),
            "rules": pack.rules.len(),
            "runtimes": pack.runtimes.len(),
        },
    })
}

/// `GET /api/v1/packs`
pub(crate) async fn list(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let records = api.engine.store().packs().await?;
    let catalog = api.engine.catalog();
    Ok(all(catalog
        .packs
        .values()
        .map(|pack| summary(pack, &records))
        .collect()))
}

/// `GET /api/v1/packs/{ref}`: the summary and every definition.
pub(crate) async fn show(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Json<Value>, Problem> {
    let catalog = api.engine.catalog();
    let pack = catalog
        .packs
        .get(&name)
        .ok_or_else(|| unknown(&catalog, &name))?;
    let records = api.engine.store().packs().await?;
    let mut shown = summary(pack, &records);
    shown["origin"] = json_of(&pack.origin);
    shown["actions"] = pack
        .actions
        .iter()
        .map(|(reference, action)| (reference.to_string(), mask::action(action)))
        .collect();
    shown["triggers"] = pack
        .triggers
        .iter()
        .map(|(reference, trigger)| (reference.to_string(), mask::trigger(trigger)))
        .collect();
    shown["runtimes"] = json_of(&pack.runtimes);
    let rules = pack.rules.iter().map(|(reference, rule)| {
        let enabled = api.engine.rule_enabled(reference);
        (reference.to_string(), mask::rule(&catalog, rule, enabled))
    });
    shown["rules"] = Value::Object(rules.collect());
    Ok(Json(shown))
}

fn unknown(catalog: &Catalog, name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    let known: Vec<&str> = catalog.packs.keys().map(String::as_str).take(20).collect();
    Problem::not_found(format!("pack '{name}'")).hint(format!("There are: {}", known.join(", ")))
}

fn absolute(dir: PathBuf) -> Result<PathBuf, Problem> {
    if dir.is_absolute() {
        Ok(dir)
    } else {
        Err(Problem::invalid(
            "dir must be an absolute path: the server does not know where you are",
        ))
    }
}

/// `POST /api/v1/packs/plan`
pub(crate) async fn plan(
    State(api): State<Api>,
    Body(body): Body<PlanBody>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(api.packs.plan(absolute(body.dir)?).await?))
}

/// `POST /api/v1/packs/apply`
pub(crate) async fn apply(
    State(api): State<Api>,
    Body(body): Body<ApplyBody>,
) -> Result<Json<Value>, Problem> {
    let plan = api
        .packs
        .apply(absolute(body.dir)?, body.check_version)
        .await?;
    Ok(Json(json!({"plan": plan, "applied": true})))
}

/// `DELETE /api/v1/packs/{ref}`
pub(crate) async fn remove(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<StatusCode, Problem> {
    api.packs.remove(name).await?;
    Ok(StatusCode::NO_CONTENT)
}
