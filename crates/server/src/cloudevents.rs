//! CloudEvents 1.0, structured and binary.
//!
//! - The trigger is the extension attribute `camshafttrigger` (or `camshaft_trigger`, which only the
//!   structured mode can carry by the letter of the specification), else the `type`, which then must
//!   be a trigger's ref.
//! - The payload is the `data`: JSON as it is, `data_base64` decoded; text as text; other bytes as
//!   base64. Without data it is null.
//! - `source` and `id` together are the deduplication key, as the specification wants producers to
//!   make them unique; `source` is also shown as the event's source; `time` is when it occurred.
//! - `subject`, `dataschema` and extensions that are not named here are accepted and not kept.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camshaft_model::{EventDraft, EventSource, Object, Ref, Timestamp, TraceContext};
use serde_json::Value;

use crate::body::{content_type, is_json, parse};
use crate::hooks::decode;
use crate::problem::Problem;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// The most bytes of `id` and of `source`.
const MAX_ATTRIBUTE: usize = 1_024;

/// How a request carries CloudEvents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Structured,
    Batch,
    Binary,
}

/// How a request carries CloudEvents, if it does.
pub(crate) fn mode(headers: &HeaderMap) -> Option<Mode> {
    match content_type(headers).as_str() {
        STRUCTURED => Some(Mode::Structured),
        BATCH => Some(Mode::Batch),
        _ if headers.contains_key("ce-specversion") => Some(Mode::Binary),
        _ => None,
    }
}

/// Reads the one event of a structured message.
pub(crate) fn structured(body: &[u8]) -> Result<EventDraft, Problem> {
    event(parse(body)?)
}

/// Reads the events of a batch.
pub(crate) fn batch(body: &[u8]) -> Result<Vec<EventDraft>, Problem> {
    parse::<Vec<Object>>(body)?.into_iter().map(event).collect()
}

/// Reads the event of a binary message: attributes in headers, data in the body.
pub(crate) fn binary(headers: &HeaderMap, body: &[u8]) -> Result<EventDraft, Problem> {
    let mut attributes = Object::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix("ce-") {
            attributes.insert(
                name.to_owned(),
                Value::String(percent_decoded(value.as_bytes())),
            );
        }
    }
    let (payload, _) = decode(&content_type(headers), body)?;
    draft(&attributes, payload)
}

fn event(mut attributes: Object) -> Result<EventDraft, Problem> {
    let data = attributes.remove("data");
    let encoded = attributes.remove("data_base64");
    let payload = match (data, encoded) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid(
                "A CloudEvent has either data or data_base64, not both",
            ));
        }
        (Some(data), None) => data,
        (None, Some(encoded)) => {
            let bytes = encoded.as_str().and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes
                .ok_or_else(|| Problem::invalid("The CloudEvent's data_base64 is not base64"))?;
            let kind = optional(&attributes, "datacontenttype")?
                .unwrap_or_default()
                .to_ascii_lowercase();
            let kind = kind.split(';').next().unwrap_or_default().trim();
            decode(
                if is_json(kind) {
                    "application/json"
                } else {
                    ""
                },
                &bytes,
            )?
            .0
        }
        (None, None) => Value::Null,
    };
    draft(&attributes, payload)
}

fn draft(attributes: &Object, payload: Value) -> Result<EventDraft, Problem> {
    let version = required(attributes, "specversion")?;
    if version != "1.0" {
        return Err(Problem::invalid("The CloudEvent's specversion is not 1.0"));
    }
    let (id, source) = (required(attributes, "id")?, required(attributes, "source")?);
    let kind = required(attributes, "type")?;
    let named = match optional(attributes, "camshafttrigger")? {
        Some(named) => Some(named),
        None => optional(attributes, "camshaft_trigger")?,
    };
    let trigger: Ref = named.unwrap_or(kind).parse().map_err(|error| {
        Problem::invalid(format!("The CloudEvent names no trigger: {error}"))
            .hint("Set the extension attribute camshafttrigger to a trigger's ref, or let the type be one")
    })?;
    let time = optional(attributes, "time")?;
    let occurred_at = time.map(str::parse::<Timestamp>).transpose();
    let occurred_at =
        occurred_at.map_err(|error| Problem::invalid(format!("The CloudEvent's time: {error}")))?;
    Ok(EventDraft {
        trigger,
        payload,
        source: EventSource {
            kind: "api".to_owned(),
            name: Some(source.to_owned()),
        },
        // A source is a URI reference and has no space, so the two parts cannot run into each other.
        dedup_key: Some(format!("{source} {id}")),
        occurred_at,
        sensor: None,
        depth: 0,
        trace_parent: optional(attributes, "traceparent")?
            .and_then(TraceContext::parse)
            .map(|context| context.to_string()),
    })
}

fn required<'a>(attributes: &'a Object, name: &str) -> Result<&'a str, Problem> {
    let value = optional(attributes, name)?.filter(|value| !value.is_empty());
    value.ok_or_else(|| Problem::invalid(format!("The CloudEvent has no {name}")))
}

fn optional<'a>(attributes: &'a Object, name: &str) -> Result<Option<&'a str>, Problem> {
    match attributes.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text))
            if text.len() > MAX_ATTRIBUTE || text.chars().any(char::is_control) =>
        {
            Err(Problem::invalid(format!(
                "The CloudEvent's {name} is longer than {MAX_ATTRIBUTE} bytes or cannot be printed"
            )))
        }
        Some(Value::String(text)) if name == "source" && text.contains(' ') => Err(
            Problem::invalid("The CloudEvent's source is not a URI reference: it has a space"),
        ),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::invalid(format!(
            "The CloudEvent's {name} is not a text"
        ))),
    }
}

/// Header values carry everything beyond printable ASCII percent-encoded; what is no encoding stays.
fn percent_decoded(value: &[u8]) -> String {
    let digit = |at: usize| {
        value
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut bytes = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({"specversion": "1.0", "id": "7", "source": "/plant/1", "type": "demo.measured",
               "time": "2026-11-21T01:28:29.59Z", "data": {"n": 1}})
    }

    fn read(value: &Value) -> Result<EventDraft, Problem> {
        structured(value.to_string().as_bytes())
    }

    #[test]
    fn a_structured_event_becomes_a_draft() {
        let draft = read(&sample()).unwrap();
        assert_eq!(draft.trigger.as_str(), "demo.measured");
        assert_eq!(
            (draft.payload, draft.dedup_key.as_deref()),
            (json!({"n": 1}), Some("/plant/1 7"))
        );
        assert_eq!(
            draft.occurred_at.unwrap().to_string(),
            "2026-11-21T01:28:29.590000Z"
        );
    }

    #[test]
    fn the_extension_names_the_trigger_where_the_type_does_not() {
        let mut event = sample();
        event["type"] = json!("com.Example/thing");
        assert!(read(&event).is_err());
        for name in ["camshafttrigger", "camshaft_trigger"] {
            let mut named = event.clone();
            named[name] = json!("demo.other");
            assert_eq!(read(&named).unwrap().trigger.as_str(), "demo.other");
        }
    }

    #[test]
    fn data_may_be_base64() {
        let mut event = sample();
        event["data_base64"] = json!("eyJuIjoyfQ==");
        assert!(read(&event).is_err(), "both");
        event.as_object_mut().unwrap().remove("data");
        assert_eq!(read(&event).unwrap().payload, json!("{\"n\":2}"));
        event["datacontenttype"] = json!("application/json; charset=utf-8");
        assert_eq!(read(&event).unwrap().payload, json!({"n": 2}));
        event["data_base64"] = json!("!");
        assert!(read(&event).is_err());
    }

    #[test]
    fn what_the_specification_requires_is_required() {
        for name in ["specversion", "id", "source", "type"] {
            let mut event = sample();
            event.as_object_mut().unwrap().remove(name);
            assert!(read(&event).is_err(), "{name}");
        }
        for (name, value) in [
            ("specversion", json!("0.3")),
            ("id", json!(7)),
            ("source", json!("a b")),
            ("time", json!("noon")),
        ] {
            let mut event = sample();
            event[name] = value;
            assert!(read(&event).is_err(), "{name}");
        }
    }

    #[test]
    fn a_binary_event_has_its_attributes_in_headers() {
        let pairs = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/caf%C3%A9"),
            ("ce-type", "demo.x"),
            ("content-type", "application/json"),
        ];
        let headers: HeaderMap = pairs
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
            .collect();
        assert_eq!(mode(&headers), Some(Mode::Binary));
        let draft = binary(&headers, b"[1]").unwrap();
        assert_eq!(
            (draft.payload, draft.source.name.as_deref()),
            (json!([1]), Some("/café"))
        );
        assert!(binary(&headers, b"[1").is_err());
    }

    #[test]
    fn a_batch_is_a_list() {
        assert_eq!(
            batch(json!([sample(), sample()]).to_string().as_bytes())
                .unwrap()
                .len(),
            2
        );
        assert!(batch(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn no_message_panics(body: Vec<u8>, value: Vec<u8>, id: String) {
            let _ = (structured(&body), batch(&body), percent_decoded(&value));
            let mut event = sample();
            event["id"] = json!(id);
            let _ = read(&event);
        }
    }
}
