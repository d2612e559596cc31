//! The event log of a run: by pages, and as a stream that resumes.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use camshaft_model::port::store::StepEventFilter;
use camshaft_model::{ExecutionId, StepEvent, StepEventType};
use serde::Deserialize;

use crate::body::{At, Params};
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::route::v1::executions::find;
use crate::serve::Stopping;
use crate::sse::{Follower, resume_after};
use crate::state::Api;

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    after: Option<i64>,
    r#type: Option<String>,
    step: Option<String>,
    limit: Option<u32>,
}

impl Query {
    fn filter(&self) -> StepEventFilter {
        StepEventFilter {
            types: page::list(self.r#type.as_deref())
                .map(StepEventType::from_name)
                .collect(),
            step: self.step.clone(),
            ..StepEventFilter::default()
        }
    }

    /// The lines of one execution: a whole run, or one part of it.
    async fn filter_of(&self, api: &Api, id: ExecutionId) -> Result<StepEventFilter, Problem> {
        let spec = find(api, id).await?.spec;
        let item = (spec.root != id).then_some(id);
        Ok(StepEventFilter {
            root: Some(spec.root),
            item,
            ..self.filter()
        })
    }
}

/// `GET /api/v1/executions/{id}/events`
pub(crate) async fn list(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
    Params(query): Params<Query>,
) -> Result<Json<Page<StepEvent>>, Problem> {
    let limit = page::limit(query.limit)?;
    let mut request = page::request(None, limit)?;
    request.after = query.after;
    let filter = query.filter_of(&api, id).await?;
    let lines = api.engine.store().step_events(filter, request).await?;
    Ok(Json(page::page(lines, limit, |line| line.id.to_string())))
}

/// `GET /api/v1/executions/{id}/events/stream`: the log from where the client left off, then live;
/// ends once the execution is terminal.
pub(crate) async fn stream_one(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
    Params(query): Params<Query>,
    stopping: Stopping,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = resume_after(&headers, query.after)?.unwrap_or(0);
    let filter = query.filter_of(&api, id).await?;
    Ok(Follower::new(
        api.engine.store(),
        &api.feed,
        filter,
        after,
        Some(id),
        stopping,
    )
    .into_response())
}

/// `GET /api/v1/events/stream`: the lines of every run; what happens from now on, unless the client
/// says where it left off.
pub(crate) async fn stream_all(
    State(api): State<Api>,
    Params(query): Params<Query>,
    stopping: Stopping,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = match resume_after(&headers, query.after)? {
        Some(after) => after,
        None => api.engine.store().newest_step_event().await?,
    };
    Ok(Follower::new(
        api.engine.store(),
        &api.feed,
        query.filter(),
        after,
        None,
        stopping,
    )
    .into_response())
}
