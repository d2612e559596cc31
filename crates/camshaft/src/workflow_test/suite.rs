//! The tests of a folder or file, run one after another, and what is shown of them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camshaft_model::ErrorCode;
use camshaft_model::definition::{Catalog, document};
use camshaft_model::port::clock::Clock;
use serde_json::{Value, json};

use super::{Case, Report, Restarts, cases, is_workflow_test, run};
use crate::clock::SystemClock;
use crate::exit::CliError;
use crate::render::{escape, text_at};

/// How deep a folder is looked through for tests.
const MAX_DEPTH: usize = 16;
/// The most files of tests that are run at once.
const MAX_FILES: usize = 10_000;

/// The files with tests of workflows in a folder, by name. What is no such test, the examples of rules
/// for one, is passed over.
///
/// # Errors
/// The folder cannot be read.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut found = Vec::new();
    look(dir, 0, &mut found)?;
    found.sort();
    Ok(found)
}

fn look(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let unreadable =
        |error| CliError::invalid(format!("{} cannot be read: {error}", dir.display()));
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_yaml = path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if path.is_dir() && depth < MAX_DEPTH {
            look(&path, depth + 1, found)?;
        } else if is_yaml && holds_tests(&path) {
            found.push(path);
        }
        if found.len() > MAX_FILES {
            return Err(CliError::invalid(format!(
                "there are more than {MAX_FILES} files of tests in {}",
                dir.display()
            )));
        }
    }
    Ok(())
}

/// Whether a file is one of tests of workflows. One that cannot be read as a document is none.
pub fn holds_tests(path: &Path) -> bool {
    let document = fs::read(path).ok();
    document
        .and_then(|bytes| document::parse(&bytes).ok())
        .is_some_and(|node| is_workflow_test(&node))
}

/// The cases of a file; `shown` is how it is named.
///
/// # Errors
/// It cannot be read, or everything that is wrong with it.
pub fn cases_of(path: &Path, shown: &str) -> Result<Vec<Case>, CliError> {
    let bytes = fs::read(path)
        .map_err(|error| CliError::invalid(format!("{shown} cannot be read: {error}")))?;
    cases(shown, &bytes).map_err(|problems| {
        let problems: Vec<_> = problems.into_list().into_iter().map(Into::into).collect();
        let message = format!("the tests in {shown} have mistakes");
        CliError::new(ErrorCode::InvalidDefinition, message).problems(problems)
    })
}

/// Runs a case; the answer for programs.
pub fn answer(case: &Case, packs: &Arc<Catalog>, restarts: Restarts) -> Value {
    let began = SystemClock.now();
    let report: Report = run(case, packs, restarts);
    let took = SystemClock.now().since(began);
    let mut answer = serde_json::to_value(&report).unwrap_or_default();
    answer["passed"] = json!(report.passed());
    answer["duration_ms"] = json!(took.as_secs_f64() * 1e3);
    if !report.passed() {
        answer["text"] = json!(report.render());
    }
    answer
}

/// How many of these answers are of cases that did not pass.
pub fn failed(answers: &[Value]) -> usize {
    let passed = |answer: &&Value| answer["passed"] == json!(true);
    answers.len() - answers.iter().filter(passed).count()
}

/// Answers for people: a line each, and after it what was not as expected.
pub fn render(answers: &[Value]) -> String {
    let mut text = String::new();
    for answer in answers {
        let passed = answer["passed"] == json!(true);
        let mark = if passed { "ok  " } else { "FAIL" };
        let restarts = match answer["restarts"].as_u64() {
            Some(0) | None => String::new(),
            Some(restarts) => format!(", {restarts} restarts"),
        };
        let _ = writeln!(
            text,
            "{mark}  {}:{}  {}  ({:.1} ms{restarts})",
            text_at(answer, "/file"),
            text_at(answer, "/line"),
            text_at(answer, "/name"),
            answer["duration_ms"].as_f64().unwrap_or_default(),
        );
        let details = answer["text"].as_str().unwrap_or_default();
        for line in details.lines().skip(1) {
            let _ = writeln!(text, "    {line}");
        }
    }
    escape::lines(&text).into_owned()
}
