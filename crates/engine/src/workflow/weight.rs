//! What values take of memory, near enough for limits.

use serde_json::Value;

/// Of an entry of an object besides its key and value: its hash, its place, its part of the index.
const ENTRY_BYTES: usize = 48;

/// How many bytes a value takes, at least.
pub(crate) fn bytes(value: &Value) -> usize {
    let beside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(bytes).sum(),
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| ENTRY_BYTES + key.len() + bytes(value))
            .sum(),
    };
    size_of::<Value>() + beside
}
