//! Events: posting them, alone, in batches or as CloudEvents, and reading them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use camshaft_engine::handle::EventExplanation;
use camshaft_model::port::sensor::{Accepted, IntakeError};
use camshaft_model::port::store::EventFilter;
use camshaft_model::{ErrorCode, Event, EventDraft, EventId, EventSource, Ref, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::body::{At, Params, Raw, check_key, idempotency_key, parse, trace_parent};
use crate::cloudevents::{self, Mode};
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::route::v1::executions::find;
use crate::state::Api;

/// The most events of one request.
const MAX_BATCH: usize = 10_000;

/// An event that somebody posts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBody {
    trigger: Ref,
    payload: Value,
    dedup_key: Option<String>,
    occurred_at: Option<Timestamp>,
}

impl EventBody {
    fn draft(self) -> Result<EventDraft, Problem> {
        if let Some(key) = &self.dedup_key {
            check_key(key).map_err(|problem| Problem::invalid(format!("dedup_key {problem}")))?;
        }
        Ok(EventDraft {
            trigger: self.trigger,
            payload: self.payload,
            source: EventSource {
                kind: "api".to_owned(),
                name: None,
            },
            dedup_key: self.dedup_key,
            occurred_at: self.occurred_at,
            sensor: None,
            depth: 0,
            trace_parent: None,
        })
    }
}

/// What a request posts: one event, or a list that is answered with a list.
#[derive(Debug, PartialEq)]
enum Posted {
    One(Box<EventDraft>),
    Many(Vec<EventDraft>),
}

fn read(headers: &HeaderMap, body: &Bytes) -> Result<Posted, Problem> {
    let one = |draft| Ok(Posted::One(Box::new(draft)));
    match cloudevents::mode(headers) {
        Some(Mode::Structured) => one(cloudevents::structured(body)?),
        Some(Mode::Binary) => one(cloudevents::binary(headers, body)?),
        Some(Mode::Batch) => Ok(Posted::Many(cloudevents::batch(body)?)),
        None if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') => {
            let events: Vec<EventBody> = parse(body)?;
            Ok(Posted::Many(
                events
                    .into_iter()
                    .map(EventBody::draft)
                    .collect::<Result<_, _>>()?,
            ))
        }
        None => one(parse::<EventBody>(body)?.draft()?),
    }
}

/// What the request says of every event in it: who sends it, and how deep in a chain that is.
struct Context {
    source: Option<String>,
    depth: u32,
    key: Option<String>,
    trace_parent: Option<String>,
}

impl Context {
    async fn of(api: &Api, caller: Caller, headers: &HeaderMap) -> Result<Self, Problem> {
        let (source, depth) = match caller {
            Caller::Operator(_) => (None, 0),
            Caller::Attempt(key) => {
                let execution = find(api, key.execution).await?;
                (
                    Some(key.execution.to_string()),
                    execution.spec.depth.saturating_add(1),
                )
            }
        };
        Ok(Self {
            source,
            depth,
            key: idempotency_key(headers)?,
            trace_parent: trace_parent(headers),
        })
    }

    fn complete(&self, draft: &mut EventDraft, position: Option<usize>) {
        draft.depth = self.depth;
        if let Some(source) = &self.source {
            draft.source.name = Some(source.clone());
        }
        if draft.dedup_key.is_none() {
            draft.dedup_key = match (&self.key, position) {
                (Some(key), Some(position)) => Some(format!("{key}/{position}")),
                (key, _) => key.clone(),
            };
        }
        if draft.trace_parent.is_none() {
            draft.trace_parent.clone_from(&self.trace_parent);
        }
    }
}

/// `POST /api/v1/events`: answered after the commit.
pub(crate) async fn post(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let posted = read(&headers, &body)?;
    let context = Context::of(&api, caller, &headers).await?;
    match posted {
        Posted::One(mut draft) => {
            context.complete(&mut draft, None);
            Ok((StatusCode::ACCEPTED, Json(ingest_one(&api, *draft).await?)).into_response())
        }
        Posted::Many(mut drafts) => {
            if drafts.len() > MAX_BATCH {
                return Err(Problem::invalid(format!(
                    "A request has at most {MAX_BATCH} events, not {}",
                    drafts.len()
                )));
            }
            for (position, draft) in drafts.iter_mut().enumerate() {
                context.complete(draft, Some(position));
            }
            let results: Vec<Value> = api
                .engine
                .ingest_batch(drafts)
                .await
                .into_iter()
                .map(result)
                .collect();
            Ok((StatusCode::ACCEPTED, Json(json!({"results": results}))).into_response())
        }
    }
}

async fn ingest_one(api: &Api, draft: EventDraft) -> Result<Accepted, Problem> {
    let mut results = api.engine.ingest_batch(vec![draft]).await;
    let result = results
        .pop()
        .ok_or_else(|| Problem::new(ErrorCode::Internal, "The engine did not answer"))?;
    Ok(result?)
}

fn result(result: Result<Accepted, IntakeError>) -> Value {
    match result {
        Ok(accepted) => page::json_of(&accepted),
        Err(error) => json!({"problem": Problem::from(error).document()}),
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    trigger: Option<Ref>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/v1/events`
pub(crate) async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<Event>>, Problem> {
    let limit = page::limit(query.limit)?;
    let request = page::request(query.cursor.as_deref(), limit)?;
    let rows = api
        .engine
        .store()
        .events(
            EventFilter {
                trigger: query.trigger,
            },
            request,
        )
        .await?;
    Ok(Json(page::page(rows, limit, |event| event.id.to_string())))
}

/// `GET /api/v1/events/{id}`
pub(crate) async fn show(
    State(api): State<Api>,
    At(id): At<EventId>,
) -> Result<Json<Event>, Problem> {
    let event = api.engine.store().event(id).await?;
    event
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("event '{id}'")))
}

/// `GET /api/v1/events/{id}/why`
pub(crate) async fn why(
    State(api): State<Api>,
    At(id): At<EventId>,
) -> Result<Json<EventExplanation>, Problem> {
    Ok(Json(api.engine.why_event(id).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(body: &str) -> Result<Posted, Problem> {
        read(&HeaderMap::new(), &Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn one_event_or_a_list() {
        assert!(matches!(
            posted(r#"{"trigger":"demo.x","payload":null}"#),
            Ok(Posted::One(_))
        ));
        assert!(
            matches!(posted(r#" [{"trigger":"demo.x","payload":1}]"#), Ok(Posted::Many(list)) if list.len() == 1)
        );
        assert!(matches!(posted("[]"), Ok(Posted::Many(list)) if list.is_empty()));
        for wrong in [
            "",
            "1",
            "{}",
            r#"{"trigger":"demo.x"}"#,
            r#"[{"trigger":"demo.x","payload":1,"depth":0}]"#,
        ] {
            assert!(posted(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_of_the_request_is_told_apart_for_each_event() {
        let context = Context {
            source: None,
            depth: 2,
            key: Some("k".to_owned()),
            trace_parent: None,
        };
        let Ok(Posted::Many(mut drafts)) = posted(
            r#"[{"trigger":"demo.x","payload":1},{"trigger":"demo.x","payload":2,"dedup_key":"own"}]"#,
        ) else {
            panic!("a list");
        };
        for (position, draft) in drafts.iter_mut().enumerate() {
            context.complete(draft, Some(position));
        }
        let keys: Vec<_> = drafts
            .iter()
            .map(|draft| (draft.dedup_key.as_deref().unwrap(), draft.depth))
            .collect();
        assert_eq!(keys, [("k/0", 2), ("own", 2)]);
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>) {
            let _ = read(&HeaderMap::new(), &Bytes::from(body));
        }
    }
}
