//! The keys `mocks`, `answers`, `events` and `control`.

use std::collections::BTreeMap;

use camshaft_engine::RetryFrom;
use camshaft_engine::simulation::{Act, Answer, Mock, Move, PerItem};
use camshaft_model::Status;
use camshaft_model::definition::decode::Cursor;
use camshaft_model::definition::document::Content;
use serde_json::Value;

use super::case::duration;

const ENDS: &[(&str, Status)] = &[
    ("completed", Status::Completed),
    ("failed", Status::Failed),
    ("timed_out", Status::TimedOut),
    ("abandoned", Status::Abandoned),
];

/// The mocks by path of the task: one, a list by attempt, or lists by item.
pub(super) fn mocks(cursor: &Cursor<'_>) -> BTreeMap<String, PerItem> {
    let entries = cursor.entries().unwrap_or_default();
    entries
        .into_iter()
        .map(|(path, _, cursor)| (path.to_owned(), per_item(&cursor)))
        .collect()
}

fn per_item(cursor: &Cursor<'_>) -> PerItem {
    let by_item = match &cursor.node().content {
        Content::Mapping(entries) => entries.iter().any(|entry| entry.key == "items"),
        _ => false,
    };
    if !by_item {
        return PerItem {
            default: by_attempt(cursor),
            items: BTreeMap::new(),
        };
    }
    let Some(mut fields) = cursor.fields() else {
        return PerItem::default();
    };
    let items = fields.optional("items").and_then(|items| items.entries());
    let default = fields.optional("default");
    fields.finish();
    let items = items.unwrap_or_default().into_iter();
    PerItem {
        default: default.as_ref().map(by_attempt).unwrap_or_default(),
        items: items
            .filter_map(|(item, _, list)| {
                let number = item.parse().ok();
                if number.is_none() {
                    list.problem(format!("'{item}' is no item; they are numbered from 0"));
                }
                Some((number?, by_attempt(&list)))
            })
            .collect(),
    }
}

fn by_attempt(cursor: &Cursor<'_>) -> Vec<Mock> {
    match cursor.node().content {
        Content::List(_) => cursor
            .items()
            .unwrap_or_default()
            .iter()
            .filter_map(mock)
            .collect(),
        _ => mock(cursor).into_iter().collect(),
    }
}

fn mock(cursor: &Cursor<'_>) -> Option<Mock> {
    let mut fields = cursor.fields()?;
    let result = fields.nullable("result").map(|cursor| cursor.value());
    let echo = fields.optional("echo").and_then(|cursor| cursor.boolean());
    let error = fields
        .optional("error")
        .and_then(|cursor| cursor.text().map(str::to_owned));
    let status = fields.optional("status");
    let takes = duration(fields.optional("takes"));
    fields.finish();
    let status = match status {
        Some(cursor) => cursor.one_of(ENDS)?,
        None if error.is_some() => Status::Failed,
        None => Status::Completed,
    };
    let echo = echo.unwrap_or(false);
    if status == Status::Completed && error.is_some() {
        cursor.problem("an attempt that completes has no error");
    }
    if (status != Status::Completed || echo) && result.is_some() {
        cursor.problem("only an attempt that completes has a result, and echo is one of its own");
    }
    Some(Mock {
        status,
        result: result.unwrap_or(Value::Null),
        echo,
        error,
        takes: takes.unwrap_or_default(),
    })
}

/// `{at, task, approve, response, by, roles, refused}`
pub(super) fn answer(cursor: &Cursor<'_>) -> Option<Act> {
    let mut fields = cursor.fields()?;
    let at = duration(fields.optional("at"));
    let task = fields
        .required("task", "approve")
        .and_then(|cursor| cursor.filled_text().map(str::to_owned));
    let approve = fields
        .optional("approve")
        .map_or(Some(true), |cursor| cursor.boolean());
    let response = fields
        .optional("response")
        .map_or(Value::Null, |cursor| cursor.value());
    let by = fields
        .optional("by")
        .map_or(Some("test"), |cursor| cursor.filled_text());
    let roles = fields.optional("roles").map(|cursor| cursor.texts());
    let refused = refused(&mut fields);
    fields.finish();
    Some(Act {
        at,
        what: Move::Answer(Answer {
            task: task?,
            approve: approve?,
            response,
            by: by?.to_owned(),
            roles: roles.flatten(),
        }),
        refused,
    })
}

/// `{at, trigger, payload, refused}`
pub(super) fn event(cursor: &Cursor<'_>) -> Option<Act> {
    let mut fields = cursor.fields()?;
    let at = fields
        .required("at", "5s")
        .and_then(|cursor| cursor.duration());
    let trigger = fields
        .required("trigger", "demo.arrived")
        .and_then(|cursor| cursor.reference());
    let payload = fields.optional("payload").map_or_else(
        || Value::Object(Default::default()),
        |cursor| cursor.value(),
    );
    let refused = refused(&mut fields);
    fields.finish();
    Some(Act {
        at: Some(at?),
        what: Move::Event {
            trigger: trigger?,
            payload,
        },
        refused,
    })
}

#[derive(Clone, Copy)]
enum Verb {
    Cancel,
    Pause,
    Resume,
    Retry,
    Rerun,
}

const VERBS: &[(&str, Verb)] = &[
    ("cancel", Verb::Cancel),
    ("pause", Verb::Pause),
    ("resume", Verb::Resume),
    ("retry", Verb::Retry),
    ("rerun", Verb::Rerun),
];

/// `{at, do, from, failed_only, refused}`
pub(super) fn control(cursor: &Cursor<'_>) -> Option<Act> {
    let mut fields = cursor.fields()?;
    let at = fields.optional("at");
    let verb = fields
        .required("do", "cancel")
        .and_then(|cursor| cursor.one_of(VERBS));
    let from = fields
        .optional("from")
        .and_then(|cursor| cursor.filled_text().map(str::to_owned));
    let failed_only = fields
        .optional("failed_only")
        .and_then(|cursor| cursor.boolean())
        .unwrap_or(false);
    let refused = refused(&mut fields);
    fields.finish();
    let retries = matches!(verb, Some(Verb::Retry));
    if (from.is_some() || failed_only) && !retries {
        cursor.problem("only a retry says what it keeps");
    }
    let what = match verb? {
        Verb::Cancel => Move::Cancel,
        Verb::Pause => Move::Pause,
        Verb::Resume => Move::Resume,
        Verb::Rerun => Move::Retry(RetryFrom::Start),
        Verb::Retry => Move::Retry(match (from, failed_only) {
            (Some(_), true) => {
                cursor.problem("there is from and failed_only; write one of them");
                return None;
            }
            (Some(task), false) => RetryFrom::Task(task),
            (None, true) => RetryFrom::Failed,
            (None, false) => RetryFrom::Start,
        }),
    };
    if at.is_none() && matches!(what, Move::Cancel | Move::Pause | Move::Resume) {
        cursor.problem("the key 'at' is missing; write, for example, at: 5s");
    }
    Some(Act {
        at: duration(at),
        what,
        refused,
    })
}

fn refused(fields: &mut camshaft_model::definition::decode::Fields<'_>) -> Option<String> {
    let cursor = fields.optional("refused")?;
    cursor.filled_text().map(str::to_owned)
}
