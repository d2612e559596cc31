//! `camshaft watch`: a run while it goes on.
//!
//! ```text
//! event stream -> names -> one line each                  (a pipe, --plain)
//!              -> "look again" -> engine -> tree -> screen (a terminal)
//! ```
//! The event log drives both. What is drawn comes from the engine's rows and not from the events, so
//! a tree is right whatever was missed; nothing is asked for while nothing happens.

mod live;
pub(crate) mod names;
mod output;
pub(crate) mod stream;

use std::process::ExitCode;

use camshaft_model::step_event::LogLevel;
use camshaft_model::{Execution, ExecutionId, StepEvent};
use clap::Args;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::Context;
use super::run::wait::{EXIT_INTERRUPTED, conclude};
use crate::exit::CliError;
use crate::render::{Format, json, watched};
use names::Names;
use stream::Lines;

/// Watch a run until it ends: a live tree, or one line per event
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft watch exec_01jd2x3f5k8m9n0p1q2r3s4t5v
  camshaft watch exec_01jd2x3f5k8m9n0p1q2r3s4t5v --plain | grep failed

On a terminal the run is drawn as a tree: what is under way with its attempts and why it waits, items
as a bar, inquiries and how to answer them, runs below it, and the last lines that its steps wrote.
A pipe, or --plain, gets one line per event: time, the end of the run's id, the step, what happened.

The exit status is 0 if the run completed, 1 if not. Ctrl-C leaves the run as it is (status 130). If
the engine is restarted, watching goes on where it was.")]
pub struct Watch {
    /// The execution
    #[arg(value_name = "EXECUTION")]
    id: ExecutionId,
    /// One line per event, on a terminal too
    #[arg(long)]
    plain: bool,
}

impl Watch {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                // Without a handler SIGINT ends the process by itself.
                std::future::pending::<()>().await;
            }
        };
        let id = self.id;
        tokio::select! {
            biased;
            () = interrupted => {
                context.screen.note(&format!("The run goes on; cancel it with: camshaft execution cancel {id}"));
                Ok(ExitCode::from(EXIT_INTERRUPTED))
            }
            ended = self.watch(context) => {
                ended?;
                conclude(context, id, &context.client.read(&format!("/executions/{id}")).await?)
            }
        }
    }

    async fn watch(&self, context: &Context) -> Result<(), CliError> {
        let path = format!("/executions/{}", self.id);
        let execution: Execution = context
            .client
            .get(&path, &[], std::time::Duration::ZERO)
            .await?;
        let drawn = context.screen.style.terminal && context.format == Format::Table;
        if drawn && !self.plain {
            live::Live::new(context, execution).run().await
        } else {
            plain(context, &execution).await
        }
    }
}

/// One line for each event, as it happens.
async fn plain(context: &Context, execution: &Execution) -> Result<(), CliError> {
    let id = execution.spec.id;
    let zone = TimeZone::system();
    let mut names = Names::new(context, id);
    let mut lines = Lines::new(context, Some(execution.spec.root)).after(Some(0));
    while let Some(event) = lines.event().await? {
        let Some(about) = names.about(&event).await? else {
            continue;
        };
        if context.format != Format::Table {
            let value = serde_json::to_value(&event).unwrap_or(Value::Null);
            context
                .screen
                .text(&json::render_one_of_many(&value, context.format)?)?;
        } else if event.event_type.level() >= LogLevel::Info {
            context
                .screen
                .text(&watched::line(&event, &about.name, &zone))?;
        }
        if ends(&event, about.itself && about.name.is_empty()) {
            break;
        }
    }
    Ok(())
}

/// Whether an event tells of the end of what is watched. That of a run below another one is told in
/// the log of the run above, which goes on.
fn ends(event: &StepEvent, is_subject: bool) -> bool {
    use camshaft_model::StepEventType::{TaskCancelled, TaskCompleted, TaskFailed};
    is_subject
        && event.item_id.is_some()
        && matches!(event.event_type, TaskCompleted | TaskFailed | TaskCancelled)
}
