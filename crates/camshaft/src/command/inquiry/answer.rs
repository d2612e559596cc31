//! `camshaft inquiry answer`.

use std::process::ExitCode;

use camshaft_model::{ErrorCode, InquiryId};
use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::show::render;
use crate::command::Context;
use crate::command::input;
use crate::command::run::parameters::{self, Given, Kind};
use crate::exit::CliError;

const RESPONSE: Kind = Kind {
    noun: "response",
    code: ErrorCode::InvalidResponse,
    schema_hint: "camshaft inquiry show prints what is asked for",
};

/// Approve or reject what a run asks
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("verdict").required(true).args(["approve", "reject"]),
    after_help = "\
Examples:
  camshaft inquiry answer inq_01jd2x3f5k8m9n0p1q2r3s4t5v --approve
  camshaft inquiry answer inq_01jd2x3f5k8m9n0p1q2r3s4t5v --reject --response reason='Not on a Friday'
  camshaft inquiry answer inq_01jd2x3f5k8m9n0p1q2r3s4t5v --approve --response rows=5 --response tags:='[\"a\"]'
  camshaft inquiry answer inq_01jd2x3f5k8m9n0p1q2r3s4t5v --approve --response @answer.yaml

A response is JSON, @FILE, - for standard input, or key=text, key:=JSON and key=@FILE as often as
there are keys. Text becomes a number, a boolean, an array or an object where the inquiry's schema
says so. The first answer counts; the same one given again changes nothing."
)]
pub struct Answer {
    /// The inquiry
    #[arg(value_name = "INQUIRY")]
    id: InquiryId,
    /// Yes: the task completes with the response
    #[arg(long)]
    approve: bool,
    /// No: the task fails
    #[arg(long)]
    reject: bool,
    /// What the inquiry asks for besides yes or no
    #[arg(long, value_name = "JSON|KEY=VALUE", allow_hyphen_values = true)]
    response: Vec<String>,
}

impl Answer {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let path = format!("/inquiries/{}", self.id);
        let response = match read(&self.response)? {
            Response::Whole(value) => value,
            Response::Pairs(given) if given.needs_schema() => {
                let inquiry = context.client.read(&path).await?;
                let schema = inquiry.get("schema").unwrap_or(&Value::Null);
                given.typed(schema)?.into()
            }
            Response::Pairs(given) => given.typed(&Value::Null)?.into(),
        };
        let body = json!({"approve": self.approve, "response": response});
        let answered: Value = context
            .client
            .post(&format!("{path}/answer"), &body, None)
            .await?;
        context.show(&answered, render)
    }
}

#[derive(Debug, PartialEq)]
enum Response {
    Whole(Value),
    Pairs(Given),
}

/// Reads what was typed: one text that is JSON or names a file, or pairs.
fn read(arguments: &[String]) -> Result<Response, CliError> {
    match arguments {
        [] => Ok(Response::Whole(Value::Null)),
        [one] if is_whole(one) => input::json_argument(one, "the response").map(Response::Whole),
        pairs => parameters::read(RESPONSE, None, pairs).map(Response::Pairs),
    }
}

fn is_whole(argument: &str) -> bool {
    argument == "-"
        || argument.starts_with(['@', '{', '['])
        || serde_json::from_str::<Value>(argument).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(argument: &str) -> Option<Value> {
        match read(&[argument.to_owned()]) {
            Ok(Response::Whole(value)) => Some(value),
            _ => None,
        }
    }

    #[test]
    fn a_response_is_json_or_pairs() {
        assert_eq!(read(&[]).unwrap(), Response::Whole(Value::Null));
        assert_eq!(whole(r#"{"a": 1}"#), Some(json!({"a": 1})));
        assert_eq!(whole("5"), Some(json!(5)));
        assert_eq!(whole("\"text\""), Some(json!("text")));
        let pairs = ["rows=5", "tags:=[1]"].map(str::to_owned);
        let Ok(Response::Pairs(given)) = read(&pairs) else {
            panic!("pairs")
        };
        let schema = json!({"properties": {"rows": {"type": "integer"}}});
        assert_eq!(
            Value::Object(given.typed(&schema).unwrap()),
            json!({"rows": 5, "tags": [1]})
        );
    }

    #[test]
    fn what_is_neither_is_refused_with_what_may_be_written() {
        insta::assert_snapshot!(read(&["yes".to_owned()]).unwrap_err().render(false), @r"
        error: 'yes' is no response: there is no '='
          hint: write key=text, key:=JSON or key=@FILE
          code: invalid_response (docs/errors/invalid_response.md)
        ");
        insta::assert_snapshot!(read(&["{a".to_owned()]).unwrap_err().render(false), @r"
        error: the response is not JSON: key must be a string at line 1 column 2
          hint: write JSON, @FILE, or - for standard input
          code: invalid_request (docs/errors/invalid_request.md)
        ");
    }
}
