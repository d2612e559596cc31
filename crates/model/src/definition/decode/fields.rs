//! The keys of a mapping, each handed out once; what nobody asked for is a mistake.

use std::collections::HashSet;

use super::Cursor;
use crate::definition::document::{Content, Entry, shorten};
use crate::definition::problem::{Position, did_you_mean};

/// The entries of a mapping.
#[derive(Debug)]
pub struct Fields<'a> {
    cursor: Cursor<'a>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    // Not offered as corrections of other keys.
    refused: Vec<&'static str>,
}

impl<'a> Cursor<'a> {
    /// The keys of a mapping.
    pub fn fields(&self) -> Option<Fields<'a>> {
        match &self.node.content {
            Content::Mapping(entries) => Some(Fields {
                cursor: self.clone(),
                entries,
                known: Vec::new(),
                refused: Vec::new(),
            }),
            _ => {
                self.expected("a mapping");
                None
            }
        }
    }

    /// Key, position of the key and value of each entry of a mapping with keys of the author's own.
    pub fn entries(&self) -> Option<Vec<(&'a str, Position, Self)>> {
        match &self.node.content {
            Content::Mapping(entries) => Some(
                entries
                    .iter()
                    .map(|entry| {
                        (
                            entry.key.as_str(),
                            entry.key_position,
                            self.below(&entry.value, &entry.key),
                        )
                    })
                    .collect(),
            ),
            _ => {
                self.expected("a mapping");
                None
            }
        }
    }
}

impl<'a> Fields<'a> {
    /// The value of a key that may be missing. A key without a value counts as missing.
    pub fn optional(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        if entry.value.content == Content::Null {
            return None;
        }
        Some(self.cursor.below(&entry.value, key))
    }

    /// The value of a key, also if that is null. For free values such as a criterion's pattern.
    pub fn nullable(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.cursor.below(&entry.value, key))
    }

    /// The value of a key that must be there. `example` is what a person may write.
    pub fn required(&mut self, key: &'static str, example: &str) -> Option<Cursor<'a>> {
        let found = self.optional(key);
        if found.is_none() {
            self.cursor.problem(format!(
                "the key '{key}' is missing; write, for example, {key}: {example}"
            ));
        }
        found
    }

    /// A key that other versions know: if it is there it is refused with this message.
    pub fn refused(&mut self, key: &'static str, message: &str) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            let cursor = self.cursor.below(&entry.value, key);
            cursor
                .reporter
                .report(entry.key_position, cursor.path, message);
        }
        self.refused.push(key);
    }

    /// Notes every key that was not asked for.
    pub fn finish(self) {
        let known: HashSet<&str> = self.known.iter().chain(&self.refused).copied().collect();
        let present: HashSet<&str> = self
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        for entry in self
            .entries
            .iter()
            .filter(|entry| !known.contains(entry.key.as_str()))
        {
            // A key that is there already is not what was meant.
            let free = self
                .known
                .iter()
                .copied()
                .filter(|name| !present.contains(name));
            let message = format!(
                "unknown key '{}'{}",
                shorten(&entry.key),
                did_you_mean(&entry.key, free)
            );
            self.cursor
                .reporter
                .report(entry.key_position, self.cursor.path.clone(), message);
        }
    }
}
