//! Texts that are shown nowhere. The worker takes secrets out of what processes write; variables, results,
//! errors and prompts of a workflow come from expressions, which may have read them. What tells of those is
//! taken through here where it is made, or where it is shown if expressions still need it as it is.

use std::sync::Arc;

use camshaft_model::definition::{Action, REDACTED};
use camshaft_model::{ExecutionSpec, Inquiry, Object, RunRecord, TaskRecord};
use serde_json::Value;

use crate::state::State;

/// Shorter texts are not looked for: they would hit by chance.
const SHORTEST: usize = 3;
/// What the lines of a run's event log say in words.
const WORDS: [&str; 3] = ["reason", "error", "prompt"];

/// What must not be seen of one execution.
#[derive(Debug, Clone, Default)]
pub struct Hidden(Vec<String>);

impl State {
    /// What must not be seen of an execution of this action. If its version cannot be read any more, any of
    /// its parameters may be a secret.
    pub(crate) fn hidden_of(&self, spec: &ExecutionSpec, action: Option<&Action>) -> Hidden {
        Hidden::new(match action {
            Some(action) => self.secrets_of(spec, action),
            None => {
                let texts = spec.parameters.values().filter_map(text_of);
                texts
                    .chain(self.settings.secrets.values().cloned())
                    .collect()
            }
        })
    }
}

/// The text under which a value shows itself.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

impl Hidden {
    fn new(mut texts: Vec<String>) -> Self {
        texts.retain(|text| text.len() >= SHORTEST);
        // A secret that is a part of another one must not leave the rest of that one to be seen.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(texts)
    }

    /// Takes them out of a text.
    pub fn text(&self, text: &mut String) {
        for hidden in &self.0 {
            if text.contains(hidden) {
                *text = text.replace(hidden, REDACTED);
            }
        }
    }

    /// Whether there is anything to take out of a value.
    pub(crate) fn is_in(&self, value: &Value) -> bool {
        match value {
            _ if self.0.is_empty() => false,
            Value::String(text) => self.0.iter().any(|hidden| text.contains(hidden)),
            Value::Array(items) => items.iter().any(|item| self.is_in(item)),
            Value::Object(fields) => fields.values().any(|field| self.is_in(field)),
            Value::Number(number) => self.0.contains(&number.to_string()),
            Value::Bool(_) | Value::Null => false,
        }
    }

    /// Takes them out of every text of a value, names aside.
    pub fn value(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.value(field)),
            Value::Number(number) if self.0.contains(&number.to_string()) => {
                *value = Value::String(REDACTED.to_owned());
            }
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// Takes them out of a value that others share; it is copied only if they are in it.
    pub fn shared(&self, value: &mut Option<Arc<Value>>) {
        if let Some(value) = value.as_mut().filter(|value| self.is_in(value)) {
            self.value(Arc::make_mut(value));
        }
    }

    /// Takes them out of what a line of the event log says in words.
    pub(crate) fn words(&self, payload: &mut Object) {
        for name in WORDS {
            if let Some(Value::String(text)) = payload.get_mut(name) {
                self.text(text);
            }
        }
    }

    /// Takes them out of what was asked and answered.
    pub fn inquiry(&self, inquiry: &mut Inquiry) {
        self.text(&mut inquiry.prompt);
        if let Some(answer) = &mut inquiry.answer {
            self.value(answer);
        }
    }

    /// Takes them out of the record of a run.
    pub fn run(&self, run: &mut RunRecord) {
        run.vars.values_mut().for_each(|var| self.value(var));
        if let Some(ending) = &mut run.ending {
            self.text(&mut ending.error.message);
        }
    }

    /// Takes them out of the record of a task.
    pub fn task(&self, task: &mut TaskRecord) {
        self.shared(&mut task.result);
        if let Some(awaited) = &mut task.awaited {
            self.value(awaited);
        }
        if let Some(reason) = &mut task.reason {
            self.text(reason);
        }
        if let Some(error) = &mut task.error {
            self.text(&mut error.message);
        }
    }
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
