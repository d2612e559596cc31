//! Problem documents (RFC 9457) as errors of the command line.

use camshaft_model::ErrorCode;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::exit::{CliError, Problem};

/// More than this of an answer that is no problem document is not shown.
const SHOWN_CHARS: usize = 300;

#[derive(Deserialize)]
struct Document {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    hint: Option<String>,
    #[serde(default)]
    problems: Vec<Problem>,
}

/// Reads the answer to a request that was refused.
pub(super) async fn from_response(response: Response) -> CliError {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    from_body(status, &body)
}

fn from_body(status: StatusCode, body: &[u8]) -> CliError {
    let Ok(document) = serde_json::from_slice::<Document>(body) else {
        let text: String = String::from_utf8_lossy(body)
            .trim()
            .chars()
            .take(SHOWN_CHARS)
            .collect();
        let text = if text.is_empty() {
            String::new()
        } else {
            format!(": {text}")
        };
        return CliError::new(code_of(status), format!("the answer was {status}{text}"));
    };
    let code = document.code.as_deref().and_then(ErrorCode::from_name);
    let message = document
        .detail
        .or(document.title)
        .unwrap_or_else(|| format!("the answer was {status}"));
    CliError {
        code: code.unwrap_or_else(|| code_of(status)),
        message,
        hint: document.hint,
        problems: document.problems,
    }
}

/// For answers without a code of ours, such as a proxy's.
fn code_of(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        401 => ErrorCode::Unauthorized,
        403 => ErrorCode::Forbidden,
        404 => ErrorCode::NotFound,
        405 => ErrorCode::MethodNotAllowed,
        409 => ErrorCode::Conflict,
        413 => ErrorCode::TooLarge,
        502..=504 => ErrorCode::Unavailable,
        400..=499 => ErrorCode::InvalidRequest,
        _ => ErrorCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_problem_document_keeps_code_hint_and_places() {
        let body = br#"{"type":"urn:camshaft:error:invalid_definition","title":"T","status":422,"detail":"1 mistake",
            "code":"invalid_definition","hint":"fix it","problems":[{"file":"a.yaml","line":2,"column":1,"path":"x","message":"no"}]}"#;
        let error = from_body(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::InvalidDefinition, "1 mistake")
        );
        assert_eq!(error.hint.as_deref(), Some("fix it"));
        assert_eq!(error.problems[0].render(), "a.yaml:2:1: no (at x)");
    }

    #[test]
    fn an_answer_of_somebody_else_is_still_an_error_with_a_code() {
        let error = from_body(StatusCode::BAD_GATEWAY, b"<html>nginx</html>");
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert_eq!(
            error.message,
            "the answer was 502 Bad Gateway: <html>nginx</html>"
        );
        let newer = from_body(
            StatusCode::CONFLICT,
            br#"{"detail":"x","code":"from_the_future"}"#,
        );
        assert_eq!(
            (newer.code, newer.message.as_str()),
            (ErrorCode::Conflict, "x")
        );
    }

    proptest! {
        #[test]
        fn any_body_is_an_error(body: Vec<u8>) {
            let _ = from_body(StatusCode::BAD_REQUEST, &body);
        }
    }
}
