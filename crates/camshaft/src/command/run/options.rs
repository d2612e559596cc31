//! What every way of running something has in common: an engine, a request, staying to the end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::{ErrorCode, ExecutionId, Timestamp};
use clap::Args;
use serde_json::{Map, Value};

use super::wait::{Whose, stay};
use crate::command::Context;
use crate::command::context::{duration, instant};
use crate::command::local::Guest;
use crate::command::number::whole;
use crate::exit::CliError;
use crate::render::{Format, execution, text_at};

#[derive(Debug, Args)]
pub(in crate::command) struct Options {
    /// Stay until the execution has ended (the default)
    #[arg(long, conflicts_with = "detach")]
    wait: bool,
    /// Write the execution's id and leave
    #[arg(long)]
    detach: bool,
    /// How long to stay with it; a file that is run as it is is stopped then, anything else goes on if the
    /// engine does (its own deadline is in its definition) [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(in crate::command) timeout: Option<Duration>,
    /// From -100 to 100; higher goes first
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<i32>(-100..=100, 10))]
    pub(super) priority: Option<i32>,
    /// Do not start before this instant
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    not_before: Option<Timestamp>,
    /// Requests with the same key make one execution
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Parameters as a JSON or YAML object; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(in crate::command) params: Option<String>,
    /// A folder with packs to apply where no engine runs; may be given several times
    #[arg(long, value_name = "DIR")]
    packs: Vec<PathBuf>,
}

/// An engine that can be asked: one that runs, or one that this command brought along.
pub(in crate::command) struct Engaged(Option<Guest>);

impl Options {
    /// Sees to it that there is an engine.
    ///
    /// # Errors
    /// None runs, and one of this command's own would leave with it or does not start.
    pub(in crate::command) fn engage(&self, context: &Context) -> Result<Engaged, CliError> {
        let guest = context.engage(self.packs.clone())?;
        if guest.is_some() && self.detach {
            return Err(CliError::new(
                ErrorCode::Unreachable,
                format!(
                    "no engine runs on {}, so nobody would run it once this command has left",
                    context.data_dir.display()
                ),
            )
            .hint("start one with: camshaft up (or leave --detach out)"));
        }
        Ok(Engaged(guest))
    }

    /// Requests what `body` asks for and stays with it to its end, or for `limit`.
    ///
    /// # Errors
    /// The engine says no, or the execution does not complete.
    pub(in crate::command) async fn request(
        &self,
        context: &Context,
        engaged: &Engaged,
        mut body: Map<String, Value>,
        limit: Option<Duration>,
    ) -> Result<ExitCode, CliError> {
        let priority = self.priority.map(|priority| priority.into());
        let not_before = self.not_before.map(|at| at.to_string().into());
        body.extend(priority.map(|value| ("priority".to_owned(), value)));
        body.extend(not_before.map(|value| ("not_before".to_owned(), value)));
        let key = self.idempotency_key.as_deref();
        let requested: Value = context
            .client
            .post("/executions", &Value::Object(body), key)
            .await?;
        let id: ExecutionId = text_at(&requested, "/id").parse().map_err(|error| {
            CliError::new(ErrorCode::Internal, format!("the engine's answer: {error}"))
        })?;
        if self.detach {
            return match context.format {
                Format::Table => context
                    .screen
                    .text(&format!("{id}\n"))
                    .map(|()| ExitCode::SUCCESS),
                _ => context.show(&requested, execution::show),
            };
        }
        let whose = match engaged.0 {
            Some(_) => Whose::Own,
            None => Whose::Theirs,
        };
        stay(context, id, limit, whose).await
    }
}
