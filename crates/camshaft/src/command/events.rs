//! `camshaft events`: the event log of a run, as far as it is or as it grows.
//!
//! Following reads a stream and remembers the id of the last line. A lost connection is taken up
//! after that line, so nothing is shown twice and nothing is left out.

use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::ExecutionId;
use clap::Args;
use futures::StreamExt;
use serde_json::Value;

use super::Context;
use super::context::Query;
use super::logs::retry::Patience;
use crate::client::sse::Parser;
use crate::exit::CliError;
use crate::render::{Format, json, step};

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
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// At most so many, without --follow
    #[arg(long, default_value_t = 1000, value_name = "N")]
    limit: u32,
}

impl Events {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
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
                context.list(&page, step::COLUMNS)
            }
            Some(id) => {
                self.follow(context, &format!("/executions/{id}/events/stream"))
                    .await
            }
            None => self.follow(context, "/events/stream").await,
        }
    }

    fn query(&self) -> Query {
        Query::default()
            .with_all("type", &self.types)
            .with("step", self.step.as_ref())
    }

    async fn follow(&self, context: &Context, path: &str) -> Result<ExitCode, CliError> {
        let mut last = self.after.map(|id| id.to_string());
        let mut patience = Patience::default();
        let query = self.query();
        loop {
            let headers: Vec<_> = last
                .iter()
                .map(|id| ("last-event-id", id.clone()))
                .collect();
            let opened = context.client.open(path, &query.0, &headers, None).await;
            let response = match opened {
                Ok(response) => response,
                Err(error) => {
                    patience.wait(context, error, "the events").await?;
                    continue;
                }
            };
            let (mut parser, mut chunks) = (Parser::default(), response.bytes_stream());
            let lost = loop {
                match chunks.next().await {
                    None => break None,
                    Some(Err(error)) => break Some(error),
                    Some(Ok(chunk)) => {
                        for message in parser.push(&chunk) {
                            self.show(context, &message.data)?;
                            last = message.id.or(last);
                            patience = Patience::default();
                        }
                    }
                }
            };
            match lost {
                // The engine ends a run's stream after the run; a stream of all runs ends when it stops.
                None if self.id.is_some() => return Ok(ExitCode::SUCCESS),
                None => {
                    patience
                        .wait(
                            context,
                            Patience::lost("the engine closed the stream"),
                            "the events",
                        )
                        .await?
                }
                Some(error) => {
                    patience
                        .wait(context, Patience::lost(&error.to_string()), "the events")
                        .await?
                }
            }
        }
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
