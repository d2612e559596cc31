//! What became of the tasks of runs: one row for each start of each task, in the order in which they
//! started, and the lists over which tasks fan out.
//!
//! A task is written when it starts and when it ends. The second write keeps the row's number, and so
//! the task's place in the order.

use std::sync::Arc;

use camshaft_model::port::store::Laps;
use camshaft_model::{ExecutionId, TaskRecord, TaskRef};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use serde_json::Value;

use super::artifact::Source;
use super::codec::{self, json_or_null, time};
use super::name::{self, Names};
use super::stage::Large;

/// Records a start of a task, or what became of it since.
pub(super) fn put(
    connection: &Connection,
    names: &mut Names,
    large: &Large,
    record: &TaskRecord,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO task (run, lap, task, visit, status, execution, items, reason, error,
             result, taken_from, cache_key, awaited, until, started_at, ended_at, item_errors)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT (run, lap, task, visit) DO UPDATE SET status = excluded.status,
             execution = excluded.execution, items = excluded.items, reason = excluded.reason,
             error = excluded.error, result = excluded.result, taken_from = excluded.taken_from,
             cache_key = excluded.cache_key, awaited = excluded.awaited, until = excluded.until,
             started_at = excluded.started_at, ended_at = excluded.ended_at,
             item_errors = excluded.item_errors",
        )?
        .execute(params![
            record.run.bytes(),
            record.task.lap,
            names.number(connection, &record.task.name)?,
            record.task.visit,
            record.status.code(),
            record.execution.as_ref().map(ExecutionId::bytes),
            record.items,
            record.reason,
            json_or_null(record.error.as_ref())?,
            codec::large_or_null(large, record.result.as_deref())?,
            json_or_null(record.taken_from.as_ref())?,
            record.cache_key,
            json_or_null(record.awaited.as_ref())?,
            time(record.until),
            record.started_at.as_micros(),
            time(record.ended_at),
            json_or_null(record.item_errors.as_ref())?,
        ])
        .map(drop)
}

/// What became of the tasks of a run, in the order in which they started.
pub(super) fn of(
    connection: &Connection,
    source: &Source,
    run: ExecutionId,
    laps: Laps,
) -> Result<Vec<TaskRecord>> {
    let (first, last) = match laps {
        Laps::All => (TaskRef::KEPT_LAP + 1, u32::MAX),
        Laps::Until(lap) => (TaskRef::KEPT_LAP + 1, lap),
        Laps::Only(lap) => (lap, lap),
    };
    connection
        .prepare_cached(
            "SELECT run, lap, (SELECT text FROM name WHERE name.id = task), visit, status,
             execution, items, reason, error, result, taken_from, cache_key, awaited, until,
             started_at, ended_at, item_errors FROM task
             WHERE run = ?1 AND lap BETWEEN ?2 AND ?3 ORDER BY id",
        )?
        .query_map(params![run.bytes(), first, last], |row| read(row, source))?
        .collect()
}

fn read(row: &Row<'_>, source: &Source) -> Result<TaskRecord> {
    Ok(TaskRecord {
        run: ExecutionId::from_bytes(row.get(0)?),
        task: TaskRef {
            lap: row.get(1)?,
            name: row.get(2)?,
            visit: row.get(3)?,
            item: None,
        },
        status: codec::read_status(row, 4)?,
        execution: row.get::<_, Option<_>>(5)?.map(ExecutionId::from_bytes),
        items: row.get(6)?,
        reason: codec::read_text(row, 7)?,
        error: codec::read_json(row, 8)?,
        result: codec::read_large(row, 9, source)?.map(Arc::new),
        taken_from: codec::read_json(row, 10)?,
        cache_key: row.get(11)?,
        awaited: codec::read_value(row, 12)?,
        until: codec::read_time_or_null(row, 13)?,
        started_at: codec::read_time(row, 14)?,
        ended_at: codec::read_time_or_null(row, 15)?,
        item_errors: codec::read_json(row, 16)?,
    })
}

/// Records the list over which a task fans out.
pub(super) fn put_items(
    connection: &Connection,
    names: &mut Names,
    large: &Large,
    run: ExecutionId,
    task: &TaskRef,
    items: &Value,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO task_items (run, lap, task, visit, items) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (run, lap, task, visit) DO UPDATE SET items = excluded.items",
        )?
        .execute(params![
            run.bytes(),
            task.lap,
            names.number(connection, &task.name)?,
            task.visit,
            codec::large_or_null(large, Some(items))?,
        ])
        .map(drop)
}

/// The result that a record has itself.
pub(super) fn result(
    connection: &Connection,
    source: &Source,
    run: ExecutionId,
    task: &TaskRef,
) -> Result<Option<Value>> {
    let Some(number) = name::find(connection, &task.name)? else {
        return Ok(None);
    };
    let found = connection
        .prepare_cached(
            "SELECT result FROM task WHERE run = ?1 AND lap = ?2 AND task = ?3 AND visit = ?4",
        )?
        .query_row(params![run.bytes(), task.lap, number, task.visit], |row| {
            codec::read_large(row, 0, source)
        })
        .optional()?;
    Ok(found.flatten())
}

/// The list over which a task fans out.
pub(super) fn items(
    connection: &Connection,
    source: &Source,
    run: ExecutionId,
    task: &TaskRef,
) -> Result<Option<Value>> {
    let Some(number) = name::find(connection, &task.name)? else {
        return Ok(None);
    };
    let found = connection
        .prepare_cached(
            "SELECT items FROM task_items
             WHERE run = ?1 AND lap = ?2 AND task = ?3 AND visit = ?4",
        )?
        .query_row(params![run.bytes(), task.lap, number, task.visit], |row| {
            codec::read_large(row, 0, source)
        })
        .optional()?;
    Ok(found.flatten())
}
