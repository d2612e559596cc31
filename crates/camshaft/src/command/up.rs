//! `camshaft up`: engine, worker, sensors and API in this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::context::duration;
use super::number::whole;
use crate::config::MAX_SLOTS;

/// Start the engine here: sensors, rules, worker and API in one process
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft up
  camshaft up --packs ./packs --slots 4
  camshaft up --packs examples --for 20s    stop by itself; for trying out
  camshaft up --broker                      with an MQTT broker for constraints and telemetry

Flags win over the environment (CAMSHAFT__…), which wins over camshaft.yaml.
The first Ctrl-C drains: nothing new starts, what runs gets --drain, then TERM, then KILL.
The second one kills at once. What was interrupted is taken up at the next start.
Only one engine may use a data directory.")]
pub struct Up {
    /// A folder with packs, watched for changes; may be given several times
    #[arg(long, value_name = "DIR")]
    packs: Vec<PathBuf>,
    /// Where the API listens [default: 127.0.0.1:7410]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// How many attempts run at once [default: twice the processors]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
        value_parser = whole::<u32>(1..=i64::from(MAX_SLOTS), 8))]
    slots: Option<u32>,
    /// How long running attempts get when the engine stops [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    drain: Option<Duration>,
    /// Run an MQTT broker as well, and use it [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, require_equals = true)]
    broker: Option<Option<SocketAddr>>,
    /// The configuration file [default: ./camshaft.yaml if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop after so long; the exit status is 0 only if executions completed
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    run_for: Option<Duration>,
    /// What is shown while it runs
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    print: Print,
}

/// What the console shows while the engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Print {
    /// One line for each event, rule and execution.
    #[default]
    Plain,
    /// Nothing but problems.
    None,
}

/// What was asked of `camshaft up`. What is `None` comes from the environment, the configuration
/// file or the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpOptions {
    /// Folders with packs, to be watched.
    pub packs: Vec<PathBuf>,
    /// The data directory.
    pub data_dir: Option<PathBuf>,
    /// Where the API listens.
    pub listen: Option<SocketAddr>,
    /// How many attempts run at once.
    pub slots: Option<u32>,
    /// How long running attempts get when the engine stops.
    pub drain: Option<Duration>,
    /// Whether an MQTT broker runs as well, and where it listens.
    pub broker: Option<Option<SocketAddr>>,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Stop after so long.
    pub run_for: Option<Duration>,
    /// What the console shows.
    pub print: Print,
}

impl Up {
    pub(super) fn options(self, data_dir: Option<PathBuf>) -> UpOptions {
        let Self {
            packs,
            listen,
            slots,
            drain,
            broker,
            config,
            run_for,
            print,
        } = self;
        UpOptions {
            packs,
            data_dir,
            listen,
            slots,
            drain,
            broker,
            config,
            run_for,
            print,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Verb};
    use super::*;
    use clap::Parser;

    fn options(arguments: &[&str]) -> UpOptions {
        let cli = Cli::try_parse_from([&["camshaft", "up"], arguments].concat()).unwrap();
        let Verb::Up(up) = cli.verb else {
            panic!("not up")
        };
        up.options(cli.global.data_dir)
    }

    #[test]
    fn what_is_not_said_is_left_to_the_configuration() {
        assert_eq!(options(&[]), UpOptions::default());
    }

    #[test]
    fn every_flag_arrives() {
        let arguments = [
            "--packs",
            "a",
            "--packs",
            "b",
            "--data-dir",
            "d",
            "--listen",
            "127.0.0.1:0",
            "--slots",
            "4",
            "--drain",
            "5s",
            "--broker=127.0.0.1:0",
            "--config",
            "c.yaml",
            "--for",
            "1m",
            "--print",
            "none",
        ];
        let expected = UpOptions {
            packs: vec!["a".into(), "b".into()],
            data_dir: Some("d".into()),
            listen: Some("127.0.0.1:0".parse().unwrap()),
            slots: Some(4),
            drain: Some(Duration::from_secs(5)),
            broker: Some(Some("127.0.0.1:0".parse().unwrap())),
            config: Some("c.yaml".into()),
            run_for: Some(Duration::from_secs(60)),
            print: Print::None,
        };
        assert_eq!(options(&arguments), expected);
    }

    #[test]
    fn a_duration_that_is_none_is_refused() {
        assert!(Cli::try_parse_from(["camshaft", "up", "--drain", "soon"]).is_err());
    }
}
