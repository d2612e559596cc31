//! A database without a file, and where it stays between two stores.

use std::sync::Arc;

use camshaft_model::port::store::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;

use super::error;

#[derive(Debug, Default)]
enum Place {
    /// Nobody has opened it.
    #[default]
    New,
    /// A store has it.
    Taken,
    /// Here.
    Kept(Connection),
}

/// A database without a file, for [`SqliteStore::in_memory`](crate::SqliteStore::in_memory). It lasts
/// as long as this value or a clone of it, and one store at a time may have it open.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Place>>);

impl Memory {
    /// The connection; it is the database.
    pub(super) fn take(&self) -> Result<Connection, StoreError> {
        let mut place = self.0.lock();
        match std::mem::replace(&mut *place, Place::Taken) {
            Place::New => Connection::open_in_memory().map_err(|e| {
                *place = Place::New;
                error::from_sql(&e)
            }),
            Place::Kept(connection) => Ok(connection),
            Place::Taken => Err(StoreError::Unavailable(
                "another store has this database in memory open".to_owned(),
            )),
        }
    }

    /// The store that had it is closed.
    pub(super) fn give_back(&self, connection: Connection) {
        *self.0.lock() = Place::Kept(connection);
    }
}
