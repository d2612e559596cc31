//! Who may call what.
//!
//! An operator's token may do everything: the one of the data directory, which has every role, and
//! those that the configuration names, whose roles say which inquiries they may answer. A token that
//! the engine made for an attempt, and that dies with it, lets the process post events and read its
//! own execution, and nothing else.

use std::sync::Arc;

use axum::RequestExt;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use camshaft_model::{AttemptKey, ErrorCode, ExecutionId};
use sha2::{Digest, Sha256};

use crate::problem::Problem;
use crate::state::{ADMIN, Api, NamedToken};

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody, without a token.
    Open,
    /// The operator.
    Operator,
    /// The operator and every attempt that is alive.
    Attempt,
    /// The operator, and an attempt of the execution that the path names.
    OwnExecution,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    Operator(Arc<Operator>),
    Attempt(AttemptKey),
}

/// Somebody with a token that lasts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) name: String,
    /// `None` for every role.
    pub(crate) roles: Option<Vec<String>>,
}

/// The operators, by the digests of their tokens.
pub(crate) struct Operators(Vec<(TokenDigest, Arc<Operator>)>);

impl Operators {
    /// Whoever has the token of the data directory, and the named ones.
    pub(crate) fn new(token: &str, named: &[NamedToken]) -> Self {
        let admin = Operator {
            name: ADMIN.to_owned(),
            roles: None,
        };
        let named = named.iter().map(|named| {
            let operator = Operator {
                name: named.name.clone(),
                roles: Some(named.roles.clone()),
            };
            (TokenDigest::of(&named.token), Arc::new(operator))
        });
        Self(
            std::iter::once((TokenDigest::of(token), Arc::new(admin)))
                .chain(named)
                .collect(),
        )
    }

    fn find(&self, token: &str) -> Option<Arc<Operator>> {
        let mut all = self.0.iter();
        all.find(|(digest, _)| digest.is_of(token))
            .map(|(_, operator)| operator.clone())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only an endpoint whose access is `Open` has no caller, and none of those asks for one.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(missing_token)
    }
}

/// The digest of a token: digests are compared, so that the time it takes tells nothing of the token.
struct TokenDigest([u8; 32]);

impl TokenDigest {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    fn is_of(&self, token: &str) -> bool {
        let other = Self::of(token);
        self.0
            .iter()
            .zip(other.0)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
    }
}

/// What the check of an endpoint needs to know.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) api: Api,
    pub(crate) access: Access,
    /// The query parameters that the endpoint knows; `None` if it takes whatever comes.
    pub(crate) query: Option<&'static [&'static str]>,
}

/// Lets a request through to its handler, or answers it.
pub(crate) async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let checked = async {
        if guard.access != Access::Open {
            let caller = caller(&guard.api, &request)?;
            if let Caller::Attempt(key) = &caller {
                check_attempt(guard.access, *key, &mut request).await?;
            }
            request.extensions_mut().insert(caller);
        }
        check_query(guard.query, request.uri().query())
    };
    match checked.await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn missing_token() -> Problem {
    Problem::new(ErrorCode::Unauthorized, "The request has no bearer token").hint(
        "Send `Authorization: Bearer <token>`; the token is in api.json in the data directory",
    )
}

fn caller(api: &Api, request: &Request) -> Result<Caller, Problem> {
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty())
        .ok_or_else(missing_token)?;
    if let Some(operator) = api.operators.find(token) {
        return Ok(Caller::Operator(operator));
    }
    api.engine
        .token_holder(token)
        .map(Caller::Attempt)
        .ok_or_else(|| {
            Problem::new(
                ErrorCode::Unauthorized,
                "The bearer token is not valid, or its attempt has ended",
            )
        })
}

async fn check_attempt(
    access: Access,
    key: AttemptKey,
    request: &mut Request,
) -> Result<(), Problem> {
    let forbidden = |detail: &str| Problem::new(ErrorCode::Forbidden, detail);
    match access {
        Access::Open | Access::Attempt => Ok(()),
        Access::Operator => Err(
            forbidden("The token of an attempt does not allow this").hint(
                "It may post events and read its own execution, its event log, logs and attempts",
            ),
        ),
        Access::OwnExecution => {
            let named = request
                .extract_parts::<RawPathParams>()
                .await
                .ok()
                .and_then(|parameters| {
                    parameters
                        .iter()
                        .find(|(name, _)| *name == "id")
                        .and_then(|(_, value)| value.parse::<ExecutionId>().ok())
                });
            if named == Some(key.execution) {
                Ok(())
            } else {
                Err(forbidden(
                    "The token of an attempt allows reading its own execution only",
                ))
            }
        }
    }
}

fn check_query(known: Option<&[&str]>, query: Option<&str>) -> Result<(), Problem> {
    let (Some(known), Some(query)) = (known, query) else {
        return Ok(());
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or(pair);
        if !known.contains(&name) {
            let name: String = name.chars().take(64).collect();
            let problem = Problem::invalid(format!(
                "'{name}' is not a query parameter of this endpoint"
            ));
            return Err(if known.is_empty() {
                problem.hint("It takes none")
            } else {
                problem.hint(format!("It takes {}", known.join(", ")))
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_has_the_same_digest() {
        let digest = TokenDigest::of("cam_secret");
        assert!(digest.is_of("cam_secret"));
        assert!(!digest.is_of("cam_secreu") && !digest.is_of("") && !digest.is_of("cam_secret "));
    }

    #[test]
    fn a_token_tells_whose_it_is() {
        let named = NamedToken {
            name: "ada".to_owned(),
            token: "cam_ada".to_owned(),
            roles: vec!["operator".to_owned()],
        };
        let operators = Operators::new("cam_admin", &[named]);
        let admin = operators.find("cam_admin").unwrap();
        assert_eq!((admin.name.as_str(), &admin.roles), ("admin", &None));
        let ada = operators.find("cam_ada").unwrap();
        assert_eq!(
            (ada.name.as_str(), ada.roles.as_deref()),
            ("ada", Some(&["operator".to_owned()][..]))
        );
        assert_eq!(operators.find("ada"), None);
    }

    #[test]
    fn unknown_query_parameters_are_refused_with_the_known_ones() {
        let known: Option<&[&str]> = Some(&["limit", "cursor"]);
        assert!(check_query(known, Some("limit=1&cursor=a%20b&")).is_ok());
        assert!(check_query(known, None).is_ok() && check_query(None, Some("x=1")).is_ok());
        let document = check_query(known, Some("limit=1&lmit=2"))
            .unwrap_err()
            .document();
        assert_eq!(
            document["detail"],
            "'lmit' is not a query parameter of this endpoint"
        );
        assert_eq!(document["hint"], "It takes limit, cursor");
    }
}
