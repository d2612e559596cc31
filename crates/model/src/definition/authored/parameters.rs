//! The parameters that an action or a trigger takes: JSON Schema properties, in which `required` and
//! `secret` are said of each property, or the word `any`.

use serde_json::{Value, json};

use crate::Object;
use crate::definition::ParameterSchema;
use crate::definition::decode::Cursor;
use crate::definition::document::Content;
use crate::definition::load::Checks;

/// The schema of no parameters at all.
pub(super) fn none() -> ParameterSchema {
    assemble(Object::new(), &[], Object::new(), Vec::new())
}

/// The word for every object.
const ANY: &str = "any";

pub(super) fn parameters(cursor: &Cursor<'_>, checks: &dyn Checks) -> Option<ParameterSchema> {
    if matches!(&cursor.node().content, Content::Text(text) if text == ANY) {
        return Some(ParameterSchema {
            schema: json!({ "type": "object" }),
            ..ParameterSchema::default()
        });
    }
    let mut properties = Object::new();
    let mut required = Vec::new();
    let mut defaults = Object::new();
    let mut secret = Vec::new();
    for (name, _, property) in cursor.entries()? {
        let Some(mut schema) = property.object() else {
            continue;
        };
        if flag(&property, &mut schema, "required") {
            required.push(name.to_owned());
        }
        if flag(&property, &mut schema, "secret") {
            secret.push(name.to_owned());
        }
        let default = schema.get("default").cloned();
        let schema = Value::Object(schema);
        if property.parsed(checks.schema(&schema)).is_none() {
            continue;
        }
        if let Some(default) = default {
            if let Err(message) = checks.fits(&schema, &default) {
                property.problem(format!("the default does not fit: {message}"));
            }
            defaults.insert(name.to_owned(), default);
        }
        properties.insert(name.to_owned(), schema);
    }
    Some(assemble(properties, &required, defaults, secret))
}

fn assemble(
    properties: Object,
    required: &[String],
    defaults: Object,
    secret: Vec<String>,
) -> ParameterSchema {
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    ParameterSchema {
        schema,
        defaults,
        secret,
    }
}

/// Takes `required` or `secret` out of a property. A list under `required` is JSON Schema's own, about
/// the properties of an object, and stays.
fn flag(property: &Cursor<'_>, schema: &mut Object, name: &str) -> bool {
    match schema.get(name) {
        Some(Value::Bool(value)) => {
            let value = *value;
            schema.shift_remove(name);
            value
        }
        Some(Value::Array(_)) if name == "required" => false,
        None => false,
        Some(_) => {
            property.problem(format!("expected true or false for '{name}'"));
            false
        }
    }
}
