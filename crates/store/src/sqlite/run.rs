//! How far runs of workflows have come: one row each, replaced as a whole.

use camshaft_model::{ExecutionId, RunRecord};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::artifact::Source;
use super::codec::{self, json_or_null, time};
use super::stage::Large;

/// Replaces what was recorded of a run before.
pub(super) fn put(connection: &Connection, large: &Large, run: &RunRecord) -> Result<()> {
    let arrivals = (!run.arrivals.is_empty()).then_some(&run.arrivals);
    connection
        .prepare_cached(
            "INSERT INTO run (execution, lap, cycle, paused, vars, arrivals, ending, next_lap_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (execution) DO UPDATE SET
             lap = excluded.lap, cycle = excluded.cycle, paused = excluded.paused,
             vars = excluded.vars, arrivals = excluded.arrivals, ending = excluded.ending,
             next_lap_at = excluded.next_lap_at",
        )?
        .execute(params![
            run.execution.bytes(),
            run.lap,
            run.cycle,
            run.paused,
            codec::large_object(large, &run.vars)?,
            json_or_null(arrivals)?,
            json_or_null(run.ending.as_ref())?,
            time(run.next_lap_at),
        ])
        .map(drop)
}

/// Replaces what was recorded of a run before, but for its variables.
pub(super) fn put_progress(connection: &Connection, run: &RunRecord) -> Result<()> {
    let arrivals = (!run.arrivals.is_empty()).then_some(&run.arrivals);
    connection
        .prepare_cached(
            "UPDATE run SET lap = ?2, cycle = ?3, paused = ?4, arrivals = ?5, ending = ?6,
             next_lap_at = ?7 WHERE execution = ?1",
        )?
        .execute(params![
            run.execution.bytes(),
            run.lap,
            run.cycle,
            run.paused,
            json_or_null(arrivals)?,
            json_or_null(run.ending.as_ref())?,
            time(run.next_lap_at),
        ])
        .map(drop)
}

/// One run.
pub(super) fn one(
    connection: &Connection,
    source: &Source,
    id: ExecutionId,
) -> Result<Option<RunRecord>> {
    connection
        .prepare_cached(
            "SELECT execution, lap, cycle, paused, vars, arrivals, ending, next_lap_at
             FROM run WHERE execution = ?1",
        )?
        .query_row([id.bytes()], |row| read(row, source))
        .optional()
}

fn read(row: &Row<'_>, source: &Source) -> Result<RunRecord> {
    Ok(RunRecord {
        execution: ExecutionId::from_bytes(row.get(0)?),
        lap: row.get(1)?,
        cycle: row.get(2)?,
        paused: row.get(3)?,
        vars: codec::read_large_object(row, 4, source)?,
        arrivals: codec::read_json(row, 5)?.unwrap_or_default(),
        ending: codec::read_json(row, 6)?,
        next_lap_at: codec::read_time_or_null(row, 7)?,
    })
}
