//! Constraints as messages: JSON of a few keys, written in the order and with the spaces of the
//! clients that are in the field, and read with suspicion.
//!
//! An empty message would end more than one means: on the topic of a scope all of its types, and on either
//! topic also what was set by an API. So what is to be taken from a topic is written over with the same
//! constraint, long over: everybody passes that by. To the topic of a type engines write two things more
//! ([`Said`]), which the clients in the field do not read: a key says what it is.

use std::io;

use camshaft_model::{
    Constraint, ConstraintError, ConstraintType, Object, Scope, ScopeError, Terms, Timestamp, Via,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::Formatter;

/// The most bytes that the message of a constraint may have.
pub const MAX_CONSTRAINT_BYTES: usize = 16 * 1024;

/// The most bytes by which the end of a constraint is known again.
const MAX_MARK_BYTES: usize = 100;

/// Why a message is no constraint. Nothing changes by it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// It is too large.
    #[error("it has {0} bytes, and a constraint has at most {MAX_CONSTRAINT_BYTES}")]
    TooLarge(usize),
    /// It is no JSON object.
    #[error("it is not a JSON object: {0}")]
    Json(String),
    /// A key is missing or its value is of another type.
    #[error("'{0}' must be {1}")]
    Key(&'static str, &'static str),
    /// Its scope is none.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// Its type, parameters or labels are not those of a constraint.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
}

/// The end of a constraint that only keeps the place of another. Not the first instant there is: clients
/// in the field take an end of 0 for none.
const OVER: Timestamp = Timestamp::from_micros(1_000_000);

/// What a message with a constraint says of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// Somebody wants it to hold.
    Wanted(Constraint),
    /// An engine keeps it for who comes later, because another message says that it holds. `"kept": true`.
    Kept(Constraint),
    /// It was ended; what the API of an engine set instead of it stays. `"was"` has the end that it had.
    Ended {
        constraint: Constraint,
        /// By which it is known again. `"mark"`.
        mark: String,
        /// By an empty message, and this is for who has not heard that. `"emptied": true`.
        emptied: bool,
    },
    /// It is long over, and keeps the place of one that was there: nothing.
    Over(Constraint),
}

impl Said {
    /// The constraint that it is about.
    pub(super) const fn constraint(&self) -> &Constraint {
        let (Self::Wanted(constraint)
        | Self::Kept(constraint)
        | Self::Ended { constraint, .. }
        | Self::Over(constraint)) = self;
        constraint
    }
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    scope: &'a Scope,
    #[serde(rename = "type")]
    kind: ConstraintType,
    params: Value,
    expires_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emptied: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<&'a str>,
}

impl<'a> Message<'a> {
    fn of(constraint: &'a Constraint) -> Self {
        Self {
            id: &constraint.id,
            scope: &constraint.scope,
            kind: constraint.terms.kind(),
            params: constraint.terms.params(),
            expires_at: constraint.expires_at.map(to_epoch),
            reason: None,
            owner: None,
            kept: None,
            was: None,
            emptied: None,
            mark: None,
        }
    }

    fn over(constraint: &'a Constraint) -> Self {
        Self {
            expires_at: Some(to_epoch(OVER)),
            ..Self::of(constraint)
        }
    }

    fn with_labels(constraint: &'a Constraint) -> Self {
        Self {
            reason: constraint.reason.as_deref(),
            owner: constraint.owner.as_deref(),
            ..Self::of(constraint)
        }
    }
}

/// Writes a constraint for the topic of its type: reason and owner follow where there are any.
pub fn write(constraint: &Constraint) -> Vec<u8> {
    spaced(&Message::with_labels(constraint))
}

/// Writes a constraint for the topic of its scope, which the clients in the field read: with the keys that
/// they know and no others.
pub fn write_plain(constraint: &Constraint) -> Vec<u8> {
    spaced(&Message::of(constraint))
}

/// See [`Said::Kept`].
pub(super) fn write_kept(constraint: &Constraint) -> Vec<u8> {
    spaced(&Message {
        kept: Some(true),
        ..Message::with_labels(constraint)
    })
}

/// See [`Said::Ended`].
pub(super) fn write_ended(constraint: &Constraint, mark: &str) -> Vec<u8> {
    spaced(&Message {
        was: Some(constraint.expires_at.map(to_epoch)),
        mark: Some(mark),
        ..Message::over(constraint)
    })
}

/// The same of one that was ended by an empty message.
pub(super) fn write_emptied(constraint: &Constraint, mark: &str) -> Vec<u8> {
    spaced(&Message {
        was: Some(constraint.expires_at.map(to_epoch)),
        emptied: Some(true),
        mark: Some(mark),
        ..Message::over(constraint)
    })
}

/// See [`Said::Over`].
pub(super) fn write_over(constraint: &Constraint) -> Vec<u8> {
    spaced(&Message::over(constraint))
}

/// JSON as the clients in the field write it. Never empty: an empty message would clear.
pub(super) fn spaced(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Spaced);
    // Writing texts and numbers to memory cannot fail.
    match value.serialize(&mut serializer) {
        Ok(()) => bytes,
        Err(error) => format!("{{\"error\": \"{error}\"}}").into_bytes(),
    }
}

/// Reads what a message says of a constraint.
///
/// # Errors
/// It is malformed.
pub(super) fn read_said(payload: &[u8], now: Timestamp) -> Result<Said, MessageError> {
    let message = object(payload)?;
    let mut constraint = constraint_of(&message, now)?;
    // Earlier versions wrote 0.
    let is_over =
        |ends: Option<Timestamp>| ends.is_some_and(|at| at == OVER || at == Timestamp::default());
    if !is_over(constraint.expires_at) {
        if message.get("kept") == Some(&Value::Bool(true)) {
            return Ok(Said::Kept(constraint));
        }
        return Ok(Said::Wanted(constraint));
    }
    if message.contains_key("was") {
        constraint.expires_at = instant(&message, "was")?;
        let mark = label(&message, "mark")?.unwrap_or_default();
        if mark.len() > MAX_MARK_BYTES {
            return Err(MessageError::Key("mark", "a short text"));
        }
        return Ok(Said::Ended {
            constraint,
            mark,
            emptied: message.get("emptied") == Some(&Value::Bool(true)),
        });
    }
    Ok(Said::Over(constraint))
}

/// Reads a constraint. Keys that are not known are passed over; one without an id gets the usual one.
///
/// # Errors
/// It is malformed.
pub fn read(payload: &[u8], now: Timestamp) -> Result<Constraint, MessageError> {
    constraint_of(&object(payload)?, now)
}

fn object(payload: &[u8]) -> Result<Object, MessageError> {
    if payload.len() > MAX_CONSTRAINT_BYTES {
        return Err(MessageError::TooLarge(payload.len()));
    }
    let message: Value = serde_json::from_slice(payload)
        .map_err(|error| MessageError::Json(error.to_string().chars().take(200).collect()))?;
    match message {
        Value::Object(message) => Ok(message),
        _ => Err(MessageError::Json("it is another kind of value".to_owned())),
    }
}

fn constraint_of(message: &Object, now: Timestamp) -> Result<Constraint, MessageError> {
    let text = |key: &'static str| match message.get(key) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => Err(MessageError::Key(key, "a text")),
    };
    let scope: Scope = text("scope")?.parse()?;
    let kind: ConstraintType = text("type")?.parse()?;
    let params = message.get("params").unwrap_or(&Value::Null);
    let expires_at = instant(message, "expires_at")?;
    let constraint = Constraint {
        id: label(message, "id")?.unwrap_or_else(|| Constraint::default_id(&scope, kind)),
        terms: Terms::read(kind, params)?,
        scope,
        expires_at,
        reason: label(message, "reason")?,
        owner: label(message, "owner")?,
        via: Via::Mqtt,
        set_at: now,
    };
    constraint.check()?;
    Ok(constraint)
}

fn label(message: &Object, key: &'static str) -> Result<Option<String>, MessageError> {
    match message.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(MessageError::Key(key, "a text")),
    }
}

fn instant(message: &Object, key: &'static str) -> Result<Option<Timestamp>, MessageError> {
    match message.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(seconds)) => Ok(seconds.as_f64().map(of_epoch)),
        Some(_) => Err(MessageError::Key(key, "seconds since 1970, or null")),
    }
}

fn to_epoch(at: Timestamp) -> f64 {
    at.as_micros() as f64 / 1e6
}

/// Rounded to microseconds; what is out of range is at its end.
fn of_epoch(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6).round() as i64)
}

/// JSON on one line with a space after each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_224_449_590_000);

    fn written(message: &str) -> String {
        let constraint = read(message.as_bytes(), NOW).unwrap();
        String::from_utf8(write(&constraint)).unwrap()
    }

    #[test]
    fn messages_of_the_clients_in_the_field_byte_by_byte() {
        for message in [
            r#"{"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": null}"#,
            r#"{"id": "pause-task:api_call", "scope": "task:api_call", "type": "pause", "params": {}, "expires_at": 1795224509.59}"#,
            r#"{"id": "concurrency-task:api_call", "scope": "task:api_call", "type": "concurrency", "params": {"limit": 3}, "expires_at": null}"#,
            r#"{"id": "ratelimit-task:api_call", "scope": "task:api_call", "type": "rate_limit", "params": {"rate": "10/m"}, "expires_at": null}"#,
            r#"{"id": "ratelimit-global", "scope": "global", "type": "rate_limit", "params": {"rate": 5}, "expires_at": null}"#,
            r#"{"id": "ratelimit-global", "scope": "global", "type": "rate_limit", "params": {"rate": 2.5}, "expires_at": null}"#,
            r#"{"id": "pause-task:x-0a1b2c3d", "scope": "task:x", "type": "pause", "params": {}, "expires_at": null}"#,
            r#"{"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": null, "reason": "deploy", "owner": "ada"}"#,
        ] {
            assert_eq!(written(message), message);
        }
    }

    #[test]
    fn the_topic_of_a_scope_has_the_keys_of_the_wire_only_and_an_end_that_no_client_takes_for_none()
    {
        let message = r#"{"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": null, "reason": "deploy", "owner": "ada"}"#;
        let constraint = read(message.as_bytes(), NOW).unwrap();
        assert_eq!(
            write_plain(&constraint),
            br#"{"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": null}"#
        );
        let over = write_over(&constraint);
        assert_eq!(
            over,
            br#"{"id": "pause-global", "scope": "global", "type": "pause", "params": {}, "expires_at": 1.0}"#
        );
        assert!(matches!(read_said(&over, NOW), Ok(Said::Over(_))));
        let by_an_earlier_version = String::from_utf8(over).unwrap().replace("1.0", "0.0");
        let said = read_said(by_an_earlier_version.as_bytes(), NOW);
        assert!(matches!(said, Ok(Said::Over(_))));
        let said = read_said(message.as_bytes(), NOW);
        assert_eq!(said, Ok(Said::Wanted(constraint)));
    }

    #[test]
    fn what_engines_write_to_the_topic_of_a_type_comes_back_as_it_was() {
        for ends in ["null", "1795224509.59"] {
            let message = format!(
                r#"{{"id": "pause-global", "scope": "global", "type": "pause", "params": {{}}, "expires_at": {ends}}}"#
            );
            let constraint = read(message.as_bytes(), NOW).unwrap();
            let kept = write_kept(&constraint);
            assert_eq!(
                String::from_utf8(kept.clone()).unwrap(),
                message
                    .replace('}', r#", "kept": true}"#)
                    .replacen(r#"{, "kept": true}"#, "{}", 1)
            );
            assert_eq!(read_said(&kept, NOW), Ok(Said::Kept(constraint.clone())));
            let ends = [
                (write_ended(&constraint, "a"), false),
                (write_emptied(&constraint, "a"), true),
            ];
            for (message, emptied) in &ends {
                let said = Said::Ended {
                    constraint: constraint.clone(),
                    mark: "a".to_owned(),
                    emptied: *emptied,
                };
                assert_eq!(read_said(message, NOW), Ok(said));
            }
            // Who does not know it takes it for one that is over.
            let known = read(&ends[0].0, NOW).unwrap();
            assert_eq!(known.expires_at, Some(OVER));
        }
    }

    #[test]
    fn what_is_optional_may_be_missing() {
        let constraint = read(br#"{"scope":"task:x","type":"pause","colour":"red"}"#, NOW).unwrap();
        assert_eq!(
            (constraint.id.as_str(), constraint.expires_at),
            ("pause-task:x", None)
        );
        assert_eq!((constraint.via, constraint.set_at), (Via::Mqtt, NOW));
        let constraint = read(
            br#"{"scope":"global","type":"rate_limit","params":{"rate":2},"expires_at":1e300}"#,
            NOW,
        )
        .unwrap();
        assert_eq!(
            constraint.expires_at,
            Some(Timestamp::from_micros(i64::MAX))
        );
    }

    #[test]
    fn what_is_malformed_is_refused_with_the_reason() {
        for (message, reason) in [
            ("{", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("null", "not a JSON object"),
            ("\u{0}\u{1}", "not a JSON object"),
            (r#"{"type":"pause"}"#, "'scope' must be"),
            (r#"{"scope":7,"type":"pause"}"#, "'scope' must be"),
            (r#"{"scope":"tsk:a","type":"pause"}"#, "is not a scope"),
            (r#"{"scope":"task:[a","type":"pause"}"#, "not a pattern"),
            (r#"{"scope":"global","type":"halt"}"#, "is not a type"),
            (
                r#"{"scope":"global","type":"pause","id":7}"#,
                "'id' must be",
            ),
            (
                r#"{"scope":"global","type":"pause","owner":[]}"#,
                "'owner' must be",
            ),
            (
                r#"{"scope":"global","type":"pause","expires_at":"soon"}"#,
                "'expires_at' must be",
            ),
            (
                r#"{"scope":"global","type":"pause","expires_at":true}"#,
                "'expires_at' must be",
            ),
            (
                r#"{"scope":"global","type":"concurrency","params":{"limit":-1}}"#,
                "'limit' must be",
            ),
            (
                r#"{"scope":"global","type":"concurrency","params":{"limit":"3"}}"#,
                "'limit' must be",
            ),
            (
                r#"{"scope":"global","type":"rate_limit","params":{"rate":"quick"}}"#,
                "not a rate",
            ),
            (
                r#"{"scope":"global","type":"rate_limit","params":{"rate":0}}"#,
                "not a rate",
            ),
        ] {
            let error = read(message.as_bytes(), NOW).unwrap_err().to_string();
            assert!(error.contains(reason), "{message}: {error}");
        }
        let error = read(&vec![b' '; MAX_CONSTRAINT_BYTES + 1], NOW).unwrap_err();
        assert_eq!(error, MessageError::TooLarge(MAX_CONSTRAINT_BYTES + 1));
        let deep = format!("{}{}", "[".repeat(8_000), "]".repeat(8_000));
        assert!(read(deep.as_bytes(), NOW).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = read(&bytes, NOW);
        }

        #[test]
        fn any_values_are_read_or_refused(limit: f64, expires_at: f64, id in ".{0,20}") {
            let message = serde_json::json!({ "id": id, "scope": "global", "type": "concurrency", "params": { "limit": limit }, "expires_at": expires_at });
            let _ = read(message.to_string().as_bytes(), NOW);
        }
    }
}
