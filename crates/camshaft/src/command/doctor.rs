//! `camshaft doctor`: what stands in the way. With `--check`, whether the database keeps every
//! promise: asked of the engine that uses it, or read from the files if none does.

use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use camshaft_model::ErrorCode;
use camshaft_model::port::store::Violation;
use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::context::items;
use super::status::{component_rows, constraint_rows, first_constraints};
use crate::client::endpoint::API_FILE;
use crate::exit::CliError;
use crate::render::Style;
use crate::render::table::{Column, list, pairs};

/// Look for what is wrong: data directory, engine, sensors; with --check, the recorded truth
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft doctor
  camshaft doctor --check    one enforcement per rule and event, one end per execution, …

--check asks the engine that runs, and reads the data directory itself if none does.
The exit status is 1 if something is wrong.")]
pub struct Doctor {
    /// Check the promises of the database: no duplicate, no orphan, no slot that leaked
    #[arg(long)]
    check: bool,
}

const VIOLATION_COLUMNS: &[Column] = &[
    Column::at("INVARIANT", "/invariant"),
    Column::at("DETAIL", "/detail"),
];

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        if self.check {
            check(context).await
        } else {
            examine(context).await
        }
    }
}

async fn check(context: &Context) -> Result<ExitCode, CliError> {
    let answer = match context.client.read("/check").await {
        Err(error) if error.code == ErrorCode::Unreachable => {
            json!({ "violations": offline(context).await? })
        }
        answer => answer?,
    };
    let found = answer
        .get("violations")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    context.show(&answer, |_, style| {
        if found.is_empty() {
            "Every promise holds.\n".to_owned()
        } else {
            list(found, VIOLATION_COLUMNS, style)
        }
    })?;
    verdict(found.len(), "promises are broken")
}

/// Opening a database blocks, and the code that does it may want a runtime of its own.
async fn offline(context: &Context) -> Result<Vec<Violation>, CliError> {
    let (check, data_dir) = (context.local.check_database, context.data_dir.clone());
    tokio::task::spawn_blocking(move || check(&data_dir))
        .await
        .map_err(|error| {
            CliError::new(
                ErrorCode::Internal,
                format!("the check did not end: {error}"),
            )
        })?
}

async fn examine(context: &Context) -> Result<ExitCode, CliError> {
    let mut findings = Vec::new();
    let mut finding = |subject: &str, problem: Option<String>| {
        findings.push(json!({"component": subject, "problem": problem}));
    };
    finding("data directory", data_dir_problem(context));
    let status = match context.client.ready().await {
        Ok(status) => {
            finding("engine", None);
            // The token is only tried by something that needs it.
            finding(
                "token",
                context
                    .client
                    .read("/info")
                    .await
                    .err()
                    .map(|error| error.message),
            );
            status
        }
        Err(error) => {
            finding("engine", Some(error.message));
            Value::Null
        }
    };
    findings.extend(
        status
            .get("components")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .cloned(),
    );
    let wrong = findings
        .iter()
        .filter(|finding| !finding["problem"].is_null())
        .count();
    // Nothing is wrong with a constraint, but whoever asks why nothing runs should see it.
    let in_force = context
        .client
        .read(&first_constraints())
        .await
        .unwrap_or_default();
    let shown = json!({"components": findings, "constraints": items(&in_force)});
    context.show(&shown, render)?;
    verdict(wrong, "things are wrong")
}

fn render(findings: &Value, style: Style) -> String {
    let mut rows: Vec<_> = component_rows(findings)
        .into_iter()
        .map(|(_, text)| {
            (
                if text.ends_with(": ok") {
                    "ok"
                } else {
                    "WRONG"
                },
                text,
            )
        })
        .collect();
    let in_force = constraint_rows(findings).into_iter();
    rows.extend(in_force.map(|(_, text)| ("note", format!("in force: {text}"))));
    pairs(&rows, style)
}

fn data_dir_problem(context: &Context) -> Option<String> {
    let dir = &context.data_dir;
    let path = dir.join(API_FILE);
    if !dir.is_dir() {
        return Some(format!(
            "{} does not exist yet; `camshaft up` makes it",
            dir.display()
        ));
    }
    let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "others may read the token in {} (mode {mode:o}, 600 expected)",
            path.display()
        )
    })
}

fn verdict(wrong: usize, what: &str) -> Result<ExitCode, CliError> {
    if wrong == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(CliError::new(
        ErrorCode::CheckFailed,
        format!("{wrong} {what}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_say_what_is_well_too() {
        let findings = json!({"components": [{"component": "engine", "problem": null},
            {"component": "writer", "problem": "the disk is full"}],
            "constraints": [{"scope": "global", "terms": "pause", "remaining_secs": 90.0}]});
        insta::assert_snapshot!(render(&findings, Style::default()), @r"
        ok     engine: ok
        WRONG  writer: the disk is full
        note   in force: global: pause, 1m30s left
        ");
    }
}
