//! `camshaft events`: the event log of a run, as far as it is or as it grows.
//!
//! Following reads a stream and remembers the id of the last line. A lost connection is taken up
//! after that line, so nothing is shown twice and nothing is left out.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::definition::problem::did_you_mean;
use camshaft_model::{ErrorCode, ExecutionId, StepEventType};
use clap::Args;
use serde_json::Value;

use super::Context;
use super::context::{Query, items};
use super::number::{COUNT, whole};
use super::watch::stream::Lines;
use crate::exit::CliError;
use crate::render::{Format, json, step, text_at};

/// So many lines are looked at for the names of steps.
const MAX_NAMES: u32 = 1_000;
/// So many of them are named to who misspelt one.
const MAX_HINTS: usize = 20;

/// Show the event log of a run: every step as it happened
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft events exec_01jd2x3f5k8m9n0p1q2r3s4t5v
  camshaft events exec_01jd2x3f5k8m9n0p1q2r3s4t5v --follow -o json
  camshaft events --follow --type step_finished,step_timeout    of every run

--follow ends with the run; without an execution it goes on until Ctrl-C.")]
pub struct Events {
    /// The execution; with --follow it may be left out
    #[arg(value_name = "EXECUTION", required_unless_present = "follow")]
    id: Option<ExecutionId>,
    /// Show new events as they happen
    #[arg(short, long)]
    follow: bool,
    /// Of these types only, such as step_started or step_finished
    #[arg(long = "type", value_delimiter = ',', value_name = "TYPE")]
    types: Vec<String>,
    /// Of this step only
    #[arg(long, value_name = "NAME")]
    step: Option<String>,
    /// After the event with this number
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = whole::<i64>(0..=i64::MAX, 1000))]
    after: Option<i64>,
    /// At most so many, without --follow
    #[arg(long, default_value_t = 1000, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>(COUNT, 100))]
    limit: u32,
}

impl Events {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        self.check_types()?;
        if let Some(id) = self.id {
            self.check_step(context, id).await?;
        }
        match self.id {
            Some(id) if !self.follow => {
                let query = self
                    .query()
                    .with("after", self.after)
                    .with("limit", Some(self.limit));
                let page: Value = context
                    .client
                    .get(
                        &format!("/executions/{id}/events"),
                        &query.0,
                        Duration::ZERO,
                    )
                    .await?;
                context.list_by("--after", &page, step::COLUMNS)
            }
            _ => self.follow(context).await,
        }
    }

    fn query(&self) -> Query {
        Query::default()
            .with_all("type", &self.types)
            .with("step", self.step.as_ref())
    }

    async fn follow(&self, context: &Context) -> Result<ExitCode, CliError> {
        let mut lines = Lines::new(context, self.id)
            .query(self.query().0)
            .after(self.after);
        while let Some(data) = lines.next().await? {
            self.show(context, &data)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Refuses a type that no line has, with the one that was probably meant.
    fn check_types(&self) -> Result<(), CliError> {
        let known = || StepEventType::KNOWN.iter().map(StepEventType::as_str);
        let Some(wrong) = self.types.iter().find(|name| !known().any(|k| k == *name)) else {
            return Ok(());
        };
        let near = did_you_mean(wrong, known());
        Err(
            CliError::invalid(format!("there is no event type '{wrong}'{near}")).hint(format!(
                "types are {}",
                known().collect::<Vec<_>>().join(", ")
            )),
        )
    }

    /// Refuses a step that the execution neither has nor had, with the one that was probably meant.
    async fn check_step(&self, context: &Context, id: ExecutionId) -> Result<(), CliError> {
        let Some(wanted) = &self.step else {
            return Ok(());
        };
        let path = format!("/executions/{id}/events");
        let query = |step: Option<&String>| {
            let limit = step.map_or(MAX_NAMES, |_| 1);
            Query::default()
                .with("limit", Some(limit))
                .with("step", step)
        };
        let client = &context.client;
        let found: Value = client
            .get(&path, &query(Some(wanted)).0, Duration::ZERO)
            .await?;
        if !items(&found).is_empty() {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        let seen: Value = client.get(&path, &query(None).0, Duration::ZERO).await?;
        known.extend(items(&seen).iter().map(|line| text_at(line, "/step")));
        match client.read(&format!("/executions/{id}/run")).await {
            Ok(run) => {
                let tasks = run.pointer("/workflow/tasks").and_then(Value::as_array);
                known.extend(
                    tasks
                        .into_iter()
                        .flatten()
                        .map(|task| text_at(task, "/name")),
                );
            }
            // It is no run: it has one step, which the log names.
            Err(error) if error.code == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
        known.remove("-");
        if known.contains(wanted) {
            return Ok(());
        }
        let near = did_you_mean(wanted, known.iter().map(String::as_str));
        let names: Vec<&str> = known.iter().take(MAX_HINTS).map(String::as_str).collect();
        Err(CliError::new(
            ErrorCode::NotFound,
            format!("{id} has no step '{wanted}'{near}"),
        )
        .hint(format!("its steps are {}", names.join(", "))))
    }

    fn show(&self, context: &Context, data: &str) -> Result<(), CliError> {
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            context.screen.note(&format!(
                "an event cannot be read: {}",
                crate::render::escape::line(data)
            ));
            return Ok(());
        };
        let has = |key: &str, wanted: &str| event.get(key).and_then(Value::as_str) == Some(wanted);
        let wanted = (self.types.is_empty()
            || self.types.iter().any(|name| has("event_type", name)))
            && self.step.as_ref().is_none_or(|name| has("step", name));
        if !wanted {
            return Ok(());
        }
        let text = match context.format {
            Format::Table => step::line(&event),
            format => json::render_one_of_many(&event, format)?,
        };
        context.screen.text(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Answer, FakeEngine};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        events: Events,
    }

    #[tokio::test]
    async fn a_log_that_goes_on_names_the_flag_that_asks_for_the_rest() {
        const ID: &str = "exec_00000000000000000000000001";
        let page = serde_json::json!({"items": [], "next_cursor": "7"});
        let answers = ["?", "?after=7&"].map(|after| {
            let path = format!("/api/v1/executions/{ID}/events{after}limit=1000");
            Answer::json(&format!("GET {path}"), &page)
        });
        let engine = FakeEngine::start(answers.into()).await;
        let (context, _, err) = engine.context(Format::Table);
        let events = |arguments: &[&str]| {
            Line::try_parse_from([&["events", ID], arguments].concat())
                .unwrap()
                .events
        };
        events(&[]).run(&context).await.unwrap();
        assert_eq!(err.text(), "There is more: add --after 7\n");
        events(&["--after", "7"]).run(&context).await.unwrap();
    }
}
