//! What every verb works with: the engine, the screen and the format.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::Timestamp;
use camshaft_model::duration::{self, DurationError};
use clap::Args;
use serde_json::Value;

use super::local::{Guest, GuestOptions, Local};
use super::number::{COUNT, whole};
use crate::client::Client;
use crate::exit::CliError;
use crate::render::table::{self, Column};
use crate::render::{Format, Screen, Style, json};

/// The surroundings of a verb.
pub struct Context {
    /// The engine.
    pub client: Client,
    /// Where to write.
    pub screen: Screen,
    /// How to write it.
    pub format: Format,
    /// The data directory.
    pub data_dir: PathBuf,
    /// What works without an engine.
    pub local: Local,
}

impl Context {
    /// Sees to it that there is an engine: where none runs on the data directory and none was named, this
    /// command brings its own along, which stops when the answer is dropped.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn engage(&self, packs: Vec<PathBuf>) -> Result<Option<Guest>, CliError> {
        if self.client.has_engine() {
            if !packs.is_empty() {
                return Err(CliError::invalid(
                    "--packs is for an engine of this command's own, and one runs already",
                )
                .hint("apply them to that one with: camshaft pack apply DIR"));
            }
            return Ok(None);
        }
        let guest = (self.local.guest)(GuestOptions {
            data_dir: self.data_dir.clone(),
            packs,
        })?;
        self.client.refresh();
        Ok(Some(guest))
    }

    /// Shows one thing: with `table` for people, as it is for programs.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn show(
        &self,
        value: &Value,
        table: impl FnOnce(&Value, Style) -> String,
    ) -> Result<ExitCode, CliError> {
        let text = match self.format {
            Format::Table => table(value, self.screen.style),
            format => json::render(value, format)?,
        };
        self.screen.text(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Shows a page `{"items": […], "next_cursor": …}` and says how to get the next one.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn list(&self, page: &Value, columns: &[Column]) -> Result<ExitCode, CliError> {
        self.list_by("--cursor", page, columns)
    }

    /// The same for a list whose next page another flag asks for.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn list_by(
        &self,
        flag: &str,
        page: &Value,
        columns: &[Column],
    ) -> Result<ExitCode, CliError> {
        let items = items(page);
        self.show(page, |_, style| table::list(items, columns, style))?;
        if let (Format::Table, Some(cursor)) =
            (self.format, page.get("next_cursor").and_then(Value::as_str))
        {
            self.screen
                .note(&format!("There is more: add {flag} {cursor}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The items of a page.
pub(crate) fn items(page: &Value) -> &[Value] {
    page.get("items")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Which part of a long list.
#[derive(Debug, Args)]
pub(crate) struct Page {
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>(COUNT, 100))]
    pub(crate) limit: u32,
    /// Go on after the page that ended with this cursor
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
}

/// A query string: what is not given is left out.
#[derive(Debug, Default)]
pub(crate) struct Query(pub(crate) Vec<(&'static str, String)>);

impl Query {
    /// Adds a value, if there is one.
    #[must_use]
    pub(crate) fn with<T: ToString>(mut self, key: &'static str, value: Option<T>) -> Self {
        self.0.extend(value.map(|value| (key, value.to_string())));
        self
    }

    /// Adds several values with commas between them, if there are any.
    #[must_use]
    pub(crate) fn with_all<T: ToString>(self, key: &'static str, values: &[T]) -> Self {
        let joined = values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        self.with(key, (!joined.is_empty()).then_some(joined))
    }

    /// Adds the page.
    #[must_use]
    pub(crate) fn page(self, page: &Page) -> Self {
        self.with("limit", Some(page.limit))
            .with("cursor", page.cursor.as_ref())
    }
}

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an instant: write one such as 2026-11-21T12:00:00Z")]
pub(crate) struct InstantError(String);

/// Reads an instant of a flag.
///
/// # Errors
/// It is none.
pub(crate) fn instant(text: &str) -> Result<Timestamp, InstantError> {
    text.parse()
        .map_err(|_| InstantError(text.chars().take(64).collect()))
}

/// Reads a duration of a flag.
///
/// # Errors
/// It is none.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    duration::parse(text)
}
