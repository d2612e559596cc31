//! "Why?" always has an answer: why an event led to what it led to, why an execution is where it is.

use camshaft_model::port::store::{EnforcementFilter, PageRequest};
use camshaft_model::{ErrorCode, EventId, Execution, ExecutionId, Origin, Status};

use crate::handle::{
    Blocker, ControlError, Engine, EventExplanation, ExecutionExplanation, unavailable,
};
use crate::rule::RuleTrial;

/// So many enforcements of one event are read.
const MAX_ENFORCEMENTS: u32 = 1_000;

impl Engine {
    /// Why an event led to what it led to: every rule on its trigger, each criterion with both values.
    ///
    /// # Errors
    /// There is no such event.
    pub async fn why_event(&self, id: EventId) -> Result<EventExplanation, ControlError> {
        let event = self
            .store()
            .event(id)
            .await
            .map_err(unavailable)?
            .ok_or_else(|| {
                ControlError::new(ErrorCode::NotFound, format!("there is no event {id}"))
            })?;
        let filter = EnforcementFilter {
            event: Some(id),
            rule: None,
        };
        let page = PageRequest {
            after: None,
            limit: MAX_ENFORCEMENTS,
        };
        let enforcements = self
            .store()
            .enforcements(filter, page)
            .await
            .map_err(unavailable)?;
        let now = self.core.clock().now();
        let rules: Vec<RuleTrial> = self.core.read(|state| {
            let on_trigger = state
                .catalog
                .rules()
                .filter(|rule| rule.trigger == event.draft.trigger);
            let trials = on_trigger.filter_map(|rule| {
                let mut trial = state.trial(&rule.reference, &event, now)?;
                trial.enforcement = enforcements.iter().find(|e| e.rule == trial.rule).cloned();
                if trial.matched && trial.enforcement.is_none() {
                    let (action, asked) = (&rule.action, state.is_yet_to_be_asked(&trial.rule, id));
                    trial.verdict = if asked {
                        format!("it matches and will request {action} when it is asked")
                    } else {
                        format!("it would match and request {action}, but no answer of it to this event is recorded")
                    };
                }
                Some(trial)
            });
            trials.collect()
        });
        let fired = enforcements.len();
        let summary = match (rules.len(), fired) {
            (0, 0) => format!("No rule is on trigger '{}'.", event.draft.trigger),
            (1, 0) => format!(
                "The only rule on trigger '{}' did not match.",
                event.draft.trigger
            ),
            (1, _) => format!(
                "The only rule on trigger '{}' answered.",
                event.draft.trigger
            ),
            (n, 0) => format!(
                "None of the {n} rules on trigger '{}' matched.",
                event.draft.trigger
            ),
            (n, fired) => format!(
                "{fired} of {n} rules on trigger '{}' answered.",
                event.draft.trigger
            ),
        };
        let held = self.core.read(|state| state.why_event_held(id, now));
        let summary = match held {
            Some(held) if fired == 0 => held,
            Some(held) => format!("{summary} {held}"),
            None => summary,
        };
        Ok(EventExplanation {
            event,
            summary,
            rules,
        })
    }

    /// Why an execution is where it is: everything that it waits for, with holders and until when.
    ///
    /// # Errors
    /// There is no such execution.
    pub async fn why_execution(
        &self,
        id: ExecutionId,
    ) -> Result<ExecutionExplanation, ControlError> {
        let stored = self
            .store()
            .execution(id)
            .await
            .map_err(unavailable)?
            .ok_or_else(|| {
                ControlError::new(ErrorCode::NotFound, format!("there is no execution {id}"))
            })?;
        let mut history = vec![origin(&stored)];
        for attempt in self.store().attempts(id).await.map_err(unavailable)? {
            let error = attempt
                .error
                .map_or_else(String::new, |e| format!(": {}", e.message));
            history.push(format!(
                "attempt {} {}{error}",
                attempt.key.attempt, attempt.status
            ));
        }
        let now = self.core.clock().now();
        let ((blockers, ahead), blocked_by) = self.core.read(|state| {
            let live = state.live.get(&id);
            live.map_or_else(Default::default, |live| {
                (state.waits_for(live, now), state.held_now(live, now))
            })
        });
        Ok(ExecutionExplanation {
            execution: id,
            action: stored.spec.action.clone(),
            status: stored.state.status,
            blocked_by,
            summary: summary(&stored, &blockers, ahead),
            blockers,
            ahead,
            history,
        })
    }
}

fn origin(execution: &Execution) -> String {
    let at = execution.spec.requested_at;
    match &execution.spec.origin {
        Origin::Rule { rule, event } => {
            format!("requested at {at} by rule {rule} on event {event}")
        }
        Origin::Api => format!("requested at {at} by a person or program"),
        Origin::Workflow => format!("requested at {at} by the workflow that it is a task of"),
        Origin::Library => format!("requested at {at} by the program that embeds the engine"),
        Origin::Retry { of } => format!("requested at {at} as a retry of {of}"),
    }
}

fn summary(execution: &Execution, blockers: &[Blocker], ahead: usize) -> String {
    let state = &execution.state;
    let error = state
        .error
        .as_ref()
        .map_or_else(|| "no reason is recorded".to_owned(), |e| e.message.clone());
    match state.status {
        Status::Requested => match blockers {
            [] if ahead > 0 => format!("It waits for {ahead} executions that go before it."),
            [] => "It may start at once.".to_owned(),
            [first, ..] => format!("It has not started: {}.", first.text),
        },
        Status::Scheduled | Status::Running => {
            format!(
                "Attempt {} runs on {}.",
                state.attempt,
                state.worker.as_deref().unwrap_or("a worker")
            )
        }
        Status::Waiting => match blockers {
            [] => "It is between two tasks and holds no slot.".to_owned(),
            [only] => format!("It holds no slot and waits: {}.", only.text),
            [first, rest @ ..] => format!(
                "It holds no slot and waits: {}, and {} more.",
                first.text,
                rest.len()
            ),
        },
        Status::Canceling => "It is being cancelled: its processes have not all ended.".to_owned(),
        Status::Completed => format!("It completed at attempt {}.", state.attempt),
        Status::Failed => format!("It failed: {error}."),
        Status::TimedOut => format!("Its deadline passed: {error}."),
        Status::Cancelled => format!("It was cancelled: {error}."),
        Status::Abandoned => format!("It was given up: {error}."),
        Status::Skipped => format!("It was skipped: {error}."),
    }
}
