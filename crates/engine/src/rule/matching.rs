//! A rule, compiled, and what it makes of an event.
//!
//! All criteria and `when` together are one conjunction with three values: one term that does not hold
//! decides that the rule does not match, even if another cannot be evaluated; otherwise one that
//! cannot be evaluated fails the rule, with the reason; otherwise it matches, and the templates of
//! its parameters are rendered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camshaft_model::definition::{Criterion, Rule};
use camshaft_model::{Event, Object, Ref, Timestamp};
use serde_json::{Value, json};

use super::criteria::{CompiledCriterion, View};
use super::value::type_name;
use crate::expression::{Scope, Template, TemplateTree};

/// What expressions can use beside the event.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Secrets by name.
    pub secrets: &'a BTreeMap<String, String>,
    /// The variables of the environment that expressions may read.
    pub env: &'a BTreeMap<String, String>,
}

/// What a rule makes of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It does not match.
    NoMatch,
    /// It matches.
    Matched {
        /// The action's parameters, rendered; not yet checked against its schema.
        parameters: Object,
    },
    /// It cannot be evaluated, or its parameters cannot be made.
    Failed {
        /// Which part and why, in a sentence.
        reason: String,
    },
}

/// A rule, compiled.
#[derive(Debug)]
pub struct CompiledRule {
    rule: Arc<Rule>,
    pub(super) criteria: Vec<CompiledCriterion>,
    when: Option<Result<Template, String>>,
    parameters: Result<TemplateTree, String>,
    /// The names that its expressions use.
    names: BTreeSet<String>,
}

impl CompiledRule {
    /// Compiles a rule. Parts that do not compile fail the rule on each event that reaches them.
    pub fn new(rule: Arc<Rule>) -> Self {
        let when = rule
            .when
            .as_deref()
            .map(|text| Template::expression(text).map_err(|e| e.to_string()));
        let parameters =
            TemplateTree::compile(&Value::Object(rule.action_parameters.clone()), "parameters")
                .map_err(|errors| {
                    errors
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("; ")
                });
        let used_by_when = when.iter().flatten().flat_map(Template::referenced_names);
        let used_by_parameters = parameters.iter().flat_map(TemplateTree::referenced_names);
        let names = used_by_when
            .chain(used_by_parameters)
            .map(str::to_owned)
            .collect();
        let criteria = implied(&rule.trigger, &rule.trigger_parameters)
            .into_iter()
            .chain(rule.criteria.iter().cloned())
            .map(CompiledCriterion::new)
            .collect();
        Self {
            rule,
            criteria,
            when,
            parameters,
            names,
        }
    }

    /// The rule.
    pub fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }

    /// What the rule makes of an event.
    pub fn decide(
        &self,
        event: &Event,
        surroundings: &Surroundings<'_>,
        now: Timestamp,
    ) -> Verdict {
        let view = View::new(event, now);
        let mut failed = None;
        for criterion in &self.criteria {
            match criterion.holds(&view) {
                Ok(true) => {}
                Ok(false) => return Verdict::NoMatch,
                Err(problem) if failed.is_none() => {
                    failed = Some(format!(
                        "{} cannot be evaluated: {problem}",
                        criterion.name()
                    ));
                }
                Err(_) => {}
            }
        }
        let scope = self.scope(&view, surroundings);
        match self.when(&scope) {
            Some(Ok(false)) => return Verdict::NoMatch,
            Some(Err(problem)) => failed = failed.or(Some(when_sentence(&problem))),
            Some(Ok(true)) | None => {}
        }
        if let Some(reason) = failed {
            return Verdict::Failed { reason };
        }
        match self.parameters(&scope) {
            Ok(parameters) => Verdict::Matched { parameters },
            Err(reason) => Verdict::Failed { reason },
        }
    }

    /// The names that the rule's expressions use. Those that it does not use cost nothing.
    pub(super) fn scope(&self, view: &View<'_>, surroundings: &Surroundings<'_>) -> Scope {
        let mut scope = Scope::new();
        for name in &self.names {
            scope = match name.as_str() {
                "trigger" => scope.with("trigger", &view.event.draft.payload),
                "event" => scope.with("event", view.described()),
                "env" => scope.with("env", surroundings.env),
                "secrets" => scope.with("secrets", surroundings.secrets),
                "rule" => {
                    let rule = json!({ "ref": self.rule.reference, "trigger_parameters": self.rule.trigger_parameters });
                    scope.with("rule", &rule)
                }
                _ => scope,
            };
        }
        scope
    }

    /// Whether `when` holds; `None` if there is none.
    pub(super) fn when(&self, scope: &Scope) -> Option<Result<bool, String>> {
        let template = match self.when.as_ref()? {
            Ok(template) => template,
            Err(problem) => return Some(Err(problem.clone())),
        };
        Some(match template.render(scope) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!(
                "its value must be true or false, and is {}",
                type_name(&other)
            )),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The action's parameters.
    pub(super) fn parameters(&self, scope: &Scope) -> Result<Object, String> {
        let tree = self.parameters.as_ref().map_err(Clone::clone)?;
        match tree.render(scope).map_err(|error| error.to_string())? {
            Value::Object(parameters) => Ok(parameters),
            other => Err(format!(
                "parameters: must be a map, and this is {}",
                type_name(&other)
            )),
        }
    }
}

/// Why `when` cannot be evaluated.
pub(super) fn when_sentence(problem: &str) -> String {
    format!("when cannot be evaluated: {problem}")
}

/// What the parameters of `core.execution` ask of an event: `action` is a glob, `status` one status or
/// a list of them. As criteria, so that they are indexed and explained like any other.
pub(super) fn implied(trigger: &Ref, parameters: &Object) -> Vec<Criterion> {
    if trigger.as_str() != "core.execution" {
        return Vec::new();
    }
    let criterion = |path: &str, operator: &str, pattern: &Value| Criterion {
        path: path.to_owned(),
        operator: operator.to_owned(),
        pattern: pattern.clone(),
    };
    let mut criteria = Vec::new();
    let given = |name: &str| parameters.get(name).filter(|value| !value.is_null());
    if let Some(action) = given("action") {
        let is_glob = action
            .as_str()
            .is_some_and(|text| text.contains(['*', '?', '[']));
        let operator = if is_glob { "matchwildcard" } else { "equals" };
        criteria.push(criterion("trigger.action", operator, action));
    }
    if let Some(status) = given("status") {
        let operator = if status.is_array() {
            "inside"
        } else {
            "equals"
        };
        criteria.push(criterion("trigger.status", operator, status));
    }
    criteria
}

#[cfg(test)]
#[path = "matching_tests.rs"]
pub(super) mod tests;
