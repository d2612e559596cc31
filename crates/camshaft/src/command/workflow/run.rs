//! `camshaft workflow run`: a workflow by its file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::source;
use crate::command::Context;
use crate::command::run::{Options, parameters, utf8};
use crate::exit::CliError;

/// Run the workflow in a file, without applying anything
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft workflow run packs/demo/workflows/etl.yaml urls:='[\"https://example.org\"]'
  camshaft workflow run nightly.yaml --packs ./packs

A file that lies in the folder workflows/ of a pack is run with the actions that lie beside it, whatever
version of the pack is current. Any other stands in the pack that its ref names. The run is pinned to
what the files say now, so that it goes on with it after a restart.

Parameters, output, exit status and the engine are those of: camshaft run --help")]
pub struct Run {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The workflow's parameters
    #[arg(value_name = "KEY=VALUE")]
    parameters: Vec<String>,
    #[command(flatten)]
    options: Options,
}

impl Run {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let file = absolute(&self.file)?;
        let engaged = self.options.engage(context)?;
        let found = source::load(context, &self.file, None).await?;
        let [workflow] = &found.workflows[..] else {
            return Err(CliError::invalid(format!(
                "{} is no file with a workflow",
                self.file.display()
            )));
        };
        let given = parameters::read(
            parameters::PARAMETERS,
            self.options.params.as_deref(),
            &self.parameters,
        )?;
        let parameters = given.typed(&workflow.parameters.schema)?;
        let body = Map::from_iter([
            ("workflow".to_owned(), json!(file)),
            ("parameters".to_owned(), Value::Object(parameters)),
        ]);
        let limit = self.options.timeout;
        self.options.request(context, &engaged, body, limit).await
    }
}

fn absolute(file: &Path) -> Result<String, CliError> {
    let absolute = std::path::absolute(file)
        .map_err(|error| CliError::invalid(format!("{}: {error}", file.display())))?;
    utf8(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let file = Path::new(std::ffi::OsStr::from_bytes(b"/nightly\xff.yaml"));
        assert!(absolute(file).unwrap_err().message.contains("not UTF-8"));
        assert_eq!(absolute(Path::new("/w.yaml")), Ok("/w.yaml".to_owned()));
    }
}
