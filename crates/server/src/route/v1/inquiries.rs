//! Inquiries: what runs ask of people, and the answers.
//!
//! The engine decides about an answer. What can be said with more detail before it is asked, such as
//! the places where a response does not fit, is said here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use axum::Json;
use axum::extract::State;
use camshaft_engine::{Hidden, InquiryAnswer, parameters};
use camshaft_model::port::store::InquiryFilter;
use camshaft_model::{ErrorCode, ExecutionId, Inquiry, InquiryId, InquiryStatus};
use serde::Deserialize;
use serde_json::Value;

use crate::auth::Caller;
use crate::body::{At, Body, Params};
use crate::mask::Masks;
use crate::page::{self, Page};
use crate::problem::{Problem, ProblemItem};
use crate::state::Api;

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    status: Option<String>,
    run: Option<ExecutionId>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `GET /api/v1/inquiries`
pub(crate) async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<Inquiry>>, Problem> {
    let statuses: Result<Vec<InquiryStatus>, Problem> =
        page::list(query.status.as_deref()).map(status).collect();
    let filter = InquiryFilter {
        statuses: statuses?,
        run: query.run,
        below: true,
    };
    let limit = page::limit(query.limit)?;
    let request = page::request(query.cursor.as_deref(), limit)?;
    let rows = api.engine.store().inquiries(filter, request).await?;
    let mut page = page::page(rows, limit, |inquiry| inquiry.id.to_string());
    let mut masks = Masks::new(&api);
    let mut hidden = HashMap::new();
    for inquiry in &mut page.items {
        let of_run = match hidden.entry(inquiry.run) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(secrets(&api, &mut masks, inquiry.run).await?),
        };
        of_run.inquiry(inquiry);
    }
    Ok(Json(page))
}

/// What must not be seen of a run.
async fn secrets(api: &Api, masks: &mut Masks<'_>, run: ExecutionId) -> Result<Hidden, Problem> {
    Ok(match api.engine.store().execution(run).await? {
        Some(execution) => masks.hidden(&execution.spec).await,
        None => Hidden::default(),
    })
}

/// An inquiry as it may be shown.
async fn shown(api: &Api, mut inquiry: Inquiry) -> Result<Json<Inquiry>, Problem> {
    let hidden = secrets(api, &mut Masks::new(api), inquiry.run).await?;
    hidden.inquiry(&mut inquiry);
    Ok(Json(inquiry))
}

fn status(text: &str) -> Result<InquiryStatus, Problem> {
    let known = InquiryStatus::ALL;
    let found = known.iter().find(|status| status.as_str() == text);
    found.copied().ok_or_else(|| {
        let text: String = text.chars().take(64).collect();
        let known: Vec<_> = known.iter().map(|status| status.as_str()).collect();
        Problem::invalid(format!("'{text}' is not a status of inquiries"))
            .hint(format!("Use {}", known.join(", ")))
    })
}

async fn find(api: &Api, id: InquiryId) -> Result<Inquiry, Problem> {
    let inquiry = api.engine.store().inquiry(id).await?;
    inquiry.ok_or_else(|| Problem::not_found(format!("inquiry '{id}'")))
}

/// `GET /api/v1/inquiries/{id}`
pub(crate) async fn show(
    State(api): State<Api>,
    At(id): At<InquiryId>,
) -> Result<Json<Inquiry>, Problem> {
    let inquiry = find(&api, id).await?;
    shown(&api, inquiry).await
}

/// Yes or no, and what the inquiry asks for besides.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerBody {
    approve: bool,
    #[serde(default)]
    response: Value,
}

/// `POST /api/v1/inquiries/{id}/answer`
pub(crate) async fn answer(
    State(api): State<Api>,
    At(id): At<InquiryId>,
    caller: Caller,
    Body(body): Body<AnswerBody>,
) -> Result<Json<Inquiry>, Problem> {
    let Caller::Operator(operator) = caller else {
        return Err(Problem::new(
            ErrorCode::Forbidden,
            "The token of an attempt does not allow answering",
        ));
    };
    check_response(&find(&api, id).await?, &body)?;
    let answer = InquiryAnswer {
        approve: body.approve,
        response: body.response,
        by: operator.name.clone(),
        roles: operator.roles.clone(),
    };
    let answered = api.engine.answer(id, answer).await?;
    shown(&api, answered).await
}

/// Whether the response of an approval is what an open inquiry asks for. A rejection needs none, and
/// what is closed is the engine's to refuse.
fn check_response(inquiry: &Inquiry, body: &AnswerBody) -> Result<(), Problem> {
    let Some(schema) = &inquiry.schema else {
        return Ok(());
    };
    if !body.approve || inquiry.status != InquiryStatus::Open {
        return Ok(());
    }
    let mistakes = parameters::mistakes(schema, &body.response);
    if mistakes.is_empty() {
        return Ok(());
    }
    let items = mistakes.iter().map(|mistake| ProblemItem {
        path: Some(place(&mistake.path)),
        message: mistake.message.clone(),
        ..ProblemItem::default()
    });
    Err(Problem::new(
        ErrorCode::InvalidResponse,
        format!(
            "The response does not fit what inquiry {} asks for",
            inquiry.id
        ),
    )
    .hint(format!("camshaft inquiry show {} prints it", inquiry.id))
    .items(items.collect()))
}

fn place(path: &str) -> String {
    match path.chars().next() {
        None => "response".to_owned(),
        Some('[') => format!("response{path}"),
        Some(_) => format!("response.{path}"),
    }
}

#[cfg(test)]
mod tests {
    use camshaft_model::{TaskRef, Timestamp};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn inquiry(status: InquiryStatus) -> Inquiry {
        let run = ExecutionId::new(Uuid::nil());
        Inquiry {
            id: InquiryId::new(Uuid::nil()),
            run,
            root: run,
            task: TaskRef {
                lap: 1,
                name: "approve".to_owned(),
                visit: 1,
                item: None,
            },
            prompt: "Load?".to_owned(),
            schema: Some(json!({
                "type": "object", "required": ["note"],
                "properties": {"note": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
            })),
            roles: Vec::new(),
            created_at: Timestamp::default(),
            expires_at: None,
            status,
            answer: None,
            answered_by: None,
            closed_at: None,
        }
    }

    fn answered(approve: bool, response: Value) -> AnswerBody {
        AnswerBody { approve, response }
    }

    #[test]
    fn a_response_that_does_not_fit_is_refused_with_every_place() {
        let body = answered(true, json!({"note": 1, "tags": ["a", 2]}));
        let problem = check_response(&inquiry(InquiryStatus::Open), &body).unwrap_err();
        let document = problem.document();
        assert_eq!(
            (&document["status"], &document["code"]),
            (&json!(422), &json!("invalid_response"))
        );
        let mut places: Vec<_> = document["problems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["path"].as_str().unwrap())
            .collect();
        places.sort_unstable();
        assert_eq!(places, ["response.note", "response.tags[1]"]);
        let nothing = check_response(&inquiry(InquiryStatus::Open), &answered(true, Value::Null));
        assert_eq!(
            nothing.unwrap_err().document()["problems"][0]["path"],
            "response"
        );
    }

    #[test]
    fn a_rejection_needs_no_response() {
        let body = answered(false, Value::Null);
        assert!(check_response(&inquiry(InquiryStatus::Open), &body).is_ok());
    }

    #[test]
    fn what_is_closed_is_not_judged_by_its_schema() {
        let body = answered(true, Value::Null);
        assert!(check_response(&inquiry(InquiryStatus::Expired), &body).is_ok());
    }

    #[test]
    fn an_unknown_status_is_refused_with_the_known_ones() {
        assert_eq!(status("open").unwrap(), InquiryStatus::Open);
        let document = status("closed").unwrap_err().document();
        assert_eq!(
            document["hint"],
            "Use open, approved, rejected, expired, withdrawn"
        );
    }
}
