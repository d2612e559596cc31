//! `make chaos`: the reliability promises under attack, with a seed that repeats the attack.
//!
//! R1 kills the whole system at random under load (`storm/`), R3 the broker (`broker.rs`), R5 lets children
//! misbehave (`children.rs`), R6 moves the clock (`clock.rs`). Each prints what it measured beside its bound; a
//! violation ends the program with status 1 and keeps the files.

mod broker;
mod children;
mod clock;
mod engine;
mod machine;
mod report;
mod storm;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use report::Report;

/// What stops a scenario before it could measure anything.
pub(crate) type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Attacks Camshaft and checks what it promises
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// Which ones; all if none is named
    #[arg(value_enum, ignore_case = true)]
    scenarios: Vec<Scenario>,
    /// Repeats an attack
    #[arg(long)]
    seed: Option<u64>,
    /// How often R1 kills the system
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// How often R3 kills the broker
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// The program under attack [default: camshaft beside this program]
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Random kills of the whole system under load
    R1,
    /// The MQTT broker killed and started again, under load, a pause and limits
    R3,
    /// Children that misbehave
    R5,
    /// Clock steps, changes of daylight saving time, a day of downtime
    R6,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut report = Report::default();
    if let Err(trouble) = run(&arguments, seed, &mut report).await {
        report.violation("-", format!("the attack broke off: {trouble}"));
    }
    // Who closed the pipe does not want to read it.
    let _ = std::io::stdout().write_all(report.render(seed).as_bytes());
    if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run(arguments: &Arguments, seed: u64, report: &mut Report) -> Result<(), Trouble> {
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize()?,
        None => std::env::current_exe()?.with_file_name("camshaft"),
    };
    let chosen = if arguments.scenarios.is_empty() {
        Scenario::value_variants()
    } else {
        &arguments.scenarios
    };
    for scenario in chosen {
        match scenario {
            Scenario::R1 => storm::run(&binary, seed, arguments.rounds, report).await?,
            Scenario::R3 => broker::run(&binary, seed, arguments.kills, report).await?,
            Scenario::R5 => children::run(&binary, report).await?,
            Scenario::R6 => clock::run(seed, report).await?,
        }
    }
    Ok(())
}
