//! `camshaft workflow graph`.

use std::path::PathBuf;
use std::process::ExitCode;

use camshaft_model::definition::{EntryPoint, Workflow};
use camshaft_model::{ErrorCode, Ref};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::source::{self, Target};
use crate::command::Context;
use crate::exit::CliError;
use crate::render::graph::{Drawing, draw};

/// Draw the graph of a workflow; a file needs no engine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft workflow graph packs/demo/workflows/etl.yaml
  camshaft workflow graph demo.etl --format dot | dot -Tsvg > etl.svg")]
pub struct Graph {
    /// A file, or the ref of a workflow that the engine has
    #[arg(value_name = "FILE|REF", value_parser = source::target)]
    target: Target,
    /// What it is drawn for: a terminal, Markdown, or Graphviz
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Drawing,
    /// A folder of packs whose actions and triggers the workflow may name
    #[arg(long, value_name = "DIR")]
    packs: Option<PathBuf>,
}

impl Graph {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let drawn = match &self.target {
            Target::Ref(reference) => {
                let workflow = of_engine(context, reference).await?;
                draw(reference.as_str(), &workflow, self.format)
            }
            Target::Path(path) => {
                let found = source::load(context, path, self.packs.as_deref()).await?;
                let graphs: Vec<String> = found
                    .workflows
                    .iter()
                    .filter_map(|action| {
                        let workflow = action.workflow()?;
                        Some(draw(action.reference.as_str(), workflow, self.format))
                    })
                    .collect();
                if graphs.is_empty() {
                    let message = format!("there is no workflow in {}", path.display());
                    return Err(CliError::invalid(message));
                }
                graphs.join("\n")
            }
        };
        context.screen.text(&drawn)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The graph of a workflow as the engine has it.
pub(super) async fn of_engine(context: &Context, reference: &Ref) -> Result<Workflow, CliError> {
    let action = context
        .client
        .read(&format!("/actions/{reference}"))
        .await?;
    let entry_point = action.get("entry_point").unwrap_or(&Value::Null);
    match EntryPoint::deserialize(entry_point) {
        Ok(EntryPoint::Workflow(workflow)) => Ok(Workflow::clone(&workflow)),
        Ok(_) => Err(CliError::invalid(format!(
            "{reference} is an action and no workflow"
        ))),
        Err(error) => Err(CliError::new(
            ErrorCode::Internal,
            format!("the engine's answer cannot be read: {error}"),
        )),
    }
}
