//! The command line: what a person types, one verb per file.
//!
//! ```text
//! arguments -> Cli (clap) -> verb.run(&Context) -> Client (HTTP) -> render -> Screen
//! ```
//! Some things work without an engine that runs: `up`, which becomes one; `run` and `workflow run`,
//! which bring one along; `pack test` and the rest of `workflow`, which read files; `doctor --check`,
//! which then opens the database itself; `observe` and whatever goes `--via mqtt`, which speak to a
//! broker. What they need from the composition root comes in as [`Local`], so that verbs do not know how
//! an engine is built.

pub mod action;
mod broker;
pub mod completions;
pub mod constraint;
mod context;
pub mod doctor;
pub mod enforcement;
pub mod event;
pub mod events;
pub mod execution;
mod input;
pub mod inquiry;
pub mod local;
pub mod logs;
mod number;
pub mod observe;
pub mod pack;
pub mod pause;
mod reference;
pub mod resume;
pub mod rule;
pub mod run;
pub mod sensor;
pub mod set_limit;
pub mod status;
pub mod trace;
pub mod trigger;
pub mod up;
pub mod watch;
pub mod why;
pub mod workflow;

#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use camshaft_model::ErrorCode;
use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::client::endpoint::Source;
use crate::exit::CliError;
use crate::render::{Format, Screen};
pub use context::Context;
pub use local::Local;
pub use reference::cli_reference;
pub use up::UpOptions;

/// The data directory if nothing else is said.
pub const DEFAULT_DATA_DIR: &str = ".camshaft";

/// The status of a process whose reader went away, as if SIGPIPE had ended it.
const EXIT_CLOSED: u8 = 141;

/// Event-driven automation in one binary: sensors, rules, actions and workers.
#[derive(Debug, Parser)]
#[command(
    name = "camshaft",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  camshaft up --packs ./packs          start the engine, watch ./packs
  camshaft run demo.greet name=Ada     run an action and see its output
  camshaft run -- ./backup.sh /srv     run a file as it is
  camshaft execution list              what ran, and how it ended
  camshaft why EXECUTION               why it has not run, or how it came about
  camshaft pause --ttl 5m              let nothing new start for five minutes

Standard output is data, standard error is everything else.
Durations are written 250ms, 30s, 5m, 4h, 1d or 1h30m; instants as 2026-11-21T12:00:00Z.

Exit status: 0 done; 1 the execution or check failed; 2 a mistake in the request or a definition;
3 the engine cannot be reached; 4 not allowed; 5 no such thing; 6 the state does not allow it;
70 Camshaft itself failed; 130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The folder with the engine's data and its address [default: ./.camshaft]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The engine's address, instead of the one in the data directory
    #[arg(long, global = true, env = "CAMSHAFT_API_URL", value_name = "URL")]
    url: Option<String>,
    /// The token that opens it, instead of the one in the data directory
    #[arg(
        long,
        global = true,
        env = "CAMSHAFT_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    /// How answers are written
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(up::Up),
    Run(Box<run::Run>),
    #[command(subcommand)]
    Execution(execution::Execution),
    #[command(subcommand)]
    Inquiry(inquiry::Inquiry),
    Logs(logs::Logs),
    Events(events::Events),
    Watch(watch::Watch),
    Observe(observe::Observe),
    Trace(trace::Trace),
    Why(why::Why),
    Pause(pause::Pause),
    Resume(resume::Resume),
    SetLimit(set_limit::SetLimit),
    #[command(subcommand)]
    Constraint(constraint::Constraint),
    #[command(subcommand)]
    Event(event::Event),
    #[command(subcommand)]
    Enforcement(enforcement::Enforcement),
    #[command(subcommand)]
    Rule(rule::Rule),
    #[command(subcommand)]
    Action(action::Action),
    #[command(subcommand)]
    Workflow(workflow::Workflow),
    #[command(subcommand)]
    Trigger(trigger::Trigger),
    #[command(subcommand)]
    Sensor(sensor::Sensor),
    #[command(subcommand)]
    Pack(pack::Pack),
    Status(status::Status),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// Does what the arguments say and shows what went wrong. Arguments that make no sense end with 2.
pub fn main(arguments: impl IntoIterator<Item = OsString>, local: Local) -> ExitCode {
    let screen = Screen::standard();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data, mistakes are not; clap knows which goes where.
            let shown = error.print();
            let status = u8::try_from(error.exit_code()).unwrap_or(2);
            return if shown.is_ok() {
                ExitCode::from(status)
            } else {
                ExitCode::from(EXIT_CLOSED)
            };
        }
    };
    match run(cli, screen.clone(), local) {
        Ok(status) => status,
        Err(_) if screen.is_closed() => ExitCode::from(EXIT_CLOSED),
        Err(error) => {
            screen.error(&error);
            error.exit_code()
        }
    }
}

fn run(cli: Cli, screen: Screen, local: Local) -> Result<ExitCode, CliError> {
    let Global {
        data_dir,
        url,
        token,
        output,
    } = cli.global;
    if let Verb::Up(up) = cli.verb {
        return (local.up)(up.options(data_dir));
    }
    let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let client = Client::new(Source {
        data_dir: data_dir.clone(),
        url,
        token,
    })?;
    let context = Context {
        client,
        screen,
        format: output,
        data_dir,
        local,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CliError::new(
                ErrorCode::Internal,
                format!("the async runtime does not start: {error}"),
            )
        })?;
    let status = runtime.block_on(dispatch(cli.verb, &context));
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    status
}

async fn dispatch(verb: Verb, context: &Context) -> Result<ExitCode, CliError> {
    match verb {
        Verb::Up(up) => (context.local.up)(up.options(Some(context.data_dir.clone()))),
        Verb::Run(verb) => verb.run(context).await,
        Verb::Execution(verb) => verb.run(context).await,
        Verb::Inquiry(verb) => verb.run(context).await,
        Verb::Logs(verb) => verb.run(context).await,
        Verb::Events(verb) => verb.run(context).await,
        Verb::Watch(verb) => verb.run(context).await,
        Verb::Observe(verb) => verb.run(context).await,
        Verb::Trace(verb) => verb.run(context).await,
        Verb::Why(verb) => verb.run(context).await,
        Verb::Pause(verb) => verb.run(context).await,
        Verb::Resume(verb) => verb.run(context).await,
        Verb::SetLimit(verb) => verb.run(context).await,
        Verb::Constraint(verb) => verb.run(context).await,
        Verb::Event(verb) => verb.run(context).await,
        Verb::Enforcement(verb) => verb.run(context).await,
        Verb::Rule(verb) => verb.run(context).await,
        Verb::Action(verb) => verb.run(context).await,
        Verb::Workflow(verb) => verb.run(context).await,
        Verb::Trigger(verb) => verb.run(context).await,
        Verb::Sensor(verb) => verb.run(context).await,
        Verb::Pack(verb) => verb.run(context).await,
        Verb::Status(verb) => verb.run(context).await,
        Verb::Doctor(verb) => verb.run(context).await,
        Verb::Completions(verb) => verb.run(context),
    }
}
