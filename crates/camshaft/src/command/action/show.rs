//! `camshaft action show`.

use std::process::ExitCode;

use camshaft_model::Ref;
use clap::Args;
use serde_json::Value;

use crate::command::Context;
use crate::exit::CliError;
use crate::render::table::{Column, list, pairs};
use crate::render::{Style, text_at};

const PARAMETER_COLUMNS: &[Column] = &[
    Column::at("PARAMETER", "/name"),
    Column::at("TYPE", "/type"),
    Column::at("REQUIRED", "/required"),
    Column::at("DEFAULT", "/default"),
    Column::at("DESCRIPTION", "/description"),
];

/// Show one action and its parameters
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft action show demo.greet")]
pub struct Show {
    /// The action
    #[arg(value_name = "REF")]
    reference: Ref,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let action = context
            .client
            .read(&format!("/actions/{}", self.reference))
            .await?;
        context.show(&action, render)
    }
}

fn render(action: &Value, style: Style) -> String {
    let keys = [
        ("ref", "/ref"),
        ("description", "/description"),
        ("runtime", "/runtime"),
        ("delivery", "/parameter_delivery"),
        ("output", "/output"),
        ("attempts", "/retry/max_attempts"),
        ("idempotent", "/idempotent"),
    ];
    let rows: Vec<_> = keys
        .into_iter()
        .map(|(key, pointer)| (key, text_at(action, pointer)))
        .collect();
    let parameters = parameters(action);
    let mut text = pairs(&rows, style);
    if !parameters.is_empty() {
        text.push('\n');
        text.push_str(&list(&parameters, PARAMETER_COLUMNS, style));
    }
    text
}

/// The properties of the action's schema, each as one item of a list.
fn parameters(action: &Value) -> Vec<Value> {
    let named = |pointer: &str, name: &str| {
        let names = action.pointer(pointer).and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|found| found == name))
    };
    let properties = action
        .pointer("/parameters/schema/properties")
        .and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let at = |key: &str| schema.get(key).cloned().unwrap_or(Value::Null);
            let secret = named("/parameters/secret", name);
            let kind = text_at(schema, "/type");
            serde_json::json!({
                "name": name,
                "type": if secret { format!("{kind}, secret") } else { kind },
                "required": if named("/parameters/schema/required", name) { "yes" } else { "no" },
                "default": at("default"),
                "description": at("description"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_action_shows_its_parameters() {
        let action = json!({
            "ref": "demo.greet", "description": "Says hello.", "runtime": "python", "parameter_delivery": "stdin",
            "output": "json", "retry": {"max_attempts": 3}, "idempotent": true,
            "parameters": {"secret": ["token"], "schema": {"required": ["name"], "properties": {
                "name": {"type": "string", "description": "Whom."}, "token": {"type": "string"}, "count": {"type": "integer", "default": 1}}}}
        });
        insta::assert_snapshot!(render(&action, Style::default()), @r"
        ref          demo.greet
        description  Says hello.
        runtime      python
        delivery     stdin
        output       json
        attempts     3
        idempotent   true

        PARAMETER  TYPE            REQUIRED  DEFAULT  DESCRIPTION
        name       string          yes       -        Whom.
        token      string, secret  no        -        -
        count      integer         no        1        -
        ");
    }
}
