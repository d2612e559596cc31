//! `camshaft inquiry show`.

use std::process::ExitCode;

use camshaft_model::InquiryId;
use clap::Args;
use serde_json::Value;

use super::list::roles;
use crate::command::Context;
use crate::exit::CliError;
use crate::render::table::pairs;
use crate::render::{Format, Style, instant_at, json, text_at};

/// Show one inquiry: what is asked, of whom, and the answer if there is one
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  camshaft inquiry show inq_01jd2x3f5k8m9n0p1q2r3s4t5v")]
pub struct Show {
    /// The inquiry
    #[arg(value_name = "INQUIRY")]
    id: InquiryId,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let path = format!("/inquiries/{}", self.id);
        let inquiry = context.client.read(&path).await?;
        let status = context.show(&inquiry, render)?;
        if context.format == Format::Table && text_at(&inquiry, "/status") == "open" {
            context.screen.note(&how_to_answer(&inquiry));
        }
        Ok(status)
    }
}

fn how_to_answer(inquiry: &Value) -> String {
    let response = match inquiry.get("schema") {
        None | Some(Value::Null) => "",
        Some(_) => " --response key=value",
    };
    let id = text_at(inquiry, "/id");
    format!("Answer with: camshaft inquiry answer {id} --approve{response}, or --reject")
}

pub(super) fn render(inquiry: &Value, style: Style) -> String {
    let task = text_at(inquiry, "/task/name");
    let visit = inquiry.pointer("/task/visit").and_then(Value::as_u64);
    let task = match visit {
        Some(visit) if visit > 1 => format!("{task}#{visit}"),
        _ => task,
    };
    let block = |key: &str| {
        let value = inquiry.get(key).filter(|value| !value.is_null());
        value
            .and_then(|value| json::render(value, Format::Json).ok())
            .unwrap_or_else(|| "-".to_owned())
    };
    let rows = [
        ("id", text_at(inquiry, "/id")),
        ("status", text_at(inquiry, "/status")),
        ("run", text_at(inquiry, "/run")),
        ("task", task),
        ("prompt", text_at(inquiry, "/prompt")),
        ("asked of", roles(inquiry)),
        ("asked", instant_at(inquiry, "/created_at")),
        ("expires", instant_at(inquiry, "/expires_at")),
        ("schema", block("schema")),
        ("closed", instant_at(inquiry, "/closed_at")),
        ("answered by", text_at(inquiry, "/answered_by")),
        ("answer", block("answer")),
    ];
    let rows: Vec<_> = rows.into_iter().filter(|(_, text)| text != "-").collect();
    pairs(&rows, style)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_open_inquiry_shows_what_it_asks_for_and_how_to_answer() {
        let inquiry = json!({"id": "inq_1", "status": "open", "run": "exec_1", "task": {"name": "approve", "visit": 2},
            "prompt": "Load 5 rows?", "roles": ["operator"], "created_at": "2026-11-21T01:28:29Z",
            "expires_at": "2026-11-21T05:28:29Z", "schema": {"type": "object"}, "answer": null});
        insta::assert_snapshot!(render(&inquiry, Style::default()), @r#"
        id        inq_1
        status    open
        run       exec_1
        task      approve#2
        prompt    Load 5 rows?
        asked of  operator
        asked     2026-11-21T01:28:29.000Z
        expires   2026-11-21T05:28:29.000Z
        schema    {
                    "type": "object"
                  }
        "#);
        insta::assert_snapshot!(how_to_answer(&inquiry), @"Answer with: camshaft inquiry answer inq_1 --approve --response key=value, or --reject");
    }

    #[test]
    fn an_answered_one_shows_who_said_what() {
        let inquiry = json!({"id": "inq_1", "status": "approved", "run": "exec_1", "task": {"name": "approve", "visit": 1},
            "prompt": "Load 5 rows?", "roles": [], "created_at": "2026-11-21T01:28:29Z", "answered_by": "ada",
            "closed_at": "2026-11-21T01:28:39Z", "schema": null, "answer": {"note": "go"}});
        insta::assert_snapshot!(render(&inquiry, Style::default()), @r#"
        id           inq_1
        status       approved
        run          exec_1
        task         approve
        prompt       Load 5 rows?
        asked of     anybody
        asked        2026-11-21T01:28:29.000Z
        closed       2026-11-21T01:28:39.000Z
        answered by  ada
        answer       {
                       "note": "go"
                     }
        "#);
    }
}
