//! `camshaft resume`.

use std::process::ExitCode;

use camshaft_model::{ConstraintType, Scope};
use clap::Args;

use super::Context;
use super::constraint::request;
use super::constraint::via::Via;
use crate::exit::CliError;

/// End a pause; what it held starts at once, as far as limits allow
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft resume
  camshaft resume task:api_call
  camshaft resume task:api_call --all    its limits too

The scope is the one that was paused: to resume task:api_call does not end a global pause, nor one
of task:api_*. To resume what is not paused changes nothing. `camshaft execution resume RUN` is for
a run that was paused by itself.")]
pub struct Resume {
    /// What to let go on
    #[arg(value_name = "SCOPE", default_value = "global")]
    scope: Scope,
    /// End the limits of the scope and its pause of events too
    #[arg(long, conflicts_with = "events")]
    all: bool,
    /// End the pause of events instead: rules answer what was held, oldest first
    #[arg(long)]
    events: bool,
    #[command(flatten)]
    via: Via,
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let kind = match (self.all, self.events) {
            (true, _) => None,
            (false, true) => Some(ConstraintType::EventPause),
            (false, false) => Some(ConstraintType::Pause),
        };
        request::clear(context, &self.via, &self.scope, kind).await
    }
}
