//! `camshaft execution retry` and `rerun`.

use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::{ErrorCode, ExecutionId};
use clap::Args;
use serde_json::{Value, json};

use crate::command::Context;
use crate::command::context::duration;
use crate::command::run::{Whose, stay};
use crate::exit::CliError;
use crate::render::{execution, text_at};

/// Run once more what has ended; of a run of a workflow, perhaps only a part
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft execution retry exec_01jd2x3f5k8m9n0p1q2r3s4t5v
  camshaft execution retry exec_01jd2x3f5k8m9n0p1q2r3s4t5v --failed-only --wait
  camshaft execution retry exec_01jd2x3f5k8m9n0p1q2r3s4t5v --from load

A new execution with the same action, in the version that ran, and parameters is requested; the one
that has ended stays as it is. 'rerun' takes the current version. With --failed-only every task that completed is kept with its result. With --from TASK those are
kept that neither are TASK nor come after it. Without either, everything runs anew.")]
pub struct Retry {
    /// The execution that has ended
    #[arg(value_name = "EXECUTION")]
    id: ExecutionId,
    /// Run this task of the run and all that come after it
    #[arg(long, value_name = "TASK", conflicts_with = "failed_only")]
    from: Option<String>,
    /// Run only the tasks of the run that did not complete
    #[arg(long)]
    failed_only: bool,
    #[command(flatten)]
    again: Again,
}

/// Request the same anew, with the same parameters, whatever became of it or still runs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft execution rerun exec_01jd2x3f5k8m9n0p1q2r3s4t5v
  camshaft execution rerun exec_01jd2x3f5k8m9n0p1q2r3s4t5v --wait

The definitions are those that are current now.")]
pub struct Rerun {
    /// The execution whose action and parameters are taken
    #[arg(value_name = "EXECUTION")]
    id: ExecutionId,
    #[command(flatten)]
    again: Again,
}

/// What both have in common.
#[derive(Debug, Args)]
struct Again {
    /// Stay until the new execution has ended, with its output and its exit status, as 'run' does
    #[arg(long)]
    wait: bool,
    /// How long to stay with it [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "wait")]
    timeout: Option<Duration>,
    /// Requests with the same key make one execution
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Retry {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let path = format!("/executions/{}/retry", self.id);
        let body = json!({"from": self.from, "failed_only": self.failed_only});
        self.again.request(context, &path, &body).await
    }
}

impl Rerun {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let path = format!("/executions/{}/rerun", self.id);
        self.again.request(context, &path, &json!({})).await
    }
}

impl Again {
    async fn request(
        self,
        context: &Context,
        path: &str,
        body: &Value,
    ) -> Result<ExitCode, CliError> {
        let key = self.idempotency_key.as_deref();
        let shown: Value = context.client.post(path, body, key).await?;
        if !self.wait {
            return context.show(&shown, execution::show);
        }
        let id = text_at(&shown, "/id").parse().map_err(|error| {
            CliError::new(ErrorCode::Internal, format!("the engine's answer: {error}"))
        })?;
        stay(context, id, self.timeout, Whose::Theirs).await
    }
}
