//! What people see. Every answer is rendered in one of three formats: a table for people, JSON and
//! YAML for programs. Only the table is escaped and shortened; the other two are the API's answer as
//! it is.
//!
//! Renderers take values and return text; only [`Screen`] writes, and only it knows whether it
//! writes to a terminal.

pub mod catalogue;
pub mod constraint;
pub mod escape;
pub mod execution;
pub mod graph;
pub mod json;
pub mod live;
pub mod observed;
pub mod run;
pub mod screen;
pub mod step;
pub mod table;
pub mod trace;
pub mod tree;
pub mod watched;
pub mod why;

pub use screen::{Screen, Style};

use camshaft_model::{Timestamp, duration};
use clap::ValueEnum;
use serde_json::Value;

/// How answers are written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// The API's answer, indented.
    Json,
    /// The API's answer as YAML.
    Yaml,
}

/// The value at a JSON pointer as text for a cell: `-` where there is nothing.
pub fn text_at(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(found) => plain(found),
    }
}

/// A value as text: strings without quotes, everything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn time_at(value: &Value, pointer: &str) -> Option<Timestamp> {
    value.pointer(pointer)?.as_str()?.parse().ok()
}

/// The instant at a JSON pointer with milliseconds, which is as exact as people read.
pub fn instant_at(value: &Value, pointer: &str) -> String {
    time_at(value, pointer).map_or_else(|| text_at(value, pointer), instant)
}

/// An instant with milliseconds, in UTC.
pub fn instant(at: Timestamp) -> String {
    format!("{:.3}", at.to_jiff())
}

/// How long it is from now to the instant at a JSON pointer, in whole seconds above one; `None` if it has
/// come.
pub fn span_to(value: &Value, pointer: &str, now: Timestamp) -> Option<String> {
    let left = time_at(value, pointer)?.since(now);
    let shown = if left.as_secs() > 0 {
        std::time::Duration::from_secs(left.as_secs())
    } else {
        left
    };
    (!left.is_zero()).then(|| duration::display(shown))
}

/// How long it was from one instant of a value to another.
pub fn span_between(value: &Value, from: &str, to: &str) -> String {
    match (time_at(value, from), time_at(value, to)) {
        (Some(from), Some(to)) => duration::display(to.since(from)),
        _ => "-".to_owned(),
    }
}
