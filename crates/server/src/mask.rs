//! What may be shown of definitions and executions: values of secret parameters never leave the server.

use std::sync::Arc;

use camshaft_model::definition::{Action, Catalog, Rule, Trigger};
use camshaft_model::{Execution, Object};
use serde_json::Value;

use crate::page::json_of;

const REDACTED: &str = "[redacted]";
/// The keywords of a JSON Schema that hold values of what they describe.
const VALUES: [&str; 5] = ["default", "const", "enum", "example", "examples"];

fn redacted() -> Value {
    Value::String(REDACTED.to_owned())
}

/// An execution as it may be shown. Which parameters are secret is known from the version of the
/// action that it is pinned to; if that is not the current one, no parameter's value is shown.
pub(crate) fn execution(catalog: &Catalog, execution: &Execution) -> Execution {
    let spec = &execution.spec;
    if spec.parameters.is_empty() || spec.adhoc.is_some() {
        return execution.clone();
    }
    let pinned = catalog.action(&spec.action).filter(|action| {
        action.origin.as_ref().map(|origin| &origin.hash) == spec.pack_hash.as_ref()
    });
    let shown = match pinned {
        Some(action) if action.parameters.secret.is_empty() => return execution.clone(),
        Some(action) => action.masked(&spec.parameters),
        None => spec
            .parameters
            .keys()
            .map(|name| (name.clone(), redacted()))
            .collect(),
    };
    let mut masked = execution.clone();
    Arc::make_mut(&mut masked.spec).parameters = Arc::new(shown);
    masked
}

fn mask(parameters: &mut Object, secret: &[String]) {
    for name in secret {
        if let Some(value) = parameters.get_mut(name) {
            *value = redacted();
        }
    }
}

/// An action as it may be shown: a secret's value may also be its default.
pub(crate) fn action(action: &Action) -> Value {
    definition(json_of(action), &action.parameters.secret)
}

/// A trigger as it may be shown.
pub(crate) fn trigger(trigger: &Trigger) -> Value {
    definition(json_of(trigger), &trigger.parameters.secret)
}

/// A definition without the values that its schema gives for secret parameters.
fn definition(mut shown: Value, secret: &[String]) -> Value {
    let parameters = &mut shown["parameters"];
    if let Some(defaults) = parameters["defaults"].as_object_mut() {
        mask(defaults, secret);
    }
    for name in secret {
        let property = parameters["schema"]["properties"]
            .get_mut(name)
            .and_then(Value::as_object_mut);
        for keyword in property
            .into_iter()
            .flat_map(|property| property.iter_mut())
        {
            if VALUES.contains(&keyword.0.as_str()) {
                *keyword.1 = redacted();
            }
        }
    }
    shown
}

/// A rule as it may be shown: with the secrets of its trigger (an HMAC key, say) and those that it
/// hands to its action as literals left out, and `enabled` as it is in effect.
pub(crate) fn rule(catalog: &Catalog, rule: &Rule, enabled: bool) -> Value {
    let mut shown = rule.clone();
    match catalog.trigger(&rule.trigger) {
        Some(trigger) => mask(&mut shown.trigger_parameters, &trigger.parameters.secret),
        None => shown
            .trigger_parameters
            .values_mut()
            .for_each(|value| *value = redacted()),
    }
    if let Some(action) = catalog.action(&rule.action) {
        mask(&mut shown.action_parameters, &action.parameters.secret);
    }
    shown.enabled = enabled;
    let mut value = json_of(&shown);
    value["enabled_by_definition"] = Value::Bool(rule.enabled);
    value
}
