//! Admission: starting what may start, in order, until nothing more may.

use camshaft_model::definition::Action;
use camshaft_model::notice::Notice;
use camshaft_model::port::dispatch::Job;
use camshaft_model::{
    ExecutionId, ExecutionSpec, ExecutionState, Object, Status, StepEventDraft, StepEventType,
    Transition,
};
use serde_json::Value;
use std::sync::Arc;

use crate::decision::{Decision, Effect, Unit};
use crate::queue::Needs;
use crate::state::{Context, Live, State};

impl State {
    /// Starts everything that may start now.
    pub(crate) fn admit(&mut self, context: &Context<'_>, decision: &mut Decision) {
        while !self.draining {
            let full = self.leases.len() >= self.capacity.slots as usize;
            let can = |needs: &Needs| !(needs.slot && full) && self.unmet(needs).is_empty();
            let Some(id) = self.queue.first(can) else {
                return;
            };
            self.dequeue(id);
            // Asked for while its run was paused, or taken up before that was known: whoever resumes
            // the run puts it back.
            if self
                .live
                .get(&id)
                .is_some_and(|live| self.paused_by(live).is_some())
            {
                continue;
            }
            if self.live.get(&id).is_some_and(Live::is_run) {
                self.start_run(id, context, decision);
            } else {
                self.start(id, context, decision);
            }
        }
    }

    fn start(&mut self, id: ExecutionId, context: &Context<'_>, decision: &mut Decision) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let state = ExecutionState {
            status: Status::Running,
            attempt: live.state.attempt + 1,
            epoch: self.epoch,
            not_before: None,
            blocked_by: None,
            worker: Some(self.capacity.worker.clone()),
            lease_expires_at: None,
            scheduled_at: Some(context.now),
            started_at: Some(context.now),
            ..live.state.clone()
        };
        let transition = match Transition::new(id, &live.state, &[Status::Scheduled], state.clone())
        {
            Ok(transition) => transition,
            Err(error) => {
                tracing::error!(execution = %id, %error, "a waiting execution was not admitted");
                return;
            }
        };
        self.set_state(id, state);
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let started = self.step_started(live, context);
        let job = Effect::Start(Box::new(self.job(live)));
        let unit = match decision.unit_with_fresh(id) {
            Some(unit) => unit,
            None => {
                let mut unit = Unit {
                    moved: vec![transition],
                    ..Unit::default()
                };
                unit.notices
                    .push(Notice::Execution(Arc::new(live.record())));
                decision.units.push(unit);
                let last = decision.units.len() - 1;
                &mut decision.units[last]
            }
        };
        unit.steps.push(started);
        unit.effects.push(job);
    }

    fn step_started(&self, live: &Live, context: &Context<'_>) -> StepEventDraft {
        let mut payload = Object::new();
        payload.insert("step".into(), live.spec.step().into());
        payload.insert("agent_id".into(), self.capacity.worker.clone().into());
        payload.insert("attempt".into(), live.state.attempt.into());
        live.step(StepEventType::StepStarted, payload, context)
    }

    /// The values that must not be seen in what an execution writes or computes: those of its secret
    /// parameters and those of the configuration.
    pub(crate) fn secrets_of(&self, spec: &ExecutionSpec, action: &Action) -> Vec<String> {
        let mut secrets: Vec<String> = action
            .parameters
            .secret
            .iter()
            .filter_map(|name| match spec.parameters.get(name)? {
                Value::String(text) => Some(text.clone()),
                Value::Null => None,
                other => Some(other.to_string()),
            })
            .collect();
        secrets.extend(self.settings.secrets.values().cloned());
        secrets
    }

    fn job(&self, live: &Live) -> Job {
        let spec = &live.spec;
        let adhoc = spec.adhoc.as_ref();
        let secrets = self.secrets_of(spec, &live.action);
        let key = live.key();
        Job {
            key,
            root: spec.root,
            step: spec.step().to_owned(),
            step_scope: spec.step_scope(),
            action: live.action.clone(),
            args: adhoc.map(|a| a.args.clone()).unwrap_or_default(),
            working_dir: adhoc.map(|a| a.working_dir.clone().into()),
            parameters: spec.parameters.clone(),
            secrets,
            timeout: live.action.timeout,
            token: self.settings.signer.sign(&key),
            trace_parent: trace_parent(live),
            idempotency_key: spec
                .idempotency_key
                .clone()
                .unwrap_or_else(|| spec.id.to_string()),
        }
    }
}

/// The W3C trace context of an attempt: the trace that came with the request, or one named by the
/// run; the span is named by the execution and the attempt, so it is the same however often asked.
fn trace_parent(live: &Live) -> String {
    let trace = live
        .spec
        .trace_parent
        .as_deref()
        .and_then(|text| text.split('-').nth(1))
        .filter(|id| id.len() == 32)
        .map_or_else(|| live.spec.root.uuid().simple().to_string(), str::to_owned);
    let low = live.spec.id.uuid().as_u128() as u64;
    format!(
        "00-{trace}-{:016x}-01",
        low ^ u64::from(live.state.attempt).rotate_left(32)
    )
}

impl Live {
    /// A line of the run's event log about this execution.
    pub(crate) fn step(
        &self,
        event_type: StepEventType,
        payload: Object,
        context: &Context<'_>,
    ) -> StepEventDraft {
        StepEventDraft {
            root: self.spec.root,
            item: (self.spec.root != self.spec.id).then_some(self.spec.id),
            event_type,
            step: Some(self.spec.step().to_owned()),
            step_scope: self.spec.step_scope(),
            payload,
            created_at: context.now,
        }
    }
}
