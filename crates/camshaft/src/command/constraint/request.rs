//! What several verbs send to the engine: paths, limits, and the requests that set and clear.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::constraint::{MAX_BURST, MAX_CONCURRENCY, ttl};
use camshaft_model::{ConstraintKey, ConstraintType, Rate, Scope, Terms};
use clap::Args;
use serde_json::{Value, json};

use super::via::Via;
use crate::command::Context;
use crate::exit::CliError;
use crate::render::{Format, constraint, text_at};

/// The path of a constraint below `/api/v1`.
pub(in crate::command) fn path(key: &ConstraintKey) -> String {
    format!("{}/{}", scope_path(&key.scope), key.kind)
}

/// A scope may have any character, also those that mean something in a path.
fn scope_path(scope: &Scope) -> String {
    let mut path = "/constraints/".to_owned();
    for byte in scope.to_string().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

/// For how long a constraint holds, and why.
#[derive(Debug, Args)]
pub(in crate::command) struct Terming {
    /// Let it expire after this time, such as 300 (seconds), 5m or 1h30m; without it, it holds until it is
    /// cleared
    #[arg(long, value_name = "TIME", value_parser = ttl, allow_hyphen_values = true)]
    pub(in crate::command) ttl: Option<Duration>,
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    pub(in crate::command) reason: Option<String>,
}

/// Limits, of which one or both are given.
#[derive(Debug, Args)]
pub(in crate::command) struct Limits {
    /// At most N attempts at once; 0 holds everything
    #[arg(long, value_name = "N", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_CONCURRENCY)))]
    concurrency: Option<u32>,
    /// At most so many starts per unit, spread evenly: 5/s, 10/m, 300/h, 1/d
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    rate: Option<Rate>,
    /// So many starts at once after a rest [default: 1 below one a second, else those of a second]
    #[arg(long, value_name = "N", requires = "rate", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BURST)))]
    burst: Option<u32>,
}

impl Limits {
    /// What they say: one constraint each.
    pub(in crate::command) fn terms(self) -> Vec<Terms> {
        let concurrency = self.concurrency.map(|limit| Terms::Concurrency { limit });
        let rate = self.rate.map(|rate| Terms::RateLimit {
            burst: self.burst.unwrap_or_else(|| rate.default_burst()),
            rate,
        });
        concurrency.into_iter().chain(rate).collect()
    }
}

/// Puts constraints of one scope in force, and shows them with what they hold once that is acknowledged.
pub(in crate::command) async fn set(
    context: &Context,
    via: &Via,
    scope: &Scope,
    terms: Vec<Terms>,
    terming: Terming,
) -> Result<ExitCode, CliError> {
    if let Some(broker) = via.broker()? {
        return broker.set(context, scope, terms, &terming).await;
    }
    let mut answers: Vec<Value> = Vec::new();
    for terms in terms {
        let key = ConstraintKey {
            scope: scope.clone(),
            kind: terms.kind(),
        };
        let body = json!({
            "params": terms.params(),
            "ttl": terming.ttl.map(|ttl| ttl.as_secs_f64()),
            "reason": terming.reason,
            "owner": whoever_types(),
        });
        let answer = context.client.put(&path(&key), &body).await;
        answers.push(answer.map_err(|error| match answers.first() {
            Some(_) => CliError {
                message: format!("{} (the limit before it is set)", error.message),
                ..error
            },
            None => error,
        })?);
    }
    context.show(&json!({ "items": answers }), |_, style| {
        let screens = answers.iter().map(|answer| constraint::set(answer, style));
        screens.collect::<Vec<_>>().join("\n")
    })
}

/// Ends the constraints of exactly a scope: of one type, or of all; and says which there were.
pub(in crate::command) async fn clear(
    context: &Context,
    via: &Via,
    scope: &Scope,
    kind: Option<ConstraintType>,
) -> Result<ExitCode, CliError> {
    if let Some(broker) = via.broker()? {
        return broker.clear(context, scope, kind).await;
    }
    let path = match kind {
        Some(kind) => path(&ConstraintKey {
            scope: scope.clone(),
            kind,
        }),
        None => format!("{}?all", scope_path(scope)),
    };
    let answer = context.client.delete(&path).await?;
    let cleared = answer
        .get("cleared")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    context.show(&answer, |_, _| {
        let lines = cleared.iter().map(|one| {
            let at = |pointer| text_at(one, pointer);
            format!("cleared {} on {}\n", at("/type"), at("/scope"))
        });
        lines.collect()
    })?;
    if cleared.is_empty() && context.format == Format::Table {
        let what = kind.map_or_else(
            || "constraint".to_owned(),
            |kind| kind.as_str().replace('_', " "),
        );
        context.screen.note(&format!(
            "No {what} was in force on {scope}; camshaft constraint list shows what is"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Who sits at this terminal, as far as the environment knows.
pub(super) fn whoever_types() -> Option<String> {
    let said = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    said("USER").or_else(|| said("LOGNAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_segment_of_a_path() {
        let path = |scope: &str| scope_path(&scope.parse().unwrap());
        assert_eq!(path("global"), "/constraints/global");
        assert_eq!(path("task:a/b?"), "/constraints/task:a%2Fb%3F");
        assert_eq!(
            path("task:part[0-9]*"),
            "/constraints/task:part%5B0-9%5D%2A"
        );
        assert_eq!(path("pod:\u{e9}"), "/constraints/pod:%C3%A9");
    }
}
