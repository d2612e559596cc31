//! Events: one row each, clustered on the id; immutable.

use camshaft_model::port::store::{EventFilter, PageRequest, Refusal};
use camshaft_model::{Event, EventDraft, EventId, EventSource, Object};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use serde_json::Value;

use super::codec::{self, time};
use super::name::{self, Names};

/// In the order in which [`read`] takes them.
const SELECT: &str =
    "SELECT id, (SELECT text FROM name WHERE name.id = trigger), received_at, payload,
    (SELECT text FROM name WHERE name.id = source_kind), source_name, dedup_key, occurred_at,
    (SELECT text FROM name WHERE name.id = sensor), depth, trace_parent FROM event";

/// Records an event unless its trigger and deduplication key are there.
pub(super) fn insert(
    connection: &Connection,
    names: &mut Names,
    event: &Event,
) -> Result<Option<Refusal>> {
    let draft = &event.draft;
    let trigger = names.number(connection, draft.trigger.as_str())?;
    if let Some(key) = &draft.dedup_key
        && let Some(earlier) = by_dedup_key(connection, trigger, key)?
    {
        return Ok(Some(Refusal::DuplicateEvent(earlier)));
    }
    connection
        .prepare_cached(
            "INSERT INTO event (id, trigger, received_at, payload, source_kind, source_name,
             dedup_key, occurred_at, sensor, depth, trace_parent)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            event.id.bytes(),
            trigger,
            event.received_at.as_micros(),
            codec::payload(&draft.payload)?,
            names.number(connection, &draft.source.kind)?,
            draft.source.name,
            draft.dedup_key,
            time(draft.occurred_at),
            names.number_or_null(connection, draft.sensor.as_deref())?,
            draft.depth,
            draft.trace_parent,
        ])?;
    Ok(None)
}

fn by_dedup_key(connection: &Connection, trigger: i64, key: &str) -> Result<Option<EventId>> {
    connection
        .prepare_cached("SELECT id FROM event WHERE trigger = ?1 AND dedup_key = ?2")?
        .query_row(params![trigger, key], |row| {
            row.get(0).map(EventId::from_bytes)
        })
        .optional()
}

/// One event.
pub(super) fn one(connection: &Connection, id: EventId) -> Result<Option<Event>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE id = ?1"))?
        .query_row([id.bytes()], read)
        .optional()
}

/// The events of these ids, as long as their payloads fit in so many bytes; the first in any case.
pub(super) fn by_id(
    connection: &Connection,
    ids: &[EventId],
    max_bytes: u64,
) -> Result<Vec<Event>> {
    let mut one = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    for id in ids {
        let mut rows = one.query([id.bytes()])?;
        let Some(row) = rows.next()? else {
            continue;
        };
        bytes += codec::bytes_of(row, 3)?;
        if bytes > max_bytes && !events.is_empty() {
            break;
        }
        events.push(read(row)?);
    }
    Ok(events)
}

/// A page of events, newest first.
pub(super) fn page(
    connection: &Connection,
    filter: &EventFilter,
    page: PageRequest<EventId>,
) -> Result<Vec<Event>> {
    let below = codec::below(page.after.as_ref().map(EventId::bytes));
    let Some(trigger) = &filter.trigger else {
        return connection
            .prepare_cached(&format!("{SELECT} WHERE id < ?1 ORDER BY id DESC LIMIT ?2"))?
            .query_map(params![below, page.limit], read)?
            .collect();
    };
    let Some(trigger) = name::find(connection, trigger.as_str())? else {
        return Ok(Vec::new());
    };
    connection
        .prepare_cached(&format!(
            "{SELECT} INDEXED BY event_by_trigger WHERE trigger = ?3 AND id < ?1
             ORDER BY id DESC LIMIT ?2"
        ))?
        .query_map(params![below, page.limit, trigger], read)?
        .collect()
}

fn read(row: &Row<'_>) -> Result<Event> {
    Ok(Event {
        id: EventId::from_bytes(row.get(0)?),
        received_at: codec::read_time(row, 2)?,
        draft: EventDraft {
            trigger: codec::read_ref(row, 1)?,
            payload: codec::read_value(row, 3)?.unwrap_or_else(|| Value::Object(Object::new())),
            source: EventSource {
                kind: row.get(4)?,
                name: row.get(5)?,
            },
            dedup_key: row.get(6)?,
            occurred_at: codec::read_time_or_null(row, 7)?,
            sensor: row.get(8)?,
            depth: row.get(9)?,
            trace_parent: row.get(10)?,
        },
    })
}
