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
use crate::mask::{self, Hidden};
use crate::page::{self, MAX_LIMIT, Page};
use crate::problem::Problem;
use crate::route::v1::executions::{find, shown};
use crate::state::Api;
use crate::{blocked, graph};

/// A run with its tasks: all that it takes to draw it, its children aside.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) run: RunRecord,
    /// In the order in which they started, of every lap.
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

/// `GET /api/v1/executions/{id}/run`
pub(crate) async fn show(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Run>, Problem> {
    let execution = find(&api, id).await?;
    let store = api.engine.store();
    let mut run = store.run(id).await?.ok_or_else(|| no_run(&execution))?;
    let records = store.tasks(id, Laps::All, Values::Read).await?;
    let mut counts = HashMap::<TaskRef, Counts>::new();
    if records.iter().any(|record| record.items.is_some()) {
        for (task, status, count) in store.item_counts(id).await? {
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
    let definition = graph::definition(&api, &execution.spec).await;
    if let Some(definition) = &definition {
        let hidden = Hidden::of(&api.engine, &execution.spec, definition);
        run.vars.values_mut().for_each(|var| hidden.value(var));
        if let Some(ending) = &mut run.ending {
            hidden.text(&mut ending.error.message);
        }
        tasks.iter_mut().for_each(|task| task.hide(&hidden));
        inquiries.iter_mut().for_each(|one| hidden.inquiry(one));
    }
    Ok(Json(Run {
        run,
        tasks,
        inquiries,
        workflow: definition.and_then(|action| graph::shown(&action, &api.engine.catalog())),
    }))
}

impl Task {
    fn hide(&mut self, hidden: &Hidden) {
        let record = &mut self.record;
        hidden.shared(&mut record.result);
        if let Some(awaited) = &mut record.awaited {
            hidden.value(awaited);
        }
        if let Some(reason) = &mut record.reason {
            hidden.text(reason);
        }
        if let Some(error) = &mut record.error {
            hidden.text(&mut error.message);
        }
    }
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
        .children(id, Laps::All, request, Values::Read)
        .await?;
    blocked::overlay(&api, &mut rows);
    let catalog = api.engine.catalog();
    let page = page::page(rows, limit, |child| child.spec.id.to_string());
    Ok(Json(page.map(|child| {
        mask::execution(&api.engine, &catalog, &child)
    })))
}

/// `POST /api/v1/executions/{id}/pause`
pub(crate) async fn pause(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Execution>, Problem> {
    Ok(shown(&api, &api.engine.pause(id).await?))
}

/// `POST /api/v1/executions/{id}/resume`
pub(crate) async fn resume(
    State(api): State<Api>,
    At(id): At<ExecutionId>,
) -> Result<Json<Execution>, Problem> {
    Ok(shown(&api, &api.engine.resume(id).await?))
}
