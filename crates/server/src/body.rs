//! Reading requests: bodies, query parameters, parts of the path and the headers that several
//! endpoints share. Whatever is wrong comes back as a problem that says where.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use camshaft_model::{ErrorCode, TraceContext};
use serde::de::DeserializeOwned;

use crate::problem::{Problem, ProblemItem};
use crate::state::Api;

/// The most characters of an `Idempotency-Key`.
pub(crate) const MAX_IDEMPOTENCY_KEY: usize = 200;

/// How deep what comes may be nested. Readers of JSON give up at 128 levels, ours too, and what comes
/// is later shown inside something else.
const MAX_DEPTH: usize = 100;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let content_type = content_type(request.headers());
        if !content_type.is_empty() && !is_json(&content_type) {
            return Err(Problem::invalid(format!(
                "The content type is '{content_type}', not application/json"
            )));
        }
        let Raw(bytes) = Raw::from_request(request, api).await?;
        parse(&bytes).map(Self)
    }
}

/// A body as it is, up to the configured limit.
pub(crate) struct Raw(pub(crate) Bytes);

impl FromRequest<Api> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        match Bytes::from_request(request, api).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large(api.config.max_body_bytes))
            }
            Err(rejection) => Err(Problem::invalid(rejection.body_text())),
        }
    }
}

/// The body is larger than the limit.
pub(crate) fn too_large(limit: usize) -> Problem {
    Problem::new(
        ErrorCode::TooLarge,
        format!("The body is larger than {limit} bytes"),
    )
}

/// Reads JSON; an error names the path, the line and the column.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if depth(bytes) > MAX_DEPTH {
        return Err(Problem::invalid(format!(
            "The JSON is nested more than {MAX_DEPTH} levels deep"
        )));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        located(&error.into_inner(), Some(path).filter(|path| path != "."))
    })?;
    deserializer.end().map_err(|error| located(&error, None))?;
    Ok(value)
}

/// How deep a JSON text is nested. Of a text that is not JSON it is some number.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn located(error: &serde_json::Error, path: Option<String>) -> Problem {
    let place = path
        .as_ref()
        .map_or(String::new(), |path| format!(" at {path}"));
    let item = ProblemItem {
        line: Some(error.line()).filter(|line| *line > 0),
        column: Some(error.column()).filter(|column| *column > 0),
        path,
        message: error.to_string(),
        file: None,
    };
    Problem::invalid(format!(
        "The body is not what this endpoint takes{place}: {error}"
    ))
    .items(vec![item])
}

/// The query parameters. Unknown ones have been refused before.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(parameters)| Self(parameters))
            .map_err(|rejection| Problem::invalid(rejection.body_text()))
    }
}

/// The variable parts of the path, in its order.
pub(crate) struct PathTexts<const N: usize>(pub(crate) [String; N]);

impl<const N: usize, S: Send + Sync> FromRequestParts<S> for PathTexts<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::invalid(rejection.body_text()))?;
        let mut texts = parameters.iter().map(|(_, value)| value.to_owned());
        Ok(Self(std::array::from_fn(|_| {
            texts.next().unwrap_or_default()
        })))
    }
}

/// The one variable part of the path.
pub(crate) struct At<T>(pub(crate) T);

impl<T: FromStr<Err: Display>, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathTexts([text]) = PathTexts::from_request_parts(parts, state).await?;
        parse_text(&text).map(Self)
    }
}

/// Reads a text of the path or the query.
pub(crate) fn parse_text<T: FromStr<Err: Display>>(text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error: T::Err| Problem::invalid(error.to_string()))
}

/// The content type without its parameters, in lower case; empty if there is none.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default()
}

/// Whether a content type is JSON.
pub(crate) fn is_json(content_type: &str) -> bool {
    content_type == "application/json"
        || content_type == "text/json"
        || content_type.ends_with("+json")
}

/// The `Idempotency-Key` header.
///
/// # Errors
/// It is empty, too long or has characters that cannot be printed.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    check_key(key).map_err(|problem| Problem::invalid(format!("The Idempotency-Key {problem}")))?;
    Ok(Some(key.to_owned()))
}

/// Checks a key that somebody made up: 1 to 200 characters that can be printed.
pub(crate) fn check_key(key: &str) -> Result<(), String> {
    let count = key.chars().count();
    if count == 0 || count > MAX_IDEMPOTENCY_KEY || key.chars().any(char::is_control) {
        return Err(format!(
            "must have 1 to {MAX_IDEMPOTENCY_KEY} characters, all of which can be printed"
        ));
    }
    Ok(())
}

/// The W3C trace context of the request, if it is well-formed: one that is not is no reason to refuse
/// the request.
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    TraceContext::parse(text).map(|context| context.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its type matters here")]
        priority: i32,
    }

    #[test]
    fn an_error_in_a_body_says_where() {
        let document = parse::<Vec<Inner>>(b"[{\"priority\": 1},\n {\"priority\": \"high\"}]")
            .unwrap_err()
            .document();
        assert_eq!(document["problems"][0]["path"], "[1].priority");
        assert_eq!(document["problems"][0]["line"], 2);
        let document = parse::<Vec<Inner>>(b"[{\"prioriti\": 1}]")
            .unwrap_err()
            .document();
        assert!(
            document["detail"]
                .as_str()
                .unwrap()
                .contains("expected `priority`"),
            "{document}"
        );
    }

    #[test]
    fn what_follows_the_json_is_refused() {
        assert!(parse::<serde_json::Value>(b"{} {}").is_err());
        assert_eq!(parse::<serde_json::Value>(b" {} ").unwrap(), json!({}));
    }

    #[test]
    fn what_is_nested_too_deeply_to_be_shown_again_is_refused() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse::<serde_json::Value>(nested(MAX_DEPTH).as_bytes()).is_ok());
        let problem = parse::<serde_json::Value>(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
        assert!(
            problem.document()["detail"]
                .as_str()
                .unwrap()
                .contains("100 levels")
        );
        let flat = format!(r#"["{}", "\"{}"]"#, "[".repeat(200), "{".repeat(200));
        assert!(
            parse::<serde_json::Value>(flat.as_bytes()).is_ok(),
            "brackets in texts do not count"
        );
    }

    #[test]
    fn keys_are_printable_and_short() {
        let headers = |key: &str| {
            HeaderMap::from_iter([("idempotency-key".parse().unwrap(), key.parse().unwrap())])
        };
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(
            idempotency_key(&headers("a b")).unwrap().as_deref(),
            Some("a b")
        );
        assert!(idempotency_key(&headers("")).is_err());
        assert!(idempotency_key(&headers(&"x".repeat(201))).is_err());
        assert!(check_key("a\nb").is_err());
    }

    #[test]
    fn a_trace_context_is_taken_only_if_it_is_well_formed() {
        let headers = |text: &str| {
            HeaderMap::from_iter([("traceparent".parse().unwrap(), text.parse().unwrap())])
        };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_parent(&headers(good)).as_deref(), Some(good));
        assert_eq!(trace_parent(&headers(&good.to_uppercase())), None);
        assert_eq!(trace_parent(&headers("00-1-2-3")), None);
        let later = good.replacen("00", "01", 1) + "-more";
        assert_eq!(trace_parent(&headers(&later)).as_deref(), Some(good));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            let _ = parse::<Vec<Inner>>(&bytes);
        }
    }
}
