//! What sensors remember between starts.

use rusqlite::{Connection, OptionalExtension, Result};
use serde_json::Value;

use super::codec;

/// Replaces what a sensor remembers.
pub(super) fn put_state(connection: &Connection, key: &str, state: &Value) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO sensor_state (key, state) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET state = excluded.state",
        )?
        .execute([key, &codec::json(state)?])
        .map(drop)
}

/// What a sensor last remembered.
pub(super) fn state(connection: &Connection, key: &str) -> Result<Option<Value>> {
    connection
        .prepare_cached("SELECT state FROM sensor_state WHERE key = ?1")?
        .query_row([key], |row| codec::read_value(row, 0))
        .optional()
        .map(Option::flatten)
}
