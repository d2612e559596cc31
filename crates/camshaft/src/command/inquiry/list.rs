//! `camshaft inquiry list`.

use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::{ExecutionId, InquiryStatus};
use clap::Args;
use serde_json::Value;

use crate::command::Context;
use crate::command::context::{Page, Query};
use crate::exit::CliError;
use crate::render::table::Column;

const COLUMNS: &[Column] = &[
    Column::at("ID", "/id"),
    Column::at("STATUS", "/status"),
    Column::at("RUN", "/run"),
    Column::at("TASK", "/task/name"),
    Column::instant("ASKED", "/created_at"),
    Column::instant("EXPIRES", "/expires_at"),
    Column::with("ROLES", roles),
    Column::at("BY", "/answered_by"),
    Column::at("PROMPT", "/prompt"),
];

/// List what is asked of people and not answered yet, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  camshaft inquiry list
  camshaft inquiry list --all --run exec_01jd2x3f5k8m9n0p1q2r3s4t5v")]
pub struct List {
    /// What has been answered, has expired or was withdrawn too
    #[arg(long)]
    all: bool,
    /// Of this run and the runs below it
    #[arg(long, value_name = "RUN")]
    run: Option<ExecutionId>,
    #[command(flatten)]
    page: Page,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let query = Query::default()
            .with("status", (!self.all).then(|| InquiryStatus::Open.as_str()))
            .with("run", self.run)
            .page(&self.page);
        let page: Value = context
            .client
            .get("/inquiries", &query.0, Duration::ZERO)
            .await?;
        context.list(&page, COLUMNS)
    }
}

/// Who may answer: one of these.
pub(super) fn roles(inquiry: &Value) -> String {
    let roles: Vec<&str> = inquiry
        .get("roles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if roles.is_empty() {
        "anybody".to_owned()
    } else {
        roles.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::{Style, table};

    #[test]
    fn a_list_tells_what_is_asked_of_whom_and_until_when() {
        let inquiries = [
            json!({"id": "inq_2", "status": "open", "run": "exec_1", "task": {"name": "approve"}, "prompt": "Load 5 rows?",
                "roles": ["operator", "release"], "created_at": "2026-11-21T01:28:29Z", "expires_at": "2026-11-21T05:28:29Z"}),
            json!({"id": "inq_1", "status": "rejected", "run": "exec_1", "task": {"name": "go"}, "prompt": "Go?\nNow?",
                "roles": [], "created_at": "2026-11-21T01:28:28Z", "expires_at": null, "answered_by": "ada"}),
        ];
        insta::assert_snapshot!(table::list(&inquiries, COLUMNS, Style::default()), @r"
        ID     STATUS    RUN     TASK     ASKED                     EXPIRES                   ROLES              BY   PROMPT
        inq_2  open      exec_1  approve  2026-11-21T01:28:29.000Z  2026-11-21T05:28:29.000Z  operator, release  -    Load 5 rows?
        inq_1  rejected  exec_1  go       2026-11-21T01:28:28.000Z  -                         anybody            ada  Go?\nNow?
        ");
    }
}
