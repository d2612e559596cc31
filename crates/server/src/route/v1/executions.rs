//! Executions that have been asked for: reading, waiting, cancelling, explaining.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use camshaft_engine::handle::ExecutionExplanation;
use camshaft_model::port::store::{ExecutionFilter, Values};
use camshaft_model::{Attempt, Execution, ExecutionId, Ref, Status};
use serde::Deserialize;

use crate::blocked;
use crate::body::{At, Params, parse_text};
use crate::mask::Masks;
use crate::page::{self, Items, Page};
use crate::problem::Problem;
use crate::serve::Stopping;
use crate::state::Api;

/// How long a request may wait; who wants longer asks again.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// How long `GET /wait` waits when it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// In the place of a status: held by a constraint.
const BLOCKED: &str = "blocked";

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    status: Option<String>,
    action: Option<Ref>,
    rule: Option<Ref>,
    roots: Option<bool>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/v1/executions`
pub(crate) async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<Execution>>, Problem> {
    let asked = || page::list(query.status.as_deref());
    let only_blocked = asked().any(|status| status == BLOCKED);
    if only_blocked && asked().count() > 1 {
        return Err(Problem::invalid(format!(
            "'{BLOCKED}' stands alone: what a constraint holds is requested or waiting as well"
        )));
    }
    let statuses: Result<Vec<Status>, Problem> = asked()
        .filter(|status| *status != BLOCKED)
        .map(parse_text)
        .collect();
    let filter = ExecutionFilter {
        statuses: statuses?,
        action: query.action,
        rule: query.rule,
        roots: query.roots.unwrap_or(false),
        values: Values::Bounded,
    };
    let limit = page::limit(query.limit)?;
    let request = page::request(query.cursor.as_deref(), limit)?;
    let page = if only_blocked {
        let (items, next) = blocked::page(&api, filter, request.after, limit as usize).await?;
        Page {
            items,
            next_cursor: next.map(|id| id.to_string()),
        }
    } else {
        let mut rows = api.engine.store().executions(filter, request).await?;
        blocked::overlay(&api, &mut rows);
        page::page(rows, limit, |execution| execution.spec.id.to_string())
    };
    Ok(Json(Masks::new(&api).page(page).await))
}

/// The execution, or the problem that there is none.
pub(crate) async fn find(api: &Api, id: ExecutionId) -> Result<Execution, Problem> {
    let execution = api.engine.store().execution(id).await?;
    execution.ok_or_else(|| Problem::not_found(format!("execution '{id}'")))
}

/// The execution as it may be shown.
pub(crate) async fn shown(api: &Api, execution: &Execution) -> Json<Execution> {
    let mut shown = Masks::new(api).execution(execution).await;
    blocked::overlay(api, std::slice::from_mut(&mut shown));
    Json(shown)
}

/// `GET /api/v1/executions/{id}`
pub(crate) async fn show(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Execution>, Problem> {
    Ok(shown(&api, &find(&api, id).await?).await)
}

/// `GET /api/v1/executions/{id}/attempts`
pub(crate) async fn attempts(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Items<Attempt>>, Problem> {
    find(&api, id).await?;
    Ok(page::all(api.engine.store().attempts(id).await?))
}

/// `GET /api/v1/executions/{id}/why`
pub(crate) async fn why(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<ExecutionExplanation>, Problem> {
    Ok(Json(api.engine.why_execution(id).await?))
}

/// `POST /api/v1/executions/{id}/cancel`
pub(crate) async fn cancel(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Execution>, Problem> {
    Ok(shown(&api, &api.engine.cancel(id).await?).await)
}

#[derive(Debug, Deserialize)]
pub(crate) struct WaitQuery {
    timeout: Option<String>,
}

/// `GET /api/v1/executions/{id}/wait`
pub(crate) async fn wait(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
    Params(query): Params<WaitQuery>,
    stopping: Stopping,
) -> Result<Json<Execution>, Problem> {
    let timeout = wait_of(query.timeout.as_deref())?.unwrap_or(DEFAULT_WAIT);
    wait_for(&api, id, timeout, &stopping).await
}

/// The execution once it is terminal, or as it is when the time is over or the server stops.
pub(crate) async fn wait_for(
    api: &Api,
    id: ExecutionId,
    timeout: Duration,
    stopping: &Stopping,
) -> Result<Json<Execution>, Problem> {
    tokio::select! {
        ended = api.engine.wait(id) => return Ok(shown(api, &*ended?).await),
        () = tokio::time::sleep(timeout) => {}
        () = stopping.stopped() => {}
    }
    Ok(shown(api, &find(api, id).await?).await)
}

/// Reads a time to wait, at most ten minutes.
pub(crate) fn wait_of(text: Option<&str>) -> Result<Option<Duration>, Problem> {
    let parsed = text.map(camshaft_model::duration::parse).transpose();
    let wait = parsed.map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(wait.map(|wait| wait.min(MAX_WAIT)))
}
