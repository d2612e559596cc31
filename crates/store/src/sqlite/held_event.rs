//! Events that wait for their rules.

use std::collections::HashMap;

use camshaft_model::{Event, EventId, Ref};
use rusqlite::{Connection, Result, params};

use super::{codec, event};

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

/// Every event that is held, oldest first, with the rules that have not answered it.
pub(super) fn all(connection: &Connection) -> Result<Vec<(Event, Option<Vec<Ref>>)>> {
    let mut rules: HashMap<EventId, Option<Vec<Ref>>> = connection
        .prepare_cached("SELECT event, rules FROM held_event")?
        .query_map([], |row| {
            let id = row.get(0).map(EventId::from_bytes)?;
            Ok((id, codec::read_json(row, 1)?))
        })?
        .collect::<Result<_>>()?;
    let held = event::held(connection)?.into_iter();
    Ok(held
        .map(|event| {
            let rules = rules.remove(&event.id).flatten();
            (event, rules)
        })
        .collect())
}
