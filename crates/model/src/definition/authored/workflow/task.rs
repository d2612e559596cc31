//! One task, before what it names of others has been looked up.

use super::super::action::{limit, retry};
use super::texts::{Place, Texts};
use super::wait::{self, may_be_a_list};
use super::{Argument, AwaitedTrigger, Call, MAX_TASKS, argument_form, object_of};
use crate::definition::decode::{Cursor, Fields, Located};
use crate::definition::document::{Content, shorten};
use crate::definition::workflow::{
    Cache, DEFAULT_ITEM_CONCURRENCY, Items, Join, Need, OnItemFailure, Task, Work,
};
use crate::{Object, Status};

/// The most items of a task that are under way at a time.
const MAX_ITEM_CONCURRENCY: u32 = 10_000;
/// The longest name of a task, in bytes.
const MAX_NAME_BYTES: usize = 100;

const ON_ITEM_FAILURE: &[(&str, OnItemFailure)] = &[
    ("stop", OnItemFailure::Stop),
    ("continue", OnItemFailure::Continue),
];

/// What a need may be met by.
const OUTCOMES: &[(&str, &[Status])] = &[
    ("completed", &[Status::Completed]),
    ("failed", Need::FAILED),
    ("ended", Need::ENDED),
    ("skipped", &[Status::Skipped]),
    ("timed_out", &[Status::TimedOut]),
    ("abandoned", &[Status::Abandoned]),
];

/// A task with the names of others, each with its place in the file.
pub(super) struct Draft<'a> {
    pub cursor: Cursor<'a>,
    /// Complete but for `entry` and `next`.
    pub task: Task,
    pub call: Option<Call>,
    pub awaited: Option<AwaitedTrigger>,
    /// Where `needs` is, and what it says.
    pub needs: Option<(Cursor<'a>, Vec<DraftNeed<'a>>)>,
    /// Where `next` is, and what it says.
    pub next: Option<(Cursor<'a>, Vec<DraftNext<'a>>)>,
    pub join: Option<(Cursor<'a>, Join)>,
}

/// An entry of `needs`.
pub(super) struct DraftNeed<'a> {
    pub name: Named<'a>,
    /// What meets it, if that is said.
    pub on: Option<Vec<Status>>,
}

/// An entry of `next`.
pub(super) struct DraftNext<'a> {
    pub when: Option<String>,
    pub publish: Object,
    pub to: Vec<Named<'a>>,
}

/// The name of a task where another one uses it.
pub(super) struct Named<'a> {
    pub name: &'a str,
    pub cursor: Cursor<'a>,
}

pub(super) fn tasks<'a>(cursor: &Cursor<'a>, texts: &mut Texts<'a>) -> Option<Vec<Draft<'a>>> {
    let entries = cursor.entries()?;
    if entries.is_empty() {
        cursor.problem("a workflow needs at least one task");
    }
    if entries.len() > MAX_TASKS {
        cursor.problem(format!(
            "there are {} tasks; a workflow has at most {MAX_TASKS}",
            entries.len()
        ));
        return None;
    }
    Some(
        entries
            .into_iter()
            .enumerate()
            .map(|(place, (name, _, cursor))| task(name, place, cursor, texts))
            .collect(),
    )
}

fn task<'a>(name: &str, place: usize, cursor: Cursor<'a>, texts: &mut Texts<'a>) -> Draft<'a> {
    check_name(name, &cursor);
    let mut draft = Draft {
        task: Task::new(name, Work::Nothing),
        call: None,
        awaited: None,
        needs: None,
        next: None,
        join: None,
        cursor: cursor.clone(),
    };
    // A task without keys is there to gather.
    if cursor.node().content == Content::Null {
        return draft;
    }
    let Some(mut fields) = cursor.fields() else {
        return draft;
    };
    read_entry(&mut draft, place, &mut fields, texts);
    let items = items(place, &mut fields, texts);
    let kind = read_work(&mut draft, place, items.is_some(), &mut fields, texts);
    draft.task.items = items;
    read_policies(&mut draft, place, kind, &mut fields, texts);
    fields.finish();
    draft
}

fn check_name(name: &str, cursor: &Cursor<'_>) {
    let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= MAX_NAME_BYTES
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !valid {
        cursor.problem(format!(
            "'{}' is not the name of a task: write letters, digits, '_' and '-', at most {MAX_NAME_BYTES}, not beginning with '-'",
            shorten(name)
        ));
    }
}

/// What lets it start, and where the graph goes from here.
fn read_entry<'a>(
    draft: &mut Draft<'a>,
    place: usize,
    fields: &mut Fields<'a>,
    texts: &mut Texts<'a>,
) {
    draft.needs = fields.optional("needs").map(|cursor| {
        let needs = needs(&cursor);
        (cursor, needs)
    });
    draft.next = fields.optional("next").map(|cursor| {
        let next = cursor.items().unwrap_or_default();
        let next = next
            .iter()
            .filter_map(|cursor| transition(cursor, place, texts))
            .collect();
        (cursor, next)
    });
    draft.join = fields.optional("join").and_then(|cursor| {
        let join = match &cursor.node().content {
            Content::Text(text) if text == "all" => Join::All,
            Content::Number(_) => Join::Count(cursor.integer(1..=MAX_TASKS as u32)?),
            _ => {
                let found = cursor.node().describe();
                cursor.problem(format!("expected all or a number of tasks, found {found}"));
                return None;
            }
        };
        Some((cursor, join))
    });
    draft.task.when = fields
        .optional("when")
        .and_then(|cursor| texts.expression(&cursor, Place::Task, Some(place)));
    draft.task.finally = fields
        .optional("finally")
        .and_then(|cursor| cursor.boolean())
        .unwrap_or(false);
}

/// A list of names, or a mapping from name to outcomes.
fn needs<'a>(cursor: &Cursor<'a>) -> Vec<DraftNeed<'a>> {
    match &cursor.node().content {
        Content::List(_) => cursor
            .items()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|cursor| {
                let name = cursor.filled_text()?;
                Some(DraftNeed {
                    name: Named { name, cursor },
                    on: None,
                })
            })
            .collect(),
        Content::Mapping(_) => cursor
            .entries()
            .unwrap_or_default()
            .into_iter()
            .map(|(name, _, cursor)| DraftNeed {
                on: Some(outcomes(&cursor)),
                name: Named { name, cursor },
            })
            .collect(),
        _ => {
            let found = cursor.node().describe();
            cursor.problem(format!(
                "expected a list of tasks, or a mapping such as {{ fetch: completed }}, found {found}"
            ));
            Vec::new()
        }
    }
}

fn outcomes(cursor: &Cursor<'_>) -> Vec<Status> {
    let words = match &cursor.node().content {
        Content::List(_) => cursor.items().unwrap_or_default(),
        _ => vec![cursor.clone()],
    };
    if words.is_empty() {
        cursor.problem("expected at least one outcome, such as completed");
    }
    let mut on: Vec<Status> = words
        .iter()
        .filter_map(|word| word.one_of(OUTCOMES))
        .flatten()
        .copied()
        .collect();
    on.sort_by_key(|status| status.code());
    on.dedup();
    on
}

fn transition<'a>(
    cursor: &Cursor<'a>,
    place: usize,
    texts: &mut Texts<'a>,
) -> Option<DraftNext<'a>> {
    let mut fields = cursor.fields()?;
    let when = fields
        .optional("when")
        .and_then(|cursor| texts.expression(&cursor, Place::Next, Some(place)));
    let publish = fields
        .optional("publish")
        .map(|cursor| texts.publish(&cursor, Place::Next, place))
        .unwrap_or_default();
    let to = fields.optional("do");
    fields.finish();
    if to.is_none() && publish.is_empty() {
        cursor.problem("this leads nowhere; write do: and the name of a task");
    }
    let to = to.map_or_else(Vec::new, |cursor| match &cursor.node().content {
        Content::Text(_) => vec![cursor],
        Content::List(_) => cursor.items().unwrap_or_default(),
        _ => {
            let found = cursor.node().describe();
            cursor.problem(format!(
                "expected the name of a task or a list of names, found {found}"
            ));
            Vec::new()
        }
    });
    let to = to
        .into_iter()
        .filter_map(|cursor| {
            let name = cursor.filled_text()?;
            Some(Named { name, cursor })
        })
        .collect();
    Some(DraftNext { when, publish, to })
}

fn items<'a>(place: usize, fields: &mut Fields<'a>, texts: &mut Texts<'a>) -> Option<Items> {
    let over = fields.optional("items");
    let concurrency = fields.optional("concurrency");
    let on_failure = fields.optional("on_item_failure");
    let Some(over) = over else {
        for cursor in [concurrency, on_failure].into_iter().flatten() {
            cursor.problem("this is about items, and the task has none");
        }
        return None;
    };
    texts.templates(&over, Place::Task, Some(place));
    let value = over.value();
    if !may_be_a_list(&value) {
        over.problem(format!(
            "expected a list, or a template of one such as \"{{{{ params.urls }}}}\", found {}",
            over.node().describe()
        ));
    }
    Some(Items {
        over: value,
        concurrency: concurrency
            .and_then(|cursor| cursor.integer(1..=MAX_ITEM_CONCURRENCY))
            .unwrap_or(DEFAULT_ITEM_CONCURRENCY),
        on_failure: on_failure
            .and_then(|cursor| cursor.one_of(ON_ITEM_FAILURE))
            .unwrap_or_default(),
    })
}

/// What a task is, for messages about keys that it may not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Action,
    Inquiry,
    WaitFor,
    Nothing,
}

impl Kind {
    const fn describe(self) -> &'static str {
        match self {
            Self::Action => "a task that runs an action",
            Self::Inquiry => "a task that asks a person",
            Self::WaitFor => "a task that waits for an event",
            Self::Nothing => "a task without an action",
        }
    }
}

fn read_work<'a>(
    draft: &mut Draft<'a>,
    place: usize,
    has_items: bool,
    fields: &mut Fields<'a>,
    texts: &mut Texts<'a>,
) -> Kind {
    let action = fields.optional("action");
    let with = fields.optional("with");
    let inquiry = fields.optional("inquiry");
    let wait_for = fields.optional("wait_for");
    let several = [&action, &inquiry, &wait_for].map(|key| usize::from(key.is_some()));
    if several.iter().sum::<usize>() > 1 {
        draft
            .cursor
            .problem("a task has one of action, inquiry and wait_for; make two tasks of it");
    }
    if let (None, Some(cursor)) = (&action, &with) {
        cursor.problem("there is no action to hand this to");
    }
    if let Some(cursor) = action {
        let inner = if has_items { Place::Item } else { Place::Task };
        draft.call = call(draft, place, &cursor, with, inner, texts);
        if let Some(call) = &draft.call {
            draft.task.work = Work::Action {
                reference: call.action.value.clone(),
                with: object_of(&call.arguments),
            };
        }
        return Kind::Action;
    }
    if let Some(cursor) = inquiry {
        if let Some(wait) = wait::inquiry(&cursor, texts, place) {
            draft.task.timeout = wait.timeout;
            draft.task.work = Work::Inquiry(wait.what);
        }
        return Kind::Inquiry;
    }
    if let Some(cursor) = wait_for {
        if let Some((wait, awaited)) = wait::wait_for(&cursor, texts, place) {
            draft.task.timeout = wait.timeout;
            draft.task.work = Work::WaitFor(wait.what);
            draft.awaited = Some(awaited);
        }
        return Kind::WaitFor;
    }
    Kind::Nothing
}

fn call<'a>(
    draft: &Draft<'a>,
    place: usize,
    action: &Cursor<'a>,
    with: Option<Cursor<'a>>,
    inner: Place,
    texts: &mut Texts<'a>,
) -> Option<Call> {
    let reference = action
        .reference()
        .map(|reference| Located::new(reference, action));
    let position = with.as_ref().unwrap_or(&draft.cursor).position();
    let arguments = with
        .as_ref()
        .and_then(Cursor::entries)
        .unwrap_or_default()
        .into_iter()
        .map(|(name, position, cursor)| {
            let form = match &cursor.node().content {
                Content::Text(_) => texts.template(&cursor, inner, Some(place)),
                _ => {
                    texts.templates(&cursor, inner, Some(place));
                    None
                }
            };
            let value = cursor.value();
            Argument {
                name: Located {
                    value: name.to_owned(),
                    position,
                    path: cursor.path().to_owned(),
                },
                form: argument_form(&value, form),
                value: Located::new(value, &cursor),
            }
        })
        .collect();
    Some(Call {
        task: place,
        action: reference?,
        position,
        arguments,
    })
}

/// How it is tried, what is kept of it and what it hands on.
fn read_policies<'a>(
    draft: &mut Draft<'a>,
    place: usize,
    kind: Kind,
    fields: &mut Fields<'a>,
    texts: &mut Texts<'a>,
) {
    let only_actions = |cursor: &Cursor<'_>, key: &str| {
        if kind != Kind::Action {
            cursor.problem(format!("{} has no {key}", kind.describe()));
        }
    };
    if kind != Kind::Action && draft.task.items.is_some() {
        draft.cursor.problem(format!(
            "{} has no items; let a task with items run a workflow that has it",
            kind.describe()
        ));
    }
    if let Some(cursor) = fields.optional("retry") {
        only_actions(&cursor, "retry");
        draft.task.retry = retry(&cursor);
    }
    if let Some(cursor) = fields.optional("timeout") {
        match kind {
            Kind::Action => draft.task.timeout = limit(&cursor),
            Kind::Nothing => cursor.problem("a task without an action has no timeout"),
            // How long to wait may be said of the task as well as of the wait, once.
            Kind::Inquiry | Kind::WaitFor if draft.task.timeout.is_none() => {
                draft.task.timeout = limit(&cursor);
            }
            Kind::Inquiry | Kind::WaitFor => {
                cursor.problem("there is another timeout in what it waits for; write one of them");
            }
        }
    }
    if let Some(cursor) = fields.optional("cache") {
        only_actions(&cursor, "cache");
        draft.task.cache = cache(&cursor, place, texts);
    }
    if let Some(cursor) = fields.optional("publish") {
        draft.task.publish = texts.publish(&cursor, Place::Publish, place);
    }
}

fn cache<'a>(cursor: &Cursor<'a>, place: usize, texts: &mut Texts<'a>) -> Option<Cache> {
    let mut fields = cursor.fields()?;
    let key = fields
        .required("key", "\"{{ params | hash }}\"")
        .and_then(|cursor| {
            texts.template(&cursor, Place::Task, Some(place));
            cursor.filled_text()
        });
    let ttl = fields
        .required("ttl", "1d")
        .and_then(|cursor| limit(&cursor));
    fields.finish();
    Some(Cache {
        key: key?.to_owned(),
        ttl: ttl?,
    })
}
