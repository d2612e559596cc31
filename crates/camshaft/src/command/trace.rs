//! `camshaft trace`: where the time of a run went, on one screen.

use std::process::ExitCode;

use camshaft_model::ExecutionId;
use clap::Args;

use super::Context;
use crate::exit::CliError;
use crate::render::trace;

/// Show where the time of a run went: its steps, what is odd, and the critical path
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft trace exec_01jd2x3f5k8m9n0p1q2r3s4t5v
  camshaft trace exec_01jd2x3f5k8m9n0p1q2r3s4t5v -o json

Steps come oldest first, with their offset from the request of the run; a bar chart is drawn on a
terminal. What is odd: next to no output, a long wait for a slot, more than three times as long as
the median of the action's latest 20, retries, attempts that were started twice or cut off, skips.

The critical path goes from the request to the end, always by what ended last among what the next
step needed. Its sum is the duration of the run, by where the time went: queue (for a slot),
constraint (a pause, a resource, another execution of the rule), delay (a retry, a lap, an instant
that was asked for), spawn (until the process was there), run, commit (from an end to what it led
to), person (an inquiry), event (an awaited event). A run that has not ended is traced up to now.")]
pub struct Trace {
    /// The execution: a run, or a part of one
    #[arg(value_name = "EXECUTION")]
    id: ExecutionId,
}

impl Trace {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let answer = context
            .client
            .read(&format!("/executions/{}/trace", self.id))
            .await?;
        context.show(&answer, trace::show)
    }
}
