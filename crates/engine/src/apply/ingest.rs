//! An event and what rules make of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use camshaft_model::definition::{Action, Rule};
use camshaft_model::notice::Notice;
use camshaft_model::port::sensor::IntakeError;
use camshaft_model::port::store::Change;
use camshaft_model::{
    Enforcement, EnforcementId, EnforcementOutcome, Event, EventDraft, EventId, ExecutionId,
    ExecutionSpec, ExecutionState, Object, Origin,
};
use serde_json::Value;

use super::end::EXECUTION_TRIGGER;
use crate::decision::{Decision, Unit};
use crate::parameters;
use crate::rule::{self, CompiledRule, Verdict};
use crate::schedule::Overlap;
use crate::state::{Context, State};

/// What an accepted event led to.
pub(crate) struct Ingested {
    /// The event's unit is the first of the decision.
    pub(crate) decision: Decision,
    pub(crate) event: EventId,
    pub(crate) executions: Vec<ExecutionId>,
}

impl State {
    /// Applies every rule that may match to an event. The event, its enforcements and the executions
    /// that they request are one unit.
    ///
    /// # Errors
    /// The trigger is unknown or the payload does not fit its schema; or more events are held than may be.
    pub(crate) fn ingest(
        &mut self,
        draft: EventDraft,
        sensor_state: Option<Value>,
        context: &Context<'_>,
    ) -> Result<Ingested, IntakeError> {
        let Some(trigger) = self.catalog.trigger(&draft.trigger) else {
            return Err(IntakeError::Refused(self.no_trigger(&draft.trigger)));
        };
        if draft.trigger.as_str() == EXECUTION_TRIGGER {
            return Err(IntakeError::Refused(format!(
                "events of {EXECUTION_TRIGGER} are the engine's own: it records one at each end of an execution"
            )));
        }
        if let Some(schema) = &trigger.payload_schema {
            parameters::validate(schema, &draft.payload).map_err(|problem| {
                IntakeError::Refused(format!(
                    "the payload does not fit trigger '{}': {problem}",
                    draft.trigger
                ))
            })?;
        }
        if let Some(why) = self.holds_too_many(&draft, context.now) {
            return Err(IntakeError::Unavailable(why));
        }
        let mut unit = Unit::default();
        if let (Some(key), Some(state)) = (&draft.sensor, sensor_state) {
            unit.changes.push(Change::PutSensorState {
                key: key.clone(),
                state,
            });
        }
        let mut decision = Decision::default();
        let event = self.apply_rules(draft, &mut unit, &mut decision, context);
        let executions = unit.fresh.clone();
        decision.units.insert(0, unit);
        self.admit(context, &mut decision);
        Ok(Ingested {
            decision,
            event,
            executions,
        })
    }

    /// Records an event and what rules make of it in `unit`.
    pub(crate) fn apply_rules(
        &mut self,
        draft: EventDraft,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) -> EventId {
        let event = Arc::new(Event {
            id: EventId::new(context.entropy.uuid(context.now)),
            received_at: context.now,
            draft,
        });
        unit.events.push(event.clone());
        unit.notices.push(Notice::Event(event.clone()));
        self.answer_or_hold(&event, unit, decision, context);
        event.id
    }

    /// Records what rules make of an event. One with a reason is not asked: that is its answer.
    pub(crate) fn enforce_all(
        &mut self,
        event: &Arc<Event>,
        rules: Vec<(&CompiledRule, Option<String>)>,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) {
        let scope = rule::Surroundings {
            secrets: &self.settings.secrets,
            env: &self.settings.env,
        };
        // All of them are decided on the state as it is now, before the first one changes it.
        let verdicts: Vec<(Arc<Rule>, Result<Verdict, String>)> = rules
            .into_iter()
            .map(|(compiled, not_asked)| {
                let verdict = match not_asked {
                    Some(reason) => Err(reason),
                    None => Ok(compiled.decide(event, &scope, context.now)),
                };
                (compiled.rule().clone(), verdict)
            })
            .collect();
        for (rule, verdict) in verdicts {
            let outcome = match verdict {
                Err(reason) => EnforcementOutcome::Skipped { reason },
                Ok(Verdict::NoMatch) => continue,
                Ok(Verdict::Failed { reason }) => EnforcementOutcome::Failed { reason },
                Ok(Verdict::Matched { parameters }) => {
                    self.enforce(&rule, parameters, event, unit, decision, context)
                }
            };
            unit.answer(&rule, event.id, outcome, context);
        }
    }

    fn enforce(
        &mut self,
        rule: &Rule,
        parameters: Object,
        event: &Event,
        unit: &mut Unit,
        decision: &mut Decision,
        context: &Context<'_>,
    ) -> EnforcementOutcome {
        let Some(action) = self.catalog.action(&rule.action).cloned() else {
            return EnforcementOutcome::Failed {
                reason: format!("there is no action '{}'", rule.action),
            };
        };
        if event.draft.depth >= self.settings.max_depth {
            return EnforcementOutcome::Failed {
                reason: format!(
                    "{} executions led to one another before this; the limit (engine.max_depth) is {}",
                    event.draft.depth, self.settings.max_depth
                ),
            };
        }
        let parameters = match parameters::check(&action.parameters, parameters) {
            Ok(parameters) => parameters,
            Err(problems) => {
                return EnforcementOutcome::Failed {
                    reason: format!(
                        "parameters of {}: {}",
                        action.reference,
                        parameters::sentence(&problems)
                    ),
                };
            }
        };
        let previous: BTreeSet<ExecutionId> = self
            .one_at_a_time
            .get(&rule.reference)
            .cloned()
            .unwrap_or_default();
        let overlap = self.overlap(&rule.reference);
        if overlap == Overlap::Skip
            && let Some(holder) = previous.first()
        {
            return EnforcementOutcome::Skipped {
                reason: format!("overlap: skip, and {holder} has not ended"),
            };
        }
        if overlap == Overlap::CancelPrevious {
            // Stored with what takes their place, or not at all.
            let before = decision.units.len();
            for id in previous {
                self.cancel_into(id, decision, context);
            }
            decision
                .units
                .drain(before..)
                .for_each(|cancelled| unit.absorb(cancelled));
        }
        let id = ExecutionId::new(context.entropy.uuid(context.now));
        self.add(
            ExecutionSpec {
                id,
                root: id,
                parent: None,
                task: None,
                action: action.reference.clone(),
                pack_hash: action.origin.as_ref().map(|o| o.hash.clone()),
                adhoc: None,
                parameters: self.shared(parameters),
                priority: rule.priority,
                requested_at: context.now,
                origin: Origin::Rule {
                    rule: rule.reference.clone(),
                    event: event.id,
                },
                idempotency_key: None,
                depth: event.draft.depth,
                trace_parent: event.draft.trace_parent.as_deref().map(Into::into),
            },
            ExecutionState::requested(None),
            action,
            unit,
        );
        EnforcementOutcome::Requested { execution: id }
    }

    /// Adds an execution that has just been asked for to the state and to a unit.
    pub(crate) fn add(
        &mut self,
        spec: ExecutionSpec,
        state: ExecutionState,
        action: Arc<Action>,
        unit: &mut Unit,
    ) {
        unit.fresh.push(spec.id);
        let live = self.alive(Arc::new(spec), state, action);
        self.insert(live);
    }
}

impl Unit {
    /// Records what a rule answered.
    pub(crate) fn answer(
        &mut self,
        rule: &Rule,
        event: EventId,
        outcome: EnforcementOutcome,
        context: &Context<'_>,
    ) {
        let enforcement = Enforcement {
            id: EnforcementId::new(context.entropy.uuid(context.now)),
            rule: rule.reference.clone(),
            event,
            created_at: context.now,
            outcome,
        };
        self.notices
            .push(Notice::Enforcement(Arc::new(enforcement.clone())));
        self.changes
            .push(Change::InsertEnforcement(Box::new(enforcement)));
    }
}
