//! Rules: what is enabled, turning them on and off, and trying them on an event.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use camshaft_engine::rule::RuleTrial;
use camshaft_model::{EventDraft, EventId, EventSource, Ref};
use serde::Deserialize;
use serde_json::Value;

use crate::body::{At, Body};
use crate::mask;
use crate::page::all;
use crate::problem::Problem;
use crate::state::Api;

/// `GET /api/v1/rules`
pub(crate) async fn list(State(api): State<Api>) -> impl IntoResponse {
    let catalog = api.engine.catalog();
    let shown = catalog
        .rules()
        .map(|rule| mask::rule(&catalog, rule, api.engine.rule_enabled(&rule.reference)));
    all(shown.collect())
}

/// `GET /api/v1/rules/{ref}`
pub(crate) async fn show(
    State(api): State<Api>,
    At(reference): At<Ref>,
) -> Result<Json<Value>, Problem> {
    shown(&api, &reference)
}

fn shown(api: &Api, reference: &Ref) -> Result<Json<Value>, Problem> {
    let catalog = api.engine.catalog();
    let rule = catalog.rule(reference).ok_or_else(|| unknown(reference))?;
    Ok(Json(mask::rule(
        &catalog,
        rule,
        api.engine.rule_enabled(reference),
    )))
}

fn unknown(reference: &Ref) -> Problem {
    Problem::not_found(format!("rule '{reference}'"))
}

async fn switch(api: &Api, reference: Ref, enabled: Option<bool>) -> Result<Json<Value>, Problem> {
    api.engine
        .set_rule_enabled(reference.clone(), enabled)
        .await?;
    shown(api, &reference)
}

/// `POST /api/v1/rules/{ref}/enable`
pub(crate) async fn enable(
    State(api): State<Api>,
    At(reference): At<Ref>,
) -> Result<Json<Value>, Problem> {
    switch(&api, reference, Some(true)).await
}

/// `POST /api/v1/rules/{ref}/disable`
pub(crate) async fn disable(
    State(api): State<Api>,
    At(reference): At<Ref>,
) -> Result<Json<Value>, Problem> {
    switch(&api, reference, Some(false)).await
}

/// `POST /api/v1/rules/{ref}/reset`: as its definition says.
pub(crate) async fn reset(
    State(api): State<Api>,
    At(reference): At<Ref>,
) -> Result<Json<Value>, Problem> {
    switch(&api, reference, None).await
}

/// The event to try: a recorded one, or one that is made up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestBody {
    event_id: Option<EventId>,
    event: Option<TestEvent>,
}

/// An event that is made up; of the rule's own trigger unless it says another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestEvent {
    payload: Value,
    trigger: Option<Ref>,
    source: Option<EventSource>,
    occurred_at: Option<camshaft_model::Timestamp>,
}

/// `POST /api/v1/rules/{ref}/test`
pub(crate) async fn test(
    State(api): State<Api>,
    At(reference): At<Ref>,
    Body(body): Body<TestBody>,
) -> Result<Json<RuleTrial>, Problem> {
    let draft = match (body.event_id, body.event) {
        (Some(id), None) => {
            let event = api.engine.store().event(id).await?;
            event
                .ok_or_else(|| Problem::not_found(format!("event '{id}'")))?
                .draft
        }
        (None, Some(event)) => made_up(&api, &reference, event)?,
        _ => return Err(Problem::invalid("Give either event_id or event")),
    };
    Ok(Json(api.engine.test_rule(&reference, &draft)?))
}

fn made_up(api: &Api, reference: &Ref, event: TestEvent) -> Result<EventDraft, Problem> {
    let catalog = api.engine.catalog();
    let rule = catalog.rule(reference).ok_or_else(|| unknown(reference))?;
    Ok(EventDraft {
        trigger: event.trigger.unwrap_or_else(|| rule.trigger.clone()),
        payload: event.payload,
        source: event.source.unwrap_or_else(|| EventSource {
            kind: "api".to_owned(),
            name: None,
        }),
        dedup_key: None,
        occurred_at: event.occurred_at,
        sensor: None,
        depth: 0,
        trace_parent: None,
    })
}
