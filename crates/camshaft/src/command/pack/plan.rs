//! `camshaft pack plan`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use camshaft_model::ErrorCode;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{absolute, array};
use crate::command::Context;
use crate::exit::{CliError, Problem};
use crate::render::{escape, plain, text_at};

/// The exit status when applying would change something.
const EXIT_CHANGES: u8 = 1;

/// Show what applying a folder would change, without changing anything
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  camshaft pack plan packs/demo

The exit status is 0 if nothing would change, 1 if something would, 2 if there are mistakes; every
mistake is named with its file, line and column.")]
pub struct Plan {
    /// The folder with pack.yaml
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Plan {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let body = json!({ "dir": absolute(&self.dir)? });
        let plan: Value = context.client.post("/packs/plan", &body, None).await?;
        context.show(&plan, |plan, _| render(plan))?;
        if let Some(error) = mistakes(&plan) {
            return Err(error);
        }
        let changes = !array(&plan, "changes").is_empty();
        Ok(if changes {
            ExitCode::from(EXIT_CHANGES)
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// The mistakes of a plan as one error.
pub(super) fn mistakes(plan: &Value) -> Option<CliError> {
    let problems: Vec<Problem> = array(plan, "problems")
        .iter()
        .filter_map(|problem| Problem::deserialize(problem).ok())
        .collect();
    match problems.len() {
        0 => None,
        n => {
            let mistakes = if n == 1 {
                "1 mistake".to_owned()
            } else {
                format!("{n} mistakes")
            };
            let message = format!("{mistakes} in {}; nothing is applied", named(plan));
            Some(CliError::new(ErrorCode::InvalidDefinition, message).problems(problems))
        }
    }
}

fn named(plan: &Value) -> String {
    match text_at(plan, "/pack").as_str() {
        "" | "-" => "the pack".to_owned(),
        pack => format!("pack {pack}"),
    }
}

fn version(plan: &Value, key: &str) -> String {
    let at = |name: &str| text_at(plan, &format!("/{key}/{name}"));
    match plan.get(key) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(_) => format!(
            "{} ({})",
            at("version"),
            at("hash").chars().take(12).collect::<String>()
        ),
    }
}

/// A plan for people. Mistakes are not in it: they are an error.
pub(super) fn render(plan: &Value) -> String {
    let mut text = String::new();
    let changes = array(plan, "changes");
    if array(plan, "problems").is_empty() {
        let _ = writeln!(
            text,
            "{}: {} -> {}",
            named(plan),
            version(plan, "from"),
            version(plan, "to")
        );
        if changes.is_empty() {
            text.push_str("  nothing changes\n");
        }
    }
    for change in changes {
        let sign = match text_at(change, "/kind").as_str() {
            "added" => "+",
            "removed" => "-",
            _ => "~",
        };
        let fields: Vec<String> = array(change, "fields").iter().map(plain).collect();
        let fields = if fields.is_empty() {
            String::new()
        } else {
            format!(" ({})", fields.join(", "))
        };
        let _ = writeln!(
            text,
            "  {sign} {} {}{fields}",
            text_at(change, "/what"),
            text_at(change, "/ref")
        );
    }
    for warning in array(plan, "warnings") {
        if let Ok(warning) = Problem::deserialize(warning) {
            let _ = writeln!(text, "  warning: {}", warning.render());
        }
    }
    escape::lines(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Value {
        json!({"pack": "demo", "from": {"version": "1.0.0", "hash": "0123456789abcdef"},
            "to": {"version": "1.1.0", "hash": "fedcba9876543210"},
            "changes": [
                {"kind": "added", "what": "rule", "ref": "demo.x", "fields": []},
                {"kind": "changed", "what": "action", "ref": "demo.greet", "fields": ["timeout", "retry"]},
                {"kind": "removed", "what": "file", "ref": "old.py", "fields": []}],
            "warnings": [{"file": "actions/a.sh", "line": 1, "column": 1, "path": "", "message": "not executable"}], "problems": []})
    }

    #[test]
    fn a_plan_shows_every_change() {
        insta::assert_snapshot!(render(&plan()), @r"
        pack demo: 1.0.0 (0123456789ab) -> 1.1.0 (fedcba987654)
          + rule demo.x
          ~ action demo.greet (timeout, retry)
          - file old.py
          warning: actions/a.sh:1:1: not executable
        ");
        let same = json!({"pack": "demo", "from": null, "to": null, "changes": [], "problems": []});
        insta::assert_snapshot!(render(&same), @r"
        pack demo: none -> none
          nothing changes
        ");
    }

    #[test]
    fn mistakes_are_an_error_with_every_place() {
        let plan = json!({"pack": "", "changes": [], "problems": [
            {"file": "pack.yaml", "line": 1, "column": 1, "path": "reff", "message": "unknown key, did you mean 'ref'?"}]});
        insta::assert_snapshot!(mistakes(&plan).unwrap().render(false), @r"
        error: 1 mistake in the pack; nothing is applied
          pack.yaml:1:1: unknown key, did you mean 'ref'? (at reff)
          code: invalid_definition (docs/errors/invalid_definition.md)
        ");
        assert_eq!(mistakes(&super::tests::plan()), None);
    }
}
