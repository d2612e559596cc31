//! `camshaft pack`: plan, apply, list, show, remove, test.

mod apply;
mod list;
mod offline;
mod plan;
mod remove;
mod show;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::Context;
use crate::exit::CliError;

/// Folders of definitions
#[derive(Debug, Subcommand)]
pub enum Pack {
    Plan(plan::Plan),
    Apply(apply::Apply),
    List(list::List),
    Show(show::Show),
    Remove(remove::Remove),
    Test(test::Test),
}

impl Pack {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::Plan(verb) => verb.run(context).await,
            Self::Apply(verb) => verb.run(context).await,
            Self::List(verb) => verb.run(context).await,
            Self::Show(verb) => verb.run(context).await,
            Self::Remove(verb) => verb.run(context).await,
            Self::Test(verb) => verb.run(context),
        }
    }
}

/// The folder as the engine, which has another present folder, must be told of it.
fn absolute(dir: &Path) -> Result<String, CliError> {
    let found = dir.canonicalize().map_err(|error| {
        CliError::invalid(format!(
            "the folder {} cannot be read: {error}",
            dir.display()
        ))
    })?;
    found.into_os_string().into_string().map_err(|path| {
        CliError::invalid(format!(
            "the path {} is not UTF-8",
            PathBuf::from(path).display()
        ))
    })
}

/// An array of a plan.
fn array<'a>(plan: &'a Value, key: &str) -> &'a [Value] {
    plan.get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
