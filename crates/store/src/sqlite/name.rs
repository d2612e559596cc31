//! Texts that repeat from row to row (refs, workers, hashes, sensor keys), each kept once and known
//! by a number.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Result};

/// So many numbers are kept in memory; then it starts afresh.
const REMEMBERED: usize = 10_000;

/// The writer's memory of which text has which number.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Box<str>, i64>);

impl Names {
    /// The number of a text; a new one if it has none yet.
    pub(super) fn number(&mut self, connection: &Connection, text: &str) -> Result<i64> {
        if let Some(number) = self.0.get(text) {
            return Ok(*number);
        }
        let number = match find(connection, text)? {
            Some(number) => number,
            None => connection
                .prepare_cached("INSERT INTO name (text) VALUES (?1)")?
                .insert([text])?,
        };
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(text.into(), number);
        Ok(number)
    }

    /// The number of a text, if there is one.
    pub(super) fn number_or_null(
        &mut self,
        connection: &Connection,
        text: Option<&str>,
    ) -> Result<Option<i64>> {
        text.map(|text| self.number(connection, text)).transpose()
    }

    /// Forgets everything: a rollback may have taken back what is remembered here.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// The number of a text, if it has one.
pub(super) fn find(connection: &Connection, text: &str) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM name WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()
}
