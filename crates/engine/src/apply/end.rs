//! The one way into a terminal state, and what that leads to.

use std::sync::Arc;

use camshaft_model::{
    EventDraft, EventSource, Execution, ExecutionId, ExecutionState, Ref, Status, Transition,
};
use serde_json::json;

use crate::decision::{Decision, Unit};
use crate::state::{Context, Live, State};

/// The trigger whose events tell that an execution ended.
pub(crate) const EXECUTION_TRIGGER: &str = "core.execution";

impl State {
    /// Moves a live execution to a terminal state within `unit` and forgets it. Rules on
    /// `core.execution` are applied in the same unit: what an end leads to is stored with it, and so is what
    /// it means for the run that it is a part of.
    /// Returns whether the table allows it.
    pub(crate) fn terminate(
        &mut self,
        id: ExecutionId,
        through: &[Status],
        state: ExecutionState,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) -> bool {
        let Some(live) = self.live.get(&id) else {
            return false;
        };
        let transition = match Transition::new(id, &live.state, through, state.clone()) {
            Ok(transition) => transition,
            Err(error) => {
                tracing::error!(execution = %id, %error, "an end was refused");
                return false;
            }
        };
        unit.record_move(transition);
        let Some(mut live) = self.forget(id) else {
            return false;
        };
        live.state = Arc::new(state);
        let record = Arc::new(live.record());
        let shown = self.shown(&live);
        if let Some(shown) = &shown {
            unit.shown.push(shown.clone());
        }
        unit.ended.push(record.clone());
        let shown = shown.as_ref().unwrap_or(&record);
        self.announce_end(&live, &shown.state, unit, decision, context);
        self.child_ended(&record, unit, decision, context);
        true
    }

    /// How the end of a run is told of, if it is not told as it is stored: its result was computed by
    /// expressions, which may have read secrets.
    fn shown(&self, live: &Live) -> Option<Arc<Execution>> {
        live.action.workflow()?;
        let hidden = self.hidden_of(&live.spec, Some(&live.action));
        live.state
            .result
            .as_ref()
            .filter(|result| hidden.is_in(result))?;
        let mut shown = live.record();
        hidden.shared(&mut shown.state.result);
        Some(Arc::new(shown))
    }

    fn announce_end(
        &mut self,
        live: &Live,
        state: &ExecutionState,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let Ok(trigger) = EXECUTION_TRIGGER.parse::<Ref>() else {
            return;
        };
        if !self.rules.has_rules_on(&trigger) && !self.awaited.contains_key(&trigger) {
            return;
        }
        let draft = EventDraft {
            trigger,
            payload: json!({
                "execution_id": live.spec.id,
                "run_id": live.spec.root,
                "action": live.spec.action,
                "status": state.status,
                "attempt": state.attempt,
                "exit_code": state.exit_code,
                "signal": state.signal,
                "error": state.error,
                "result": state.result,
                "parameters": live.action.masked(&live.spec.parameters),
                "origin": live.spec.origin,
                "ended_at": state.ended_at,
            }),
            source: EventSource {
                kind: "engine".to_owned(),
                name: Some(live.spec.id.to_string()),
            },
            dedup_key: Some(live.spec.id.to_string()),
            occurred_at: state.ended_at,
            sensor: None,
            depth: live.spec.depth.saturating_add(1),
            trace_parent: live.spec.trace_parent.as_deref().map(str::to_owned),
        };
        self.apply_rules(draft, unit, decision, context);
    }
}
