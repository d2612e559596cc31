//! What the engine says of itself and of what it did.

use camshaft_model::{BlockedBy, ExecutionId, Ref, Status, Timestamp};
use serde::Serialize;

use crate::rule::RuleTrial;

/// Why an event led to what it led to.
#[derive(Debug, Clone, Serialize)]
pub struct EventExplanation {
    /// The event.
    pub event: camshaft_model::Event,
    /// In one sentence.
    pub summary: String,
    /// Every rule on its trigger.
    pub rules: Vec<RuleTrial>,
}

/// One thing that an execution waits for.
#[derive(Debug, Clone, Serialize)]
pub struct Blocker {
    /// What it is, in a sentence.
    pub text: String,
    /// Some of the executions that hold what it waits for.
    pub holders: Vec<ExecutionId>,
    /// How many do.
    pub holder_count: usize,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
}

/// Why an execution is where it is.
#[derive(Debug, Clone, Serialize)]
pub struct ExecutionExplanation {
    /// The execution.
    pub execution: ExecutionId,
    /// Its action.
    pub action: Ref,
    /// Its state.
    pub status: Status,
    /// What holds it now, first of all.
    pub blocked_by: Option<BlockedBy>,
    /// In one sentence.
    pub summary: String,
    /// Everything that it waits for, if it waits.
    pub blockers: Vec<Blocker>,
    /// How many executions that the same holds go before it.
    pub ahead: usize,
    /// How it came about: origin, attempts, failures, in the order in which they happened.
    pub history: Vec<String>,
}

/// How one part of the system is.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentHealth {
    /// `writer`, `dispatcher`, `worker`, or a sensor's key.
    pub component: String,
    /// Why it does not work; `None` if it does.
    pub problem: Option<String>,
}
