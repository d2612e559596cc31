//! `camshaft why`: one screen.

use std::process::ExitCode;

use camshaft_model::port::clock::Clock as _;
use camshaft_model::{EventId, ExecutionId};
use clap::Args;

use super::Context;
use crate::clock::SystemClock;
use crate::exit::CliError;
use crate::render::why;

/// Say why an execution has not run or how it came about, or why a rule did not fire on an event
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft why exec_01jd2x3f5k8m9n0p1q2r3s4t5v    what it waits for, who holds it, until when
  camshaft why evt_01jd2x3f5k8m9n0p1q2r3s4t5v     each rule on its trigger, each criterion with both values")]
pub struct Why {
    /// The event or the execution
    #[arg(value_name = "EVENT|EXECUTION", value_parser = subject)]
    subject: Subject,
}

#[derive(Debug, Clone, Copy)]
enum Subject {
    Event(EventId),
    Execution(ExecutionId),
}

fn subject(text: &str) -> Result<Subject, String> {
    let event = text.parse().map(Subject::Event);
    event
        .or_else(|_| text.parse().map(Subject::Execution))
        .map_err(|_| {
            "it must be the id of an event (evt_…) or of an execution (exec_…), in full".to_owned()
        })
}

impl Why {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self.subject {
            Subject::Event(id) => {
                let answer = context.client.read(&format!("/events/{id}/why")).await?;
                context.show(&answer, |answer, _| why::event(answer))
            }
            Subject::Execution(id) => {
                let answer = context
                    .client
                    .read(&format!("/executions/{id}/why"))
                    .await?;
                let now = SystemClock.now();
                context.show(&answer, |answer, _| why::execution(answer, now))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_says_what_is_meant() {
        assert!(matches!(
            subject("evt_00000000000000000000000001"),
            Ok(Subject::Event(_))
        ));
        assert!(matches!(
            subject("exec_00000000000000000000000001"),
            Ok(Subject::Execution(_))
        ));
        assert!(subject("01").is_err());
    }
}
