//! Results checked against the schema that the action declares. Schemas are compiled once.

use std::collections::HashMap;
use std::sync::Arc;

use camshaft_model::{Failure, FailureKind};
use jsonschema::Validator;
use parking_lot::Mutex;
use serde_json::Value;

use super::failure;

/// More schemas than any set of packs has; beyond it the cache starts anew.
const MAX_CACHED: usize = 1_000;

/// Compiled schemas by their text.
#[derive(Default)]
pub(crate) struct Schemas(Mutex<HashMap<String, Arc<Validator>>>);

impl Schemas {
    /// Checks a result.
    pub(crate) fn check(&self, schema: &Value, result: &Value) -> Result<(), Failure> {
        let validator = self.compiled(schema)?;
        let Some(error) = validator.iter_errors(result).next() else {
            return Ok(());
        };
        let path = error.instance_path().to_string();
        let place = if path.is_empty() {
            "the result".to_owned()
        } else {
            format!("the result at {path}")
        };
        Err(failure(
            FailureKind::Output,
            format!("{place} does not fit output_schema: {error}"),
        ))
    }

    fn compiled(&self, schema: &Value) -> Result<Arc<Validator>, Failure> {
        let text = schema.to_string();
        if let Some(validator) = self.0.lock().get(&text) {
            return Ok(Arc::clone(validator));
        }
        let validator = jsonschema::validator_for(schema).map_err(|error| {
            failure(
                FailureKind::Output,
                format!("output_schema is not a JSON Schema: {error}"),
            )
        })?;
        let validator = Arc::new(validator);
        let mut cached = self.0.lock();
        if cached.len() >= MAX_CACHED {
            cached.clear();
        }
        cached.insert(text, Arc::clone(&validator));
        Ok(validator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_place_of_the_mistake_is_named() {
        let schemas = Schemas::default();
        let schema = json!({"properties": {"rows": {"items": {"type": "integer"}}}});
        assert_eq!(schemas.check(&schema, &json!({"rows": [1]})), Ok(()));
        let error = schemas
            .check(&schema, &json!({"rows": [1, "x"]}))
            .unwrap_err();
        assert!(error.message.contains("/rows/1"), "{}", error.message);
        assert!(schemas.check(&json!({"type": 3}), &json!(1)).is_err());
    }
}
