//! Enforcements: the record that one rule matched, or failed to evaluate, on one event.

use serde::{Deserialize, Serialize};

use crate::{EnforcementId, EventId, ExecutionId, Ref, Timestamp};

/// What came of a rule that applied to an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum EnforcementOutcome {
    /// The rule matched and this execution was requested.
    Requested {
        /// The execution.
        execution: ExecutionId,
    },
    /// The rule could not be evaluated or its parameters could not be made: nothing ran.
    Failed {
        /// Which part of the rule and why, in a sentence.
        reason: String,
    },
    /// The rule matched, but its own policy (such as `overlap: skip`) let nothing run.
    Skipped {
        /// Which policy and what it met.
        reason: String,
    },
}

/// One rule's answer to one event; unique per (rule, event).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// Its identity.
    pub id: EnforcementId,
    /// The rule that applied.
    pub rule: Ref,
    /// The event it applied to.
    pub event: EventId,
    /// When it was decided.
    pub created_at: Timestamp,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: EnforcementOutcome,
}
