//! Results that later runs may take in place of running a task: bounded, the oldest go first.

use std::sync::Arc;

use camshaft_model::Timestamp;
use camshaft_model::run::CachedResult;
use rusqlite::{Connection, Result, params};

use super::artifact::Source;
use super::codec::{self, json_or_null};
use super::stage::Large;

/// At most so many results are kept; the one that was kept first goes first.
const KEPT: i64 = 10_000;
/// At most so many results that have expired are deleted with each that is kept.
const FORGOTTEN_AT_ONCE: i64 = 100;

/// Keeps a result and makes room for it.
pub(super) fn put(connection: &Connection, large: &Large, cached: &CachedResult) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM cached_result WHERE id IN (SELECT id FROM cached_result
             INDEXED BY cached_result_by_expiry WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
        )?
        .execute(params![cached.kept_at.as_micros(), FORGOTTEN_AT_ONCE])?;
    // A replaced row gets a new number: it is the youngest again.
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO cached_result (key, result, kept_at, expires_at, item_errors)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            cached.key,
            codec::large_or_null(large, Some(&cached.result))?,
            cached.kept_at.as_micros(),
            cached.expires_at.as_micros(),
            json_or_null(cached.item_errors.as_ref())?,
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM cached_result WHERE id IN (SELECT id FROM cached_result ORDER BY id
             LIMIT max(0, (SELECT count(*) FROM cached_result) - ?1))",
        )?
        .execute([KEPT])
        .map(drop)
}

/// The kept results that are good after this instant, the one that expires last first. One that would
/// take what was read past `max_bytes` of JSON is left out, and so is one whose file is lost: their
/// tasks run again.
pub(super) fn good(
    connection: &Connection,
    source: &Source,
    now: Timestamp,
    max_bytes: u64,
) -> Result<Vec<CachedResult>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, result, kept_at, expires_at, item_errors FROM cached_result
         INDEXED BY cached_result_by_expiry WHERE expires_at > ?1 ORDER BY expires_at DESC, id DESC",
    )?;
    let mut rows = statement.query([now.as_micros()])?;
    let mut good = Vec::new();
    let mut left = max_bytes;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        match left.checked_sub(codec::size_of_large(row, 1, source)?) {
            Some(rest) => left = rest,
            None => continue,
        }
        match codec::read_large(row, 1, source) {
            Ok(result) => good.push(CachedResult {
                key,
                result: Arc::new(result.unwrap_or_default()),
                kept_at: codec::read_time(row, 2)?,
                expires_at: codec::read_time(row, 3)?,
                item_errors: codec::read_json(row, 4)?,
            }),
            Err(e) => tracing::warn!(error = %e, key, "a kept result cannot be used"),
        }
    }
    Ok(good)
}
