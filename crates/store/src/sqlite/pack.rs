//! Packs: every version that was ever current or that a run is pinned to, which one is now, and which rules are overridden.

use camshaft_model::Ref;
use camshaft_model::port::store::PackRecord;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::codec;

/// Makes a version current; remembers it for the runs that will be pinned to it.
pub(super) fn put(connection: &Connection, record: &PackRecord) -> Result<()> {
    put_version(connection, record)?;
    connection
        .prepare_cached(
            "INSERT INTO pack (pack, hash) VALUES (?1, ?2)
             ON CONFLICT (pack) DO UPDATE SET hash = excluded.hash",
        )?
        .execute([&record.pack, &record.hash])
        .map(drop)
}

/// Remembers a version for runs that are pinned to it.
pub(super) fn put_version(connection: &Connection, record: &PackRecord) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO pack_version (hash, pack, version, dir, applied_at)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (hash) DO UPDATE SET pack = excluded.pack,
             version = excluded.version, dir = excluded.dir, applied_at = excluded.applied_at",
        )?
        .execute(params![
            record.hash,
            record.pack,
            record.version,
            record.dir,
            record.applied_at.as_micros(),
        ])
        .map(drop)
}

/// No version is current any more.
pub(super) fn remove(connection: &Connection, pack: &str) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM pack WHERE pack = ?1")?
        .execute([pack])
        .map(drop)
}

/// The current version of every pack.
pub(super) fn current(connection: &Connection) -> Result<Vec<PackRecord>> {
    connection
        .prepare_cached(
            "SELECT pack.pack, version, hash, dir, applied_at FROM pack
             JOIN pack_version USING (hash) ORDER BY pack.pack",
        )?
        .query_map([], read)?
        .collect()
}

/// A version by its hash.
pub(super) fn version(connection: &Connection, hash: &str) -> Result<Option<PackRecord>> {
    connection
        .prepare_cached(
            "SELECT pack, version, hash, dir, applied_at FROM pack_version WHERE hash = ?1",
        )?
        .query_row([hash], read)
        .optional()
}

fn read(row: &Row<'_>) -> Result<PackRecord> {
    Ok(PackRecord {
        pack: row.get(0)?,
        version: row.get(1)?,
        hash: row.get(2)?,
        dir: row.get(3)?,
        applied_at: codec::read_time(row, 4)?,
    })
}

/// Overrides whether a rule is enabled, or takes the override back.
pub(super) fn set_rule_enabled(
    connection: &Connection,
    rule: &Ref,
    enabled: Option<bool>,
) -> Result<()> {
    let rule = rule.as_str();
    match enabled {
        Some(enabled) => connection
            .prepare_cached(
                "INSERT INTO rule_override (rule, enabled) VALUES (?1, ?2)
                 ON CONFLICT (rule) DO UPDATE SET enabled = excluded.enabled",
            )?
            .execute(params![rule, enabled]),
        None => connection
            .prepare_cached("DELETE FROM rule_override WHERE rule = ?1")?
            .execute([rule]),
    }
    .map(drop)
}

/// Every override.
pub(super) fn rule_overrides(connection: &Connection) -> Result<Vec<(Ref, bool)>> {
    connection
        .prepare_cached("SELECT rule, enabled FROM rule_override ORDER BY rule")?
        .query_map([], |row| Ok((codec::read_ref(row, 0)?, row.get(1)?)))?
        .collect()
}
