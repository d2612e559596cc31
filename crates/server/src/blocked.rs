//! What holds executions now. A row in the database says what held its execution when it was last written;
//! constraints come and go since, and do not touch the rows of all that they hold.

use camshaft_model::port::store::{ExecutionFilter, PageRequest, Values};
use camshaft_model::{BlockedBy, Execution, ExecutionId, Status};

use crate::page::MAX_LIMIT;
use crate::problem::Problem;
use crate::state::Api;

/// So many executions are looked at for a page of those that constraints hold. The next page goes on
/// from there.
const MAX_LOOKED_AT: usize = 100_000;

/// Puts into executions what the engine says of them.
pub(crate) fn overlay(api: &Api, executions: &mut [Execution]) {
    let waits = |execution: &Execution| {
        matches!(execution.state.status, Status::Requested | Status::Waiting)
    };
    let ids: Vec<ExecutionId> = executions
        .iter()
        .filter(|execution| waits(execution))
        .map(|execution| execution.spec.id)
        .collect();
    if ids.is_empty() {
        return;
    }
    let mut now = api.engine.blocked_by(&ids);
    for execution in executions.iter_mut().filter(|execution| waits(execution)) {
        execution.state.blocked_by = now.remove(&execution.spec.id);
    }
}

/// Whether a constraint, or the wait for those of a broker, holds it.
fn is_blocked(execution: &Execution) -> bool {
    matches!(
        execution.state.blocked_by,
        Some(BlockedBy::Constraint(_) | BlockedBy::Gate)
    )
}

/// The executions that constraints hold, newest first, and from where to look for more.
pub(crate) async fn page(
    api: &Api,
    filter: ExecutionFilter,
    mut after: Option<ExecutionId>,
    limit: usize,
) -> Result<(Vec<Execution>, Option<ExecutionId>), Problem> {
    let filter = ExecutionFilter {
        statuses: vec![Status::Requested, Status::Waiting],
        // Most of what is looked at is not shown.
        values: Values::Named,
        ..filter
    };
    let mut found = Vec::new();
    let mut looked_at = 0;
    loop {
        let request = PageRequest {
            after,
            limit: MAX_LIMIT,
        };
        let mut rows = api
            .engine
            .store()
            .executions(filter.clone(), request)
            .await?;
        let is_last = rows.len() < MAX_LIMIT as usize;
        looked_at += rows.len();
        overlay(api, &mut rows);
        for row in rows {
            if found.len() == limit {
                return Ok((found, after));
            }
            after = Some(row.spec.id);
            if is_blocked(&row) {
                found.push(row);
            }
        }
        if is_last {
            return Ok((found, None));
        }
        if looked_at >= MAX_LOOKED_AT {
            return Ok((found, after));
        }
    }
}
