//! Values as they are written in the language so that they stand for themselves, whatever is in them.
//!
//! Programs that write definitions hand texts of strangers to it: nothing of such a text may be
//! rendered, and none may end the expression that it stands in.

use std::fmt::Write as _;

use serde_json::Value;

/// A value in which every text is a template of itself. Keys of maps are no templates and stay.
pub fn template(value: &Value) -> Value {
    match value {
        Value::String(text) if ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) => {
            format!("{{{{ {} }}}}", expression(value)).into()
        }
        Value::Array(items) => items.iter().map(template).collect(),
        Value::Object(entries) => {
            let entries = entries.iter();
            Value::Object(
                entries
                    .map(|(key, item)| (key.clone(), template(item)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// A value as an operand of an expression.
pub fn expression(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("none"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => write_number(&number.to_string(), out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (key, item) in entries {
                write_text(key, out);
                out.push(':');
                write(item, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

/// In brackets if it has a sign: `1 -2` would be a subtraction.
fn write_number(number: &str, out: &mut String) {
    if number.starts_with('-') {
        let _ = write!(out, "({number})");
    } else {
        out.push_str(number);
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::expression::{Scope, evaluate, render_value};

    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            any::<String>(),
            "[{}%#'\" \\\\a\n-]{0,12}",
            Just("{{ params.secret }}".to_owned()),
            Just("{% for x in y %}".to_owned()),
            Just("{# gone #}".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has none", |n| n.is_finite())
                .prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_stands_for_itself(value in any_json()) {
            let scope = Scope::new();
            prop_assert_eq!(&render_value(&template(&value), &scope).unwrap(), &value);
            prop_assert_eq!(&evaluate(&expression(&value), &scope).unwrap(), &value);
        }
    }

    #[test]
    fn a_text_without_markup_stays_readable() {
        let value = json!({ "{{ key }}": ["plain } text", "{{ x }}"] });
        assert_eq!(
            template(&value),
            json!({ "{{ key }}": ["plain } text", "{{ \"{{ x }}\" }}"] })
        );
    }
}
