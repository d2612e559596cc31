//! JSON and YAML: the API's answer, indented.

use camshaft_model::ErrorCode;
use serde_json::Value;

use super::Format;
use crate::exit::CliError;

/// A value in a format for programs; as JSON where a table was asked for and there is none.
///
/// # Errors
/// The value has no such form.
pub fn render(value: &Value, format: Format) -> Result<String, CliError> {
    let text = match format {
        Format::Yaml => serde_yaml_ng::to_string(value).map_err(|error| error.to_string()),
        Format::Json | Format::Table => {
            serde_json::to_string_pretty(value).map_err(|error| error.to_string())
        }
    };
    text.map_err(|error| {
        CliError::new(
            ErrorCode::Internal,
            format!("the answer cannot be shown: {error}"),
        )
    })
}

/// One value of a stream: a line of JSON, or a YAML document.
///
/// # Errors
/// The value has no such form.
pub fn render_one_of_many(value: &Value, format: Format) -> Result<String, CliError> {
    match format {
        Format::Yaml => Ok(format!("---\n{}", render(value, format)?)),
        Format::Json | Format::Table => Ok(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_keep_their_order() {
        let value = json!({"z": [1, null], "a": "x: y"});
        insta::assert_snapshot!(render(&value, Format::Json).unwrap(), @r#"
        {
          "z": [
            1,
            null
          ],
          "a": "x: y"
        }
        "#);
        insta::assert_snapshot!(render(&value, Format::Yaml).unwrap(), @r"
        z:
        - 1
        - null
        a: 'x: y'
        ");
        assert_eq!(
            render_one_of_many(&value, Format::Json).unwrap(),
            r#"{"z":[1,null],"a":"x: y"}"#
        );
    }
}
