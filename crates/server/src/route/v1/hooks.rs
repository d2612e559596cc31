//! `/api/v1/hooks/{*path}`: requests of other programs become events. A hook is open to whoever
//! knows its path, unless it has a secret.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use camshaft_model::ErrorCode;
use camshaft_model::port::sensor::{Accepted, SensorSpec};

use crate::body::{At, too_large};
use crate::hooks::{self, Delivery};
use crate::problem::Problem;
use crate::state::Api;

/// Any method on `/api/v1/hooks/{*path}`; answered after the commit.
pub(crate) async fn receive(
    State(api): State<Api>,
    At(path): At<String>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str();
    let mut sensors = api.engine.wanted_sensors();
    if candidates(&sensors, method, &path).is_err() {
        // A run that waits for this one may have begun just now.
        api.engine.reconcile_sensors();
        sensors = api.engine.wanted_sensors();
    }
    let candidates = candidates(&sensors, method, &path)?;
    let limit = candidates
        .iter()
        .map(|spec| hooks::max_bytes(spec))
        .max()
        .unwrap_or_default();
    let body = read(&parts.headers, body, limit).await?;
    let willing = willing(&candidates, &parts.headers, &body)?;
    let delivery = Delivery::read(method, &path, &parts.uri, &parts.headers, &body)?;
    let drafts = willing.iter().map(|spec| delivery.draft(spec)).collect();
    let mut accepted = Vec::new();
    for result in api.engine.ingest_batch(drafts).await {
        accepted.push(result?);
    }
    let answer = together(accepted)
        .ok_or_else(|| Problem::new(ErrorCode::Internal, "The engine did not answer"))?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// The sensors that listen on the path for the method.
fn candidates<'a>(
    sensors: &'a [SensorSpec],
    method: &str,
    path: &str,
) -> Result<Vec<&'a SensorSpec>, Problem> {
    let listening = hooks::listening(sensors, path);
    if listening.is_empty() {
        let path: String = path.chars().take(200).collect();
        return Err(Problem::not_found(format!("webhook on '/{path}'"))
            .hint("A webhook is there while an enabled rule wants it"));
    }
    let allowed: BTreeSet<String> = listening
        .iter()
        .flat_map(|spec| hooks::methods(spec))
        .collect();
    if !allowed.contains(method) {
        let allowed = allowed.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Problem::new(
            ErrorCode::MethodNotAllowed,
            format!("The webhook takes {allowed}"),
        )
        .allow(allowed));
    }
    Ok(listening
        .into_iter()
        .filter(|spec| hooks::methods(spec).contains(method))
        .collect())
}

async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    to_bytes(body, limit).await.map_err(|error| {
        // The only other cause is a client that went away, and it does not read the answer.
        if std::error::Error::source(&error)
            .is_some_and(|source| source.to_string().contains("length limit"))
        {
            too_large(limit)
        } else {
            Problem::invalid("The body could not be read to its end")
        }
    })
}

/// The sensors that take this body: it is small enough for them and signed as they demand.
fn willing<'a>(
    candidates: &[&'a SensorSpec],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<&'a SensorSpec>, Problem> {
    let signed: Vec<_> = candidates
        .iter()
        .copied()
        .filter(|spec| hooks::is_signed(spec, headers, body))
        .collect();
    if signed.is_empty() {
        return Err(Problem::new(ErrorCode::Unauthorized, "The signature of the request is missing or wrong")
            .hint("Send X-Hub-Signature-256: sha256=<HMAC-SHA256 of the body with the hook's secret, in hexadecimal>"));
    }
    let limit = signed
        .iter()
        .map(|spec| hooks::max_bytes(spec))
        .max()
        .unwrap_or_default();
    let willing: Vec<_> = signed
        .into_iter()
        .filter(|spec| body.len() <= hooks::max_bytes(spec))
        .collect();
    if willing.is_empty() {
        Err(too_large(limit))
    } else {
        Ok(willing)
    }
}

/// One answer for all sensors on the path.
fn together(accepted: Vec<Accepted>) -> Option<Accepted> {
    accepted.into_iter().reduce(|mut all, one| {
        all.duplicate &= one.duplicate;
        all.executions.extend(one.executions);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use camshaft_model::definition::TriggerKind;
    use serde_json::{Value, json};

    fn spec(parameters: Value) -> SensorSpec {
        SensorSpec {
            key: "k".to_owned(),
            trigger: "core.webhook".parse().unwrap(),
            kind: TriggerKind::Webhook,
            parameters: serde_json::from_value(parameters).unwrap(),
        }
    }

    fn code(result: Result<Vec<&SensorSpec>, Problem>) -> Value {
        result.unwrap_err().document()["code"].clone()
    }

    #[test]
    fn unknown_paths_and_methods_are_told_apart() {
        let sensors = [
            spec(json!({"path": "a"})),
            spec(json!({"path": "a", "method": "PUT"})),
        ];
        assert_eq!(candidates(&sensors, "PUT", "a").unwrap().len(), 1);
        assert_eq!(code(candidates(&sensors, "POST", "b")), "not_found");
        assert_eq!(code(candidates(&sensors, "GET", "a")), "method_not_allowed");
    }

    #[test]
    fn a_body_must_be_signed_and_small_enough_for_the_one_that_takes_it() {
        let (open, secret) = (
            spec(json!({"max_bytes": 2})),
            spec(json!({"secret": "s", "max_bytes": 9})),
        );
        assert_eq!(
            willing(&[&open, &secret], &HeaderMap::new(), b"ab")
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            code(willing(&[&open, &secret], &HeaderMap::new(), b"abc")),
            "too_large"
        );
        assert_eq!(
            code(willing(&[&secret], &HeaderMap::new(), b"ab")),
            "unauthorized"
        );
    }

    #[tokio::test]
    async fn large_bodies_are_refused_declared_or_not() {
        let code = |result: Result<Bytes, Problem>| result.unwrap_err().document()["code"].clone();
        assert_eq!(
            code(read(&HeaderMap::new(), Body::from("abc"), 2).await),
            "too_large"
        );
        let declared = HeaderMap::from_iter([(header::CONTENT_LENGTH, "3".parse().unwrap())]);
        assert_eq!(code(read(&declared, Body::empty(), 2).await), "too_large");
        assert_eq!(
            read(&HeaderMap::new(), Body::from("ab"), 2).await.unwrap(),
            "ab"
        );
    }
}
