//! The conformance suite of workflows: what docs/workflows.md promises, as cases in the format of
//! docs/workflow-tests.md. Each is run straight, and once more for each of its commits with a crash of
//! the engine right after it. `CASE=part` runs those whose names have that part.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camshaft::pack;
use camshaft::workflow_test::{Restarts, cases, run};
use camshaft_model::definition::Catalog;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/cases")
}

fn core() -> Arc<Catalog> {
    let core = pack::core_pack().unwrap();
    Arc::new(Catalog {
        packs: [(core.origin.pack.clone(), core)].into(),
    })
}

/// Runs the cases of a file; gives what did not hold, and how many there were.
fn conform(file: &str) -> (String, usize) {
    let bytes = fs::read(folder().join(file)).unwrap();
    let wanted = std::env::var("CASE").unwrap_or_default();
    let cases = match cases(file, &bytes) {
        Ok(cases) => cases,
        Err(problems) => return (problems.to_string(), 0),
    };
    let packs = core();
    let mut wrong = String::new();
    for case in cases.iter().filter(|case| case.name.contains(&wanted)) {
        let report = run(case, &packs, Restarts::All);
        if !report.passed() {
            let _ = writeln!(wrong, "\n{}", report.render());
        }
    }
    (wrong, cases.len())
}

macro_rules! suite {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let (wrong, _) = conform(concat!(stringify!($name), ".yaml"));
            assert!(wrong.is_empty(), "{wrong}");
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
    let count: usize = FILES
        .iter()
        .map(|file| {
            cases(file, &fs::read(folder().join(file)).unwrap())
                .unwrap()
                .len()
        })
        .sum();
    assert!(count >= 120, "{count} cases");
}
