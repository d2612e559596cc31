//! The vocabulary of Camshaft: what things are called, which states they may be in, and the ports
//! through which the engine reaches a store, a worker, a clock and the world's sensors.
//!
//! Nothing here performs I/O, reads a clock or knows a database. Every other crate depends on this
//! one and this one on none of ours, so a word means the same in SQL, in JSON, on the command line
//! and in an error.

pub mod constraint;
pub mod crash;
pub mod definition;
pub mod duration;
pub mod enforcement;
pub mod error_code;
pub mod event;
pub mod execution;
pub mod id;
pub mod notice;
pub mod port;
pub mod reference;
pub mod run;
pub mod scope;
pub mod step_event;
pub mod timestamp;
pub mod trace_context;

pub use constraint::{
    Constraint, ConstraintChange, ConstraintError, ConstraintKey, ConstraintType, MAX_CONSTRAINTS,
    Rate, Terms, Via,
};
pub use enforcement::{Enforcement, EnforcementOutcome};
pub use error_code::ErrorCode;
pub use event::{Event, EventDraft, EventSource};
pub use execution::{
    Adhoc, Attempt, AttemptKey, BlockedBy, Execution, ExecutionSpec, ExecutionState, Failure,
    FailureKind, HeldBy, Origin, Output, Status, Transition,
};
pub use id::{EnforcementId, EventId, ExecutionId, InquiryId};
pub use reference::Ref;
pub use run::{Inquiry, InquiryStatus, RunRecord, TakenFrom, TaskRecord, TaskRef};
pub use scope::{Scope, ScopeError, ScopeKind, ScopeMatcher};
pub use step_event::{StepEvent, StepEventDraft, StepEventType, StepScope};
pub use timestamp::Timestamp;
pub use trace_context::TraceContext;

/// A JSON object: parameters, payloads, results.
pub type Object = serde_json::Map<String, serde_json::Value>;
