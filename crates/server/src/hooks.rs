//! Webhooks: what a hook demands of a request, and the event that a request becomes.
//!
//! A hook is a sensor of kind webhook with the parameters `path`, `method` or `methods` (POST),
//! `secret` and `max_bytes` (1 MiB). Several sensors may share a path. With a secret the body must be
//! signed: HMAC-SHA256 in hexadecimal after `sha256=`, in `X-Hub-Signature-256` or
//! `X-Camshaft-Signature`.
//!
//! The payload is `{method, path, query, headers, body}`. Header names are in lower case, credentials
//! and signatures are left out. The body is JSON if its content type says so, else text, else base64
//! with `body_encoding: base64`.

use std::collections::BTreeSet;

use axum::extract::Query;
use axum::http::{HeaderMap, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use camshaft_model::definition::TriggerKind;
use camshaft_model::port::sensor::SensorSpec;
use camshaft_model::{EventDraft, EventSource, Object};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::body::{check_key, content_type, is_json, parse, trace_parent};
use crate::problem::Problem;

/// The largest body of a hook that says nothing about it.
const DEFAULT_MAX_BYTES: usize = 1 << 20;
/// Where a signature may be.
const SIGNATURES: [&str; 2] = ["x-hub-signature-256", "x-camshaft-signature"];
/// Headers that never become part of an event.
const HIDDEN: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-camshaft-signature",
];
/// Where senders say which delivery it is, so that one sent again is known.
const DELIVERY: [&str; 4] = [
    "idempotency-key",
    "x-github-delivery",
    "webhook-id",
    "x-gitlab-event-uuid",
];

fn text<'a>(spec: &'a SensorSpec, name: &str) -> Option<&'a str> {
    spec.parameters.get(name).and_then(Value::as_str)
}

/// The sensors that listen on a path.
pub(crate) fn listening<'a>(sensors: &'a [SensorSpec], path: &str) -> Vec<&'a SensorSpec> {
    let wanted = path.trim_matches('/');
    sensors
        .iter()
        .filter(|spec| spec.kind == TriggerKind::Webhook)
        .filter(|spec| text(spec, "path").is_some_and(|path| path.trim_matches('/') == wanted))
        .collect()
}

/// The methods that a hook takes, in upper case.
pub(crate) fn methods(spec: &SensorSpec) -> BTreeSet<String> {
    let list = spec.parameters.get("methods").and_then(Value::as_array);
    let named = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .chain(text(spec, "method"));
    let methods: BTreeSet<String> = named.map(str::to_ascii_uppercase).collect();
    if methods.is_empty() {
        BTreeSet::from(["POST".to_owned()])
    } else {
        methods
    }
}

/// The largest body that a hook takes.
pub(crate) fn max_bytes(spec: &SensorSpec) -> usize {
    let asked = spec.parameters.get("max_bytes").and_then(Value::as_u64);
    asked.map_or(DEFAULT_MAX_BYTES, |bytes| {
        usize::try_from(bytes).unwrap_or(usize::MAX)
    })
}

/// Whether the hook demands no signature, or the body carries the right one. A secret that is not a
/// text, or an empty one, is never satisfied.
pub(crate) fn is_signed(spec: &SensorSpec, headers: &HeaderMap, body: &[u8]) -> bool {
    match spec.parameters.get("secret") {
        None | Some(Value::Null) => true,
        Some(Value::String(secret)) if !secret.is_empty() => {
            let signatures = SIGNATURES.iter().flat_map(|name| headers.get_all(*name));
            signatures
                .filter_map(|value| value.to_str().ok())
                .any(|value| is_signature(secret, value, body))
        }
        Some(_) => false,
    }
}

fn is_signature(secret: &str, header: &str, body: &[u8]) -> bool {
    let Some(claimed) = header.trim().strip_prefix("sha256=").and_then(from_hex) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    mac.update(body);
    // In constant time.
    mac.verify_slice(&claimed).is_ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| (pair[0] << 4) | pair[1])
            .collect(),
    )
}

/// What a request to a hook tells.
pub(crate) struct Delivery {
    path: String,
    payload: Value,
    id: Option<String>,
    trace_parent: Option<String>,
}

impl Delivery {
    /// Reads a request.
    ///
    /// # Errors
    /// The content type is JSON and the body is not, or the delivery's id is no key.
    pub(crate) fn read(
        method: &str,
        path: &str,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Self, Problem> {
        let id = DELIVERY
            .iter()
            .find_map(|name| headers.get(*name).map(|value| (name, value)));
        let id = id.map(|(name, value)| {
            let key = value.to_str().unwrap_or_default();
            check_key(key)
                .map_err(|problem| Problem::invalid(format!("The header {name} {problem}")))?;
            Ok::<_, Problem>(key.to_owned())
        });
        let path = format!("/{}", path.trim_matches('/'));
        let mut payload = json!({
            "method": method,
            "path": path,
            "query": query(uri),
            "headers": shown_headers(headers),
        });
        let (body, encoding) = decode(&content_type(headers), body)?;
        payload["body"] = body;
        if let Some(encoding) = encoding {
            payload["body_encoding"] = json!(encoding);
        }
        Ok(Self {
            path,
            payload,
            id: id.transpose()?,
            trace_parent: trace_parent(headers),
        })
    }

    /// The event that one of the sensors on the path makes of it. The sensor's key is part of the
    /// deduplication key: two hooks that get a delivery with the same id both hear of it.
    pub(crate) fn draft(&self, spec: &SensorSpec) -> EventDraft {
        EventDraft {
            trigger: spec.trigger.clone(),
            payload: self.payload.clone(),
            source: EventSource {
                kind: "webhook".to_owned(),
                name: Some(self.path.clone()),
            },
            dedup_key: self.id.as_ref().map(|id| format!("{} {id}", spec.key)),
            occurred_at: None,
            sensor: Some(spec.key.clone()),
            depth: 0,
            trace_parent: self.trace_parent.clone(),
        }
    }
}

/// A body as a JSON value, and how it is encoded if it is not as it came.
pub(crate) fn decode(
    content_type: &str,
    body: &[u8],
) -> Result<(Value, Option<&'static str>), Problem> {
    if is_json(content_type) && !body.is_empty() {
        return Ok((parse(body)?, None));
    }
    if body.is_empty() {
        return Ok((Value::Null, None));
    }
    Ok(match std::str::from_utf8(body) {
        Ok(text) => (json!(text), None),
        Err(_) => (json!(STANDARD.encode(body)), Some("base64")),
    })
}

/// A parameter that comes once is a text, one that comes more often a list.
fn query(uri: &Uri) -> Object {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|Query(pairs)| pairs)
        .unwrap_or_default();
    let mut query = Object::new();
    for (name, value) in pairs {
        match query.get_mut(&name) {
            None => {
                query.insert(name, json!(value));
            }
            Some(Value::Array(values)) => values.push(json!(value)),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    query
}

fn shown_headers(headers: &HeaderMap) -> Object {
    let mut shown = Object::new();
    for name in headers
        .keys()
        .filter(|name| !HIDDEN.contains(&name.as_str()))
    {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        shown.insert(name.as_str().to_owned(), json!(values.join(", ")));
    }
    shown
}

#[cfg(test)]
#[path = "hooks_tests.rs"]
mod tests;
