//! What several verbs send to the engine: paths, limits, and the requests that set and clear.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use camshaft_model::constraint::{MAX_BURST, MAX_CONCURRENCY, ttl};
use camshaft_model::port::clock::Clock as _;
use camshaft_model::{
    Constraint, ConstraintKey, ConstraintType, ErrorCode, Rate, Scope, ScopeKind, Terms, Via as Way,
};
use clap::Args;
use serde_json::{Value, json};

use super::via::Via;
use crate::clock::SystemClock;
use crate::command::Context;
use crate::command::context::Query;
use crate::command::number::whole;
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
        value_parser = whole::<u32>(0..=i64::from(MAX_CONCURRENCY), 3))]
    concurrency: Option<u32>,
    /// At most so many starts per unit, spread evenly: 5/s, 10/m, 300/h, 1/d
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    rate: Option<Rate>,
    /// So many starts at once after a rest [default: 1 below one a second, else those of a second]
    #[arg(long, value_name = "N", requires = "rate", allow_negative_numbers = true,
        value_parser = whole::<u32>(1..=i64::from(MAX_BURST), 5))]
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

/// What is asked for on one scope. All of it is checked before any of it is sent, so that a command which
/// is wrong changes nothing.
fn asked_for(
    scope: &Scope,
    terms: Vec<Terms>,
    terming: &Terming,
    way: Way,
) -> Result<Vec<Constraint>, CliError> {
    let now = SystemClock.now();
    let constraint = |terms: Terms| {
        let constraint = Constraint {
            id: Constraint::default_id(scope, terms.kind()),
            scope: scope.clone(),
            terms,
            expires_at: terming.ttl.map(|ttl| now + ttl),
            reason: terming.reason.clone(),
            owner: whoever_types(),
            via: way,
            set_at: now,
        };
        match constraint.check() {
            Ok(()) => Ok(constraint),
            Err(error) => Err(CliError::new(
                ErrorCode::InvalidConstraint,
                error.to_string(),
            )),
        }
    };
    terms.into_iter().map(constraint).collect()
}

/// Something failed after some of what was asked for is in force.
pub(super) fn but_set(error: CliError, before: &[Constraint]) -> CliError {
    match before.last() {
        Some(set) => CliError {
            message: format!("{}; {} is set already", error.message, set.key()),
            ..error
        },
        None => error,
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
        let asked_for = asked_for(scope, terms, &terming, Way::Mqtt)?;
        note_of_ref(context, scope);
        return broker.set(context, &asked_for).await;
    }
    let asked_for = asked_for(scope, terms, &terming, Way::Api)?;
    note_of_ref(context, scope);
    let mut answers: Vec<Value> = Vec::new();
    for (place, constraint) in asked_for.iter().enumerate() {
        let body = json!({
            "params": constraint.terms.params(),
            "ttl": terming.ttl.map(|ttl| ttl.as_secs_f64()),
            "reason": constraint.reason,
            "owner": constraint.owner,
        });
        let answer = context.client.put(&path(&constraint.key()), &body).await;
        answers.push(answer.map_err(|error| but_set(error, &asked_for[..place]))?);
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
        let query = Query::default().with("scope", Some(scope));
        let others: Value = context
            .client
            .get("/constraints", &query.0, Duration::ZERO)
            .await?;
        let others = others.get("items").and_then(Value::as_array);
        let others = others
            .into_iter()
            .flatten()
            .map(|one| text_at(one, "/type"));
        let others: Vec<String> = others.collect();
        context.screen.note(&if others.is_empty() {
            format!("No {what} was in force on {scope}; camshaft constraint list shows what is")
        } else {
            let others = others.join(" and ");
            format!("No {what} was in force on {scope}, only {others}, which camshaft constraint clear ends")
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// Says that nothing falls under a scope which names a definition without its pack.
pub(super) fn note_of_ref(context: &Context, scope: &Scope) {
    let (kind, name) = (scope.kind(), scope.name());
    let is_of_refs = matches!(
        kind,
        ScopeKind::Rule | ScopeKind::Action | ScopeKind::Workflow
    );
    if is_of_refs && !name.contains(['.', '*', '?', '[']) {
        context.screen.note(&format!(
            "Nothing falls under {scope}: name it with its pack, such as {}:billing.{name}",
            kind.as_str()
        ));
    }
}

/// Who sits at this terminal, as far as the environment knows.
fn whoever_types() -> Option<String> {
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
