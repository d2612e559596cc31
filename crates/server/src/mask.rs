//! What may be shown of definitions and executions: values of secret parameters never leave the server.

use std::sync::Arc;

use camshaft_engine::Engine;
use camshaft_model::definition::{Action, Catalog, Rule, Trigger};
use camshaft_model::{Execution, ExecutionSpec, Inquiry, Object};
use serde_json::Value;

use crate::page::json_of;

const REDACTED: &str = "[redacted]";
/// The keywords of a JSON Schema that hold values of what they describe.
const VALUES: [&str; 5] = ["default", "const", "enum", "example", "examples"];

fn redacted() -> Value {
    Value::String(REDACTED.to_owned())
}

/// Texts that are shown nowhere in what a run has computed. The worker takes secrets out of what
/// processes write; variables, results and prompts of a workflow come from expressions, which may
/// have read them.
pub(crate) struct Hidden(Vec<String>);

/// Shorter texts are not looked for: they would hit by chance.
const SHORTEST_HIDDEN: usize = 3;

impl Hidden {
    /// The secrets of an execution in the version of its action.
    pub(crate) fn of(engine: &Engine, spec: &ExecutionSpec, action: &Action) -> Self {
        Self::new(engine.secrets_of(spec, action))
    }

    fn new(mut texts: Vec<String>) -> Self {
        texts.retain(|text| text.len() >= SHORTEST_HIDDEN);
        // A secret that is a part of another one must not leave the rest of that one to be seen.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(texts)
    }

    /// Takes them out of a text.
    pub(crate) fn text(&self, text: &mut String) {
        for hidden in &self.0 {
            if text.contains(hidden) {
                *text = text.replace(hidden, REDACTED);
            }
        }
    }

    /// Takes them out of every text of a value, names aside.
    pub(crate) fn value(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.value(field)),
            Value::Number(number) if self.0.contains(&number.to_string()) => *value = redacted(),
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// Takes them out of a value that others share.
    pub(crate) fn shared(&self, value: &mut Option<Arc<Value>>) {
        if let Some(value) = value.as_mut().filter(|_| !self.0.is_empty()) {
            self.value(Arc::make_mut(value));
        }
    }

    /// Takes them out of what was asked and answered.
    pub(crate) fn inquiry(&self, inquiry: &mut Inquiry) {
        self.text(&mut inquiry.prompt);
        if let Some(answer) = &mut inquiry.answer {
            self.value(answer);
        }
    }
}

/// An execution as it may be shown. Which parameters are secret is known from the version of the
/// action that it is pinned to; if that is not the current one, no parameter's value is shown.
pub(crate) fn execution(engine: &Engine, catalog: &Catalog, execution: &Execution) -> Execution {
    let mut shown = parameters(catalog, execution);
    let definition = catalog.action(&execution.spec.action);
    if let Some(action) = definition.filter(|action| action.workflow().is_some()) {
        let hidden = Hidden::of(engine, &execution.spec, action);
        hidden.shared(&mut shown.state.result);
        if let Some(error) = &mut shown.state.error {
            hidden.text(&mut error.message);
        }
    }
    shown
}

fn parameters(catalog: &Catalog, execution: &Execution) -> Execution {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_out_of_what_was_computed_and_nothing_else() {
        let texts = ["hush", "hush-hush", "ab", "12345"].map(str::to_owned);
        let hidden = Hidden::new(texts.into());
        let mut value =
            json!({"hush": "say hush-hush, ab", "list": ["hush", 12345, 1234, null], "no": true});
        hidden.value(&mut value);
        assert_eq!(
            value,
            json!({"hush": "say [redacted], ab", "list": ["[redacted]", "[redacted]", 1234, null], "no": true})
        );
    }
}
