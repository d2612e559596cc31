//! From what happens in a scenario to a command of the engine, and the way back after a crash.

use camshaft_model::{EventDraft, EventSource, Inquiry, InquiryStatus, Origin, Output};

use super::bench::Bench;
use super::scenario::{Answer, Move};
use crate::decision::Decision;
use crate::handle::{ExecutionRequest, Requested, RetryFrom};
use crate::workflow::Kept;

impl Bench<'_> {
    /// Whether an act without an instant has its time now.
    pub(super) fn has_reason(&self, what: &Move) -> bool {
        match what {
            Move::Answer(answer) => self
                .question(answer)
                .is_some_and(|inquiry| inquiry.status == InquiryStatus::Open),
            // Everything else waits until nothing more comes by itself.
            _ => false,
        }
    }

    /// The latest question of a task of the run.
    fn question(&self, answer: &Answer) -> Option<&Inquiry> {
        let root = self.runs.last()?;
        self.ledger.inquiries.values().rev().find(|inquiry| {
            let mut path = self.ledger.path(inquiry.run);
            path.0.push(inquiry.task.clone());
            inquiry.root == *root
                && (path.names() == answer.task || path.to_string() == answer.task)
        })
    }

    /// The decision to which an act leads, or why it is refused.
    pub(super) fn command(&mut self, what: &Move) -> Result<Decision, String> {
        let run = self.runs.last().copied();
        let run = run.ok_or_else(|| "there is no run".to_owned())?;
        match what {
            Move::Event { trigger, payload } => {
                let draft = EventDraft {
                    trigger: trigger.clone(),
                    payload: payload.clone(),
                    source: EventSource {
                        kind: "simulation".to_owned(),
                        name: None,
                    },
                    dedup_key: None,
                    occurred_at: None,
                    sensor: None,
                    depth: 0,
                    trace_parent: None,
                };
                let ingested = self.apply(|state, context| state.ingest(draft, None, context))?;
                Ok(ingested.decision)
            }
            Move::Cancel => Ok(self.apply(|state, context| state.cancel(run, context))),
            Move::Retry(from) => self.retry(from),
            Move::Answer(_) | Move::Pause | Move::Resume => Err("not supported".to_owned()),
        }
    }

    fn retry(&mut self, from: &RetryFrom) -> Result<Decision, String> {
        let earlier = self.runs.last().and_then(|id| self.ledger.execution(*id));
        let earlier = earlier.ok_or_else(|| "there is no run".to_owned())?;
        if *from != RetryFrom::Start {
            return Err("not supported".to_owned());
        }
        let request = ExecutionRequest {
            what: Requested::Action(earlier.spec.action.clone()),
            parameters: (*earlier.spec.parameters).clone(),
            priority: earlier.spec.priority,
            not_before: None,
            idempotency_key: None,
            origin: Origin::Retry {
                of: earlier.spec.id,
            },
            trace_parent: None,
        };
        let (decision, id) = self
            .apply(|state, context| state.request(request, Kept::new(), context))
            .map_err(|error| error.message)?;
        self.runs.push(id);
        Ok(decision)
    }

    /// Takes up what is stored, as the start of an engine does.
    pub(super) fn recover(&mut self) {
        let unfinished: Vec<_> = self
            .ledger
            .executions
            .iter()
            .filter(|execution| !execution.state.status.is_terminal())
            .cloned()
            .collect();
        for execution in unfinished {
            let id = execution.spec.id;
            let cut_off = execution.state.status.holds_lease();
            if !self.state.take(execution) {
                self.complain(format!("the action of {id} was not found after the crash"));
            }
            if cut_off {
                let nothing = || (Output::default(), Output::default());
                let decision =
                    self.apply(|state, context| state.interrupted(id, nothing(), context));
                self.commit(decision);
            }
        }
    }
}
