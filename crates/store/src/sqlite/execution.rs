//! Executions: one row each, clustered on the id.
//!
//! Lists walk the narrowest index there is for what they filter by. What is not `completed` has an
//! index by status, one has each action and each rule; a list of completed executions walks the table
//! from the newest and stops when the page is full, so it is slow only where nearly all failed.

use std::fmt::Write;
use std::sync::Arc;

use camshaft_model::port::store::{ExecutionFilter, Laps, PageRequest, Refusal};
use camshaft_model::{
    BlockedBy, EventId, Execution, ExecutionId, ExecutionSpec, ExecutionState, HeldBy, Origin,
    Status, TaskRef, Transition,
};
use rusqlite::{
    Connection, OptionalExtension, Result, Row, params, params_from_iter, types::Value,
};

use super::artifact::Source;
use super::codec::{self, json_or_null, read_time_or_null, time};
use super::name::{self, Names};
use super::stage::Large;

/// In the order in which [`read`] takes them.
const SELECT: &str = "SELECT id, root, parent,
    (SELECT text FROM name WHERE name.id = action),
    (SELECT text FROM name WHERE name.id = pack_hash),
    adhoc, parameters, priority, requested_at, origin,
    (SELECT text FROM name WHERE name.id = rule),
    cause, idempotency_key, depth, trace_parent,
    status, attempt, epoch, not_before, blocked_by,
    (SELECT text FROM name WHERE name.id = worker),
    lease_expires_at, scheduled_at, started_at, ended_at, result, error, exit_code, signal,
    (SELECT text FROM name WHERE name.id = task), lap, visit, item FROM execution";

const API: u8 = 0;
const LIBRARY: u8 = 1;
const RULE: u8 = 2;
const RETRY: u8 = 3;
const WORKFLOW: u8 = 4;

/// Records an execution unless its idempotency key is there.
pub(super) fn insert(
    connection: &Connection,
    names: &mut Names,
    large: &Large,
    execution: &Execution,
) -> Result<Option<Refusal>> {
    let Execution { spec, state } = execution;
    if let Some(key) = &spec.idempotency_key
        && let Some(earlier) = by_idempotency_key(connection, key)?
    {
        return Ok(Some(Refusal::DuplicateExecution(earlier)));
    }
    let (origin, rule, cause) = match &spec.origin {
        Origin::Api => (API, None, None),
        Origin::Library => (LIBRARY, None, None),
        Origin::Rule { rule, event } => (RULE, Some(rule.as_str()), Some(event.bytes())),
        Origin::Workflow => (WORKFLOW, None, None),
        Origin::Retry { of } => (RETRY, None, Some(of.bytes())),
    };
    let task = spec.task.as_ref();
    connection
        .prepare_cached(
            "INSERT INTO execution (id, status, attempt, epoch, action, rule, origin, cause,
             requested_at, priority, depth, root, parent, pack_hash, adhoc, parameters,
             idempotency_key, trace_parent, not_before, blocked_by, worker, lease_expires_at,
             scheduled_at, started_at, ended_at, result, error, exit_code, signal, task, lap, visit,
             item) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
             ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)",
        )?
        .execute(params![
            spec.id.bytes(),
            state.status.code(),
            state.attempt,
            state.epoch,
            names.number(connection, spec.action.as_str())?,
            names.number_or_null(connection, rule)?,
            origin,
            cause,
            spec.requested_at.as_micros(),
            spec.priority,
            spec.depth,
            (spec.root != spec.id).then_some(spec.root.bytes()),
            spec.parent.as_ref().map(ExecutionId::bytes),
            names.number_or_null(connection, spec.pack_hash.as_deref())?,
            json_or_null(spec.adhoc.as_ref())?,
            codec::large_object(large, &spec.parameters)?,
            spec.idempotency_key,
            spec.trace_parent,
            time(state.not_before),
            json_or_null(state.blocked_by.as_ref())?,
            names.number_or_null(connection, state.worker.as_deref())?,
            time(state.lease_expires_at),
            time(state.scheduled_at),
            time(state.started_at),
            time(state.ended_at),
            codec::large_or_null(large, state.result.as_deref())?,
            json_or_null(state.error.as_ref())?,
            state.exit_code,
            state.signal,
            names.number_or_null(connection, task.map(|task| task.name.as_str()))?,
            task.map(|task| task.lap),
            task.map(|task| task.visit),
            task.and_then(|task| task.item),
        ])?;
    Ok(None)
}

/// Moves an execution if it is still where the transition starts from.
pub(super) fn transition(
    connection: &Connection,
    names: &mut Names,
    large: &Large,
    transition: &Transition,
) -> Result<Option<Refusal>> {
    let id = transition.execution();
    let (status, attempt, epoch) = transition.from();
    let to = transition.to();
    let moved = connection
        .prepare_cached(
            "UPDATE execution SET status = ?5, attempt = ?6, epoch = ?7, not_before = ?8,
             blocked_by = ?9, worker = ?10, lease_expires_at = ?11, scheduled_at = ?12,
             started_at = ?13, ended_at = ?14, result = ?15, error = ?16, exit_code = ?17,
             signal = ?18 WHERE id = ?1 AND status = ?2 AND attempt = ?3 AND epoch = ?4",
        )?
        .execute(params![
            id.bytes(),
            status.code(),
            attempt,
            epoch,
            to.status.code(),
            to.attempt,
            to.epoch,
            time(to.not_before),
            json_or_null(to.blocked_by.as_ref())?,
            names.number_or_null(connection, to.worker.as_deref())?,
            time(to.lease_expires_at),
            time(to.scheduled_at),
            time(to.started_at),
            time(to.ended_at),
            codec::large_or_null(large, to.result.as_deref())?,
            json_or_null(to.error.as_ref())?,
            to.exit_code,
            to.signal,
        ])?;
    if moved == 1 {
        return Ok(None);
    }
    let at = connection
        .prepare_cached("SELECT status, attempt, epoch FROM execution WHERE id = ?1")?
        .query_row([id.bytes()], |row| {
            Ok((codec::read_status(row, 0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(Some(Refusal::Moved { execution: id, at }))
}

/// Records which constraint holds an execution that waits for its start.
pub(super) fn put_held_by(
    connection: &Connection,
    id: ExecutionId,
    held_by: &HeldBy,
) -> Result<()> {
    let blocked_by = BlockedBy::Constraint(Box::new(held_by.clone()));
    connection
        .prepare_cached("UPDATE execution SET blocked_by = ?3 WHERE id = ?1 AND status = ?2")?
        .execute(params![
            id.bytes(),
            Status::Requested.code(),
            json_or_null(Some(&blocked_by))?,
        ])?;
    Ok(())
}

fn by_idempotency_key(connection: &Connection, key: &str) -> Result<Option<ExecutionId>> {
    connection
        .prepare_cached("SELECT id FROM execution WHERE idempotency_key = ?1")?
        .query_row([key], |row| row.get(0).map(ExecutionId::from_bytes))
        .optional()
}

/// One execution.
pub(super) fn one(
    connection: &Connection,
    source: &Source,
    id: ExecutionId,
) -> Result<Option<Execution>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE id = ?1"))?
        .query_row([id.bytes()], |row| read(row, source))
        .optional()
}

/// Every execution that is not terminal, oldest first.
pub(super) fn unfinished(connection: &Connection, source: &Source) -> Result<Vec<Execution>> {
    connection
        .prepare_cached(&format!(
            "{SELECT} INDEXED BY execution_by_status WHERE status <> 10 AND status < 10 ORDER BY id"
        ))?
        .query_map([], |row| read(row, source))?
        .collect()
}

/// What executions returned.
pub(super) fn results(
    connection: &Connection,
    source: &Source,
    of: &[ExecutionId],
) -> Result<Vec<Option<serde_json::Value>>> {
    let mut statement = connection.prepare_cached("SELECT result FROM execution WHERE id = ?1")?;
    let result = |id: &ExecutionId| {
        let read = statement.query_row([id.bytes()], |row| codec::read_large(row, 0, source));
        Ok(read.optional()?.flatten())
    };
    of.iter().map(result).collect()
}

/// The executions whose parent this is, oldest first.
pub(super) fn children(
    connection: &Connection,
    source: &Source,
    parent: ExecutionId,
    laps: Laps,
    page: PageRequest<ExecutionId>,
) -> Result<Vec<Execution>> {
    let (first, last) = bounds(laps);
    connection
        .prepare_cached(&format!(
            "{SELECT} INDEXED BY execution_by_parent
             WHERE parent = ?1 AND id > ?2 AND lap BETWEEN ?4 AND ?5 ORDER BY id LIMIT ?3"
        ))?
        .query_map(
            params![
                parent.bytes(),
                codec::above(page.after.as_ref().map(ExecutionId::bytes)),
                page.limit,
                first,
                last,
            ],
            |row| read(row, source),
        )?
        .collect()
}

/// The first and the last of some laps.
const fn bounds(laps: Laps) -> (u32, u32) {
    match laps {
        Laps::All => (0, u32::MAX),
        Laps::Until(lap) => (0, lap),
        Laps::Only(lap) => (lap, lap),
    }
}

/// How many items of each task of a run are in each status.
pub(super) fn item_counts(
    connection: &Connection,
    run: ExecutionId,
    laps: Laps,
) -> Result<Vec<(TaskRef, Status, u32)>> {
    let (first, last) = bounds(laps);
    connection
        .prepare_cached(
            "SELECT lap, (SELECT text FROM name WHERE name.id = task), visit, status, count(*)
             FROM execution INDEXED BY execution_by_parent
             WHERE parent = ?1 AND item IS NOT NULL AND lap BETWEEN ?2 AND ?3
             GROUP BY lap, task, visit, status",
        )?
        .query_map(params![run.bytes(), first, last], |row| {
            let task = TaskRef {
                lap: row.get(0)?,
                name: row.get(1)?,
                visit: row.get(2)?,
                item: None,
            };
            Ok((task, codec::read_status(row, 3)?, row.get(4)?))
        })?
        .collect()
}

/// A page of executions, newest first.
pub(super) fn page(
    connection: &Connection,
    source: &Source,
    filter: &ExecutionFilter,
    page: PageRequest<ExecutionId>,
) -> Result<Vec<Execution>> {
    let mut conditions = String::new();
    if filter.roots {
        conditions += " AND parent IS NULL";
    }
    let mut values = vec![
        Value::Blob(codec::below(page.after.as_ref().map(ExecutionId::bytes)).to_vec()),
        Value::Integer(page.limit.into()),
    ];
    for (column, wanted) in [("action", &filter.action), ("rule", &filter.rule)] {
        let Some(wanted) = wanted else { continue };
        let Some(number) = name::find(connection, wanted.as_str())? else {
            return Ok(Vec::new());
        };
        values.push(Value::Integer(number));
        // Writing to a string cannot fail.
        let _ = write!(conditions, " AND {column} = ?{}", values.len());
    }
    let list = |index: &str, conditions: &str| -> Result<Vec<Execution>> {
        connection
            .prepare_cached(&format!(
                "{SELECT} {index} WHERE id < ?1{conditions} ORDER BY id DESC LIMIT ?2"
            ))?
            .query_map(params_from_iter(&values), |row| read(row, source))?
            .collect()
    };
    if filter.statuses.is_empty() || filter.statuses.contains(&Status::Completed) {
        let index = match (&filter.action, &filter.rule) {
            (_, Some(_)) => "INDEXED BY execution_by_rule",
            (Some(_), None) => "INDEXED BY execution_by_action",
            (None, None) => "",
        };
        return list(index, &(conditions + &status_in(&filter.statuses)));
    }
    // Each status is a list in the order of ids of its own: a page of each holds the page of all.
    let mut statuses = filter.statuses.clone();
    statuses.sort_unstable();
    statuses.dedup();
    let mut found = Vec::new();
    for status in statuses {
        let status = format!(" AND status <> 10 AND status = {}", status.code());
        found.extend(list(
            "INDEXED BY execution_by_status",
            &(status + &conditions),
        )?);
    }
    found.sort_unstable_by_key(|execution| std::cmp::Reverse(execution.spec.id));
    found.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
    Ok(found)
}

fn status_in(statuses: &[Status]) -> String {
    if statuses.is_empty() {
        return String::new();
    }
    let codes: Vec<String> = statuses
        .iter()
        .map(|status| status.code().to_string())
        .collect();
    format!(" AND status IN ({})", codes.join(", "))
}

fn read(row: &Row<'_>, source: &Source) -> Result<Execution> {
    Ok(Execution {
        spec: Arc::new(read_spec(row, source)?),
        state: read_state(row, source)?,
    })
}

fn read_spec(row: &Row<'_>, source: &Source) -> Result<ExecutionSpec> {
    let id = ExecutionId::from_bytes(row.get(0)?);
    Ok(ExecutionSpec {
        id,
        root: row
            .get::<_, Option<_>>(1)?
            .map_or(id, ExecutionId::from_bytes),
        parent: row.get::<_, Option<_>>(2)?.map(ExecutionId::from_bytes),
        task: read_task(row)?.map(Box::new),
        action: codec::read_ref(row, 3)?,
        pack_hash: row.get(4)?,
        adhoc: codec::read_json(row, 5)?,
        parameters: Arc::new(codec::read_large_object(row, 6, source)?),
        priority: row.get(7)?,
        requested_at: codec::read_time(row, 8)?,
        origin: match row.get(9)? {
            API => Origin::Api,
            LIBRARY => Origin::Library,
            RULE => Origin::Rule {
                rule: codec::read_ref(row, 10)?,
                event: EventId::from_bytes(row.get(11)?),
            },
            RETRY => Origin::Retry {
                of: ExecutionId::from_bytes(row.get(11)?),
            },
            WORKFLOW => Origin::Workflow,
            other => return Err(codec::unknown_variant(9, other)),
        },
        idempotency_key: row.get(12)?,
        depth: row.get(13)?,
        trace_parent: row.get(14)?,
    })
}

fn read_task(row: &Row<'_>) -> Result<Option<TaskRef>> {
    let Some(name) = row.get(29)? else {
        return Ok(None);
    };
    Ok(Some(TaskRef {
        name,
        lap: row.get(30)?,
        visit: row.get(31)?,
        item: row.get(32)?,
    }))
}

fn read_state(row: &Row<'_>, source: &Source) -> Result<ExecutionState> {
    Ok(ExecutionState {
        status: codec::read_status(row, 15)?,
        attempt: row.get(16)?,
        epoch: row.get(17)?,
        not_before: read_time_or_null(row, 18)?,
        blocked_by: codec::read_json(row, 19)?,
        worker: row.get(20)?,
        lease_expires_at: read_time_or_null(row, 21)?,
        scheduled_at: read_time_or_null(row, 22)?,
        started_at: read_time_or_null(row, 23)?,
        ended_at: read_time_or_null(row, 24)?,
        result: codec::read_large(row, 25, source)?.map(Arc::new),
        error: codec::read_json(row, 26)?,
        exit_code: row.get(27)?,
        signal: row.get(28)?,
    })
}
