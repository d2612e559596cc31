//! The HTTP interface: authorise, decode, call the engine, encode. No SQL, no rule evaluation.
//!
//! Every endpoint is one row of the table in `route/table.rs`: method, path, who may call it, which
//! query parameters it knows, its handler and what the OpenAPI document says of it. The router, the
//! permission check, the refusal of unknown parameters and the document are all made from that table,
//! so an endpoint cannot be open, undocumented or lenient by omission.
//!
//! What happens live (event streams, long-polls) is woken by [`Feed`], a subscriber of the in-process
//! bus, and always read from the database: a hint that is lost costs time and nothing else.

mod auth;
mod blocked;
mod body;
mod cloudevents;
mod feed;
mod graph;
mod hooks;
mod logs;
mod mask;
mod metrics;
mod openapi;
mod packs;
mod page;
mod problem;
mod route;
mod serve;
mod sse;
mod state;

pub use feed::Feed;
pub use metrics::{Counted, Metrics};
pub use openapi::openapi_json;
pub use packs::{PackError, PackService};
pub use problem::{Problem, ProblemItem};
pub use route::router;
pub use serve::serve;
pub use state::{ADMIN, Api, Info, NamedToken, ServerConfig, WorkerInfo};
