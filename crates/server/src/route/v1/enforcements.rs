//! `GET /api/v1/enforcements`: what rules answered to events, newest event first.
//!
//! The cursor is an event's id, so a page must not end in the middle of an event's answers. It ends
//! with the last event of which it has all; one event with more answers than a page comes whole.

use axum::Json;
use axum::extract::State;
use camshaft_model::port::store::{EnforcementFilter, PageRequest};
use camshaft_model::{Enforcement, EventId, Ref};
use serde::Deserialize;

use crate::body::Params;
use crate::page::{self, Page};
use crate::problem::Problem;
use crate::state::Api;

/// The most answers to one event that come in one page.
const MAX_OF_ONE_EVENT: u32 = 100_000;

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    event: Option<EventId>,
    rule: Option<Ref>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/v1/enforcements`
pub(crate) async fn list(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Page<Enforcement>>, Problem> {
    let filter = EnforcementFilter {
        event: query.event,
        rule: query.rule,
    };
    let limit = page::limit(query.limit)?;
    let mut request: PageRequest<EventId> = page::request(query.cursor.as_deref(), limit)?;
    loop {
        let rows = api
            .engine
            .store()
            .enforcements(filter.clone(), request)
            .await?;
        let more = rows.len() >= request.limit as usize;
        if let Some(page) = whole_events(rows, more && request.limit < MAX_OF_ONE_EVENT) {
            return Ok(Json(page));
        }
        request.limit = request.limit.saturating_mul(4).min(MAX_OF_ONE_EVENT);
    }
}

/// The page without the event that may go on after it; `None` if that would leave nothing.
fn whole_events(mut rows: Vec<Enforcement>, more: bool) -> Option<Page<Enforcement>> {
    if !more {
        return Some(Page {
            items: rows,
            next_cursor: None,
        });
    }
    let torn = rows.last()?.event;
    rows.retain(|row| row.event != torn);
    let next_cursor = rows.last()?.event.to_string();
    Some(Page {
        items: rows,
        next_cursor: Some(next_cursor),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use camshaft_model::{EnforcementId, EnforcementOutcome, Timestamp};
    use uuid::Uuid;

    fn row(event: u128) -> Enforcement {
        Enforcement {
            id: EnforcementId::new(Uuid::from_u128(event)),
            rule: "demo.x".parse().unwrap(),
            event: EventId::new(Uuid::from_u128(event)),
            created_at: Timestamp::default(),
            outcome: EnforcementOutcome::Skipped {
                reason: String::new(),
            },
        }
    }

    #[test]
    fn a_page_never_ends_inside_an_event() {
        let page = whole_events(vec![row(9), row(9), row(8), row(7)], true).unwrap();
        assert_eq!(page.items.len(), 3);
        assert_eq!(
            page.next_cursor,
            Some(EventId::new(Uuid::from_u128(8)).to_string())
        );
        assert!(whole_events(vec![row(9), row(9)], true).is_none());
        let last = whole_events(vec![row(9), row(9)], false).unwrap();
        assert_eq!((last.items.len(), last.next_cursor), (2, None));
    }
}
