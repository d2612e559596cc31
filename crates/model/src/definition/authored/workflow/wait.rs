//! Tasks that wait: for a person, or for an event.

use std::time::Duration;

use serde_json::Value;

use super::super::action::limit;
use super::super::rule::criteria;
use super::super::schema;
use super::AwaitedTrigger;
use super::texts::{Place, Texts};
use crate::Object;
use crate::definition::decode::{Cursor, Located};
use crate::definition::document::Content;
use crate::definition::workflow::{Awaited, OnTimeout, Question};

const ON_TIMEOUT: &[(&str, OnTimeout)] = &[("fail", OnTimeout::Fail), ("skip", OnTimeout::Skip)];

/// What a task waits for, and for how long.
pub(super) struct Wait<T> {
    pub what: T,
    pub timeout: Option<Duration>,
}

pub(super) fn inquiry<'a>(
    cursor: &Cursor<'a>,
    texts: &mut Texts<'a>,
    task: usize,
) -> Option<Wait<Question>> {
    let mut fields = cursor.fields()?;
    let prompt = fields
        .required("prompt", "\"Go on?\"")
        .and_then(|cursor| {
            texts.template(&cursor, Place::Task, Some(task));
            cursor.filled_text()
        })
        .unwrap_or_default();
    let checks = texts.checks();
    let schema = fields
        .optional("schema")
        .and_then(|cursor| schema(&cursor, checks));
    let roles = fields.optional("roles").and_then(|cursor| cursor.texts());
    let timeout = fields.optional("timeout");
    let on_timeout = fields.optional("on_timeout");
    fields.finish();
    let (timeout, on_timeout) = patience(timeout, on_timeout);
    Some(Wait {
        what: Question {
            prompt: prompt.to_owned(),
            schema,
            roles: roles.unwrap_or_default(),
            on_timeout,
        },
        timeout,
    })
}

pub(super) fn wait_for<'a>(
    cursor: &Cursor<'a>,
    texts: &mut Texts<'a>,
    task: usize,
) -> Option<(Wait<Awaited>, AwaitedTrigger)> {
    let mut fields = cursor.fields()?;
    let trigger = fields
        .required("trigger", "demo.approved")
        .and_then(|cursor| Some(Located::new(cursor.reference()?, &cursor)));
    let parameters = fields.optional("parameters");
    let criteria = fields.optional("criteria").and_then(|cursor| {
        texts.templates(&cursor, Place::Task, Some(task));
        criteria(&cursor, texts.checks())
    });
    let when = fields
        .optional("when")
        .and_then(|cursor| texts.expression(&cursor, Place::Event, Some(task)));
    let timeout = fields.optional("timeout");
    let on_timeout = fields.optional("on_timeout");
    fields.finish();
    let (timeout, on_timeout) = patience(timeout, on_timeout);
    let position = parameters.as_ref().unwrap_or(cursor).position();
    let entries = parameters
        .as_ref()
        .and_then(Cursor::entries)
        .unwrap_or_default();
    for (_, _, value) in &entries {
        refuse_names(value, texts);
    }
    let trigger = trigger?;
    let awaited = AwaitedTrigger {
        task,
        trigger: trigger.clone(),
        parameters: position,
        names: entries
            .iter()
            .map(|(name, position, _)| ((*name).to_owned(), *position))
            .collect(),
    };
    let what = Awaited {
        trigger: trigger.value,
        parameters: entries
            .iter()
            .map(|(name, _, value)| ((*name).to_owned(), value.value()))
            .collect::<Object>(),
        criteria: criteria.unwrap_or_default(),
        when,
        on_timeout,
    };
    Some((Wait { what, timeout }, awaited))
}

/// What a trigger is asked for is set before any run begins, so it cannot name anything of one.
fn refuse_names(cursor: &Cursor<'_>, texts: &Texts<'_>) {
    let Content::Text(text) = &cursor.node().content else {
        return;
    };
    let names = texts.checks().template(text).unwrap_or_default();
    let of_a_run = |path: &Vec<String>| {
        path.first()
            .is_some_and(|name| Place::Event.names().contains(&name.as_str()))
    };
    if names.paths.iter().any(of_a_run) {
        cursor.problem(
            "the parameters of a trigger are no templates, because its events are the same for every run; compare with criteria instead",
        );
    }
}

/// How long to wait, and what becomes of the task then.
fn patience(
    timeout: Option<Cursor<'_>>,
    on_timeout: Option<Cursor<'_>>,
) -> (Option<Duration>, OnTimeout) {
    if let (None, Some(cursor)) = (&timeout, &on_timeout) {
        cursor.problem("there is no timeout; write one beside on_timeout, such as timeout: 4h");
    }
    (
        timeout.and_then(|cursor| limit(&cursor)),
        on_timeout
            .and_then(|cursor| cursor.one_of(ON_TIMEOUT))
            .unwrap_or_default(),
    )
}

/// Whether a value is of use as a list of items: a list, or a template that may give one.
pub(super) fn may_be_a_list(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::String(text) => text.contains("{{"),
        _ => false,
    }
}
