//! What a case came to.

use std::fmt::Write as _;

use camshaft_engine::simulation::Outcome;
use camshaft_model::definition::{Position, Problem};
use serde::Serialize;

use super::case::Case;
use super::check;

/// Whether a case is also run with crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restarts {
    /// It is run once.
    None,
    /// It is run once more for each of its commits, with a crash after it.
    All,
}

/// Something that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Where the expectation stands.
    #[serde(flatten)]
    pub position: Position,
    /// The key that leads to it.
    pub path: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub actual: String,
}

/// What a case came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The case.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    /// Its line there.
    pub line: u32,
    /// Everything that is not as expected; it passed if there is nothing.
    pub mismatches: Vec<Mismatch>,
    /// How many transactions the run took.
    pub commits: usize,
    /// How often it was run again with a crash.
    pub restarts: usize,
    /// The event log of the run that was not as expected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub timeline: String,
}

impl Report {
    pub(super) fn new(case: &Case, outcome: &Outcome) -> Self {
        let mut report = Self::empty(case);
        report.commits = outcome.ledger.commits;
        for complaint in &outcome.complaints {
            report.complain(case, "", "", complaint);
        }
        report.compare(case, outcome);
        if !report.passed() {
            report.timeline = outcome.timeline();
        }
        report
    }

    fn empty(case: &Case) -> Self {
        Self {
            name: case.name.clone(),
            file: case.file.clone(),
            line: case.position.line,
            mismatches: Vec::new(),
            commits: 0,
            restarts: 0,
            timeline: String::new(),
        }
    }

    /// A case whose definitions have mistakes.
    pub(super) fn of_problems(case: &Case, problems: &[Problem]) -> Self {
        let mut report = Self::empty(case);
        report.mismatches = problems
            .iter()
            .map(|problem| Mismatch {
                position: problem.position,
                path: problem.path.clone(),
                expected: "a definition without mistakes".to_owned(),
                actual: problem.message.clone(),
            })
            .collect();
        report
    }

    /// The report for people: what is not as expected with its place, and the event log.
    pub fn render(&self) -> String {
        let mut text = format!("{}:{}: {}\n", self.file, self.line, self.name);
        for mismatch in &self.mismatches {
            let Position { line, .. } = mismatch.position;
            let _ = writeln!(text, "  {}:{line}: {}", self.file, mismatch.path);
            let _ = writeln!(text, "    expected {}", indented(&mismatch.expected));
            let _ = writeln!(text, "    came     {}", indented(&mismatch.actual));
        }
        if !self.timeline.is_empty() {
            let _ = writeln!(text, "  what happened:");
            for line in self.timeline.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }

    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        self.mismatches.is_empty()
    }

    fn complain(&mut self, case: &Case, path: &str, expected: &str, actual: &str) {
        let expected = if expected.is_empty() {
            "no such thing"
        } else {
            expected
        };
        self.mismatches.push(Mismatch {
            position: case.position,
            path: path.to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
        });
    }

    /// One expectation is about the last run, several are about the runs in their order.
    fn compare(&mut self, case: &Case, outcome: &Outcome) {
        let several = case.expectations.len() > 1;
        for (number, expectation) in case.expectations.iter().enumerate() {
            let run = if several {
                outcome.runs.get(number)
            } else {
                outcome.runs.last()
            };
            let Some(run) = run else {
                let expected = format!("a run number {}", number + 1);
                self.complain(case, "expect", &expected, "there was none");
                continue;
            };
            for located in expectation {
                let found = check::difference(&located.value, outcome, *run);
                self.mismatches
                    .extend(found.map(|(expected, actual)| Mismatch {
                        position: located.position,
                        path: located.path.clone(),
                        expected,
                        actual,
                    }));
            }
        }
    }

    pub(super) fn restarted_otherwise(
        &mut self,
        case: &Case,
        crash_after: usize,
        differences: Vec<(String, String, String)>,
        crashed: &Outcome,
    ) {
        for (what, expected, actual) in differences {
            let path = format!("{what}, after a crash behind commit {crash_after}");
            self.complain(case, &path, &expected, &actual);
        }
        self.timeline = crashed.timeline();
    }
}

/// Later lines stand below the first.
fn indented(text: &str) -> String {
    text.replace('\n', "\n             ")
}
