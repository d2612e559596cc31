//! `camshaft run`: request an execution and, unless told not to, stay with it to its end.

mod options;
pub(super) mod parameters;
pub(super) mod wait;

pub(super) use options::Options;
pub(super) use wait::{Whose, stay};

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::Ref;
use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

use super::Context;
use crate::exit::CliError;

/// Run an action, or a file as it is, and see its output
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["reference", "file"]),
    override_usage = "camshaft run [OPTIONS] REF [KEY=VALUE]...\n       camshaft run [OPTIONS] -- FILE [ARGUMENT]...",
    after_help = "\
Examples:
  camshaft run demo.greet name=Ada
  camshaft run demo.load rows:='[1, 2]' text=@letter.txt --detach
  camshaft run demo.load --params load.yaml --timeout 10m
  camshaft run -- ./backup.sh /srv

Parameters: key=text, key:=JSON, key=@FILE for the text of a file. Text becomes a number, a boolean,
an array or an object where the action's schema says so. They win over those of --params.

The output of the action goes to stdout and stderr as it comes, byte for byte, that of every attempt;
a line on stderr says how one ended that another follows. The exit status is 0
if the execution completed, 1 if not. Ctrl-C leaves the execution running and says how to cancel it
(status 130). With -o json or yaml the execution is written instead of its output.

Where no engine runs on the data directory, this command brings one along for as long as the run
lasts: without sensors, and without starting anything else that waits there. Ctrl-C then stops it;
what was running goes on with the next engine on the data directory, if it may run again."
)]
pub struct Run {
    /// The action
    #[arg(value_name = "REF")]
    reference: Option<Ref>,
    /// Its parameters
    #[arg(value_name = "KEY=VALUE", requires = "reference")]
    parameters: Vec<String>,
    /// A file to run as it is, and its arguments
    #[arg(last = true, value_name = "FILE", conflicts_with_all = ["reference", "parameters", "params"])]
    file: Vec<String>,
    #[command(flatten)]
    options: Options,
}

impl Run {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let engaged = self.options.engage(context)?;
        let body = match &self.reference {
            Some(action) => self.request_action(context, action).await?,
            None => self.request_file()?,
        };
        // A file's own deadline ends the execution; the end is waited for, however it comes.
        let limit = self.options.timeout.filter(|_| self.reference.is_some());
        self.options.request(context, &engaged, body, limit).await
    }

    async fn request_action(
        &self,
        context: &Context,
        action: &Ref,
    ) -> Result<Map<String, Value>, CliError> {
        let given = parameters::read(
            parameters::PARAMETERS,
            self.options.params.as_deref(),
            &self.parameters,
        )?;
        let parameters = if given.needs_schema() {
            let definition = context.client.read(&format!("/actions/{action}")).await?;
            given.typed(
                definition
                    .pointer("/parameters/schema")
                    .unwrap_or(&Value::Null),
            )?
        } else {
            given.typed(&Value::Null)?
        };
        Ok(Map::from_iter([
            ("action".to_owned(), json!(action)),
            ("parameters".to_owned(), parameters.into()),
        ]))
    }

    fn request_file(&self) -> Result<Map<String, Value>, CliError> {
        let here = std::env::current_dir().map_err(|error| {
            CliError::invalid(format!("the present folder is not known: {error}"))
        })?;
        let adhoc = adhoc(&self.file, &here, self.options.timeout)?;
        Ok(Map::from_iter([("adhoc".to_owned(), adhoc)]))
    }
}

/// A path as the engine is told of it, which is text.
pub(super) fn utf8(path: PathBuf) -> Result<String, CliError> {
    path.into_os_string().into_string().map_err(|path| {
        CliError::invalid(format!("the path {} is not UTF-8", path.display()))
            .hint("rename it, or one of the folders that it is in")
    })
}

/// What the engine needs to know about a file: where it is and where to run it, absolutely.
fn adhoc(file: &[String], here: &Path, timeout: Option<Duration>) -> Result<Value, CliError> {
    let Some((path, args)) = file.split_first() else {
        return Err(
            CliError::invalid("there is nothing to run").hint("name an action, or a file after --")
        );
    };
    let absolute = here.join(path);
    if !absolute.is_file() {
        let error = CliError::new(
            camshaft_model::ErrorCode::NotFound,
            format!("there is no file {path}"),
        );
        let hint = if path.contains('/') {
            "paths are relative to the present folder"
        } else {
            "a path is needed: the PATH is not searched"
        };
        return Err(error.hint(hint));
    }
    // `.` and `..` are taken out, links are left: a script may care by which name it is run.
    let absolute = std::path::absolute(&absolute).unwrap_or(absolute);
    let mut adhoc = json!({ "path": utf8(absolute)?, "args": args, "working_dir": utf8(here.to_path_buf())?, "runtime": "" });
    if let Some(timeout) = timeout {
        adhoc["timeout_ms"] = u64::try_from(timeout.as_millis())
            .unwrap_or(u64::MAX)
            .into();
    }
    Ok(adhoc)
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Verb};
    use super::*;
    use clap::Parser;

    fn parse(arguments: &[&str]) -> Result<Box<Run>, clap::Error> {
        let cli = Cli::try_parse_from([&["camshaft", "run"], arguments].concat())?;
        let Verb::Run(run) = cli.verb else {
            panic!("not run")
        };
        Ok(run)
    }

    #[test]
    fn an_action_has_parameters_and_a_file_has_arguments() {
        let run = parse(&["demo.greet", "name=x", "n:=1", "--detach"]).unwrap();
        assert_eq!(run.parameters, ["name=x", "n:=1"]);
        let run = parse(&["--timeout", "5s", "--", "./x.sh", "--flag", "a=b"]).unwrap();
        assert_eq!(run.file, ["./x.sh", "--flag", "a=b"]);
        assert_eq!(
            parse(&["demo.greet", "--priority", "-5"])
                .unwrap()
                .options
                .priority,
            Some(-5)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &[][..],
            &["demo.greet", "--", "./x"],
            &["demo.greet", "--wait", "--detach"],
            &["greet"],
            &["demo.greet", "--priority", "101"],
            &["--params", "a", "--", "./x"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn a_file_is_named_absolutely() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.sh"), "").unwrap();
        let file = ["./x.sh".to_owned(), "a b".to_owned()];
        let adhoc = adhoc(&file, dir.path(), Some(Duration::from_secs(2))).unwrap();
        assert_eq!(adhoc["path"], dir.path().join("x.sh").to_str().unwrap());
        assert_eq!(
            (&adhoc["args"], &adhoc["timeout_ms"]),
            (&json!(["a b"]), &json!(2000))
        );
        assert_eq!(adhoc["working_dir"], dir.path().to_str().unwrap());
    }

    #[test]
    fn a_file_that_is_not_there_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let error = adhoc(&["ls".to_owned()], dir.path(), None).unwrap_err();
        assert_eq!(error.code, camshaft_model::ErrorCode::NotFound);
        assert!(error.hint.unwrap().contains("PATH is not searched"));
    }
}
