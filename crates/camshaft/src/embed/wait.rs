//! Tasks that wait: for a person, or for an event.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::value::{AnyInput, Given, Input};

/// A question to a person, for [`TaskBuilder::ask`](super::TaskBuilder::ask).
#[derive(Debug, Clone)]
#[must_use = "a question is asked by a task: hand it to TaskBuilder::ask"]
pub struct Question {
    prompt: Given,
    schema: Option<Value>,
    roles: Vec<String>,
    skips: bool,
}

impl Question {
    /// A question that anybody may answer, with any response.
    pub fn new(prompt: impl Input<String>) -> Self {
        Self {
            prompt: prompt.given(),
            schema: None,
            roles: Vec::new(),
            skips: false,
        }
    }

    /// A JSON Schema that the response must satisfy.
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Who may answer: one who has this role, or another one that is named.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// If nobody answers within the timeout of the task, it is skipped. Otherwise it fails then.
    pub const fn skip_on_timeout(mut self) -> Self {
        self.skips = true;
        self
    }

    pub(super) fn parts(&self) -> Vec<&Given> {
        vec![&self.prompt]
    }

    pub(super) fn definition(&self) -> Map<String, Value> {
        let mut keys = Map::new();
        keys.insert("prompt".to_owned(), self.prompt.template());
        if let Some(schema) = &self.schema {
            keys.insert("schema".to_owned(), schema.clone());
        }
        if !self.roles.is_empty() {
            keys.insert("roles".to_owned(), json!(self.roles));
        }
        if self.skips {
            keys.insert("on_timeout".to_owned(), "skip".into());
        }
        keys
    }
}

/// What a task that asks a person has as its result, once somebody has approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<T> {
    /// Always true: a task whose question was rejected fails.
    pub approved: bool,
    /// What the person responded.
    pub response: T,
    /// Who answered.
    pub by: String,
}

/// An event that a task waits for, for [`TaskBuilder::wait_for`](super::TaskBuilder::wait_for).
#[derive(Debug, Clone)]
#[must_use = "a task waits for it: hand it to TaskBuilder::wait_for"]
pub struct Awaited {
    trigger: String,
    parameters: Map<String, Value>,
    criteria: Vec<(String, String, Given)>,
    when: Option<String>,
    skips: bool,
}

impl Awaited {
    /// Any event of a trigger.
    pub fn new(trigger: impl Into<String>) -> Self {
        Self {
            trigger: trigger.into(),
            parameters: Map::new(),
            criteria: Vec::new(),
            when: None,
            skips: false,
        }
    }

    /// Only events in which a path has a value, such as `trigger.order`, that may be a handle.
    pub fn matching(self, path: impl Into<String>, value: impl AnyInput) -> Self {
        self.criterion(path, "equals", value)
    }

    /// Only events that meet a criterion, with one of the operators of rules.
    pub fn criterion(
        mut self,
        path: impl Into<String>,
        operator: impl Into<String>,
        pattern: impl AnyInput,
    ) -> Self {
        let criterion = (path.into(), operator.into(), pattern.given());
        self.criteria.push(criterion);
        self
    }

    /// Only events for which an expression of rules over `trigger` and `event` is true.
    pub fn when(mut self, expression: impl Into<String>) -> Self {
        self.when = Some(expression.into());
        self
    }

    /// What the trigger is asked for: one of its parameters.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// If no such event comes within the timeout of the task, it is skipped. Otherwise it fails then.
    pub const fn skip_on_timeout(mut self) -> Self {
        self.skips = true;
        self
    }

    pub(super) fn trigger(&self) -> &str {
        &self.trigger
    }

    pub(super) fn parts(&self) -> Vec<&Given> {
        self.criteria
            .iter()
            .map(|(_, _, pattern)| pattern)
            .collect()
    }

    /// The path that two criteria are about, which a definition cannot say.
    pub(super) fn path_twice(&self) -> Option<&str> {
        let paths = self.criteria.iter().map(|(path, _, _)| path.as_str());
        let mut seen = std::collections::BTreeSet::new();
        paths.into_iter().find(|path| !seen.insert(*path))
    }

    pub(super) fn definition(&self) -> Map<String, Value> {
        let mut keys = Map::new();
        keys.insert("trigger".to_owned(), self.trigger.as_str().into());
        if !self.parameters.is_empty() {
            keys.insert("parameters".to_owned(), self.parameters.clone().into());
        }
        let criteria = self.criteria.iter().map(|(path, operator, pattern)| {
            let criterion = json!({ "type": operator, "pattern": pattern.template() });
            (path.clone(), criterion)
        });
        let criteria: Map<String, Value> = criteria.collect();
        if !criteria.is_empty() {
            keys.insert("criteria".to_owned(), criteria.into());
        }
        if let Some(when) = &self.when {
            keys.insert("when".to_owned(), when.as_str().into());
        }
        if self.skips {
            keys.insert("on_timeout".to_owned(), "skip".into());
        }
        keys
    }
}

/// What a task that waited for an event has as its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received<T> {
    /// The id of the event.
    pub event: String,
    /// Its payload.
    pub payload: T,
}
