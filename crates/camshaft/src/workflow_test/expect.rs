//! The key `expect`: what must come of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use camshaft_model::definition::decode::{Cursor, Fields, Located};
use camshaft_model::definition::document::Content;
use camshaft_model::{Object, Status};
use serde_json::Value;

/// What must come of one run.
pub type Expectation = Vec<Located<Check>>;

/// One thing that must hold of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// Its status.
    Status(Status),
    /// Its result.
    Output(Value),
    /// A part of its error.
    Error(String),
    /// How long it took.
    Takes(Duration),
    /// Its variables at the end.
    Vars(Object),
    /// The tasks in the order of their starts.
    Order(Vec<String>),
    /// How many lines of the event log have a type.
    StepEvents(String, usize),
    /// Something of a task, by its path: of its latest start.
    Task(String, TaskCheck),
}

/// One thing that must hold of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskCheck {
    /// Its status; `None` if nothing may have been recorded of it.
    Status(Option<Status>),
    /// A part of the reason that is recorded.
    Reason(String),
    /// A part of its error.
    Error(String),
    /// Its result.
    Result(Value),
    /// Its parameters, as they were delivered.
    With(Value),
    /// The latest attempt.
    Attempts(u32),
    /// How often it started in the last lap.
    Visits(u32),
    /// How many items it has.
    Items(u32),
    /// How items ended.
    ItemStatuses(BTreeMap<u32, Option<Status>>),
    /// Tasks that must have ended before it started.
    RunsAfter(Vec<String>),
    /// When it started.
    Starts(Duration),
    /// When it ended.
    Ends(Duration),
    /// Where its result comes from: `cache` or `run`; `None` if it was made in this run.
    TakenFrom(Option<&'static str>),
}

const STATUSES: &[(&str, Option<Status>)] = &[
    ("requested", Some(Status::Requested)),
    ("running", Some(Status::Running)),
    ("waiting", Some(Status::Waiting)),
    ("canceling", Some(Status::Canceling)),
    ("completed", Some(Status::Completed)),
    ("failed", Some(Status::Failed)),
    ("timed_out", Some(Status::TimedOut)),
    ("cancelled", Some(Status::Cancelled)),
    ("abandoned", Some(Status::Abandoned)),
    ("skipped", Some(Status::Skipped)),
    ("never", None),
];

const SOURCES: &[(&str, Option<&str>)] = &[
    ("cache", Some("cache")),
    ("run", Some("run")),
    ("nothing", None),
];

/// One mapping, or a list of them: one for each run.
pub(super) fn all(cursor: &Cursor<'_>) -> Vec<Expectation> {
    match cursor.node().content {
        Content::List(_) => cursor
            .items()
            .unwrap_or_default()
            .iter()
            .filter_map(one)
            .collect(),
        _ => one(cursor).into_iter().collect(),
    }
}

fn one(cursor: &Cursor<'_>) -> Option<Expectation> {
    let mut fields = cursor.fields()?;
    let mut checks = Vec::new();
    let mut add = |cursor: Option<Cursor<'_>>, read: &dyn Fn(&Cursor<'_>) -> Option<Check>| {
        if let Some(cursor) = cursor {
            checks.extend(read(&cursor).map(|check| Located::new(check, &cursor)));
        }
    };
    add(fields.optional("status"), &|cursor| {
        cursor.one_of(STATUSES)?.map(Check::Status)
    });
    add(fields.nullable("output"), &|cursor| {
        Some(Check::Output(cursor.value()))
    });
    add(fields.optional("error"), &|cursor| {
        Some(Check::Error(cursor.filled_text()?.to_owned()))
    });
    add(fields.optional("order"), &|cursor| {
        Some(Check::Order(cursor.texts()?))
    });
    add(fields.optional("takes"), &|cursor| {
        Some(Check::Takes(cursor.duration()?))
    });
    add(fields.optional("vars"), &|cursor| {
        Some(Check::Vars(cursor.object()?))
    });
    let events = fields.optional("step_events");
    for (name, _, cursor) in entries(events) {
        add(Some(cursor), &|cursor| {
            let count = cursor.integer(0..=1_000_000_i64)?;
            Some(Check::StepEvents(
                name.to_owned(),
                usize::try_from(count).ok()?,
            ))
        });
    }
    for (name, _, cursor) in entries(fields.optional("tasks")) {
        task(name, &cursor, &mut checks);
    }
    fields.finish();
    if checks.is_empty() {
        cursor.problem("nothing is expected; write, for example, status: completed");
    }
    Some(checks)
}

fn entries<'a>(
    cursor: Option<Cursor<'a>>,
) -> Vec<(&'a str, camshaft_model::definition::Position, Cursor<'a>)> {
    cursor
        .and_then(|cursor| cursor.entries())
        .unwrap_or_default()
}

fn task(name: &str, cursor: &Cursor<'_>, checks: &mut Expectation) {
    if let Content::Text(_) = cursor.node().content {
        let status = cursor.one_of(STATUSES).map(TaskCheck::Status);
        checks
            .extend(status.map(|check| Located::new(Check::Task(name.to_owned(), check), cursor)));
        return;
    }
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    keys(&mut fields, &mut |cursor, check| {
        if let Some(check) = check {
            checks.push(Located::new(Check::Task(name.to_owned(), check), cursor));
        }
    });
    fields.finish();
}

fn keys(fields: &mut Fields<'_>, add: &mut dyn FnMut(&Cursor<'_>, Option<TaskCheck>)) {
    let mut take = |cursor: Option<Cursor<'_>>, read: fn(&Cursor<'_>) -> Option<TaskCheck>| {
        if let Some(cursor) = cursor {
            add(&cursor, read(&cursor));
        }
    };
    take(fields.optional("status"), |cursor| {
        cursor.one_of(STATUSES).map(TaskCheck::Status)
    });
    take(fields.optional("reason"), |cursor| {
        Some(TaskCheck::Reason(cursor.filled_text()?.to_owned()))
    });
    take(fields.optional("error"), |cursor| {
        Some(TaskCheck::Error(cursor.filled_text()?.to_owned()))
    });
    take(fields.nullable("result"), |cursor| {
        Some(TaskCheck::Result(cursor.value()))
    });
    take(fields.optional("with"), |cursor| {
        Some(TaskCheck::With(cursor.value()))
    });
    take(fields.optional("attempts"), |cursor| {
        Some(TaskCheck::Attempts(cursor.integer(0..=u32::MAX)?))
    });
    take(fields.optional("visits"), |cursor| {
        Some(TaskCheck::Visits(cursor.integer(0..=u32::MAX)?))
    });
    take(fields.optional("items"), items);
    take(fields.optional("runs_after"), |cursor| {
        Some(TaskCheck::RunsAfter(cursor.texts()?))
    });
    take(fields.optional("starts"), |cursor| {
        Some(TaskCheck::Starts(cursor.duration()?))
    });
    take(fields.optional("ends"), |cursor| {
        Some(TaskCheck::Ends(cursor.duration()?))
    });
    take(fields.optional("taken_from"), |cursor| {
        cursor.one_of(SOURCES).map(TaskCheck::TakenFrom)
    });
}

/// A number of items, or the ends of some of them.
fn items(cursor: &Cursor<'_>) -> Option<TaskCheck> {
    if let Content::Number(_) = cursor.node().content {
        return Some(TaskCheck::Items(cursor.integer(0..=u32::MAX)?));
    }
    let mut statuses = BTreeMap::new();
    for (item, _, cursor) in cursor.entries()? {
        match item.parse() {
            Ok(number) => {
                statuses.extend(cursor.one_of(STATUSES).map(|status| (number, status)));
            }
            Err(_) => cursor.problem(format!("'{item}' is no item; they are numbered from 0")),
        }
    }
    Some(TaskCheck::ItemStatuses(statuses))
}
