//! `actions/*.yaml`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry_point::entry_point;
use super::{Surroundings, identity, parameters, schema};
use crate::definition::decode::Cursor;
use crate::definition::{Action, Backoff, OutputMode, ParameterDelivery, RetryPolicy};
use crate::{Ref, Status};

const DELIVERIES: &[(&str, ParameterDelivery)] = &[
    ("stdin", ParameterDelivery::Stdin),
    ("env", ParameterDelivery::Env),
    ("args", ParameterDelivery::Args),
    ("file", ParameterDelivery::File),
];
const OUTPUTS: &[(&str, OutputMode)] = &[
    ("text", OutputMode::Text),
    ("json", OutputMode::Json),
    ("jsonl", OutputMode::Jsonl),
];
const BACKOFFS: &[(&str, Backoff)] = &[
    ("constant", Backoff::Constant),
    ("linear", Backoff::Linear),
    ("exponential", Backoff::Exponential),
];
const RETRIED: &[(&str, Status)] = &[
    ("failed", Status::Failed),
    ("timed_out", Status::TimedOut),
    ("abandoned", Status::Abandoned),
];

/// The most tries of one execution.
const MAX_ATTEMPTS: u32 = 10_000;
/// The most of one named capacity that an attempt may ask for.
const MAX_RESOURCE: u32 = 1_000_000;

/// An action without its origin, which the load adds.
pub(in crate::definition) fn action(
    root: &Cursor<'_>,
    surroundings: &Surroundings<'_>,
) -> (Option<Ref>, Option<Action>) {
    let Some(mut fields) = root.fields() else {
        return (None, None);
    };
    let (reference, description) = identity(&mut fields, surroundings);
    let runtime = fields
        .required("runtime", "shell")
        .and_then(|cursor| {
            let name = cursor.filled_text()?;
            if name == "workflow" {
                cursor.problem(
                    "a workflow is a file of its own; move it to workflows/ and leave the key runtime out",
                );
            }
            Some(name.to_owned())
        })
        .unwrap_or_default();
    let entry_point = entry_point(root, &mut fields, &runtime, surroundings);
    let checks = surroundings.checks;
    let parameters = fields
        .optional("parameters")
        .and_then(|cursor| parameters::parameters(&cursor, checks));
    let delivery = fields
        .optional("parameter_delivery")
        .and_then(|cursor| cursor.one_of(DELIVERIES));
    let output = fields
        .optional("output")
        .and_then(|cursor| cursor.one_of(OUTPUTS));
    let output_schema = fields
        .optional("output_schema")
        .and_then(|cursor| schema(&cursor, checks));
    let timeout = fields.optional("timeout").and_then(|cursor| limit(&cursor));
    let stall_timeout = fields
        .optional("stall_timeout")
        .and_then(|cursor| limit(&cursor));
    let retry = fields.optional("retry").and_then(|cursor| retry(&cursor));
    let idempotent = fields
        .optional("idempotent")
        .and_then(|cursor| cursor.boolean());
    let resources = fields
        .optional("resources")
        .and_then(|cursor| resources(&cursor));
    let environment = fields
        .optional("environment")
        .and_then(|cursor| environment(&cursor));
    fields.refused("sandbox", "sandboxes are not supported by this version");
    fields.finish();
    let action = reference.clone().map(|reference| Action {
        reference,
        description,
        origin: None,
        runtime,
        runtime_definition: None,
        entry_point,
        parameters: parameters.unwrap_or_else(parameters::none),
        parameter_delivery: delivery.unwrap_or_default(),
        output: output.unwrap_or_default(),
        output_schema,
        timeout,
        stall_timeout,
        retry: retry.unwrap_or_default(),
        idempotent: idempotent.unwrap_or(true),
        resources: resources.unwrap_or_default(),
        environment: environment.unwrap_or_default(),
    });
    (reference, action)
}

/// A duration after which something is stopped; zero would stop it before it began.
pub(super) fn limit(cursor: &Cursor<'_>) -> Option<Duration> {
    let limit = cursor.duration()?;
    if limit.is_zero() {
        cursor.problem("must be longer than 0; leave the key out for no limit");
        return None;
    }
    Some(limit)
}

pub(super) fn retry(cursor: &Cursor<'_>) -> Option<RetryPolicy> {
    let default = RetryPolicy::default();
    let mut fields = cursor.fields()?;
    let max_attempts = fields
        .required("max_attempts", "3")
        .and_then(|cursor| cursor.integer(1..=MAX_ATTEMPTS));
    let delay = fields
        .optional("delay")
        .and_then(|cursor| cursor.duration());
    let backoff = fields
        .optional("backoff")
        .and_then(|cursor| cursor.one_of(BACKOFFS));
    let max_delay = fields
        .optional("max_delay")
        .and_then(|cursor| cursor.duration());
    let jitter = fields
        .optional("jitter")
        .and_then(|cursor| cursor.boolean());
    let on = fields.optional("on").and_then(|cursor| {
        let mut on: Vec<Status> = cursor
            .items()?
            .iter()
            .filter_map(|item| item.one_of(RETRIED))
            .collect();
        on.sort_by_key(|status| status.code());
        on.dedup();
        Some(on)
    });
    fields.finish();
    let delay = delay.unwrap_or(default.delay);
    Some(RetryPolicy {
        max_attempts: max_attempts.unwrap_or(default.max_attempts),
        delay,
        backoff: backoff.unwrap_or(default.backoff),
        max_delay: max_delay.unwrap_or_else(|| default.max_delay.max(delay)),
        jitter: jitter.unwrap_or(default.jitter),
        on: on.unwrap_or(default.on),
    })
}

fn resources(cursor: &Cursor<'_>) -> Option<BTreeMap<String, u32>> {
    let entries = cursor.entries()?;
    Some(
        entries
            .into_iter()
            .filter_map(|(name, _, cursor)| {
                Some((name.to_owned(), cursor.integer(0..=MAX_RESOURCE)?))
            })
            .filter(|(_, amount)| *amount > 0)
            .collect(),
    )
}

fn environment(cursor: &Cursor<'_>) -> Option<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    for (name, _, cursor) in cursor.entries()? {
        let valid = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid {
            cursor.problem(
                "a variable's name has letters, digits and '_', and does not begin with a digit",
            );
        } else if name.starts_with("CAMSHAFT_") || name == "TRACEPARENT" {
            cursor.problem(format!("'{name}' is set by Camshaft itself"));
        }
        if let Some(value) = cursor.text() {
            if value.contains('\0') {
                cursor.problem("a variable cannot hold the character NUL");
            }
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    Some(environment)
}
