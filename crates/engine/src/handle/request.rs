//! What is asked of the engine.

use std::sync::Arc;

use camshaft_model::definition::Pack;
use camshaft_model::port::store::PackRecord;
use camshaft_model::{Adhoc, Execution, Object, Origin, Ref, Timestamp};

/// A request for an execution.
#[derive(Debug, Clone)]
pub struct ExecutionRequest {
    /// What to run: an action of the catalog, or a file.
    pub what: Requested,
    /// Its parameters.
    pub parameters: Object,
    /// From -100 to 100.
    pub priority: i32,
    /// Not before this instant.
    pub not_before: Option<Timestamp>,
    /// At most one execution with the same key is ever recorded.
    pub idempotency_key: Option<String>,
    /// Who asks.
    pub origin: Origin,
    /// W3C trace context.
    pub trace_parent: Option<String>,
}

/// What a request is for.
#[derive(Debug, Clone)]
pub enum Requested {
    /// An action by its ref.
    Action(Ref),
    /// A file without a definition. `runtime` may be empty: then the runtimes are asked in order.
    Adhoc(Adhoc),
    /// An action of a version of a pack that is not made current by this.
    Pinned(Box<Pinned>),
}

/// See [`Requested::Pinned`].
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The action.
    pub action: Ref,
    /// The version, loaded.
    pub pack: Arc<Pack>,
    /// The same for the database, so that the run finds it again after a restart; `None` if it is
    /// recorded already.
    pub record: Option<PackRecord>,
}

/// A request that was recorded.
#[derive(Debug, Clone)]
pub struct RequestAccepted {
    /// The execution as it was recorded: the earlier one, if the key was used before.
    pub execution: Arc<Execution>,
    /// Whether the idempotency key had been used before.
    pub duplicate: bool,
}
