//! Parameters against their schema: defaults are filled in, everything wrong is reported at once.
//!
//! A schema is compiled once and kept, by its text: definitions come and go, their schemas rarely
//! change. A schema that is none is reported like any other mistake; nothing panics. Schemas cannot
//! refer to anything outside themselves.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use camshaft_model::Object;
use camshaft_model::definition::ParameterSchema;
use camshaft_model::definition::problem::did_you_mean;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use parking_lot::RwLock;
use serde_json::Value;

/// So many compiled schemas are kept; beyond, all are forgotten and made anew as they are used.
const MAX_COMPILED: usize = 4_096;
/// So many mistakes of one value are reported.
const MAX_ERRORS: usize = 20;
/// The longest message about one mistake, in characters.
const MAX_MESSAGE: usize = 300;

/// What is wrong with one parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", if path.is_empty() { message.clone() } else { format!("{path}: {message}") })]
pub struct ParameterError {
    /// Which one, such as `urls[0]`; empty for the parameters as a whole.
    pub path: String,
    /// What is wrong with it. Shows no value of a secret parameter.
    pub message: String,
}

/// Fills in defaults and checks parameters.
///
/// # Errors
/// Everything that is wrong, at most 20 of it.
pub fn check(
    schema: &ParameterSchema,
    mut parameters: Object,
) -> Result<Object, Vec<ParameterError>> {
    for (name, default) in &schema.defaults {
        if !parameters.contains_key(name) {
            parameters.insert(name.clone(), default.clone());
        }
    }
    let validator = compiled(&schema.schema).map_err(|message| {
        vec![ParameterError {
            path: String::new(),
            message,
        }]
    })?;
    let value = Value::Object(parameters);
    if !validator.is_valid(&value) {
        let errors = validator.iter_errors(&value);
        let mut errors: Vec<_> = errors
            .flat_map(|error| explain(&error, schema))
            .take(MAX_ERRORS)
            .collect();
        // The same mistakes read the same whatever order the library finds them in.
        errors.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
        return Err(errors);
    }
    match value {
        Value::Object(parameters) => Ok(parameters),
        _ => Ok(Object::new()),
    }
}

/// All mistakes in one sentence.
pub fn sentence(errors: &[ParameterError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Whether a value satisfies a schema: payloads of events, results of actions.
///
/// # Errors
/// The mistakes in one sentence.
pub fn validate(schema: &Value, value: &Value) -> Result<(), String> {
    match mistakes(schema, value) {
        none if none.is_empty() => Ok(()),
        some => Err(sentence(&some)),
    }
}

/// What keeps a value from satisfying a schema, each with its place, at most 20 of it.
pub fn mistakes(schema: &Value, value: &Value) -> Vec<ParameterError> {
    let validator = match compiled(schema) {
        Ok(validator) if validator.is_valid(value) => return Vec::new(),
        Ok(validator) => validator,
        Err(message) => {
            return vec![ParameterError {
                path: String::new(),
                message,
            }];
        }
    };
    validator
        .iter_errors(value)
        .take(MAX_ERRORS)
        .map(|error| ParameterError {
            path: path(&error),
            message: shorten(&error.to_string()),
        })
        .collect()
}

/// Whether a value is a JSON Schema.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    build(schema).map(drop)
}

type Compiled = Result<Arc<Validator>, String>;

static COMPILED: LazyLock<RwLock<HashMap<String, Compiled>>> = LazyLock::new(RwLock::default);

fn compiled(schema: &Value) -> Compiled {
    let text = schema.to_string();
    if let Some(known) = COMPILED.read().get(&text) {
        return known.clone();
    }
    let made = build(schema).map(Arc::new);
    let mut kept = COMPILED.write();
    if kept.len() >= MAX_COMPILED {
        kept.clear();
    }
    kept.insert(text, made.clone());
    made
}

fn build(schema: &Value) -> Result<Validator, String> {
    // The linear-time regex engine: a pattern in a schema meets texts of strangers.
    jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(schema)
        .map_err(|error| shorten(&format!("the schema is not a JSON Schema: {error}")))
}

/// One mistake as people read it; an unknown name gets the nearest known one.
fn explain(error: &ValidationError<'_>, schema: &ParameterSchema) -> Vec<ParameterError> {
    let path = path(error);
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        let known = || schema.schema.get("properties").and_then(Value::as_object);
        return unexpected
            .iter()
            .map(|name| {
                let names = known()
                    .into_iter()
                    .flat_map(|map| map.keys().map(String::as_str));
                let hint = if path.is_empty() {
                    did_you_mean(name, names)
                } else {
                    String::new()
                };
                let message = format!("there is no parameter '{}'{hint}", shorten(name));
                ParameterError {
                    path: path.clone(),
                    message,
                }
            })
            .collect();
    }
    let first = error
        .instance_path()
        .as_str()
        .split('/')
        .nth(1)
        .unwrap_or_default();
    let secret = schema.secret.iter().any(|name| name == first)
        || (path.is_empty() && !schema.secret.is_empty());
    let message = match error.kind() {
        ValidationErrorKind::Required { property } => format!("{} is required", property),
        _ if secret => error.masked().to_string(),
        _ => error.to_string(),
    };
    vec![ParameterError {
        path,
        message: shorten(&message),
    }]
}

/// `/urls/0/name` as `urls[0].name`.
fn path(error: &ValidationError<'_>) -> String {
    let mut text = String::new();
    for part in error.instance_path().as_str().split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            text.push_str(&format!("[{part}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&part);
        }
    }
    text
}

fn shorten(message: &str) -> String {
    let mut shown: String = message.chars().take(MAX_MESSAGE).collect();
    if shown.len() < message.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
