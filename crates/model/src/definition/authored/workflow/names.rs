//! What expressions name: whether it is in scope where they stand, and whether it is there.

use std::collections::{HashMap, HashSet};

use super::task::Draft;
use super::texts::{Place, Text, Texts};
use crate::Object;
use crate::definition::ParameterSchema;
use crate::definition::document::shorten;
use crate::definition::problem::did_you_mean;

/// What `run` has.
const RUN: &[&str] = &["id", "started_at", "cycle"];
/// What a task has under `tasks`.
const TASK: &[&str] = &["status", "result", "attempt", "error"];
/// What a task with items has besides.
const ERRORS: &str = "errors";

struct Known<'a> {
    /// None if the workflow takes any object.
    parameters: Option<Vec<&'a str>>,
    variables: HashSet<&'a str>,
    /// Those that a run starts with, in order.
    initial: Vec<&'a str>,
    tasks: HashMap<&'a str, &'a Draft<'a>>,
    names: Vec<&'a str>,
}

pub(super) fn check(
    texts: &Texts<'_>,
    tasks: &[Draft<'_>],
    vars: &Object,
    parameters: &ParameterSchema,
) {
    let known = Known {
        parameters: parameters.schema["properties"]
            .as_object()
            .map(|declared| declared.keys().map(String::as_str).collect()),
        initial: vars.keys().map(String::as_str).collect(),
        variables: vars
            .keys()
            .chain(&texts.published)
            .map(String::as_str)
            .collect(),
        tasks: tasks
            .iter()
            .map(|draft| (draft.task.name.as_str(), draft))
            .collect(),
        names: tasks.iter().map(|draft| draft.task.name.as_str()).collect(),
    };
    for text in &texts.found {
        for path in &text.paths {
            if let Some(message) = wrong(path, text, &known) {
                text.cursor.problem(message);
            }
        }
    }
}

/// What is wrong with one name.
fn wrong(path: &[String], text: &Text<'_>, known: &Known<'_>) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let allowed = text.place.names();
    if !allowed.contains(&first.as_str()) {
        return Some(out_of_scope(first, text.place, known));
    }
    let second = rest.first().map(String::as_str);
    match first.as_str() {
        "params" => {
            let declared = known.parameters.as_ref()?;
            let name = second.filter(|name| !declared.contains(name))?;
            Some(format!(
                "the workflow has no parameter '{}'{}",
                shorten(name),
                did_you_mean(name, declared.iter().copied())
            ))
        }
        "vars" if text.place == Place::Vars => {
            let name = second?;
            let own = text.cursor.path().strip_prefix("vars.")?;
            let own = own.split(['.', '[']).next()?;
            let earlier = known.initial.iter().take_while(|known| **known != own);
            (!earlier.into_iter().any(|known| *known == name)).then(|| {
                format!(
                    "a variable sees those above it, and '{}' is not",
                    shorten(name)
                )
            })
        }
        "vars" => {
            let name = second.filter(|name| !known.variables.contains(name))?;
            Some(format!(
                "neither vars nor any publish sets '{}'{}",
                shorten(name),
                did_you_mean(name, known.variables.iter().copied())
            ))
        }
        "run" => {
            let name = second.filter(|name| !RUN.contains(name))?;
            Some(format!(
                "run has {}, and no '{}'{}",
                RUN.join(", "),
                shorten(name),
                did_you_mean(name, RUN.iter().copied())
            ))
        }
        "tasks" => of_a_task(rest, known),
        _ => None,
    }
}

fn out_of_scope(name: &str, place: Place, known: &Known<'_>) -> String {
    let why = match (name, place) {
        ("item" | "item_index", _) => {
            "it is there in `with` of a task that has items, and nowhere else".to_owned()
        }
        ("tasks", Place::Vars) => "the variables are made before anything has run".to_owned(),
        ("result" | "status" | "error", Place::Publish | Place::Next) => {
            "in `publish` there is `result`; write the others under `next`".to_owned()
        }
        ("result" | "status" | "error" | "succeeded" | "failed", _) => {
            "write tasks.<name>. before it to say of which task".to_owned()
        }
        ("trigger" | "event", _) => "it is there in `when` of wait_for only".to_owned(),
        _ if known.variables.contains(name) => format!("write vars.{name}"),
        _ if known
            .parameters
            .iter()
            .flatten()
            .any(|known| *known == name) =>
        {
            format!("write params.{name}")
        }
        _ if known.tasks.contains_key(name) => format!("write tasks.{name}.result"),
        _ => {
            let names = place.names();
            format!(
                "there are {}{}",
                names.join(", "),
                did_you_mean(name, names.iter().copied())
            )
        }
    };
    format!("there is no '{}' here: {why}", shorten(name))
}

fn of_a_task(rest: &[String], known: &Known<'_>) -> Option<String> {
    let Some((name, rest)) = rest.split_first() else {
        return Some(
            "'tasks' is followed by no name, so it is not known which of them to wait for; write tasks.<name> or tasks['<name>']"
                .to_owned(),
        );
    };
    let Some(draft) = known.tasks.get(name.as_str()) else {
        return Some(format!(
            "there is no task '{}'{}",
            shorten(name),
            did_you_mean(name, known.names.iter().copied())
        ));
    };
    let part = rest.first().map(String::as_str)?;
    if part == ERRORS {
        return draft.task.items.is_none().then(|| {
            format!("the task '{name}' has no items, and so no errors; write tasks.{name}.error")
        });
    }
    (!TASK.contains(&part)).then(|| {
        format!(
            "tasks.{name} has {}, and no '{}'{}",
            TASK.join(", "),
            shorten(part),
            did_you_mean(part, TASK.iter().copied())
        )
    })
}
