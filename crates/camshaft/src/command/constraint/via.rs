//! The way by which a constraint goes: the API of an engine, or a broker that every engine listens to.

use std::process::ExitCode;

use camshaft_link::mqtt::controller::{self, Left};
use camshaft_link::mqtt::{Broker, Topics};
use camshaft_model::{Constraint, ConstraintType, Scope};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::request::but_set;
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
    /// Publishes constraints and shows them once the broker has all of them.
    pub(super) async fn set(
        self,
        context: &Context,
        constraints: &[Constraint],
    ) -> Result<ExitCode, CliError> {
        let mut published = Vec::new();
        for (place, constraint) in constraints.iter().enumerate() {
            controller::publish(&self.broker, &self.client_id, &self.topics, constraint)
                .await
                .map_err(|error| but_set(unreachable(&error), &constraints[..place]))?;
            published.push(json!({
                "constraint": constraint.shown(constraint.set_at),
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
        let left = controller::clear(&self.broker, &self.client_id, &self.topics, scope, kind)
            .await
            .map_err(|error| unreachable(&error))?;
        if let Left::Unknown(topic) = left {
            context.screen.note(&format!(
                "It is ended for every engine that is connected now. Whether {topic} retains it for others is not known: this user may have to be allowed to read that. `camshaft resume {scope} --all --via mqtt` ends every type of the scope without reading."
            ));
        }
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
