//! Errors as RFC 9457 problem documents. Every error that leaves the server is made here.

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use camshaft_engine::handle::ControlError;
use camshaft_model::port::constraint::ControlRefused;
use camshaft_model::port::sensor::IntakeError;
use camshaft_model::port::store::StoreError;
use camshaft_model::{ConstraintError, ErrorCode};
use serde::Serialize;
use serde_json::{Value, json};

/// One mistake among several, with its place as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ProblemItem {
    /// The file, relative to the pack's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The path inside the document, such as `executions[3].priority`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong, and what is known instead.
    pub message: String,
}

/// An error as a program sees it.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ErrorCode,
    detail: String,
    hint: Option<String>,
    items: Vec<ProblemItem>,
    allow: Option<String>,
}

impl Problem {
    /// A problem with a sentence that says what and where.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            hint: None,
            items: Vec::new(),
            allow: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, detail)
    }

    pub(crate) fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("There is no {what}"))
    }

    /// What to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Every mistake that was found.
    #[must_use]
    pub(crate) fn items(mut self, items: Vec<ProblemItem>) -> Self {
        self.items = items;
        self
    }

    /// The methods that are allowed instead.
    #[must_use]
    pub(crate) fn allow(mut self, methods: impl Into<String>) -> Self {
        self.allow = Some(methods.into());
        self
    }

    /// The document.
    pub(crate) fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("urn:camshaft:error:{}", self.code),
            "title": self.code.title(),
            "status": self.status().as_u16(),
            "detail": self.detail,
            "code": self.code.as_str(),
        });
        if let Some(hint) = &self.hint {
            document["hint"] = json!(hint);
        }
        if !self.items.is_empty() {
            document["problems"] = json!(self.items);
        }
        document
    }

    /// Codes that belong to the command line have no error status of their own.
    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.http_status())
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.document().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.code == ErrorCode::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(methods) = self
            .allow
            .and_then(|methods| HeaderValue::try_from(methods).ok())
        {
            headers.insert(header::ALLOW, methods);
        }
        response
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        Self {
            hint: error.hint,
            ..Self::new(error.code, error.message)
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Unavailable(_) | StoreError::Delayed(_) => ErrorCode::Unavailable,
            StoreError::Broken(_) => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ConstraintError> for Problem {
    fn from(error: ConstraintError) -> Self {
        Self::new(ErrorCode::InvalidConstraint, error.to_string())
    }
}

impl From<ControlRefused> for Problem {
    fn from(error: ControlRefused) -> Self {
        match error {
            ControlRefused::Store(error) => error.into(),
            ControlRefused::Invalid(error) => error.into(),
            ControlRefused::Expired => Self::new(ErrorCode::InvalidConstraint, error.to_string())
                .hint("Give an instant in the future, or a ttl"),
            ControlRefused::TooMany(_) => {
                Self::new(ErrorCode::TooManyConstraints, error.to_string())
            }
        }
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        let code = match error {
            IntakeError::Refused(_) => ErrorCode::InvalidRequest,
            IntakeError::Unavailable(_) => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_the_stable_code_and_leaves_out_what_is_not_there() {
        let document = Problem::not_found("rule 'demo.x'").document();
        assert_eq!(
            document,
            json!({
                "type": "urn:camshaft:error:not_found",
                "title": "There is no such thing",
                "status": 404,
                "detail": "There is no rule 'demo.x'",
                "code": "not_found",
            })
        );
    }

    #[test]
    fn hints_and_places_are_shown() {
        let item = ProblemItem {
            line: Some(3),
            message: "unknown key".to_owned(),
            ..ProblemItem::default()
        };
        let document = Problem::invalid("no")
            .hint("look")
            .items(vec![item])
            .document();
        assert_eq!(document["hint"], "look");
        assert_eq!(
            document["problems"],
            json!([{"line": 3, "message": "unknown key"}])
        );
    }

    #[test]
    fn headers_go_with_the_code() {
        let response = Problem::new(ErrorCode::Unauthorized, "no token").into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let response = Problem::new(ErrorCode::MethodNotAllowed, "no")
            .allow("POST, PUT")
            .into_response();
        assert_eq!(
            (
                response.status().as_u16(),
                response.headers()[header::ALLOW].to_str().unwrap()
            ),
            (405, "POST, PUT")
        );
    }

    #[test]
    fn no_code_turns_an_error_into_a_success() {
        for code in ErrorCode::ALL {
            let status = Problem::new(*code, "").into_response().status();
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{code}"
            );
        }
    }
}
