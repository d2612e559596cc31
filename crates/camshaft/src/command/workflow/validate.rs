//! `camshaft workflow validate`.

use std::path::PathBuf;
use std::process::ExitCode;

use camshaft_model::definition::Workflow;
use camshaft_model::definition::workflow::Work;
use clap::Args;
use serde_json::{Value, json};

use super::source::{self, Target};
use crate::command::Context;
use crate::exit::{CliError, Problem};
use crate::render::{escape, text_at};

/// Check workflows without running or applying anything; files need no engine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft workflow validate packs/demo/workflows/etl.yaml
  camshaft workflow validate packs/demo          every workflow of a pack
  camshaft workflow validate etl.yaml --packs packs
  camshaft workflow validate demo.etl            what the engine has

The exit status is 0 if all are in order, 2 if there are mistakes; every mistake is named with its
file, line and column.")]
pub struct Validate {
    /// A file, the folder of a pack, a folder of packs, or the ref of a workflow that the engine has
    #[arg(value_name = "FILE|DIR|REF", required = true, value_parser = source::target)]
    targets: Vec<Target>,
    /// A folder of packs whose actions and triggers the workflows may name
    #[arg(long, value_name = "DIR")]
    packs: Option<PathBuf>,
}

impl Validate {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let mut fine = Vec::new();
        let mut errors: Vec<CliError> = Vec::new();
        for target in &self.targets {
            match self.check(context, target).await {
                Ok(checked) => fine.extend(checked),
                Err(error) => errors.push(error),
            }
        }
        let answer = json!({ "valid": errors.is_empty(), "workflows": fine });
        context.show(&answer, |answer, _| render(answer))?;
        let mut errors = errors.into_iter();
        let Some(mut first) = errors.next() else {
            return Ok(ExitCode::SUCCESS);
        };
        for error in errors {
            first.message = format!("{}; {}", first.message, error.message);
            first.problems.extend(error.problems);
        }
        Err(first)
    }

    /// What is fine there.
    async fn check(&self, context: &Context, target: &Target) -> Result<Vec<Value>, CliError> {
        let path = match target {
            Target::Ref(reference) => {
                let workflow = super::graph::of_engine(context, reference).await?;
                return Ok(vec![summary(reference.as_str(), &workflow)]);
            }
            Target::Path(path) => path,
        };
        let found = source::load(context, path, self.packs.as_deref()).await?;
        for warning in found.warnings {
            let warning = Problem::from(warning).render();
            context.screen.note(&format!("warning: {warning}"));
        }
        if found.workflows.is_empty() {
            let message = format!("there is no workflow in {}", path.display());
            return Err(CliError::invalid(message)
                .hint("workflows are files in the folder workflows/ of a pack"));
        }
        Ok(found
            .workflows
            .iter()
            .filter_map(|action| Some(summary(action.reference.as_str(), action.workflow()?)))
            .collect())
    }
}

fn summary(reference: &str, workflow: &Workflow) -> Value {
    let count = |holds: fn(&Work) -> bool| {
        let works = workflow.tasks.iter().map(|task| &task.work);
        works.filter(|work| holds(work)).count()
    };
    json!({
        "ref": reference,
        "tasks": workflow.tasks.len(),
        "actions": count(|work| matches!(work, Work::Action { .. })),
        "inquiries": count(|work| matches!(work, Work::Inquiry(_))),
        "awaited_events": count(|work| matches!(work, Work::WaitFor(_))),
        "finally": workflow.tasks.iter().filter(|task| task.finally).count(),
    })
}

/// One line for each workflow.
fn render(answer: &Value) -> String {
    let mut text = String::new();
    for workflow in answer["workflows"].as_array().into_iter().flatten() {
        let parts: Vec<String> = [
            ("tasks", "task", "tasks"),
            ("actions", "action", "actions"),
            ("inquiries", "inquiry", "inquiries"),
            ("awaited_events", "awaited event", "awaited events"),
            ("finally", "in the end", "in the end"),
        ]
        .into_iter()
        .filter_map(|(key, one, many)| match workflow[key].as_u64()? {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {many}")),
        })
        .collect();
        text.push_str(&format!(
            "{} is valid: {}\n",
            text_at(workflow, "/ref"),
            parts.join(", ")
        ));
    }
    escape::lines(&text).into_owned()
}
