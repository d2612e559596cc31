//! Attempts that have ended: one row each, clustered on the execution and the number of the try.

use camshaft_model::{Attempt, AttemptKey, ExecutionId, Output};
use rusqlite::{Connection, Result, Row, params};

use super::codec::{self, time};
use super::name::Names;

const TRUNCATED: u8 = 1;
const REDACTED: u8 = 2;

/// Records an attempt unless it is there.
pub(super) fn record(connection: &Connection, names: &mut Names, attempt: &Attempt) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO attempt (execution, attempt, epoch, status, worker, started_at, ended_at,
             error, exit_code, signal, stdout_bytes, stdout_stored, stdout_flags, stdout,
             stderr_bytes, stderr_stored, stderr_flags, stderr, output_lost)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
             ?18, ?19) ON CONFLICT (execution, attempt) DO NOTHING",
        )?
        .execute(params![
            attempt.key.execution.bytes(),
            attempt.key.attempt,
            attempt.key.epoch,
            attempt.status.code(),
            names.number_or_null(connection, attempt.worker.as_deref())?,
            time(attempt.started_at),
            attempt.ended_at.as_micros(),
            codec::json_or_null(attempt.error.as_ref())?,
            attempt.exit_code,
            attempt.signal,
            count(attempt.stdout.bytes),
            stored(&attempt.stdout),
            flags(&attempt.stdout),
            attempt.stdout.inline,
            count(attempt.stderr.bytes),
            stored(&attempt.stderr),
            flags(&attempt.stderr),
            attempt.stderr.inline,
            attempt.output_lost,
        ])
        .map(drop)
}

fn count(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn stored(output: &Output) -> Option<i64> {
    (output.stored != output.bytes).then_some(count(output.stored))
}

fn flags(output: &Output) -> u8 {
    u8::from(output.truncated) * TRUNCATED + u8::from(output.redacted) * REDACTED
}

/// The attempts of an execution, in order.
pub(super) fn of(connection: &Connection, id: ExecutionId) -> Result<Vec<Attempt>> {
    connection
        .prepare_cached(
            "SELECT execution, attempt, epoch, status,
             (SELECT text FROM name WHERE name.id = worker), started_at, ended_at, error, exit_code,
             signal, output_lost, stdout_bytes, stdout_stored, stdout_flags, stdout, stderr_bytes,
             stderr_stored, stderr_flags, stderr FROM attempt WHERE execution = ?1 ORDER BY attempt",
        )?
        .query_map([id.bytes()], read)?
        .collect()
}

fn read(row: &Row<'_>) -> Result<Attempt> {
    Ok(Attempt {
        key: AttemptKey {
            execution: ExecutionId::from_bytes(row.get(0)?),
            attempt: row.get(1)?,
            epoch: row.get(2)?,
        },
        status: codec::read_status(row, 3)?,
        worker: row.get(4)?,
        started_at: codec::read_time_or_null(row, 5)?,
        ended_at: codec::read_time(row, 6)?,
        error: codec::read_json(row, 7)?,
        exit_code: row.get(8)?,
        signal: row.get(9)?,
        stdout: read_output(row, 11)?,
        stderr: read_output(row, 15)?,
        output_lost: row.get(10)?,
    })
}

fn read_output(row: &Row<'_>, first: usize) -> Result<Output> {
    let size = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    let bytes = size(row.get(first)?);
    let flags: u8 = row.get(first + 2)?;
    Ok(Output {
        bytes,
        stored: row.get::<_, Option<i64>>(first + 1)?.map_or(bytes, size),
        truncated: flags & TRUNCATED != 0,
        redacted: flags & REDACTED != 0,
        inline: row.get(first + 3)?,
    })
}
