//! Equality and order of JSON values, without any coercion between types.
//!
//! Numbers are compared by what they are worth, exactly: 1 equals 1.0, and no integer is rounded on
//! the way. Everything else is equal only to its own type.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Floats of which every integral one fits into 128 bits.
const EXACT: f64 = 1e38;

/// A value that can be looked up: two scalars are equal if their keys are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Integer(i128),
    /// The bits of a float that is no integer.
    Float(u64),
    Text(String),
}

impl Scalar {
    /// The key of a value; `None` for lists and maps.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Bool(flag) => Some(Self::Bool(*flag)),
            Value::Number(number) => Some(match worth(number) {
                Worth::Integer(integer) => Self::Integer(integer),
                Worth::Float(float) => Self::Float(float.to_bits()),
            }),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Worth {
    Integer(i128),
    Float(f64),
}

fn worth(number: &Number) -> Worth {
    if let Some(integer) = number.as_i128() {
        return Worth::Integer(integer);
    }
    let float = number.as_f64().unwrap_or_default();
    if float.fract() == 0.0 && float.abs() < EXACT {
        Worth::Integer(float as i128)
    } else {
        Worth::Float(float)
    }
}

/// Which of two numbers is greater.
pub(super) fn compare(a: &Number, b: &Number) -> Ordering {
    match (worth(a), worth(b)) {
        (Worth::Integer(a), Worth::Integer(b)) => a.cmp(&b),
        // A float that is no integer is small enough, or so large, that rounding the other side to
        // a float cannot change the order.
        (Worth::Integer(a), Worth::Float(b)) => (a as f64).total_cmp(&b),
        (Worth::Float(a), Worth::Integer(b)) => a.total_cmp(&(b as f64)),
        (Worth::Float(a), Worth::Float(b)) => a.total_cmp(&b),
    }
}

/// Whether two values are equal.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b).is_eq(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// A text in which upper and lower case are alike. By characters, so that the end of a word (which
/// changes a sigma) does not matter; lengths may change, and nothing relies on them.
pub(super) fn fold(text: &str) -> String {
    text.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

/// The type of a value, with its article.
pub(super) const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// A value as a sentence shows it: JSON, cut off where it is long.
pub(super) fn shown(value: &Value) -> String {
    const SHOWN: usize = 120;
    let text = match value {
        Value::String(text) => {
            Value::from(text.chars().take(SHOWN + 1).collect::<String>()).to_string()
        }
        other => other.to_string(),
    };
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_equal_by_what_they_are_worth_and_nothing_else_is_coerced() {
        assert!(equal(&json!(1), &json!(1.0)));
        assert!(equal(&json!({"a": [1, 2.0]}), &json!({"a": [1.0, 2]})));
        assert!(equal(&json!(-0.0), &json!(0)));
        assert!(!equal(&json!(u64::MAX), &json!(u64::MAX as f64)));
        assert!(!equal(
            &json!(9_007_199_254_740_993_i64),
            &json!(9_007_199_254_740_992.0)
        ));
        for other in [json!("1"), json!(true), json!([1]), json!(null)] {
            assert!(!equal(&json!(1), &other), "{other}");
        }
    }

    #[test]
    fn numbers_have_one_order() {
        assert!(compare(&1.into(), &Number::from_f64(1.5).unwrap()).is_lt());
        assert!(compare(&u64::MAX.into(), &Number::from_f64(1e30).unwrap()).is_lt());
        assert!(compare(&Number::from_f64(-1e300).unwrap(), &i64::MIN.into()).is_lt());
    }

    #[test]
    fn folding_changes_lengths_without_a_panic() {
        assert_eq!(fold("STRASSE"), fold("straße"));
        assert_eq!(fold("ΟΔΟΣ"), fold("οδος"));
        assert_eq!(fold("İ"), "i\u{307}");
    }
}
