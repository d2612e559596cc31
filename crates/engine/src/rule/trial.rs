//! What became of one rule on one event, in enough detail to explain it.

use camshaft_model::{Enforcement, Object, Ref};
use serde::Serialize;
use serde_json::Value;

/// One criterion with both values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CriterionTrial {
    /// The path into the event.
    pub path: String,
    /// The operator.
    pub operator: String,
    /// What the value was compared with.
    pub pattern: Value,
    /// The value found; `None` if the path leads nowhere.
    pub value: Option<Value>,
    /// Whether it holds; `None` if it cannot be evaluated.
    pub holds: Option<bool>,
    /// Why it cannot be evaluated.
    pub problem: Option<String>,
}

/// The rule's `when`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhenTrial {
    /// The expression.
    pub expression: String,
    /// Whether it holds; `None` if it cannot be evaluated.
    pub holds: Option<bool>,
    /// Why it cannot be evaluated.
    pub problem: Option<String>,
}

/// One rule on one event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleTrial {
    /// The rule.
    pub rule: Ref,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Whether it is on the event's trigger and its trigger parameters admit the event.
    pub applies: bool,
    /// Whether it would request an execution.
    pub matched: bool,
    /// In one sentence, why or why not.
    pub verdict: String,
    /// Each criterion.
    pub criteria: Vec<CriterionTrial>,
    /// The `when`, if there is one.
    pub when: Option<WhenTrial>,
    /// The action's parameters as they would be, secrets masked; `None` if it did not match or they
    /// cannot be made.
    pub parameters: Option<Object>,
    /// What was recorded when the event was accepted, if it is a recorded event.
    pub enforcement: Option<Enforcement>,
}
