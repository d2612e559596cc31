//! What came of a simulation.

use std::fmt::Write as _;
use std::time::Duration;

use camshaft_model::{Execution, ExecutionId, Timestamp, duration};

use super::ledger::Ledger;

/// What came of a simulation.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The run, and those that were made of it by retries, in order.
    pub runs: Vec<ExecutionId>,
    /// Everything that was recorded.
    pub ledger: Ledger,
    /// The instant at which it began.
    pub began_at: Timestamp,
    /// What must not be: acts that were refused, attempts without a mock, broken promises of the
    /// engine.
    pub complaints: Vec<String>,
    /// Why executions that have not ended do not go on.
    pub stuck: Vec<String>,
}

impl Outcome {
    /// The record of the last run.
    pub fn last(&self) -> Option<&Execution> {
        self.ledger.execution(*self.runs.last()?)
    }

    /// How long after the beginning an instant is.
    pub fn offset(&self, at: Timestamp) -> Duration {
        at.since(self.began_at)
    }

    /// The event log for people: one line each, with the time since the beginning.
    pub fn timeline(&self) -> String {
        let mut text = String::new();
        for step in &self.ledger.steps {
            let at = duration::display(self.offset(step.created_at));
            let about = step.item_id.unwrap_or(step.execution_id);
            let mut name = self.ledger.path(about).to_string();
            if name.is_empty() {
                name = step.step.clone().unwrap_or_default();
            }
            let _ = write!(text, "{at:>8}  {:<15} {name}", step.event_type.as_str());
            for (key, value) in &step.payload {
                if !matches!(key.as_str(), "step" | "agent_id") {
                    let _ = write!(text, " {key}={value}");
                }
            }
            text.push('\n');
        }
        for reason in &self.stuck {
            let _ = writeln!(text, "     end  {reason}");
        }
        text
    }
}
