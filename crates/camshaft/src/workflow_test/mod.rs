//! Tests of workflows as people write them: YAML cases, run in virtual time against mocked results.
//!
//! ```text
//! file ── case.rs ──> Case ── inline.rs or a pack ──> Scenario ── engine::simulation ──> Outcome
//!            └─ expect.rs ──> Check ─────────────── check.rs ────────────────────────────> Report
//! ```
//! Nothing is started and nothing is waited for. With restarts asked for, each case is run once more for
//! each of its commits, with a crash of the engine right after it, and must come to the same end. The
//! format is described in docs/workflow-tests.md.

mod case;
mod check;
mod expect;
mod inline;
mod report;
mod script;
pub mod suite;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use camshaft_engine::simulation::{self, Outcome, Scenario};
use camshaft_model::definition::{Catalog, Problem};

pub use case::{Case, Subject, cases, is_workflow_test};
pub use expect::{Check, Expectation, TaskCheck};
pub use report::{Mismatch, Report, Restarts};

/// The definitions that a case is run with: those it brings, or `packs` where it names a workflow of
/// a pack.
///
/// # Errors
/// What is wrong with the definitions that it brings.
pub fn definitions(case: &Case, packs: &Arc<Catalog>) -> Result<Arc<Catalog>, Vec<Problem>> {
    match &case.subject {
        Subject::Reference(_) => Ok(packs.clone()),
        Subject::Inline(inline) => inline.load(&case.file, packs).map(Arc::new),
    }
}

/// Runs a case and compares what came of it with what it expects.
pub fn run(case: &Case, packs: &Arc<Catalog>, restarts: Restarts) -> Report {
    let catalog = match definitions(case, packs) {
        Ok(catalog) => catalog,
        Err(problems) => return Report::of_problems(case, &problems),
    };
    let scenario = case.scenario(catalog);
    let outcome = simulation::run(&scenario);
    let mut report = Report::new(case, &outcome);
    if restarts == Restarts::All && case.restarts && report.passed() {
        with_restarts(case, &scenario, &outcome, &mut report);
    }
    report
}

/// Runs a case once more for each of its commits, with a crash after it.
fn with_restarts(case: &Case, scenario: &Scenario, straight: &Outcome, report: &mut Report) {
    for crash_after in 1..=straight.ledger.commits {
        let crashed = simulation::run(&Scenario {
            crash_after: Some(crash_after),
            ..scenario.clone()
        });
        report.restarts += 1;
        let differences = check::differences(straight, &crashed);
        if !differences.is_empty() {
            report.restarted_otherwise(case, crash_after, differences, &crashed);
            return;
        }
    }
}
