//! How values are stored and read back. Free-form JSON that does not parse is shown as text, never
//! lost and never fatal; a row whose structure is wrong (an unknown status, an id of another length)
//! is an error that names the column.

use camshaft_model::{Object, Ref, Status, Timestamp};
use rusqlite::types::{ToSqlOutput, Type, ValueRef};
use rusqlite::{Error, Result, Row, ToSql};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::artifact::{Reference, Source};
use super::stage::Large;

/// The key under which a JSON text that is not an object is shown where an object is expected.
const UNREADABLE: &str = "unreadable";

pub(super) fn unreadable(
    column: usize,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::FromSqlConversionFailure(column, Type::Null, why.into())
}

/// JSON text for a column.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::ToSqlConversionFailure(e.into()))
}

/// JSON text, or NULL for nothing.
pub(super) fn json_or_null<T: Serialize>(value: Option<&T>) -> Result<Option<String>> {
    value.map(json).transpose()
}

/// JSON text of any value, or NULL for `{}`.
pub(super) fn payload(value: &Value) -> Result<Option<String>> {
    let usual = value.as_object().is_some_and(Object::is_empty);
    json_or_null((!usual).then_some(value))
}

/// A column for a value that may be in a file.
pub(super) enum Stored {
    Null,
    Json(String),
    File(Reference),
}

impl ToSql for Stored {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Json(text) => ValueRef::Text(text.as_bytes()),
            Self::File(reference) => ValueRef::Blob(&reference.0),
        }))
    }
}

/// A value that may be large, or NULL for nothing.
pub(super) fn large_or_null(large: &Large, value: Option<&Value>) -> Result<Stored> {
    value.map_or(Ok(Stored::Null), |value| stored(large, value))
}

/// An object that may be large, or NULL for `{}`.
pub(super) fn large_object(large: &Large, value: &Object) -> Result<Stored> {
    if value.is_empty() {
        return Ok(Stored::Null);
    }
    stored(large, value)
}

fn stored<T: Serialize>(large: &Large, value: &T) -> Result<Stored> {
    Ok(match large.reference(value) {
        Some(reference) => Stored::File(reference),
        None => Stored::Json(json(value)?),
    })
}

/// The value behind [`large_or_null`], if the source does not leave it out; a text that is not JSON is
/// shown as it is.
pub(super) fn read_large(row: &Row<'_>, column: usize, source: &Source) -> Result<Option<Value>> {
    if source.is_empty() {
        return Ok(None);
    }
    match reference(row, column)? {
        Some(reference) => source
            .value(reference)
            .map_err(|e| Error::FromSqlConversionFailure(column, Type::Blob, e.into())),
        None => read_value(row, column),
    }
}

/// How many bytes of JSON [`read_large`] would read; 0 of a file that is not there.
pub(super) fn size_of_large(row: &Row<'_>, column: usize, source: &Source) -> Result<u64> {
    if let Some(reference) = reference(row, column)? {
        return Ok(source.size(reference));
    }
    Ok(match row.get_ref(column)? {
        ValueRef::Text(text) => text.len() as u64,
        _ => 0,
    })
}

/// The object behind [`large_object`].
pub(super) fn read_large_object(row: &Row<'_>, column: usize, source: &Source) -> Result<Object> {
    if source.is_empty() {
        return Ok(Object::new());
    }
    if reference(row, column)?.is_none() {
        return read_object(row, column);
    }
    Ok(match read_large(row, column, source)? {
        Some(Value::Object(object)) => object,
        Some(other) => Object::from_iter([(UNREADABLE.to_owned(), other)]),
        None => Object::new(),
    })
}

/// What names a file: bytes, where JSON is text.
fn reference(row: &Row<'_>, column: usize) -> Result<Option<Reference>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) => bytes.try_into().ok().map(Reference),
        _ => None,
    })
}

/// The object behind [`large_object`], if it is text.
fn read_object(row: &Row<'_>, column: usize) -> Result<Object> {
    let Some(text) = read_text(row, column)? else {
        return Ok(Object::new());
    };
    Ok(serde_json::from_str(&text)
        .unwrap_or_else(|_| Object::from_iter([(UNREADABLE.to_owned(), text.into())])))
}

/// The value behind JSON text; a text that is not JSON is shown as it is.
pub(super) fn read_value(row: &Row<'_>, column: usize) -> Result<Option<Value>> {
    let text = read_text(row, column)?;
    Ok(text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// What a typed JSON column holds.
pub(super) fn read_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    let Some(text) = read_text(row, column)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|e| unreadable(column, e))
}

/// How many bytes of text a column holds.
pub(super) fn bytes_of(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64,
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
    })
}

/// Whatever a column holds, as text.
pub(super) fn read_text(row: &Row<'_>, column: usize) -> Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
    })
}

/// An instant.
pub(super) fn read_time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

/// An instant or nothing.
pub(super) fn read_time_or_null(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(Timestamp::from_micros))
}

/// Microseconds for a column.
pub(super) fn time(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// A status.
pub(super) fn read_status(row: &Row<'_>, column: usize) -> Result<Status> {
    let code: u8 = row.get(column)?;
    Status::from_code(code).ok_or_else(|| unreadable(column, format!("{code} is no status")))
}

/// A ref.
pub(super) fn read_ref(row: &Row<'_>, column: usize) -> Result<Ref> {
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|e: camshaft_model::reference::RefError| unreadable(column, e))
}

/// A small number that names a variant, if it is none of those that there are.
pub(super) fn unknown_variant(column: usize, code: u8) -> Error {
    unreadable(column, format!("{code} is not known to this version"))
}

/// Where a descending list of ids begins: below the cursor, or at the newest.
pub(super) fn below(after: Option<&[u8; 16]>) -> [u8; 16] {
    after.copied().unwrap_or([0xFF; 16])
}

/// Where an ascending list of ids begins: above the cursor, or at the oldest.
pub(super) fn above(after: Option<&[u8; 16]>) -> [u8; 16] {
    after.copied().unwrap_or_default()
}
