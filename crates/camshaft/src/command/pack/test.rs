//! `camshaft pack test`: validates a folder, runs the examples of its rules and the tests of its
//! workflows, without an engine.
//!
//! An example is a file in `tests/` (one example, or a list of them): an event, the rule it is meant
//! for, and what the rule should make of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use camshaft_model::definition::Catalog;
use camshaft_model::{ErrorCode, Object, Ref};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::offline;
use crate::command::{Context, input};
use crate::exit::{CliError, Problem};
use crate::render::{Style, escape, text_at, why};
use crate::workflow_test::{Restarts, suite};

/// Check a folder, run the examples of its rules and the tests of its workflows; needs no engine
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  camshaft pack test packs/demo

An example, packs/demo/tests/order.yaml:
  rule: demo.on_order
  event: { payload: { id: 7, total: 120 } }
  expect: match              # match, no_match or fail (it cannot be evaluated)
  parameters: { id: 7 }      # optional: what the action would get

Tests of workflows stand in the same folder; see camshaft workflow test --help.

The exit status is 0 if everything holds, 1 if an example does not, 2 if there are mistakes.")]
pub struct Test {
    /// The folder with pack.yaml
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// A pack that was loaded without an engine.
pub(super) struct OfflinePack {
    /// Its ref.
    pub(super) pack: String,
    /// Its version.
    pub(super) version: String,
    /// What is allowed and probably not meant.
    pub(super) warnings: Vec<Problem>,
    /// It and the core pack.
    pub(super) catalog: Arc<Catalog>,
    /// What a rule of the pack makes of an event, as `camshaft rule test` answers it.
    pub(super) try_rule: TryRule,
}

/// Tries a rule of the pack on the payload of an event of its trigger.
pub(super) type TryRule = Box<dyn Fn(&Ref, Value) -> Result<Value, CliError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expectation {
    Match,
    NoMatch,
    Fail,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    rule: Ref,
    event: Value,
    expect: Expectation,
    parameters: Option<Object>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ExampleFile {
    Several(Vec<Value>),
    One(Value),
}

impl Test {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        self.report(context, &offline::load(&self.dir)?)
    }

    fn report(&self, context: &Context, pack: &OfflinePack) -> Result<ExitCode, CliError> {
        for warning in &pack.warnings {
            context
                .screen
                .note(&format!("warning: {}", warning.render()));
        }
        let results = examples(&self.dir)?
            .into_iter()
            .map(|(file, example)| attempt(pack, &file, example))
            .collect::<Result<Vec<_>, _>>()?;
        let wrong = results
            .iter()
            .filter(|result| result["passed"] != json!(true))
            .count();
        let workflows = self.workflows(pack)?;
        let failed = suite::failed(&workflows);
        let answer = json!({
            "pack": pack.pack, "version": pack.version, "examples": results, "workflows": workflows,
        });
        context.show(&answer, render)?;
        let mut message = Vec::new();
        if wrong > 0 {
            message.push(format!("{wrong} of {} examples do not hold", results.len()));
        }
        if failed > 0 {
            let count = workflows.len();
            message.push(format!(
                "{failed} of {count} cases of workflows did not pass"
            ));
        }
        if message.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        Err(CliError::new(ErrorCode::CheckFailed, message.join("; ")))
    }
}

impl Test {
    /// What the tests of workflows came to.
    fn workflows(&self, pack: &OfflinePack) -> Result<Vec<Value>, CliError> {
        let folder = self.dir.join("tests");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut answers = Vec::new();
        for path in suite::files_below(&folder)? {
            let shown = path.strip_prefix(&self.dir).unwrap_or(&path);
            for case in suite::cases_of(&path, &shown.display().to_string())? {
                answers.push(suite::answer(&case, &pack.catalog, Restarts::None));
            }
        }
        Ok(answers)
    }
}

/// The examples of a folder by file, in the order of their names.
fn examples(dir: &Path) -> Result<Vec<(String, Example)>, CliError> {
    let folder = dir.join("tests");
    let unreadable =
        |error| CliError::invalid(format!("{} cannot be read: {error}", folder.display()));
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = fs::read_dir(&folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(unreadable)?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
            && !suite::holds_tests(path)
    });
    paths.sort();
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let name = path
            .strip_prefix(dir)
            .unwrap_or(&path)
            .display()
            .to_string();
        let document = input::document(&path.to_string_lossy())?;
        let values = match ExampleFile::deserialize(document) {
            Ok(ExampleFile::Several(values)) => values,
            Ok(ExampleFile::One(value)) => vec![value],
            Err(_) => Vec::new(),
        };
        for value in values {
            match Example::deserialize(value) {
                Ok(example) => found.push((name.clone(), example)),
                Err(error) => problems.push(Problem {
                    file: Some(name.clone()),
                    message: error.to_string(),
                    ..Problem::default()
                }),
            }
        }
    }
    if problems.is_empty() {
        return Ok(found);
    }
    Err(
        CliError::new(ErrorCode::InvalidDefinition, "the examples have mistakes")
            .hint("an example has the keys rule, event, expect and, if wanted, parameters")
            .problems(problems),
    )
}

fn attempt(pack: &OfflinePack, file: &str, example: Example) -> Result<Value, CliError> {
    let Example {
        rule,
        mut event,
        expect,
        parameters,
    } = example;
    let payload = event.get_mut("payload").map(Value::take).unwrap_or(event);
    let trial = (pack.try_rule)(&rule, payload)?;
    let came = outcome(&trial);
    let parameters_hold = parameters
        .as_ref()
        .is_none_or(|wanted| trial.get("parameters").and_then(Value::as_object) == Some(wanted));
    Ok(json!({
        "file": file,
        "rule": rule,
        "expect": expect,
        "came": came,
        "passed": came == expect && parameters_hold,
        "parameters": parameters,
        "trial": trial,
    }))
}

/// A rule that could not be evaluated, or whose parameters cannot be made, failed.
fn outcome(trial: &Value) -> Expectation {
    let unknown = |part: &Value| part.get("holds").is_some_and(Value::is_null);
    let criteria = trial.get("criteria").and_then(Value::as_array);
    let stuck = criteria
        .into_iter()
        .flatten()
        .chain(trial.get("when"))
        .any(unknown);
    let matched = trial.get("matched") == Some(&Value::Bool(true));
    match (
        matched,
        stuck || (matched && trial.get("parameters").is_none_or(Value::is_null)),
    ) {
        (_, true) => Expectation::Fail,
        (true, false) => Expectation::Match,
        (false, false) => Expectation::NoMatch,
    }
}

fn render(answer: &Value, _: Style) -> String {
    let mut text = format!(
        "pack {} {} is valid\n",
        text_at(answer, "/pack"),
        text_at(answer, "/version")
    );
    for result in answer
        .get("examples")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let at = |pointer| text_at(result, pointer);
        let passed = at("/passed") == "true";
        let mark = if passed { "ok  " } else { "FAIL" };
        text.push_str(&format!(
            "{mark}  {}  {}: {}\n",
            at("/file"),
            at("/rule"),
            at("/came")
        ));
        if !passed {
            text.push_str(&format!("  expected {}", at("/expect")));
            if at("/parameters") != "-" {
                text.push_str(&format!(" with parameters {}", at("/parameters")));
            }
            text.push('\n');
            let trial = result.get("trial").map(why::trial).unwrap_or_default();
            trial
                .lines()
                .for_each(|line| text.push_str(&format!("  {line}\n")));
        }
    }
    let mut text = escape::lines(&text).into_owned();
    let workflows = answer.get("workflows").and_then(Value::as_array);
    text.push_str(&suite::render(workflows.map_or(&[][..], Vec::as_slice)));
    text
}

#[cfg(test)]
#[path = "test_tests.rs"]
mod tests;
