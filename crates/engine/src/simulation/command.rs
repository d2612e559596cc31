//! From what happens in a scenario to a command of the engine, and the way back after a crash.

use std::sync::Arc;

use camshaft_model::{
    ErrorCode, EventDraft, EventSource, Execution, ExecutionId, Inquiry, InquiryStatus, Origin,
    Output,
};

use super::bench::Bench;
use super::scenario::{Answer, Move};
use crate::apply::workflow::{Absent, ResultPlace, RunRows, Taken};
use crate::decision::Decision;
use crate::handle::{
    ControlError, ExecutionRequest, InquiryAnswer, Requested, RetryFrom, as_kept, to_keep,
};
use crate::workflow::{ItemEnds, Kept};

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
                let ingested = self
                    .apply(|state, context| state.ingest(draft, None, context))
                    .map_err(|refused| refused.to_string())?;
                Ok(ingested.decision)
            }
            Move::Cancel => Ok(self.apply(|state, context| state.cancel(run, context))),
            Move::Pause => self
                .apply(|state, context| state.pause(run, context))
                .map_err(|error| error.message),
            Move::Resume => self
                .apply(|state, context| state.resume(run, context))
                .map_err(|error| error.message),
            Move::Answer(answer) => self.answer(answer),
            Move::Retry(from) => self.retry(from).map_err(|error| error.message),
        }
    }

    fn answer(&mut self, answer: &Answer) -> Result<Decision, String> {
        let Some(inquiry) = self.question(answer) else {
            return Err(format!("'{}' has asked nothing", answer.task));
        };
        let id = inquiry.id;
        let given = InquiryAnswer {
            approve: answer.approve,
            response: answer.response.clone(),
            by: answer.by.clone(),
            roles: answer.roles.clone(),
        };
        self.apply(|state, context| state.answer(id, given, context))
            .map(|(decision, _)| decision)
            .map_err(|error| error.message)
    }

    fn retry(&mut self, from: &RetryFrom) -> Result<Decision, ControlError> {
        let conflict = |message: &str| ControlError::new(ErrorCode::Conflict, message);
        let last = self.runs.last().and_then(|id| self.ledger.execution(*id));
        let earlier = last.cloned().ok_or_else(|| conflict("there is no run"))?;
        if !earlier.state.status.is_terminal() {
            return Err(conflict("the run has not ended"));
        }
        let kept = match from {
            RetryFrom::Start => Kept::new(),
            from => self.kept_of(&earlier, from)?,
        };
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
        let (decision, id) = self.apply(|state, context| state.request(request, kept, context))?;
        self.runs.push(id);
        Ok(decision)
    }

    fn kept_of(&self, earlier: &Execution, from: &RetryFrom) -> Result<Kept, ControlError> {
        let reference = &earlier.spec.action;
        let action = self.state.known_action(reference)?;
        let workflow = action
            .workflow()
            .ok_or_else(|| ControlError::new(ErrorCode::Conflict, "it is no run of a workflow"))?;
        let id = earlier.spec.id;
        let lap = self.ledger.runs.get(&id).map_or(0, |record| record.lap);
        let kept = to_keep(workflow, reference, from, lap, self.ledger.tasks_of(id))?;
        let kept = kept.into_iter().map(|task| {
            let result = self.ledger.result(&task).unwrap_or_default();
            let errors = task.items.map(|total| {
                let mut ends = ItemEnds::new(total, task.item_errors.as_ref());
                self.ledger.items_of(&task).for_each(|item| ends.take(item));
                ends.errors
            });
            let errors = errors.or_else(|| task.item_errors.clone());
            let name = task.task.name.clone();
            (name, as_kept(task, Arc::new(result), errors))
        });
        Ok(kept.collect())
    }

    /// Takes up what is stored, in the order in which the start of an engine does.
    pub(super) fn recover(&mut self) {
        let mut cut_off = Vec::new();
        let mut runs = Vec::new();
        let unfinished: Vec<Execution> = self
            .ledger
            .executions
            .iter()
            .filter(|execution| !execution.state.status.is_terminal())
            .cloned()
            .collect();
        for execution in unfinished {
            let id = execution.spec.id;
            if !self.state.take(execution) {
                self.complain(format!("the action of {id} was not found after the crash"));
            }
            let attempts = self.ledger.attempts.iter();
            let attempts: Vec<_> = attempts
                .filter(|a| a.key.execution == id)
                .cloned()
                .collect();
            self.state.count_interruptions(id, &attempts);
            match self.state.live.get(&id) {
                Some(live) if live.is_run() => runs.push(id),
                Some(live) if live.holds_lease() => cut_off.push(id),
                _ => {}
            }
        }
        for cached in self.ledger.cached.values() {
            self.state.cache.put(cached, self.now);
        }
        let mut pending = Vec::new();
        for id in runs {
            let Some(rows) = self.rows_of(id) else {
                continue;
            };
            match self.state.take_run(rows) {
                Ok(Taken { steps, absent }) => {
                    for absent in absent {
                        self.supply(absent);
                    }
                    pending.push((id, steps));
                }
                Err(error) => self.complain(format!("a run cannot be taken up: {error}")),
            }
        }
        for id in cut_off {
            let nothing = (Output::default(), Output::default());
            let decision = self.apply(|state, context| state.interrupted(id, nothing, context));
            self.commit(decision);
        }
        for (id, steps) in pending {
            let decision = self.apply(|state, context| state.continue_run(id, steps, context));
            self.commit(decision);
        }
    }

    fn supply(&mut self, absent: Absent) {
        let results = absent.places.iter().map(|(_, place)| match place {
            ResultPlace::Execution(id) => self.ledger.execution(*id)?.state.result.clone(),
            ResultPlace::Record(task) => {
                let mut records = self.ledger.tasks.iter();
                let record = records.find(|one| one.run == absent.run && one.task == *task);
                record?.result.clone()
            }
        });
        let results = results.collect();
        self.state.supply(absent, results);
    }

    /// What is recorded of a run, results left out as a store leaves out large ones; `None` if it has
    /// not started.
    fn rows_of(&self, id: ExecutionId) -> Option<RunRows> {
        let record = self.ledger.runs.get(&id)?.clone();
        let mut kept = self.ledger.kept_of(id);
        let mut tasks = self.ledger.tasks_of(id);
        tasks.retain(|task| task.task.lap == record.lap);
        for task in tasks.iter_mut().chain(&mut kept) {
            task.result = None;
        }
        let of_lap = |child: &&Execution| {
            let task = child.spec.task.as_ref();
            task.is_some_and(|task| task.lap == record.lap)
        };
        let children = self.ledger.children(id).filter(of_lap);
        let mut children: Vec<Execution> = children.cloned().collect();
        for child in &mut children {
            child.state.result = None;
        }
        let under_way = tasks.iter().filter(|task| !task.status.is_terminal());
        let items = under_way
            .filter_map(|task| {
                let list = self.ledger.items.get(&(id, task.task.clone()))?;
                Some((task.task.clone(), list.clone()))
            })
            .collect();
        let open = |inquiry: &&Inquiry| inquiry.run == id && inquiry.status == InquiryStatus::Open;
        Some(RunRows {
            record,
            kept,
            items,
            children,
            inquiries: self
                .ledger
                .inquiries
                .values()
                .filter(open)
                .cloned()
                .collect(),
            tasks,
        })
    }
}
