//! The parameters of an HTTP action, checked: every mistake names the parameter.

use std::ops::RangeInclusive;
use std::time::Duration;

use camshaft_model::{Failure, FailureKind, Object, duration};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::runtime::failure;

const DEFAULT_MAX_BYTES: u64 = 8 * 1024 * 1024;
const DEFAULT_REDIRECTS: u64 = 5;
const MAX_REDIRECTS: u64 = 50;

/// What is to be asked, and which answers are good.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub(super) url: Url,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
    pub(super) expected: Vec<RangeInclusive<u16>>,
    pub(super) timeout: Option<Duration>,
    pub(super) max_bytes: u64,
    pub(super) redirects: u64,
}

const KNOWN: [&str; 9] = [
    "url",
    "method",
    "headers",
    "body",
    "query",
    "expected_status",
    "timeout",
    "max_bytes",
    "follow_redirects",
];

fn wrong(name: &str, why: impl std::fmt::Display) -> Failure {
    failure(FailureKind::Parameters, format!("parameter '{name}' {why}"))
}

/// What a parameter holds; null counts as not given.
fn given<'p>(parameters: &'p Object, name: &str) -> Option<&'p Value> {
    parameters.get(name).filter(|value| !value.is_null())
}

impl HttpRequest {
    /// Reads the parameters.
    ///
    /// # Errors
    /// A failure of kind `Parameters`.
    pub(super) fn read(
        parameters: &Object,
        idempotency_key: &str,
        trace_parent: &str,
    ) -> Result<Self, Failure> {
        if let Some(name) = parameters
            .keys()
            .find(|name| !KNOWN.contains(&name.as_str()))
        {
            return Err(wrong(
                name,
                format_args!("is unknown (there are: {})", KNOWN.join(", ")),
            ));
        }
        let method = method(parameters)?;
        let mut headers = headers(parameters)?;
        let body = body(parameters, &mut headers)?;
        let safe = method == Method::GET || method == Method::HEAD;
        let ours = [
            ("traceparent", Some(trace_parent)),
            ("idempotency-key", (!safe).then_some(idempotency_key)),
        ];
        for (name, value) in ours {
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                headers.entry(name).or_insert(value);
            }
        }
        Ok(Self {
            url: url(parameters)?,
            method,
            headers,
            body,
            expected: expected(parameters)?,
            timeout: timeout(parameters)?,
            max_bytes: number(parameters, "max_bytes", DEFAULT_MAX_BYTES)?,
            redirects: redirects(parameters)?,
        })
    }

    /// Whether an answer with this status is what the action expects.
    pub(super) fn expects(&self, status: u16) -> bool {
        self.expected.iter().any(|range| range.contains(&status))
    }

    /// The expected statuses for people: `200-299, 404`.
    pub(super) fn expectation(&self) -> String {
        let one = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from}-{to}"),
        };
        self.expected.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn url(parameters: &Object) -> Result<Url, Failure> {
    let Some(text) = given(parameters, "url") else {
        return Err(wrong("url", "is required"));
    };
    let text = text
        .as_str()
        .ok_or_else(|| wrong("url", "must be a string"))?;
    let mut url =
        Url::parse(text).map_err(|error| wrong("url", format_args!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("url", "must begin with http:// or https://"));
    }
    let Some(query) = given(parameters, "query") else {
        return Ok(url);
    };
    let query = query
        .as_object()
        .ok_or_else(|| wrong("query", "must be an object"))?;
    {
        let mut pairs = url.query_pairs_mut();
        for (name, value) in query {
            match value {
                Value::Array(values) => values.iter().for_each(|v| {
                    pairs.append_pair(name, &plain(v));
                }),
                Value::Null => {}
                value => {
                    pairs.append_pair(name, &plain(value));
                }
            }
        }
    }
    Ok(url)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn method(parameters: &Object) -> Result<Method, Failure> {
    let Some(value) = given(parameters, "method") else {
        return Ok(Method::GET);
    };
    let text = value
        .as_str()
        .ok_or_else(|| wrong("method", "must be a string"))?;
    Method::from_bytes(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| wrong("method", "is not an HTTP method, such as GET or POST"))
}

fn headers(parameters: &Object) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    let Some(value) = given(parameters, "headers") else {
        return Ok(headers);
    };
    let object = value
        .as_object()
        .ok_or_else(|| wrong("headers", "must be an object"))?;
    for (name, value) in object {
        let place = format!("headers.{name}");
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong(&place, "is not the name of a header"))?;
        let value = HeaderValue::from_str(&plain(value))
            .map_err(|_| wrong(&place, "holds characters that a header cannot carry"))?;
        headers.insert(header, value);
    }
    Ok(headers)
}

fn body(parameters: &Object, headers: &mut HeaderMap) -> Result<Option<Vec<u8>>, Failure> {
    match given(parameters, "body") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone().into_bytes())),
        Some(value) => {
            let json = HeaderValue::from_static("application/json");
            headers.entry(CONTENT_TYPE).or_insert(json);
            Ok(Some(value.to_string().into_bytes()))
        }
    }
}

fn expected(parameters: &Object) -> Result<Vec<RangeInclusive<u16>>, Failure> {
    match given(parameters, "expected_status") {
        None => Ok(vec![200..=299]),
        Some(Value::Array(values)) if values.is_empty() => {
            Err(wrong("expected_status", "must not be empty"))
        }
        Some(Value::Array(values)) => values.iter().map(expected_one).collect(),
        Some(value) => Ok(vec![expected_one(value)?]),
    }
}

fn expected_one(value: &Value) -> Result<RangeInclusive<u16>, Failure> {
    let refuse = || {
        wrong(
            "expected_status",
            "must be statuses such as 200, or classes such as \"2xx\"",
        )
    };
    let text = plain(value);
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class
            .parse()
            .ok()
            .filter(|c| (1..=5).contains(c))
            .ok_or_else(refuse)?;
        return Ok(class * 100..=class * 100 + 99);
    }
    let status: u16 = text
        .parse()
        .ok()
        .filter(|s| (100..=599).contains(s))
        .ok_or_else(refuse)?;
    Ok(status..=status)
}

fn timeout(parameters: &Object) -> Result<Option<Duration>, Failure> {
    given(parameters, "timeout")
        .map(|value| duration::parse(&plain(value)).map_err(|error| wrong("timeout", error)))
        .transpose()
}

fn number(parameters: &Object, name: &str, default: u64) -> Result<u64, Failure> {
    given(parameters, name).map_or(Ok(default), |value| {
        value
            .as_u64()
            .ok_or_else(|| wrong(name, "must be a whole number, 0 or more"))
    })
}

fn redirects(parameters: &Object) -> Result<u64, Failure> {
    match given(parameters, "follow_redirects") {
        Some(Value::Bool(true)) => Ok(DEFAULT_REDIRECTS),
        Some(Value::Bool(false)) => Ok(0),
        _ => Ok(number(parameters, "follow_redirects", DEFAULT_REDIRECTS)?.min(MAX_REDIRECTS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn read(parameters: Value) -> Result<HttpRequest, Failure> {
        HttpRequest::read(parameters.as_object().unwrap(), "key", "trace")
    }

    #[rstest]
    #[case("url", json!({}))]
    #[case("url", json!({"url": "ftp://x"}))]
    #[case("method", json!({"url": "http://x", "method": "GE T"}))]
    #[case("headers.a b", json!({"url": "http://x", "headers": {"a b": "1"}}))]
    #[case("headers.a", json!({"url": "http://x", "headers": {"a": "1\n2"}}))]
    #[case("query", json!({"url": "http://x", "query": "a=1"}))]
    #[case("expected_status", json!({"url": "http://x", "expected_status": ["9xx"]}))]
    #[case("expected_status", json!({"url": "http://x", "expected_status": []}))]
    #[case("timeout", json!({"url": "http://x", "timeout": "soon"}))]
    #[case("max_bytes", json!({"url": "http://x", "max_bytes": -1}))]
    #[case("follow_redirects", json!({"url": "http://x", "follow_redirects": "yes"}))]
    #[case("methd", json!({"url": "http://x", "methd": "GET"}))]
    fn a_mistake_names_its_parameter(#[case] name: &str, #[case] parameters: Value) {
        let error = read(parameters).unwrap_err();
        assert_eq!(error.kind, FailureKind::Parameters);
        assert!(
            error.message.starts_with(&format!("parameter '{name}'")),
            "{}",
            error.message
        );
    }

    #[test]
    fn query_body_and_statuses_are_read() {
        let request = read(json!({
            "url": "http://x/?a=1", "method": "post", "query": {"b": [2, "z y"], "c": null},
            "body": {"n": 1}, "expected_status": ["2xx", 404]
        }))
        .unwrap();
        assert_eq!(request.url.as_str(), "http://x/?a=1&b=2&b=z+y");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["idempotency-key"], "key");
        assert_eq!(request.body.as_deref(), Some(&b"{\"n\":1}"[..]));
        assert!(request.expects(204) && request.expects(404) && !request.expects(500));
        assert_eq!(request.expectation(), "200-299, 404");
    }

    #[test]
    fn reading_requests_carry_no_idempotency_key() {
        assert!(
            !read(json!({"url": "http://x"}))
                .unwrap()
                .headers
                .contains_key("idempotency-key")
        );
    }
}
