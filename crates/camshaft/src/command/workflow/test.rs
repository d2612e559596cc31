//! `camshaft workflow test`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use camshaft_model::ErrorCode;
use camshaft_model::definition::Catalog;
use clap::Args;
use serde_json::json;

use crate::command::Context;
use crate::exit::CliError;
use crate::pack::{self, PackError};
use crate::workflow_test::{Case, Restarts, Subject, suite};

/// Run workflows against mocked results; starts no process and needs no engine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft workflow test packs/demo                     every test of a pack
  camshaft workflow test packs/demo/tests/etl.yaml
  camshaft workflow test packs/demo --case join --restarts

A test, packs/demo/tests/etl.yaml:
  name: rows are loaded once they are approved
  workflow: demo.etl
  inputs: { urls: [a, b] }
  mocks:
    fetch: { items: { 0: { result: 1, takes: 2s } }, default: { result: 2 } }
  answers: [ { at: 1m, task: approve } ]
  expect: { status: completed, order: [fetch, merge, approve, load], takes: 1m }

The whole format is in docs/workflow-tests.md. The exit status is 0 if every case passes, 1 if one does
not, 2 if there are mistakes.")]
pub struct Test {
    /// Files with tests, folders of packs, or other folders with such files
    #[arg(value_name = "FILE|DIR", required = true)]
    targets: Vec<PathBuf>,
    /// A folder of packs that the workflows may use; by default the packs beside that of the test
    #[arg(long, value_name = "DIR")]
    packs: Option<PathBuf>,
    /// Only cases whose names have this part
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Run each case once more for each commit of it, with a crash of the engine right after that
    #[arg(long)]
    restarts: bool,
}

impl Test {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let restarts = if self.restarts {
            Restarts::All
        } else {
            Restarts::None
        };
        let mut worlds = Worlds::new(self.packs.as_deref())?;
        let mut answers = Vec::new();
        for (path, case) in self.cases()? {
            let packs = match case.subject {
                Subject::Reference(_) => worlds.around(&path)?,
                Subject::Inline(_) => worlds.without_pack()?,
            };
            answers.push(suite::answer(&case, &packs, restarts));
        }
        let wrong = suite::failed(&answers);
        let count = answers.len();
        context.show(
            &json!({ "passed": count - wrong, "failed": wrong, "cases": answers }),
            |answer, _| {
                let cases = answer["cases"].as_array().map_or(&[][..], Vec::as_slice);
                suite::render(cases)
            },
        )?;
        match (count, wrong) {
            (0, _) => Err(CliError::invalid("there is no such test of a workflow")
                .hint("tests are files in the folder tests/ of a pack; see camshaft workflow test --help")),
            (_, 0) => Ok(ExitCode::SUCCESS),
            _ => Err(CliError::new(
                ErrorCode::CheckFailed,
                format!("{wrong} of {count} cases did not pass"),
            )),
        }
    }

    /// The cases that were asked for, each with its file.
    fn cases(&self) -> Result<Vec<(PathBuf, Case)>, CliError> {
        let mut files = Vec::new();
        for target in &self.targets {
            let tests = target.join("tests");
            if target.join("pack.yaml").is_file() {
                if tests.is_dir() {
                    files.extend(suite::files_below(&tests)?);
                }
            } else if target.is_dir() {
                files.extend(suite::files_below(target)?);
            } else {
                files.push(target.clone());
            }
        }
        let wanted = self.case.as_deref().unwrap_or_default();
        let mut found = Vec::new();
        for path in files {
            let cases = suite::cases_of(&path, &path.display().to_string())?;
            let cases = cases.into_iter().filter(|case| case.name.contains(wanted));
            found.extend(cases.map(|case| (path.clone(), case)));
        }
        Ok(found)
    }
}

/// The packs around files of tests, each loaded once.
struct Worlds {
    given: Option<Arc<Catalog>>,
    core: Arc<Catalog>,
    by_pack: BTreeMap<PathBuf, Arc<Catalog>>,
}

impl Worlds {
    fn new(packs: Option<&Path>) -> Result<Self, CliError> {
        let core = pack::core_pack().map_err(|problems| {
            refused(Path::new("the core pack"), PackError::Invalid(problems))
        })?;
        let core = Arc::new(Catalog {
            packs: [(core.origin.pack.clone(), core)].into(),
        });
        let given = packs.map(|dir| with_folder(dir, &core)).transpose()?;
        Ok(Self {
            given,
            core,
            by_pack: BTreeMap::new(),
        })
    }

    /// For a case that brings its own definitions.
    fn without_pack(&self) -> Result<Arc<Catalog>, CliError> {
        Ok(self.given.clone().unwrap_or_else(|| self.core.clone()))
    }

    /// The pack that a file belongs to, beside the packs of the same folder or those of `--packs`.
    fn around(&mut self, file: &Path) -> Result<Arc<Catalog>, CliError> {
        let real = file.canonicalize().map_err(|error| {
            CliError::invalid(format!("{} cannot be read: {error}", file.display()))
        })?;
        let own = real.ancestors().find(|dir| dir.join("pack.yaml").is_file());
        let Some(own) = own else {
            return self.without_pack();
        };
        if let Some(known) = self.by_pack.get(own) {
            return Ok(known.clone());
        }
        let beside = match &self.given {
            Some(given) => given.clone(),
            // Mistakes of neighbours are not what was asked for: then they are not there.
            None => own
                .parent()
                .and_then(|dir| with_folder(dir, &self.core).ok())
                .unwrap_or_else(|| self.core.clone()),
        };
        let world = Arc::new(with_pack(own, &beside)?);
        self.by_pack.insert(own.to_owned(), world.clone());
        Ok(world)
    }
}

fn with_folder(dir: &Path, core: &Catalog) -> Result<Arc<Catalog>, CliError> {
    let loaded =
        pack::load_folder(dir, Path::new(""), core).map_err(|error| refused(dir, error))?;
    let mut world = core.clone();
    for candidate in loaded {
        let name = candidate.pack.origin.pack.clone();
        world.packs.insert(name, candidate.pack);
    }
    Ok(Arc::new(world))
}

fn with_pack(dir: &Path, beside: &Catalog) -> Result<Catalog, CliError> {
    let plan = pack::plan(dir, Path::new(""), beside).map_err(|error| refused(dir, error))?;
    let Some(candidate) = plan.candidate.filter(|_| plan.problems.is_empty()) else {
        let problems = plan.problems.into_iter().map(Into::into).collect();
        return Err(invalid(dir).problems(problems));
    };
    let mut world = beside.clone();
    let name = candidate.pack.origin.pack.clone();
    world.packs.insert(name, candidate.pack);
    Ok(world)
}

fn invalid(dir: &Path) -> CliError {
    let message = format!("{} is not valid", dir.display());
    CliError::new(ErrorCode::InvalidDefinition, message)
}

fn refused(dir: &Path, error: PackError) -> CliError {
    match error {
        PackError::Invalid(problems) => {
            invalid(dir).problems(problems.into_list().into_iter().map(Into::into).collect())
        }
        other => CliError::invalid(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::command::testing::ended;

    const WORKFLOW: &str = "ref: demo.etl
tasks:
  fetch: { action: demo.get }
  load: { action: demo.put, with: { rows: \"{{ tasks.fetch.result }}\" } }
";
    const TESTS: &str = "workflow: demo.etl
cases:
  - name: rows are loaded
    mocks: { fetch: { result: [1, 2], takes: 2s } }
    expect: { status: completed, order: [fetch, load], takes: 2s }
  - name: nothing is loaded that was not fetched
    mocks: { fetch: { error: gone } }
    expect:
      status: completed
      tasks: { load: { status: skipped } }
";

    fn demo() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("pack.yaml", "ref: demo\nversion: 1.0.0\n"),
            ("workflows/etl.yaml", WORKFLOW),
            (
                "actions/get.yaml",
                "ref: demo.get\nruntime: shell\nscript: exit 9\n",
            ),
            (
                "actions/put.yaml",
                "ref: demo.put\nruntime: shell\nscript: exit 9\nparameters: { rows: { type: array } }\n",
            ),
            ("tests/etl.yaml", TESTS),
            (
                "tests/order.yaml",
                "rule: demo.x\nevent: {}\nexpect: match\n",
            ),
        ];
        for (name, text) in files {
            let path = dir.path().join("demo").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn test(targets: &[PathBuf], case: Option<&str>, restarts: bool) -> (u8, String, String) {
        let test = Test {
            targets: targets.to_vec(),
            packs: None,
            case: case.map(str::to_owned),
            restarts,
        };
        let ended = ended(|context| test.run(context));
        (ended.status, ended.stdout, ended.stderr)
    }

    #[test]
    fn a_case_that_does_not_pass_shows_what_came_and_what_happened() {
        let dir = demo();
        let (status, stdout, stderr) = test(&[dir.path().join("demo")], None, false);
        assert_eq!(status, 1, "{stderr}");
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"\S+/demo/tests", "[demo]/tests");
        settings.add_filter(r"\d+\.\d ms", "[time]");
        settings.bind(|| insta::assert_snapshot!(stdout, @r#"
        ok    [demo]/tests/etl.yaml:3  rows are loaded  ([time])
        FAIL  [demo]/tests/etl.yaml:6  nothing is loaded that was not fetched  ([time])
              [demo]/tests/etl.yaml:9: cases[1].expect.status
                expected completed
                came     failed
              what happened:
                     0ms  step_started    etl attempt=1
                     0ms  step_started    fetch attempt=1
                     0ms  step_finished   fetch success=false duration_ms=0 reason="gone"
                     0ms  task_failed     fetch status="failed" error="gone" duration_ms=0
                     0ms  step_skipped    load reason="the run had failed: task 'fetch' failed"
                     0ms  task_failed     etl status="failed" error="task 'fetch' failed: gone" duration_ms=0
        "#));
        assert!(stderr.contains("1 of 2 cases did not pass"), "{stderr}");
    }

    #[test]
    fn one_case_of_a_file_can_be_run_with_restarts() {
        let dir = demo();
        let file = dir.path().join("demo/tests/etl.yaml");
        let (status, stdout, stderr) = test(&[file], Some("are loaded"), true);
        assert_eq!(status, 0, "{stdout}{stderr}");
        assert!(stdout.contains("restarts)"), "{stdout}");
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
    }

    #[test]
    fn a_folder_without_tests_and_a_test_with_mistakes_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (status, _, stderr) = test(&[dir.path().to_owned()], None, false);
        assert!(status == 2 && stderr.contains("no such test"), "{stderr}");
        let file = dir.path().join("a.yaml");
        fs::write(
            &file,
            "workflow: demo.etl\nmokcs: {}\nexpect: { staus: failed }\n",
        )
        .unwrap();
        let (status, _, stderr) = test(&[file], None, false);
        assert_eq!(status, 2);
        assert!(
            stderr.contains("a.yaml:2:1: unknown key 'mokcs'; did you mean 'mocks'?"),
            "{stderr}"
        );
        assert!(stderr.contains("did you mean 'status'?"), "{stderr}");
    }
}
