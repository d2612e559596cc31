//! What a rule would make of an event, and why: every criterion with both values, nothing cut short.

use std::sync::Arc;

use camshaft_model::definition::{Action, Rule};
use camshaft_model::{Event, Timestamp};

use super::criteria::{View, sentence};
use super::index::sensor_key;
use super::matching::{CompiledRule, Surroundings, when_sentence};
use super::trial::{CriterionTrial, RuleTrial, WhenTrial};
use crate::parameters;

/// What a rule, enabled or not, would make of an event. Nothing is changed by asking.
pub fn trial(
    rule: &Arc<Rule>,
    enabled: bool,
    action: Option<&Action>,
    event: &Event,
    surroundings: &Surroundings<'_>,
    now: Timestamp,
) -> RuleTrial {
    let compiled = CompiledRule::new(rule.clone());
    let view = View::new(event, now);
    let scope = compiled.scope(&view, surroundings);
    let criteria: Vec<CriterionTrial> = compiled.criteria.iter().map(|c| c.trial(&view)).collect();
    let when = compiled.when(&scope).map(|outcome| WhenTrial {
        expression: rule.when.clone().unwrap_or_default(),
        holds: outcome.as_ref().ok().copied(),
        problem: outcome.err(),
    });
    let elsewhere = elsewhere(rule, event);
    let mut trial = RuleTrial {
        rule: rule.reference.clone(),
        enabled,
        applies: elsewhere.is_none(),
        matched: false,
        verdict: String::new(),
        criteria,
        when,
        parameters: None,
        enforcement: None,
    };
    let obstacle = elsewhere
        .or_else(|| (!enabled).then(|| "the rule is not enabled".to_owned()))
        .or_else(|| unmet(&trial));
    trial.verdict = match obstacle {
        Some(why) => why,
        None => match made(&compiled, &scope, action, rule) {
            Ok(parameters) => {
                trial.matched = true;
                trial.parameters = Some(parameters);
                format!("it matches and requests {}", rule.action)
            }
            Err(why) => why,
        },
    };
    trial
}

/// Why an event does not reach a rule at all.
fn elsewhere(rule: &Rule, event: &Event) -> Option<String> {
    let draft = &event.draft;
    if draft.trigger != rule.trigger {
        return Some(format!(
            "the rule is on trigger {}, and the event is of {}",
            rule.trigger, draft.trigger
        ));
    }
    let sensor = draft.sensor.as_deref()?;
    let own = sensor_key(&rule.trigger, &rule.trigger_parameters);
    (sensor != own).then(|| {
        format!("the event is from sensor {sensor}, and the rule's trigger parameters make its sensor {own}")
    })
}

/// The term of the conjunction that decides against a match: one that does not hold before one that
/// cannot be evaluated.
fn unmet(trial: &RuleTrial) -> Option<String> {
    let of_criteria = |holds: Option<bool>| {
        trial
            .criteria
            .iter()
            .find(|c| c.holds == holds)
            .map(sentence)
    };
    let of_when = |holds: Option<bool>| trial.when.as_ref().filter(|when| when.holds == holds);
    of_criteria(Some(false))
        .or_else(|| {
            of_when(Some(false)).map(|when| format!("when does not hold: {}", when.expression))
        })
        .or_else(|| of_criteria(None))
        .or_else(|| {
            of_when(None).map(|when| when_sentence(when.problem.as_deref().unwrap_or_default()))
        })
}

/// The parameters as they would be, secrets masked.
fn made(
    compiled: &CompiledRule,
    scope: &crate::expression::Scope,
    action: Option<&Action>,
    rule: &Rule,
) -> Result<camshaft_model::Object, String> {
    let action = action.ok_or_else(|| format!("there is no action '{}'", rule.action))?;
    let parameters = compiled.parameters(scope)?;
    let checked = parameters::check(&action.parameters, parameters).map_err(|errors| {
        format!(
            "parameters of {}: {}",
            action.reference,
            parameters::sentence(&errors)
        )
    })?;
    Ok(action.masked(&checked))
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
