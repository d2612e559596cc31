//! What may be shown of definitions and executions: values of secret parameters never leave the server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use camshaft_engine::Hidden;
use camshaft_model::definition::{Action, Catalog, REDACTED, Rule, Trigger};
use camshaft_model::{Execution, ExecutionSpec, Object, Ref};
use serde_json::Value;

use crate::page::{Page, json_of};
use crate::state::Api;

/// The keywords of a JSON Schema that hold values of what they describe.
const VALUES: [&str; 5] = ["default", "const", "enum", "example", "examples"];

fn redacted() -> Value {
    Value::String(REDACTED.to_owned())
}

/// The hash of a pack, and an action of it.
type Version = (Option<Arc<str>>, Ref);

/// Shows executions, each by the version of its action that it is pinned to, which is looked up once.
pub(crate) struct Masks<'a> {
    api: &'a Api,
    versions: HashMap<Version, Option<Arc<Action>>>,
}

impl<'a> Masks<'a> {
    pub(crate) fn new(api: &'a Api) -> Self {
        Self {
            api,
            versions: HashMap::new(),
        }
    }

    /// The action behind an execution; `None` if its version cannot be read any more.
    pub(crate) async fn definition(&mut self, spec: &ExecutionSpec) -> Option<Arc<Action>> {
        match self
            .versions
            .entry((spec.pack_hash.clone(), spec.action.clone()))
        {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => new.insert(self.api.engine.definition(spec).await).clone(),
        }
    }

    /// What must not be seen of what an execution gives.
    pub(crate) async fn hidden(&mut self, spec: &ExecutionSpec) -> Hidden {
        let definition = self.definition(spec).await;
        self.api.engine.hidden_of(spec, definition.as_deref())
    }

    /// An execution as it may be shown. If nobody knows any more which of its parameters are secret, no
    /// value of a parameter is shown, in its result neither.
    pub(crate) async fn execution(&mut self, execution: &Execution) -> Execution {
        let mut shown = execution.clone();
        let Execution { spec, state } = &mut shown;
        let has_given = state.result.is_some() || state.error.is_some();
        if spec.adhoc.is_some() || (spec.parameters.is_empty() && !has_given) {
            return shown;
        }
        let definition = self.definition(spec).await;
        // The worker took secrets out of what processes gave. What a run gives comes from expressions.
        if definition
            .as_ref()
            .is_none_or(|action| action.workflow().is_some())
        {
            let hidden = self.api.engine.hidden_of(spec, definition.as_deref());
            hidden.shared(&mut state.result);
            if let Some(error) = &mut state.error {
                hidden.text(&mut error.message);
            }
        }
        match &definition {
            Some(action) if action.parameters.secret.is_empty() => {}
            Some(action) => {
                let parameters = Arc::new(action.masked(&spec.parameters));
                Arc::make_mut(spec).parameters = parameters;
            }
            None => {
                let names = spec.parameters.keys().cloned();
                let parameters = names.map(|name| (name, redacted())).collect();
                Arc::make_mut(spec).parameters = Arc::new(parameters);
            }
        }
        shown
    }

    /// A page of executions as it may be shown.
    pub(crate) async fn page(&mut self, page: Page<Execution>) -> Page<Execution> {
        let mut items = Vec::with_capacity(page.items.len());
        for execution in &page.items {
            items.push(self.execution(execution).await);
        }
        Page { items, ..page }
    }
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
