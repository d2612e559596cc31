//! Runs of workflows: how far one has come, what it is made of, holding it and letting it go on.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use camshaft_model::port::store::{InquiryFilter, Laps, PageRequest, Values};
use camshaft_model::{
    BlockedBy, ErrorCode, Execution, ExecutionId, Inquiry, InquiryStatus, RunRecord, TaskRecord,
    TaskRef,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body::{At, Params};
use crate::mask::Masks;
use crate::page::{self, MAX_LIMIT, Page};
use crate::problem::Problem;
use crate::route::v1::executions::{find, shown};
use crate::state::Api;
use crate::{blocked, graph};

/// A run with its tasks: all that it takes to draw it, its children aside.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) run: RunRecord,
    /// Those of one lap, in the order in which they started.
    pub(crate) tasks: Vec<Task>,
    /// Those that are open.
    pub(crate) inquiries: Vec<Inquiry>,
    /// The graph by which this run goes; null if that version cannot be read any more.
    pub(crate) workflow: Option<Value>,
}

/// One start of a task, with how far its items have come.
#[derive(Debug, Serialize)]
pub(crate) struct Task {
    #[serde(flatten)]
    pub(crate) record: TaskRecord,
    /// How many items are in each status; one that has not been made yet is in none. Null for a task
    /// without items.
    pub(crate) item_counts: Option<Counts>,
    /// What holds its execution, or the first of its items, as long as none runs.
    pub(crate) blocked_by: Option<BlockedBy>,
}

type Counts = BTreeMap<&'static str, u32>;

#[derive(Debug, Deserialize)]
pub(crate) struct RunQuery {
    lap: Option<u32>,
}

/// `GET /api/v1/executions/{id}/run`: with the tasks of the present lap, or of the one that is asked for.
pub(crate) async fn show(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
    Params(query): Params<RunQuery>,
) -> Result<Json<Run>, Problem> {
    let execution = find(&api, id).await?;
    let store = api.engine.store();
    let mut run = store.run(id).await?.ok_or_else(|| no_run(&execution))?;
    // What a run keeps of an earlier one is no lap of its own.
    let lap = Laps::Only(query.lap.unwrap_or(run.lap).max(1));
    let records = store.tasks(id, lap, Values::Bounded).await?;
    let mut counts = HashMap::<TaskRef, Counts>::new();
    if records.iter().any(|record| record.items.is_some()) {
        for (task, status, count) in store.item_counts(id, lap).await? {
            counts
                .entry(task)
                .or_default()
                .insert(status.as_str(), count);
        }
    }
    let open = InquiryFilter {
        statuses: vec![InquiryStatus::Open],
        run: Some(id),
        below: false,
    };
    let first = PageRequest {
        after: None,
        limit: MAX_LIMIT,
    };
    let mut inquiries = store.inquiries(open, first).await?;
    let mut under_way = api.engine.tasks_now(id);
    let mut tasks: Vec<Task> = records
        .into_iter()
        .map(|mut record| {
            let now = under_way.remove(&record.task);
            let now = now.filter(|_| record.ended_at.is_none());
            record.status = now.as_ref().map_or(record.status, |now| now.status);
            Task {
                item_counts: record
                    .items
                    .map(|_| counts.remove(&record.task).unwrap_or_default()),
                blocked_by: now.and_then(|now| now.blocked_by),
                record,
            }
        })
        .collect();
    let mut masks = Masks::new(&api);
    let definition = masks.definition(&execution.spec).await;
    let hidden = masks.hidden(&execution.spec).await;
    hidden.run(&mut run);
    tasks
        .iter_mut()
        .for_each(|task| hidden.task(&mut task.record));
    inquiries.iter_mut().for_each(|one| hidden.inquiry(one));
    Ok(Json(Run {
        run,
        tasks,
        inquiries,
        workflow: definition.and_then(|action| graph::shown(&action, &api.engine.catalog())),
    }))
}

/// There is such an execution, but nothing is recorded of it as a run.
pub(crate) fn no_run(execution: &Execution) -> Problem {
    let spec = &execution.spec;
    Problem::new(
        ErrorCode::NotFound,
        format!(
            "Execution '{}' is no run: {} is not a workflow",
            spec.id, spec.action
        ),
    )
    .hint(match spec.parent {
        Some(parent) => format!("It is a task of the run {parent}"),
        None => format!("GET /api/v1/executions/{} shows it", spec.id),
    })
}

#[derive(Debug, Deserialize)]
pub(crate) struct ChildrenQuery {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/v1/executions/{id}/children`
pub(crate) async fn children(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
    Params(query): Params<ChildrenQuery>,
) -> Result<Json<Page<Execution>>, Problem> {
    let limit = page::limit(query.limit)?;
    let request = page::request(query.cursor.as_deref(), limit)?;
    find(&api, id).await?;
    let mut rows = api
        .engine
        .store()
        .children(id, Laps::All, request, Values::Bounded)
        .await?;
    blocked::overlay(&api, &mut rows);
    let page = page::page(rows, limit, |child| child.spec.id.to_string());
    Ok(Json(Masks::new(&api).page(page).await))
}

/// `POST /api/v1/executions/{id}/pause`
pub(crate) async fn pause(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Execution>, Problem> {
    Ok(shown(&api, &api.engine.pause(id).await?).await)
}

/// `POST /api/v1/executions/{id}/resume`
pub(crate) async fn resume(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Execution>, Problem> {
    Ok(shown(&api, &api.engine.resume(id).await?).await)
}
