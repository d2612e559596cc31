//! `camshaft rule show`.

use std::process::ExitCode;

use camshaft_model::Ref;
use clap::Args;
use serde_json::Value;

use crate::command::Context;
use crate::exit::CliError;
use crate::render::table::pairs;
use crate::render::{Style, text_at, why};

/// Show one rule
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft rule show demo.every_ten_seconds")]
pub struct Show {
    /// The rule
    #[arg(value_name = "REF")]
    reference: Ref,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let rule = context
            .client
            .read(&format!("/rules/{}", self.reference))
            .await?;
        context.show(&rule, render)
    }
}

pub(super) fn render(rule: &Value, style: Style) -> String {
    let at = |pointer| text_at(rule, pointer);
    let mut rows = vec![
        ("ref", at("/ref")),
        ("description", at("/description")),
        ("enabled", at("/enabled")),
        (
            "trigger",
            format!("{} {}", at("/trigger"), at("/trigger_parameters")),
        ),
    ];
    for criterion in rule
        .get("criteria")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let at = |pointer| text_at(criterion, pointer);
        let pattern = criterion.get("pattern").unwrap_or(&Value::Null);
        let compared = why::comparison(&at("/type"), pattern);
        rows.push(("criterion", format!("{} {compared}", at("/path"))));
    }
    if rule.get("when").is_some_and(|when| !when.is_null()) {
        rows.push(("when", at("/when")));
    }
    rows.push((
        "action",
        format!("{} {}", at("/action"), at("/action_parameters")),
    ));
    pairs(&rows, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_from_trigger_to_action() {
        let rule = serde_json::json!({"ref": "demo.every", "description": "", "enabled": false, "trigger": "core.interval",
            "trigger_parameters": {"every": "10s"}, "criteria": [{"path": "trigger.count", "type": "gt", "pattern": 0}],
            "when": "trigger.count % 2 == 0", "action": "demo.greet", "action_parameters": {"name": "x"}});
        insta::assert_snapshot!(render(&rule, Style::default()), @r#"
        ref          demo.every
        description
        enabled      false
        trigger      core.interval {"every":"10s"}
        criterion    trigger.count gt 0
        when         trigger.count % 2 == 0
        action       demo.greet {"name":"x"}
        "#);
    }
}
