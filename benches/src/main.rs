//! Measures the bars of the project, each beside its limit: what the machine itself gives for the same
//! work in the same minute. Machines are noisy, so every number is a median of rounds, and what is
//! compared with a bar is the ratio of a round to the limit of that round.
//!
//! ```text
//! limit     what the machine gives        packs     definitions that the scenarios run
//! served    the real binary over HTTP     scenario/ one file for each bar
//! report    medians, table, JSON
//! ```

mod limit;
mod packs;
mod report;
mod scenario;
mod served;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use report::{Machine, Report};
use scenario::{Bench, SCENARIOS, Scenario};

/// As in the binary that users run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that keeps a scenario from being measured.
type Failure = Box<dyn Error + Send + Sync>;

/// Measures Camshaft beside what this machine gives
#[derive(Debug, Parser)]
struct Options {
    /// Which scenarios, such as P1 P3; all if none is named
    scenarios: Vec<String>,
    /// How many times each is measured; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Also write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where databases are made: on the disk whose flushes are to be measured
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// The camshaft binary [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// P6 also starts on a database of a million executions (takes minutes to make)
    #[arg(long)]
    million: bool,
}

fn main() -> ExitCode {
    let outcome = run(Options::parse());
    match outcome {
        Ok(text) => {
            report::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    let known = || {
        SCENARIOS
            .iter()
            .map(|scenario| scenario.id)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            SCENARIOS
                .iter()
                .find(|scenario| scenario.id.eq_ignore_ascii_case(name))
                .ok_or_else(|| {
                    format!("there is no scenario '{name}' (there are: {})", known()).into()
                })
        })
        .collect()
}

fn run(options: Options) -> Result<String, Failure> {
    let scenarios = chosen(&options.scenarios)?;
    std::fs::create_dir_all(&options.dir)?;
    let binary = match options.binary {
        Some(binary) => binary,
        None => std::env::current_exe()?.with_file_name("camshaft"),
    };
    let bench = Bench {
        dir: options.dir.canonicalize()?,
        binary,
        million: options.million,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut report = Report::new(Machine::look(), options.rounds);
    for scenario in scenarios {
        for round in 1..=options.rounds {
            report::complain(&format!(
                "{} round {round} of {}: {}",
                scenario.id, options.rounds, scenario.title
            ));
            report.add(scenario, runtime.block_on((scenario.measure)(&bench))?);
        }
    }
    if let Some(file) = options.json {
        std::fs::write(file, report.json()?)?;
    }
    Ok(report.table())
}
