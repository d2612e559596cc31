//! `camshaft observe`: runs as a broker tells of them.

use std::process::ExitCode;

use camshaft_link::mqtt::{Seen, Watcher};
use camshaft_model::duration;
use camshaft_model::port::clock::Clock as _;
use clap::Args;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::Context;
use super::broker::{BrokerOptions, client_id, unreachable};
use super::run::wait::EXIT_INTERRUPTED;
use crate::clock::SystemClock;
use crate::exit::CliError;
use crate::render::{Format, escape, json, observed};

/// Print runs as a broker tells of them, one line per event
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft observe
  camshaft observe --host broker.example --project edge
  camshaft observe --output json | jq .body

Needs a broker and no engine. Each line has a time, the end of the run's id and what happened; engines
that come and go are told of too. It goes on until Ctrl-C, also through restarts of the broker: what
was published while the broker was away is not seen. Lines of JSON are the messages as they came.")]
pub struct Observe {
    /// Runs of this project only
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    #[command(flatten)]
    broker: BrokerOptions,
}

impl Observe {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                // Without a handler SIGINT ends the process by itself.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = interrupted => Ok(ExitCode::from(EXIT_INTERRUPTED)),
            ended = self.observe(context) => ended.map(|()| ExitCode::SUCCESS),
        }
    }

    async fn observe(&self, context: &Context) -> Result<(), CliError> {
        let topics = self.broker.topics()?;
        let filters = vec![
            topics.all_telemetry(self.project.as_deref()),
            topics.all_status(),
        ];
        let watcher = Watcher::connect(self.broker.broker()?, client_id(), filters).await;
        let mut watcher = watcher.map_err(|error| unreachable(&error))?;
        context.screen.note("Observing; Ctrl-C ends it.");
        let zone = TimeZone::system();
        loop {
            match watcher.next().await {
                Seen::Message {
                    topic,
                    payload,
                    retained,
                } => {
                    let Ok(message) = serde_json::from_slice::<Value>(&payload) else {
                        continue;
                    };
                    // Who is gone since before we came is no news.
                    if retained && message["status"] == "offline" {
                        continue;
                    }
                    let line = if context.format == Format::Table {
                        let run = observed::run_line(&message, &zone);
                        run.or_else(|| {
                            let source = topic.rsplit('/').next()?;
                            observed::status_line(source, &message, SystemClock.now(), &zone)
                        })
                    } else {
                        Some(json::render_one_of_many(&message, context.format)?)
                    };
                    if let Some(line) = line {
                        context.screen.text(&line)?;
                    }
                }
                Seen::Lost { reason, after } => context.screen.note(&format!(
                    "{}; tried again in {}",
                    escape::line(&reason),
                    duration::display(after)
                )),
                Seen::Back => context.screen.note("The broker is back."),
            }
        }
    }
}
