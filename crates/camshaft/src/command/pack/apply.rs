//! `camshaft pack apply`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use super::{absolute, plan};
use crate::command::Context;
use crate::exit::CliError;

/// Make the definitions in a folder current: all of them or, with a mistake, none
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft pack apply packs/demo
  camshaft pack apply packs/demo --check-version 1.0.0    only if 1.0.0 is current

Runs go on with the version they started with.")]
pub struct Apply {
    /// The folder with pack.yaml
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Refuse if the current version is another one: a version, the beginning of a hash, or none
    #[arg(long, value_name = "VERSION")]
    check_version: Option<String>,
}

impl Apply {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let mut body = Map::from_iter([("dir".to_owned(), absolute(&self.dir)?.into())]);
        body.extend(
            self.check_version
                .map(|version| ("check_version".to_owned(), version.into())),
        );
        let answer: Value = context
            .client
            .post("/packs/apply", &Value::Object(body), None)
            .await?;
        context.show(&answer, |answer, _| {
            let shown = answer.get("plan").map(plan::render).unwrap_or_default();
            if answer.get("applied") == Some(&Value::Bool(true)) {
                format!("{shown}applied\n")
            } else {
                shown
            }
        })?;
        answer
            .get("plan")
            .and_then(plan::mistakes)
            .map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
