//! Events that wait for their rules.

use camshaft_model::port::store::HeldEvent;
use camshaft_model::{EventId, Ref};
use rusqlite::{Connection, Result, params};

use super::codec;

/// Records that an event is held.
pub(super) fn put(connection: &Connection, id: EventId, rules: Option<&Vec<Ref>>) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO held_event (event, rules) VALUES (?1, ?2)
             ON CONFLICT (event) DO UPDATE SET rules = excluded.rules",
        )?
        .execute(params![id.bytes(), codec::json_or_null(rules)?])
        .map(drop)
}

/// Forgets that an event is held.
pub(super) fn remove(connection: &Connection, id: EventId) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM held_event WHERE event = ?1")?
        .execute([id.bytes()])
        .map(drop)
}

/// Every event that is held, oldest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<HeldEvent>> {
    connection
        .prepare_cached(
            "SELECT event.id, (SELECT text FROM name WHERE name.id = trigger), rules
             FROM held_event JOIN event ON event.id = held_event.event ORDER BY held_event.event",
        )?
        .query_map([], |row| {
            Ok(HeldEvent {
                event: row.get(0).map(EventId::from_bytes)?,
                trigger: codec::read_ref(row, 1)?,
                rules: codec::read_json(row, 2)?,
            })
        })?
        .collect()
}
