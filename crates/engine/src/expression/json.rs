//! From minijinja's values to JSON, within limits, and JSON with sorted keys.

use minijinja::value::ValueKind;
use serde_json::{Map, Number, Value};

use super::{MAX_DEPTH, MAX_RESULT_BYTES};

/// What each value costs of the budget beside its text.
const COST_OF_A_VALUE: usize = 8;

/// A value of minijinja as JSON. Integers stay integers.
///
/// # Errors
/// It has no JSON form or is beyond a limit: a sentence.
pub(super) fn to_json(value: &minijinja::Value) -> Result<Value, String> {
    Converter {
        left: MAX_RESULT_BYTES,
    }
    .convert(value, 0)
}

struct Converter {
    left: usize,
}

impl Converter {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let rest = self.left.checked_sub(bytes + COST_OF_A_VALUE);
        self.left =
            rest.ok_or_else(|| format!("the result is larger than {MAX_RESULT_BYTES} bytes"))?;
        Ok(())
    }

    fn convert(&mut self, value: &minijinja::Value, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the result is nested deeper than {MAX_DEPTH}"));
        }
        self.spend(value.as_str().map_or(0, str::len))?;
        match value.kind() {
            ValueKind::None => Ok(Value::Null),
            ValueKind::Bool => Ok(Value::Bool(value.is_true())),
            ValueKind::Number => number(value),
            ValueKind::String => Ok(Value::String(value.as_str().unwrap_or_default().to_owned())),
            ValueKind::Seq | ValueKind::Iterable => value
                .try_iter()
                .map_err(|error| error.to_string())?
                .map(|item| self.convert(&item, depth + 1))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            ValueKind::Map => self.map(value, depth),
            kind => Err(format!("a value of type {kind} has no JSON form")),
        }
    }

    fn map(&mut self, value: &minijinja::Value, depth: usize) -> Result<Value, String> {
        let mut map = Map::new();
        for key in value.try_iter().map_err(|error| error.to_string())? {
            let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            self.spend(name.len())?;
            let item = value.get_item(&key).map_err(|error| error.to_string())?;
            map.insert(name, self.convert(&item, depth + 1)?);
        }
        Ok(Value::Object(map))
    }
}

fn number(value: &minijinja::Value) -> Result<Value, String> {
    let number = if value.is_integer() {
        i128::try_from(value.clone())
            .ok()
            .and_then(Number::from_i128)
    } else {
        f64::try_from(value.clone()).ok().and_then(Number::from_f64)
    };
    number
        .map(Value::Number)
        .ok_or_else(|| format!("the number {value} has no JSON form"))
}

/// JSON without spaces and with sorted keys: equal values give equal texts.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(item, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
