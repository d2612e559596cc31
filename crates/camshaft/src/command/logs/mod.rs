//! `camshaft logs`: what an attempt wrote, byte for byte, and what is not there and why.

mod follow;
mod prefix;
pub mod retry;
mod steps;

use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::port::dispatch::OutputStream;
use camshaft_model::{ErrorCode, Execution, ExecutionId};
use clap::{Args, ValueEnum};

use super::Context;
use super::number::{COUNT, whole};
use crate::exit::CliError;
use retry::Patience;
use steps::Steps;

pub(super) use follow::{FIRST_ATTEMPT, Follower, Until};

/// Show what an execution wrote, byte for byte: stdout to stdout, stderr to stderr
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft logs exec_01jd2x3f5k8m9n0p1q2r3s4t5v
  camshaft logs -f exec_01jd2x3f5k8m9n0p1q2r3s4t5v
  camshaft logs exec_01jd2x3f5k8m9n0p1q2r3s4t5v --stream stdout > out.bin

What is missing is said on stderr: nothing was written, it was cut at the limit, it was lost and
why, or values of secrets were replaced. -f reads on after a lost connection and ends with the
execution.

Of a run of a workflow the output of all its steps is shown, each line after the name of its step:
`task | line`, `task[3] | line` for an item, `task (attempt 2) | line` for another attempt. -f shows
lines as they come; without it, steps come in the order in which they started.")]
pub struct Logs {
    /// The execution
    #[arg(value_name = "EXECUTION")]
    id: ExecutionId,
    /// Go on until the execution has ended, over its later attempts too
    #[arg(short, long)]
    follow: bool,
    /// Which stream
    #[arg(long, value_enum, default_value_t, value_name = "STREAM")]
    stream: Streams,
    /// Of this attempt, from 1 [default: the latest]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>(COUNT, 2))]
    attempt: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Streams {
    /// Standard output only.
    Stdout,
    /// Standard error only.
    Stderr,
    /// Both.
    #[default]
    Both,
}

impl Logs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let streams: &[_] = match self.stream {
            Streams::Stdout => &[OutputStream::Stdout],
            Streams::Stderr => &[OutputStream::Stderr],
            Streams::Both => &[OutputStream::Stdout, OutputStream::Stderr],
        };
        if let Some(run) = workflow(context, self.id).await? {
            if self.attempt.is_some() {
                return Err(CliError::invalid(
                    "--attempt is for one execution, and this is a run of a workflow",
                )
                .hint(format!(
                    "its executions are shown by: camshaft trace {}",
                    self.id
                )));
            }
            let steps = Steps {
                context,
                run,
                streams,
            };
            if self.follow {
                steps.follow().await?;
            } else {
                steps.print().await?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let until = match (self.follow, self.attempt) {
            (false, _) => Until::Now,
            (true, Some(_)) => Until::AttemptEnds,
            (true, None) => Until::ExecutionEnds,
        };
        let follower = |stream| {
            Follower::new(context, self.id, stream, until)
                .attempt(self.attempt)
                .say_empty()
        };
        let (stdout, stderr) = (
            follower(OutputStream::Stdout),
            follower(OutputStream::Stderr),
        );
        match self.stream {
            Streams::Stdout => stdout.run().await?,
            Streams::Stderr => stderr.run().await?,
            Streams::Both => {
                futures::try_join!(stdout.run(), stderr.run())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Follows the output of every step of a run to its end; `false` if the execution is no run of a
/// workflow.
pub(super) async fn follow_run(context: &Context, id: ExecutionId) -> Result<bool, CliError> {
    let mut patience = Patience::default();
    let found = loop {
        match workflow(context, id).await {
            Ok(found) => break found,
            Err(error) => patience.wait(context, error, "the execution").await?,
        }
    };
    let Some(run) = found else {
        return Ok(false);
    };
    let steps = Steps {
        context,
        run,
        streams: &[OutputStream::Stdout, OutputStream::Stderr],
    };
    steps.follow().await.map(|()| true)
}

/// The execution, if it is a run of a workflow: then it has no output of its own.
async fn workflow(context: &Context, id: ExecutionId) -> Result<Option<Execution>, CliError> {
    let path = format!("/executions/{id}");
    match context.client.read(&format!("{path}/run")).await {
        Ok(_) => context
            .client
            .get(&path, &[], Duration::ZERO)
            .await
            .map(Some),
        // Whether there is such an execution at all is said where the log itself is asked for.
        Err(error) if error.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Answer, FakeEngine};
    use crate::render::Format;

    #[tokio::test]
    async fn an_engine_that_cannot_say_whether_it_is_a_run_does_not_say_no() {
        let id: ExecutionId = "exec_00000000000000000000000001".parse().unwrap();
        for (status, code) in [
            ("503 Service Unavailable", Some(ErrorCode::Unavailable)),
            ("500 Internal Server Error", Some(ErrorCode::Internal)),
            ("404 Not Found", None),
        ] {
            let path = format!("GET /api/v1/executions/{id}/run");
            let engine = FakeEngine::start(vec![Answer::new(&path, status, &[], b"")]).await;
            let (context, _, _) = engine.context(Format::Table);
            let found = workflow(&context, id).await;
            assert_eq!(
                found.as_ref().err().map(|error| error.code),
                code,
                "{found:?}"
            );
            assert!(code.is_some() || found.unwrap().is_none());
        }
    }
}
