//! `key=value` on the command line.
//!
//! `key:=JSON` is JSON, `key=@FILE` the text of a file, `key=text` text. Text becomes another type
//! only where the action's schema asks for one and does not take text as well.

use camshaft_model::{ErrorCode, Object};
use serde_json::Value;

use crate::command::input;
use crate::exit::CliError;

/// What the pairs are, for errors about them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::command) struct Kind {
    /// What one of them is called.
    pub(in crate::command) noun: &'static str,
    /// The code of errors about them.
    pub(in crate::command) code: ErrorCode,
    /// Where their schema can be seen.
    pub(in crate::command) schema_hint: &'static str,
}

/// Parameters of actions.
pub(in crate::command) const PARAMETERS: Kind = Kind {
    noun: "parameter",
    code: ErrorCode::InvalidParameters,
    schema_hint: "camshaft action show lists the parameters",
};

/// Parameters as they were typed.
#[derive(Debug, PartialEq)]
pub(in crate::command) struct Given {
    kind: Kind,
    /// With a type of their own.
    typed: Object,
    /// Text that the schema may want to be something else, in order.
    text: Vec<(String, String)>,
}

/// Reads the file of `--params`, then each argument; a later one wins.
pub(in crate::command) fn read(
    kind: Kind,
    file: Option<&str>,
    arguments: &[String],
) -> Result<Given, CliError> {
    let mut given = Given {
        kind,
        typed: Object::new(),
        text: Vec::new(),
    };
    if let Some(path) = file {
        match input::document(path)? {
            Value::Object(object) => given.typed = object,
            Value::Null => {}
            _ => {
                return Err(kind
                    .invalid(format!("{path} does not hold an object"))
                    .hint("write key: value"));
            }
        }
    }
    for argument in arguments {
        let (key, value) = parse(kind, argument)?;
        given.text.retain(|(earlier, _)| *earlier != key);
        given.typed.shift_remove(&key);
        match value {
            Typed::Json(value) => {
                given.typed.insert(key, value);
            }
            Typed::Text(text) => given.text.push((key, text)),
            Typed::File(path) => given.text.push((key, input::read(&path)?)),
        }
    }
    Ok(given)
}

#[derive(Debug, PartialEq)]
enum Typed {
    Json(Value),
    Text(String),
    File(String),
}

fn parse(kind: Kind, argument: &str) -> Result<(String, Typed), CliError> {
    let refuse = |reason: &str| {
        kind.invalid(format!("'{argument}' is no {}: {reason}", kind.noun))
            .hint("write key=text, key:=JSON or key=@FILE")
    };
    let (key, value) = argument
        .split_once('=')
        .ok_or_else(|| refuse("there is no '='"))?;
    let (key, value) = match key.strip_suffix(':') {
        Some(key) => {
            let json = serde_json::from_str(value)
                .map_err(|error| refuse(&format!("not JSON: {error}")))?;
            (key, Typed::Json(json))
        }
        None => match value.strip_prefix('@') {
            Some(path) => (key, Typed::File(path.to_owned())),
            None => (key, Typed::Text(value.to_owned())),
        },
    };
    if key.is_empty() {
        Err(refuse("there is no key"))
    } else {
        Ok((key.to_owned(), value))
    }
}

impl Kind {
    fn invalid(self, message: String) -> CliError {
        CliError::new(self.code, message)
    }
}

impl Given {
    /// Whether the action's schema decides about a type.
    pub(in crate::command) fn needs_schema(&self) -> bool {
        !self.text.is_empty()
    }

    /// The parameters, text turned into what the schema wants.
    pub(in crate::command) fn typed(self, schema: &Value) -> Result<Object, CliError> {
        let mut parameters = self.typed;
        for (key, text) in self.text {
            let kinds = kinds(
                schema
                    .get("properties")
                    .and_then(|properties| properties.get(&key)),
            );
            let value = convert(text, &kinds).map_err(|text| {
                let shown: String = text.chars().take(80).collect();
                let Kind {
                    noun, schema_hint, ..
                } = self.kind;
                self.kind
                    .invalid(format!(
                        "{noun} '{key}' must be {}, not '{shown}'",
                        kinds.join(" or ")
                    ))
                    .hint(format!("{schema_hint}; {key}:=JSON gives any type"))
            })?;
            parameters.insert(key, value);
        }
        Ok(parameters)
    }
}

/// The types that a schema takes; none if it does not say.
fn kinds(schema: Option<&Value>) -> Vec<String> {
    match schema.and_then(|schema| schema.get("type")) {
        Some(Value::String(kind)) => vec![kind.clone()],
        Some(Value::Array(kinds)) => kinds
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// Text as one of the types, or the text back if it is none of them.
fn convert(text: String, kinds: &[String]) -> Result<Value, String> {
    if kinds.is_empty() || kinds.iter().any(|kind| kind == "string") {
        return Ok(Value::String(text));
    }
    let Ok(value) = serde_json::from_str::<Value>(text.trim()) else {
        return Err(text);
    };
    let fits = kinds.iter().any(|kind| match kind.as_str() {
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        // A type of a later schema is the engine's to judge.
        _ => true,
    });
    if fits { Ok(value) } else { Err(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"properties": {
            "name": {"type": "string"}, "count": {"type": "integer"}, "ratio": {"type": "number"}, "on": {"type": "boolean"},
            "list": {"type": "array"}, "map": {"type": "object"}, "either": {"type": ["string", "integer"]}, "any": {}}})
    }

    fn typed(arguments: &[&str]) -> Result<Value, CliError> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        read(PARAMETERS, None, &arguments)?
            .typed(&schema())
            .map(Value::Object)
    }

    #[test]
    fn text_becomes_what_the_schema_says() {
        let arguments = [
            "name=7",
            "count=7",
            "ratio=1.5",
            "on=true",
            "list=[1]",
            r#"map={"a":1}"#,
            "either=7",
            "any=7",
            "new=a=b",
        ];
        assert_eq!(
            typed(&arguments).unwrap(),
            json!({"name": "7", "count": 7, "ratio": 1.5, "on": true, "list": [1], "map": {"a": 1}, "either": "7", "any": "7", "new": "a=b"})
        );
    }

    #[test]
    fn json_is_json_and_a_later_one_wins() {
        assert_eq!(
            typed(&["any:=[1,null]", "name="]).unwrap(),
            json!({"any": [1, null], "name": ""})
        );
        assert_eq!(typed(&["any:=1", "any=x"]).unwrap(), json!({"any": "x"}));
        assert_eq!(typed(&["any=x", "any:=1"]).unwrap(), json!({"any": 1}));
    }

    #[test]
    fn a_file_gives_its_text_and_params_come_first() {
        let dir = tempfile::tempdir().unwrap();
        let (text, params) = (dir.path().join("a.txt"), dir.path().join("p.yaml"));
        std::fs::write(&text, "line 1\nline 2\n").unwrap();
        std::fs::write(&params, "name: from file\nlist: [1]\n").unwrap();
        let arguments = [format!("name=@{}", text.display())];
        let given = read(PARAMETERS, params.to_str(), &arguments)
            .unwrap()
            .typed(&schema())
            .unwrap();
        assert_eq!(
            Value::Object(given),
            json!({"list": [1], "name": "line 1\nline 2\n"})
        );
    }

    #[test]
    fn mistakes_name_the_parameter() {
        insta::assert_snapshot!(typed(&["count=x"]).unwrap_err().render(false), @r"
        error: parameter 'count' must be integer, not 'x'
          hint: camshaft action show lists the parameters; count:=JSON gives any type
          code: invalid_parameters (docs/errors/invalid_parameters.md)
        ");
        for argument in ["name", "=x", ":=1", "any:={", "on=1", "count=1.5"] {
            assert_eq!(
                typed(&[argument]).unwrap_err().code,
                ErrorCode::InvalidParameters,
                "{argument}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_argument_is_read_or_refused(argument in "[a-z:=@\\[\\]{}\"0-9 ]{0,20}") {
            let _ = parse(PARAMETERS, &argument);
        }

        #[test]
        fn text_arrives_as_it_is(key in "[a-z]{1,8}", text in "[^@].*") {
            let typed = read(PARAMETERS, None, &[format!("{key}={text}")]).unwrap().typed(&Value::Null).unwrap();
            prop_assert_eq!(typed.get(&key), Some(&Value::String(text)));
        }
    }
}
