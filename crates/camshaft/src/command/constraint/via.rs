//! The way by which a constraint goes: the API of an engine, or a broker that every engine listens to.

use std::process::ExitCode;

use camshaft_link::mqtt::{Broker, Topics, controller};
use camshaft_model::port::clock::Clock as _;
use camshaft_model::{Constraint, ConstraintType, Scope, Terms, Via as Way};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::request::{Terming, whoever_types};
use crate::clock::SystemClock;
use crate::command::Context;
use crate::command::broker::{BrokerOptions, client_id, unreachable};
use crate::exit::CliError;
use crate::render::constraint;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Means {
    /// The API of the engine
    #[default]
    Api,
    /// A broker: retained messages, for every engine that listens; needs no engine
    Mqtt,
}

/// How to send it.
#[derive(Debug, Args)]
pub(in crate::command) struct Via {
    /// How to send it
    #[arg(long, value_enum, default_value_t, value_name = "MEANS")]
    via: Means,
    #[command(flatten)]
    broker: BrokerOptions,
}

/// A broker that acknowledges what it takes.
pub(in crate::command) struct Published {
    broker: Broker,
    topics: Topics,
    client_id: String,
}

impl Via {
    /// The broker, if it goes by one.
    pub(in crate::command) fn broker(&self) -> Result<Option<Published>, CliError> {
        match self.via {
            Means::Mqtt => Ok(Some(Published {
                broker: self.broker.broker()?,
                topics: self.broker.topics()?,
                client_id: client_id(),
            })),
            Means::Api if self.broker == BrokerOptions::default() => Ok(None),
            Means::Api => Err(CliError::invalid(
                "the broker options are for --via mqtt, and this goes to the engine",
            )
            .hint("add --via mqtt, or leave them out")),
        }
    }
}

impl Published {
    /// Publishes constraints of one scope and shows them once the broker has all of them.
    pub(in crate::command) async fn set(
        self,
        context: &Context,
        scope: &Scope,
        terms: Vec<Terms>,
        terming: &Terming,
    ) -> Result<ExitCode, CliError> {
        let mut published = Vec::new();
        for terms in terms {
            let now = SystemClock.now();
            let constraint = Constraint {
                id: Constraint::default_id(scope, terms.kind()),
                scope: scope.clone(),
                terms,
                expires_at: terming.ttl.map(|ttl| now + ttl),
                reason: terming.reason.clone(),
                owner: whoever_types(),
                via: Way::Mqtt,
                set_at: now,
            };
            constraint
                .check()
                .map_err(|error| CliError::invalid(error.to_string()))?;
            controller::publish(&self.broker, &self.client_id, &self.topics, &constraint)
                .await
                .map_err(|error| unreachable(&error))?;
            published.push(json!({
                "constraint": constraint.shown(now),
                "topic": self.topics.constraint_of_type(&constraint.key()),
            }));
        }
        context.show(&json!({ "items": published }), |_, style| {
            let screens = published.iter().map(|one| constraint::set(one, style));
            screens.collect::<Vec<_>>().join("\n")
        })
    }

    /// Publishes the end of the constraints of exactly a scope.
    pub(in crate::command) async fn clear(
        self,
        context: &Context,
        scope: &Scope,
        kind: Option<ConstraintType>,
    ) -> Result<ExitCode, CliError> {
        controller::clear(&self.broker, &self.client_id, &self.topics, scope, kind)
            .await
            .map_err(|error| unreachable(&error))?;
        let kinds = kind.map_or_else(|| ConstraintType::ALL.to_vec(), |kind| vec![kind]);
        let published: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({"scope": scope, "type": kind}))
            .collect();
        context.show(&json!({ "published": published }), |_, _| match kind {
            Some(kind) => format!("published the end of {kind} on {scope}\n"),
            None => format!("published the end of every constraint on {scope}\n"),
        })
    }
}
