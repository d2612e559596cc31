//! Values of secrets in what is made of output: results and messages.

use serde_json::Value;

use crate::redact::Redactor;

/// A text with every secret replaced.
pub(super) fn redacted(text: String, secrets: &[String]) -> String {
    if secrets.is_empty() {
        return text;
    }
    String::from_utf8_lossy(&redacted_bytes(text.as_bytes(), secrets).0).into_owned()
}

/// Bytes with every secret replaced, and whether there was one.
pub(super) fn redacted_bytes(bytes: &[u8], secrets: &[String]) -> (Vec<u8>, bool) {
    let mut redactor = Redactor::new(secrets);
    let mut out = Vec::with_capacity(bytes.len());
    redactor.push(bytes, &mut out);
    redactor.finish(&mut out);
    (out, redactor.redacted())
}

/// A value with every secret replaced in its texts, names included.
pub(super) fn redacted_value(value: Value, secrets: &[String]) -> Value {
    if secrets.is_empty() {
        return value;
    }
    match value {
        Value::String(text) => Value::String(redacted(text, secrets)),
        Value::Array(items) => items
            .into_iter()
            .map(|item| redacted_value(item, secrets))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, field)| (redacted(name, secrets), redacted_value(field, secrets)))
            .collect(),
        other => other,
    }
}
