//! Constraints: what is in force and what it does, setting one, clearing, and trying one before it is
//! set. Every answer comes after the change is stored.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use camshaft_engine::handle::{ConstraintPreview, ConstraintUse};
use camshaft_model::constraint::{expires_at, ttl};
use camshaft_model::port::constraint::ConstraintControl;
use camshaft_model::{
    Constraint, ConstraintError, ConstraintKey, ConstraintType, ErrorCode, Object, Scope, Terms,
    Timestamp, Via,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::body::{Body, Params, PathTexts, Raw, parse};
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::state::{ADMIN, Api};

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    scope: Option<String>,
    r#type: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/v1/constraints`
pub(crate) async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<Value>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = query.cursor.as_deref().filter(|text| !text.is_empty());
    let after = after.map(key_after).transpose()?;
    let scope = query.scope.as_deref().map(scope_of).transpose()?;
    let kind = query.r#type.as_deref().map(type_of).transpose()?;
    let is_asked_for = |constraint: &Constraint| {
        scope
            .as_ref()
            .is_none_or(|scope| *scope == constraint.scope)
            && kind.is_none_or(|kind| kind == constraint.terms.kind())
    };
    let found = (api.engine).constraint_use(after, limit as usize + 1, is_asked_for);
    let page = page::page(found, limit, |one| cursor(&one.constraint.key()));
    let now = api.engine.now();
    Ok(Json(Page {
        items: page.items.iter().map(|one| with_use(one, now)).collect(),
        next_cursor: page.next_cursor,
    }))
}

/// A page ends with a constraint: its type, which has no colon in it, and its scope.
fn cursor(key: &ConstraintKey) -> String {
    format!("{}:{}", key.kind, key.scope)
}

fn key_after(cursor: &str) -> Result<ConstraintKey, Problem> {
    let (kind, scope) = cursor.split_once(':').ok_or_else(|| {
        Problem::invalid("cursor is not one that a page of constraints ended with")
    })?;
    key_of(scope, kind)
}

/// `GET /api/v1/constraints/{scope}/{type}`
pub(crate) async fn show(
    State(api): State<Api>,
    PathTexts([scope, kind]): PathTexts<2>,
) -> Result<Json<Value>, Problem> {
    let key = key_of(&scope, &kind)?;
    let found = (api.engine).constraint_use(None, 1, |constraint| constraint.key() == key);
    let now = api.engine.now();
    let found = found.first().map(|one| Json(with_use(one, now)));
    found.ok_or_else(|| {
        Problem::not_found(format!("{key}"))
            .hint("camshaft constraint list, or GET /api/v1/constraints, shows what is in force")
    })
}

/// What somebody asks a constraint to be, its scope and type aside.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConstraintBody {
    params: Object,
    /// A text such as `5m`, or a number of seconds.
    ttl: Option<Value>,
    /// An instant, or the seconds since 1970.
    expires_at: Option<Value>,
    id: Option<String>,
    reason: Option<String>,
    owner: Option<String>,
}

impl ConstraintBody {
    fn constraint(
        self,
        key: ConstraintKey,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Constraint, Problem> {
        let expires_at = match (present(self.ttl), present(self.expires_at)) {
            (None, None) => None,
            (Some(ttl), None) => Some(now + time_to_live(&ttl)?),
            (None, Some(at)) => Some(expires_at(&at)?),
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "give either ttl or expires_at: both say when it ends",
                ));
            }
        };
        let terms = Terms::read(key.kind, &Value::Object(self.params))?;
        let id = self.id.filter(|id| !id.is_empty());
        Ok(Constraint {
            id: id.unwrap_or_else(|| Constraint::default_id(&key.scope, key.kind)),
            scope: key.scope,
            terms,
            expires_at,
            reason: self.reason.filter(|reason| !reason.is_empty()),
            owner: Some(owner(caller, self.owner)),
            via: Via::Api,
            set_at: now,
        })
    }
}

/// `PUT /api/v1/constraints/{scope}/{type}`
pub(crate) async fn put(
    State(api): State<Api>,
    caller: Caller,
    PathTexts([scope, kind]): PathTexts<2>,
    Raw(bytes): Raw,
) -> Result<Json<Value>, Problem> {
    let key = key_of(&scope, &kind)?;
    let body: ConstraintBody = if bytes.is_empty() {
        ConstraintBody::default()
    } else {
        parse(&bytes)?
    };
    let now = api.engine.now();
    let constraint = body.constraint(key, &caller, now)?;
    api.engine.set(constraint.clone()).await?;
    let preview = api.engine.preview(&constraint);
    Ok(Json(json!({
        "constraint": constraint.shown(now),
        "preview": preview_shown(&preview),
    })))
}

/// `DELETE /api/v1/constraints/{scope}/{type}`
pub(crate) async fn clear(
    State(api): State<Api>,
    PathTexts([scope, kind]): PathTexts<2>,
) -> Result<Json<Value>, Problem> {
    let key = key_of(&scope, &kind)?;
    cleared(&api, &key.scope, Some(key.kind)).await
}

#[derive(Debug, Deserialize)]
pub(crate) struct ClearQuery {
    all: Option<String>,
}

/// `DELETE /api/v1/constraints/{scope}?all`: every type. It must be said, so that a forgotten type does
/// not end more than was meant.
pub(crate) async fn clear_scope(
    State(api): State<Api>,
    PathTexts([scope]): PathTexts<1>,
    Params(query): Params<ClearQuery>,
) -> Result<Json<Value>, Problem> {
    let scope = scope_of(&scope)?;
    match query.all.as_deref() {
        Some("" | "true") => cleared(&api, &scope, None).await,
        _ => Err(Problem::invalid(format!(
            "To clear every constraint of {scope}, say so with ?all"
        ))
        .hint("DELETE /api/v1/constraints/{scope}/{type} clears one type")),
    }
}

/// What is to be tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewBody {
    scope: String,
    r#type: String,
    #[serde(default)]
    params: Object,
}

/// `POST /api/v1/constraints/preview`
pub(crate) async fn preview(
    State(api): State<Api>,
    caller: Caller,
    Body(body): Body<PreviewBody>,
) -> Result<Json<Value>, Problem> {
    let key = key_of(&body.scope, &body.r#type)?;
    let asked = ConstraintBody {
        params: body.params,
        ..ConstraintBody::default()
    };
    let constraint = asked.constraint(key, &caller, api.engine.now())?;
    constraint.check()?;
    Ok(Json(preview_shown(&api.engine.preview(&constraint))))
}

async fn cleared(
    api: &Api,
    scope: &Scope,
    kind: Option<ConstraintType>,
) -> Result<Json<Value>, Problem> {
    let cleared = api.engine.clear(scope, kind).await?;
    Ok(Json(json!({ "cleared": cleared })))
}

/// Who sets it: the name of the token. Whoever has the token of the data directory may speak for others.
fn owner(caller: &Caller, said: Option<String>) -> String {
    let name = match caller {
        Caller::Operator(operator) => operator.name.as_str(),
        Caller::Attempt(_) => "an attempt",
    };
    said.filter(|said| name == ADMIN && !said.is_empty())
        .unwrap_or_else(|| name.to_owned())
}

fn present(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !value.is_null())
}

fn time_to_live(value: &Value) -> Result<Duration, ConstraintError> {
    match value {
        Value::String(text) => ttl(text),
        other => ttl(&other.to_string()),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidConstraint, detail)
}

fn scope_of(text: &str) -> Result<Scope, Problem> {
    text.parse()
        .map_err(|error: camshaft_model::ScopeError| invalid(error.to_string()))
}

fn type_of(text: &str) -> Result<ConstraintType, Problem> {
    Ok(text.parse::<ConstraintType>()?)
}

fn key_of(scope: &str, kind: &str) -> Result<ConstraintKey, Problem> {
    Ok(ConstraintKey {
        scope: scope_of(scope)?,
        kind: type_of(kind)?,
    })
}

/// A constraint with what it does.
pub(crate) fn with_use(one: &ConstraintUse, now: Timestamp) -> Value {
    let mut value = one.constraint.shown(now);
    value["use"] = json!({
        "leases": one.leases,
        "holders": one.holders,
        "waiting": one.waiting,
        "room": one.room,
        "next_at": one.next_at,
    });
    value
}

pub(crate) fn preview_shown(preview: &ConstraintPreview) -> Value {
    json!({
        "running": preview.running,
        "waiting": preview.waiting,
        "held": preview.held,
        "by_action": preview.by_action,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Operator;

    const NOW: Timestamp = Timestamp::from_micros(1_795_224_509_590_000);

    fn operator(name: &str) -> Caller {
        Caller::Operator(Arc::new(Operator {
            name: name.to_owned(),
            roles: None,
        }))
    }

    fn read(kind: &str, body: Value) -> Result<Constraint, Problem> {
        let body: ConstraintBody = serde_json::from_value(body).unwrap();
        body.constraint(key_of("task:api_call", kind)?, &operator(ADMIN), NOW)
    }

    #[test]
    fn the_time_to_live_is_a_text_or_a_number() {
        for (ttl, secs) in [
            (json!("5m"), 300.0),
            (json!(300), 300.0),
            (json!(0.25), 0.25),
        ] {
            let constraint = read("pause", json!({ "ttl": ttl })).unwrap();
            assert_eq!(constraint.shown(NOW)["remaining_secs"], json!(secs));
        }
        let at = read(
            "pause",
            json!({"expires_at": 1_795_224_519.59, "ttl": null}),
        )
        .unwrap();
        assert_eq!(at.expires_at, Some(NOW + Duration::from_secs(10)));
    }

    #[test]
    fn what_is_no_constraint_is_refused() {
        for (kind, body) in [
            ("pause", json!({"ttl": 0})),
            ("pause", json!({"ttl": -5})),
            ("pause", json!({"ttl": true})),
            (
                "pause",
                json!({"ttl": 5, "expires_at": "2027-01-01T00:00:00Z"}),
            ),
            ("pause", json!({"expires_at": "soon"})),
            ("pause", json!({"params": {"limit": 3}})),
            ("concurrency", json!({})),
            ("concurrency", json!({"params": {"limit": -1}})),
            ("rate_limit", json!({"params": {"rate": "10/w"}})),
            ("paus", json!({})),
        ] {
            let problem = read(kind, body.clone()).unwrap_err().document();
            assert_eq!(problem["code"], "invalid_constraint", "{kind} {body}");
        }
    }

    #[test]
    fn a_named_token_sets_in_its_own_name() {
        let said = || Some("ada@laptop".to_owned());
        assert_eq!(owner(&operator(ADMIN), said()), "ada@laptop");
        assert_eq!(owner(&operator(ADMIN), None), "admin");
        assert_eq!(owner(&operator("ci"), said()), "ci");
    }
}
