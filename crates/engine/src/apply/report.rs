//! What a worker tells of an attempt.

use camshaft_model::notice::Notice;
use camshaft_model::port::dispatch::{AttemptEnd, Report};
use camshaft_model::port::store::Change;
use camshaft_model::{
    Attempt, BlockedBy, ExecutionId, ExecutionState, Failure, FailureKind, Object, Output, Status,
    StepEventDraft, StepEventType, Transition,
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
        let mut unit = Unit {
            steps: report.events,
            ..Unit::default()
        };
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

    /// Puts an execution whose attempt ended in `ended` back to `requested`, to be tried again after
    /// the delay of its policy, or at once after an interruption.
    pub(crate) fn request_next_attempt(
        &mut self,
        id: ExecutionId,
        ended: ExecutionState,
        interrupted: bool,
        unit: &mut Unit,
        context: &Context<'_>,
    ) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.interruptions += u32::from(interrupted);
        let live = &*live;
        let policy = &live.action.retry;
        let delay = if interrupted {
            std::time::Duration::ZERO
        } else {
            retry::delay(policy, live.tries(), context.entropy.fraction())
        };
        let not_before = (!delay.is_zero()).then(|| context.now + delay);
        let reason = ended
            .error
            .as_ref()
            .map(|e| e.message.clone())
            .unwrap_or_default();
        let payload = Object::from_iter([
            ("reason".to_owned(), reason.into()),
            (
                "delay_ms".to_owned(),
                u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).into(),
            ),
            ("attempt".to_owned(), live.state.attempt.into()),
            ("max_attempts".to_owned(), policy.max_attempts.into()),
        ]);
        unit.steps
            .push(live.step(StepEventType::StepRetrying, payload, context));
        let state = ExecutionState {
            status: Status::Requested,
            not_before,
            blocked_by: not_before.map(|until| BlockedBy::NotBefore { until }),
            worker: None,
            ended_at: None,
            result: None,
            ..ended
        };
        match Transition::new(id, &live.state, &[], state.clone()) {
            Ok(transition) => {
                unit.moved.push(transition);
                self.set_state(id, state);
                if let Some(live) = self.live.get(&id) {
                    unit.notices
                        .push(Notice::Execution(Arc::new(live.record())));
                }
                self.enqueue(id);
            }
            Err(error) => tracing::error!(execution = %id, %error, "no next attempt"),
        }
    }

    /// Records that the attempt of an execution was cut off by the end of an earlier engine, and
    /// lets its policy decide what follows.
    pub(crate) fn interrupted(
        &mut self,
        id: ExecutionId,
        outputs: (Output, Output),
        context: &Context<'_>,
    ) -> Decision {
        let mut decision = Decision::default();
        let Some(live) = self.live.get(&id) else {
            return decision;
        };
        let canceling = live.state.status == Status::Canceling;
        let status = if canceling {
            Status::Cancelled
        } else {
            Status::Abandoned
        };
        let message = if canceling {
            "cancelled; the engine was killed before it could see the end".to_owned()
        } else {
            "the engine was killed while it may have been running; what was left of it was killed at the next start".to_owned()
        };
        let kind = if canceling {
            FailureKind::Cancelled
        } else {
            FailureKind::Interrupted
        };
        let error = Some(Failure { kind, message });
        let nothing_kept = outputs.0.stored == 0 && outputs.1.stored == 0;
        let mut unit = Unit::default();
        unit.changes.push(Change::RecordAttempt(Box::new(Attempt {
            key: live.key(),
            status,
            worker: live.state.worker.clone(),
            started_at: live.state.started_at,
            ended_at: context.now,
            error: error.clone(),
            exit_code: None,
            signal: None,
            stdout: outputs.0,
            stderr: outputs.1,
            output_lost: nothing_kept
                .then(|| "the engine was killed before it had written any output".to_owned()),
        })));
        let payload = Object::from_iter([
            ("attempt".to_owned(), live.state.attempt.into()),
            ("success".to_owned(), false.into()),
            // Nobody saw its end: it is known only that it is gone.
            ("confidence".to_owned(), "inferred".into()),
            (
                "reason".to_owned(),
                error
                    .as_ref()
                    .map(|e| e.message.clone())
                    .unwrap_or_default()
                    .into(),
            ),
        ]);
        unit.steps
            .push(live.step(StepEventType::StepFinished, payload, context));
        let state = ExecutionState {
            status,
            lease_expires_at: None,
            ended_at: Some(context.now),
            error,
            ..(*live.state).clone()
        };
        if !canceling && retry::allows_after_interruption(&live.action, live.state.attempt) {
            self.request_next_attempt(id, state, true, &mut unit, context);
        } else {
            self.terminate(id, &[], state, &mut unit, &mut decision, context);
        }
        decision.units.push(unit);
        decision
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
