//! What a worker tells of an attempt.

use camshaft_model::port::dispatch::{AttemptEnd, Report};
use camshaft_model::port::store::Change;
use camshaft_model::{
    Attempt, ExecutionId, ExecutionState, Failure, FailureKind, Object, Status, StepEventDraft,
    StepEventType,
};
use std::sync::Arc;

use crate::decision::{Decision, Unit};
use crate::retry;
use crate::state::{Context, State};

impl State {
    /// Takes a report. One that names an attempt which is not the live one is late: its end is
    /// refused, and the log of the run says so.
    pub(crate) fn report(&mut self, report: Report, context: &Context<'_>) -> Decision {
        let mut decision = Decision::default();
        let key = report.key;
        let current = self
            .live
            .get(&key.execution)
            .is_some_and(|live| live.key() == key && live.holds_lease());
        if !current {
            if let Some(end) = &report.end {
                decision.units.push(refused(&report, end, context));
            }
            return decision;
        }
        let mut unit = Unit::default();
        unit.steps.extend(report.events);
        if let Some(end) = report.end {
            self.end_attempt(*end, key.execution, &mut unit, &mut decision, context);
        }
        decision.units.push(unit);
        self.admit(context, &mut decision);
        decision
    }

    fn end_attempt(
        &mut self,
        end: AttemptEnd,
        id: ExecutionId,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let canceling = live.state.status == Status::Canceling;
        // An attempt that was stopped though nobody cancelled it was cut off by a shutdown.
        let cut_off = end.status == Status::Cancelled
            || end
                .error
                .as_ref()
                .is_some_and(|error| error.kind == FailureKind::Interrupted);
        let interrupted = cut_off && !canceling;
        let status = if canceling {
            Status::Cancelled
        } else if interrupted {
            Status::Abandoned
        } else {
            end.status
        };
        let error = if interrupted {
            Some(Failure {
                kind: FailureKind::Interrupted,
                message: "the engine was shut down while it ran; its processes were stopped"
                    .to_owned(),
            })
        } else if canceling {
            Some(Failure {
                kind: FailureKind::Cancelled,
                message: "cancelled while it ran".to_owned(),
            })
        } else {
            end.error
        };
        unit.changes.push(Change::RecordAttempt(Box::new(Attempt {
            key: live.key(),
            status,
            worker: live.state.worker.clone(),
            started_at: end.started_at,
            ended_at: end.ended_at,
            error: error.clone(),
            exit_code: end.exit_code,
            signal: end.signal,
            stdout: end.stdout,
            stderr: end.stderr,
            output_lost: end.output_lost,
        })));
        let state = ExecutionState {
            status,
            lease_expires_at: None,
            started_at: end.started_at.or(live.state.started_at),
            ended_at: Some(end.ended_at),
            result: if status == Status::Completed {
                end.result.map(Arc::new)
            } else {
                None
            },
            error,
            exit_code: end.exit_code,
            signal: end.signal,
            ..(*live.state).clone()
        };
        let again = if interrupted {
            retry::allows_after_interruption(&live.action, live.state.attempt)
        } else {
            !canceling && retry::allows(&live.action.retry, live.tries(), status)
        };
        if again {
            self.request_next_attempt(id, state, interrupted, unit, context);
        } else {
            self.terminate(id, &[], state, unit, decision, context);
        }
    }
}

fn refused(report: &Report, end: &AttemptEnd, context: &Context<'_>) -> Unit {
    let key = report.key;
    let root = report
        .events
        .first()
        .map_or(key.execution, |event| event.root);
    let payload = Object::from_iter([
        ("attempt".to_owned(), key.attempt.into()),
        ("epoch".to_owned(), key.epoch.into()),
        ("status".to_owned(), end.status.as_str().into()),
        (
            "reason".to_owned(),
            "the attempt had lost its lease before it reported its end".into(),
        ),
    ]);
    let mut unit = Unit::default();
    unit.steps.push(StepEventDraft {
        root,
        item: (root != key.execution).then_some(key.execution),
        event_type: StepEventType::ResultRefused,
        step: None,
        step_scope: None,
        payload,
        created_at: context.now,
    });
    unit
}
