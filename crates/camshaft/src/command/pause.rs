//! `camshaft pause`.

use std::process::ExitCode;

use camshaft_model::{Scope, Terms};
use clap::Args;

use super::Context;
use super::constraint::request::{self, Terming};
use super::constraint::via::Via;
use crate::exit::CliError;

/// Let nothing new start: everywhere, or in a scope; what runs goes on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft pause                                      everything
  camshaft pause task:api_call --ttl 5m               one task, in any workflow, for five minutes
  camshaft pause 'action:billing.*' --reason audit    every action of a pack, until resumed
  camshaft pause pack:billing --events                the rules on its triggers, which answer later

A scope is global, or project, pack, rule, action, workflow, task, runtime, worker or pod with a
name or a pattern. A pause also holds what waits already, tasks and retries of runs that are under
way included; it survives a restart of the engine. `camshaft execution pause RUN` holds one run
instead.")]
pub struct Pause {
    /// What to hold
    #[arg(value_name = "SCOPE", default_value = "global")]
    scope: Scope,
    /// Hold new starts; the default, and to be said to hold both
    #[arg(long)]
    starts: bool,
    /// Hold events: they are recorded, and rules answer them once this ends; on global, project:<id>,
    /// pack:<name> of the trigger or rule:<ref>
    #[arg(long)]
    events: bool,
    /// Let no rule ever answer the events of this time
    #[arg(long, requires = "events")]
    drop: bool,
    #[command(flatten)]
    terming: Terming,
    #[command(flatten)]
    via: Via,
}

impl Pause {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let starts = (self.starts || !self.events).then_some(Terms::Pause);
        let events = self.events.then_some(Terms::EventPause { drop: self.drop });
        let terms = starts.into_iter().chain(events).collect();
        request::set(context, &self.via, &self.scope, terms, self.terming).await
    }
}
