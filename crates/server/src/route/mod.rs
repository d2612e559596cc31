//! From the table of endpoints to the router.

mod system;
pub(crate) mod table;
mod v1;

#[cfg(test)]
pub(crate) use v1::constraints;
#[cfg(test)]
pub(crate) use v1::runs::{Run, Task};

use std::any::Any;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use camshaft_model::ErrorCode;
use tower_http::catch_panic::CatchPanicLayer;

use crate::auth::{Access, Guard, guard};
use crate::problem::Problem;
use crate::state::Api;

/// One endpoint: everything that is known of it in one place.
pub(crate) struct Endpoint {
    /// `GET`, `POST`, `PUT`, `DELETE`, or `*` for whatever comes.
    pub(crate) method: &'static str,
    /// The path as axum and OpenAPI write it.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    /// The query parameters that it knows; `None` if it takes whatever comes.
    pub(crate) query: Option<&'static [&'static str]>,
    /// A name for generated clients.
    pub(crate) id: &'static str,
    /// What it does, in a few words.
    pub(crate) summary: &'static str,
    /// The schema of its body, if it takes one.
    pub(crate) takes: Option<&'static str>,
    /// The status of success, and what comes with it: a schema's name or a media type.
    pub(crate) answers: (u16, &'static str),
    pub(crate) handler: MethodRouter<Api>,
}

/// The whole HTTP interface.
pub fn router(api: Api) -> Router {
    let mut router = Router::new();
    for endpoint in table::endpoints() {
        let guarding = Guard {
            api: api.clone(),
            access: endpoint.access,
            query: endpoint.query,
        };
        let layer = from_fn_with_state(guarding, guard);
        // An endpoint for whatever method comes is a fallback, and a route layer does not reach it.
        let handler = if endpoint.method == "*" {
            endpoint.handler.layer(layer)
        } else {
            endpoint.handler.route_layer(layer)
        };
        router = router.route(endpoint.path, handler);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(api.config.max_body_bytes))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(api)
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!("endpoint '{path}'")).hint("GET /api/v1/openapi.json lists them")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        ErrorCode::MethodNotAllowed,
        "The endpoint does not take this method",
    )
    .hint("The Allow header lists those that it takes")
}

/// A panic is our mistake: the client gets a problem, the log gets the message.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer hands the panic over by value"
)]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(message, "a request panicked");
    Problem::new(ErrorCode::Internal, "The request met a defect in Camshaft").into_response()
}
