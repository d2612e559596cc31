//! The conformance suite of workflows: what docs/workflows.md promises, as cases in the format of
//! docs/workflow-tests.md. Each is run straight, and once more for each of its commits with a crash of
//! the engine right after it. `CASE=part` runs those whose names have that part.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camshaft::pack;
use camshaft::workflow_test::{Case, Restarts, cases, run};
use camshaft_model::definition::Catalog;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/cases")
}

fn core() -> Result<Arc<Catalog>, String> {
    let core = pack::core_pack().map_err(|problems| problems.to_string())?;
    Ok(Arc::new(Catalog {
        packs: [(core.origin.pack.clone(), core)].into(),
    }))
}

fn cases_of(file: &str) -> Result<Vec<Case>, String> {
    let bytes = fs::read(folder().join(file)).map_err(|error| format!("{file}: {error}"))?;
    cases(file, &bytes).map_err(|problems| problems.to_string())
}

/// Runs the cases of a file.
///
/// # Errors
/// What did not hold.
fn conform(file: &str) -> Result<(), String> {
    let packs = core()?;
    let wanted = std::env::var("CASE").unwrap_or_default();
    let mut wrong = String::new();
    for case in cases_of(file)? {
        if case.name.contains(&wanted) {
            let report = run(&case, &packs, Restarts::All);
            if !report.passed() {
                let _ = writeln!(wrong, "\n{}", report.render());
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

macro_rules! suite {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            if let Err(wrong) = conform(concat!(stringify!($name), ".yaml")) {
                panic!("{wrong}");
            }
        })*

        const FILES: &[&str] = &[$(concat!(stringify!($name), ".yaml"),)*];
    };
}

suite! {
    sequences needs failures finally transitions items retries loops waits children cache control values
    lessons mixed
}

#[test]
fn every_file_is_in_the_suite_and_there_are_enough_cases() {
    let mut there: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    let mut listed = FILES.to_vec();
    listed.sort_unstable();
    assert_eq!(there, listed);
    let count: usize = FILES.iter().map(|file| cases_of(file).unwrap().len()).sum();
    assert!(count >= 120, "{count} cases");
}
