//! Constraints as messages: JSON of a few keys, written in the order and with the spaces of the
//! clients that are in the field, and read with suspicion.

use std::io;

use camshaft_model::{
    Constraint, ConstraintError, ConstraintType, Scope, ScopeError, Terms, Timestamp, Via,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::Formatter;

/// The most bytes that the message of a constraint may have.
pub const MAX_CONSTRAINT_BYTES: usize = 16 * 1024;

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

/// Writes a constraint for the topic of its type: reason and owner follow where there are any.
pub fn write(constraint: &Constraint) -> Vec<u8> {
    let reason = constraint.reason.as_deref();
    write_with(
        constraint,
        constraint.expires_at,
        reason,
        constraint.owner.as_deref(),
    )
}

/// Writes a constraint for the topic of its scope, which the clients in the field read: with the keys that
/// they know and no others.
pub fn write_plain(constraint: &Constraint) -> Vec<u8> {
    write_with(constraint, constraint.expires_at, None, None)
}

/// The same, long over.
pub(super) fn write_over(constraint: &Constraint) -> Vec<u8> {
    write_with(constraint, Some(OVER), None, None)
}

/// Whether a constraint only keeps the place of another. Earlier versions wrote 0.
pub(super) fn is_over(constraint: &Constraint) -> bool {
    let ends = constraint.expires_at;
    ends.is_some_and(|at| at == OVER || at == Timestamp::default())
}

fn write_with(
    constraint: &Constraint,
    expires_at: Option<Timestamp>,
    reason: Option<&str>,
    owner: Option<&str>,
) -> Vec<u8> {
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
    }
    let message = Message {
        id: &constraint.id,
        scope: &constraint.scope,
        kind: constraint.terms.kind(),
        params: constraint.terms.params(),
        expires_at: expires_at.map(|at| at.as_micros() as f64 / 1e6),
        reason,
        owner,
    };
    spaced(&message)
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

/// Reads a constraint. Keys that are not known are passed over; one without an id gets the usual one.
///
/// # Errors
/// It is malformed.
pub fn read(payload: &[u8], now: Timestamp) -> Result<Constraint, MessageError> {
    if payload.len() > MAX_CONSTRAINT_BYTES {
        return Err(MessageError::TooLarge(payload.len()));
    }
    let message: Value = serde_json::from_slice(payload)
        .map_err(|error| MessageError::Json(error.to_string().chars().take(200).collect()))?;
    let Value::Object(message) = message else {
        return Err(MessageError::Json("it is another kind of value".to_owned()));
    };
    let text = |key: &'static str| match message.get(key) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => Err(MessageError::Key(key, "a text")),
    };
    let label = |key: &'static str| match message.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(MessageError::Key(key, "a text")),
    };
    let scope: Scope = text("scope")?.parse()?;
    let kind: ConstraintType = text("type")?.parse()?;
    let params = message.get("params").unwrap_or(&Value::Null);
    let expires_at = match message.get("expires_at") {
        None | Some(Value::Null) => None,
        Some(Value::Number(seconds)) => seconds.as_f64().map(of_epoch),
        Some(_) => {
            return Err(MessageError::Key(
                "expires_at",
                "seconds since 1970, or null",
            ));
        }
    };
    let constraint = Constraint {
        id: label("id")?.unwrap_or_else(|| Constraint::default_id(&scope, kind)),
        terms: Terms::read(kind, params)?,
        scope,
        expires_at,
        reason: label("reason")?,
        owner: label("owner")?,
        via: Via::Mqtt,
        set_at: now,
    };
    constraint.check()?;
    Ok(constraint)
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
        assert!(is_over(&read(&over, NOW).unwrap()));
        let by_an_earlier_version = String::from_utf8(over).unwrap().replace("1.0", "0.0");
        assert!(is_over(
            &read(by_an_earlier_version.as_bytes(), NOW).unwrap()
        ));
        assert!(!is_over(&constraint));
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
