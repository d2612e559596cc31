//! Constraints, and from when on a limit of a rate allows its next start.
//!
//! A row that cannot be read is an error: a pause must not end because nobody understands it.

use camshaft_model::port::store::ConstraintRecord;
use camshaft_model::{Constraint, ConstraintKey, Scope, Terms, Timestamp, Via};
use rusqlite::{Connection, Result, Row, params};

use super::codec;

/// Records a constraint in place of the one of the same key, whose rate goes on from where it is.
pub(super) fn put(
    connection: &Connection,
    constraint: &Constraint,
    since: Timestamp,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO constraint_in_force
                 (scope, type, id, params, expires_at, reason, owner, via, set_at, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (scope, type) DO UPDATE SET id = excluded.id, params = excluded.params,
                 expires_at = excluded.expires_at, reason = excluded.reason,
                 owner = excluded.owner, via = excluded.via, set_at = excluded.set_at,
                 since = excluded.since",
        )?
        .execute(params![
            constraint.scope.to_string(),
            constraint.terms.kind().as_str(),
            constraint.id,
            codec::json(&constraint.terms.params())?,
            constraint.expires_at.map(Timestamp::as_micros),
            constraint.reason,
            constraint.owner,
            via(constraint.via),
            constraint.set_at.as_micros(),
            since.as_micros(),
        ])
        .map(drop)
}

/// Forgets a constraint.
pub(super) fn remove(connection: &Connection, key: &ConstraintKey) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM constraint_in_force WHERE scope = ?1 AND type = ?2")?
        .execute(params![key.scope.to_string(), key.kind.as_str()])
        .map(drop)
}

/// Records the instant of a rate, if its constraint is still there.
pub(super) fn put_rate_instant(
    connection: &Connection,
    key: &ConstraintKey,
    at: Timestamp,
) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE constraint_in_force SET rate_at = ?3 WHERE scope = ?1 AND type = ?2",
        )?
        .execute(params![
            key.scope.to_string(),
            key.kind.as_str(),
            at.as_micros()
        ])
        .map(drop)
}

/// Every constraint.
pub(super) fn all(connection: &Connection) -> Result<Vec<ConstraintRecord>> {
    connection
        .prepare_cached(
            "SELECT scope, type, id, params, expires_at, reason, owner, via, set_at, rate_at,
                 since
             FROM constraint_in_force ORDER BY scope, type",
        )?
        .query_map([], read)?
        .collect()
}

fn read(row: &Row<'_>) -> Result<ConstraintRecord> {
    let scope: String = row.get(0)?;
    let scope: Scope = scope.parse().map_err(|e| codec::unreadable(0, e))?;
    let kind: String = row.get(1)?;
    let kind = kind.parse().map_err(|e| codec::unreadable(1, e))?;
    let params = codec::read_value(row, 3)?.unwrap_or_default();
    let terms = Terms::read(kind, &params).map_err(|e| codec::unreadable(3, e))?;
    let via: String = row.get(7)?;
    let instant = |column: usize| -> Result<Option<Timestamp>> {
        Ok(row
            .get::<_, Option<i64>>(column)?
            .map(Timestamp::from_micros))
    };
    let constraint = Constraint {
        id: row.get(2)?,
        scope,
        terms,
        expires_at: instant(4)?,
        reason: row.get(5)?,
        owner: row.get(6)?,
        via: if via == "mqtt" { Via::Mqtt } else { Via::Api },
        set_at: codec::read_time(row, 8)?,
    };
    Ok(ConstraintRecord {
        since: instant(10)?.unwrap_or(constraint.set_at),
        rate_at: instant(9)?,
        constraint,
    })
}

const fn via(via: Via) -> &'static str {
    match via {
        Via::Api => "api",
        Via::Mqtt => "mqtt",
    }
}
