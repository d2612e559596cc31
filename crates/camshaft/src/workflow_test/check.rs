//! Comparing what came of a run with what is expected.

use std::collections::BTreeMap;
use std::time::Duration;

use camshaft_engine::simulation::{Ledger, Outcome};
use camshaft_model::run::TakenFrom;
use camshaft_model::{ExecutionId, Status, TaskRecord, duration};
use serde_json::{Value, json};

use super::expect::{Check, TaskCheck};

/// What was expected and what came, as text; `None` if they are the same.
type Difference = Option<(String, String)>;

/// Compares one thing.
pub(super) fn difference(check: &Check, outcome: &Outcome, run: ExecutionId) -> Difference {
    let execution = outcome.ledger.execution(run)?;
    let state = &execution.state;
    match check {
        Check::Status(status) => differs(status.as_str(), state.status.as_str()),
        Check::Output(expected) => {
            let actual = state.result.as_deref();
            (actual != Some(expected)).then(|| (shown(expected), shown_or(actual, "no output")))
        }
        Check::Error(part) => contains(part, state.error.as_ref().map(|e| e.message.as_str())),
        Check::Takes(expected) => {
            let taken = state
                .ended_at
                .map(|end| end.since(execution.spec.requested_at));
            times(*expected, taken, "it has not ended")
        }
        Check::Vars(expected) => {
            let actual = outcome.ledger.runs.get(&run).map(|run| &run.vars);
            (actual != Some(expected)).then(|| {
                let actual = actual.map(|vars| Value::Object(vars.clone()));
                (
                    shown(&Value::Object(expected.clone())),
                    shown_or(actual.as_ref(), "no variables"),
                )
            })
        }
        Check::Order(expected) => order(expected, outcome, run),
        Check::StepEvents(name, expected) => {
            let lines = outcome.ledger.steps.iter();
            let actual = lines
                .filter(|step| step.execution_id == run && step.event_type.as_str() == name)
                .count();
            differs(&expected.to_string(), &actual.to_string())
        }
        Check::Task(path, check) => task(path, check, outcome, run),
    }
}

fn differs(expected: &str, actual: &str) -> Difference {
    (expected != actual).then(|| (expected.to_owned(), actual.to_owned()))
}

fn contains(part: &str, actual: Option<&str>) -> Difference {
    let holds = actual.is_some_and(|text| text.contains(part));
    (!holds).then(|| {
        let actual = actual.map_or_else(|| "nothing".to_owned(), |text| format!("'{text}'"));
        (format!("something with '{part}'"), actual)
    })
}

fn times(expected: Duration, actual: Option<Duration>, otherwise: &str) -> Difference {
    let actual_text = actual.map_or_else(|| otherwise.to_owned(), duration::display);
    (actual != Some(expected)).then(|| (duration::display(expected), actual_text))
}

/// On one line if it is short.
fn shown(value: &Value) -> String {
    const SHORT: usize = 100;
    let line = value.to_string();
    if line.len() <= SHORT {
        return line;
    }
    serde_json::to_string_pretty(value).unwrap_or(line)
}

fn shown_or(value: Option<&Value>, otherwise: &str) -> String {
    value.map_or_else(|| otherwise.to_owned(), shown)
}

/// Items are compared where the expectation names items of that task, and the tasks of child runs
/// where it names tasks of that run.
fn order(expected: &[String], outcome: &Outcome, run: ExecutionId) -> Difference {
    let plain = |text: &str| text.split('#').next().unwrap_or_default().to_owned();
    let with_items: Vec<String> = expected
        .iter()
        .filter_map(|text| {
            Some(
                plain(text)
                    .strip_suffix(']')?
                    .rsplit_once('[')?
                    .0
                    .to_owned(),
            )
        })
        .collect();
    let parents: Vec<String> = expected
        .iter()
        .filter_map(|text| Some(text.rsplit_once('/')?.0.to_owned()))
        .collect();
    let actual: Vec<String> = outcome
        .ledger
        .started
        .iter()
        .filter(|started| started.root == run)
        .filter_map(|started| {
            let text = started.path.to_string();
            let itemised = match plain(&text).strip_suffix(']') {
                Some(rest) => {
                    let task = rest.rsplit_once('[')?.0.to_owned();
                    with_items.contains(&task)
                }
                None => !with_items.contains(&plain(&text)),
            };
            let parent = text.rsplit_once('/').map(|(parent, _)| parent.to_owned());
            let below = parent.is_none_or(|parent| parents.contains(&parent));
            (itemised && below).then_some(text)
        })
        .collect();
    (expected != actual.as_slice()).then(|| (expected.join(", "), actual.join(", ")))
}

/// The latest start of a task of a run or of one below it.
fn latest<'a>(path: &str, outcome: &'a Outcome, run: ExecutionId) -> Option<&'a TaskRecord> {
    let mut found: Option<&TaskRecord> = None;
    for (at, task) in outcome.ledger.tasks_below(run) {
        let named = at.within_items() == path || at.names() == path;
        let newer = found.is_none_or(|before| {
            (before.task.lap, before.task.visit) <= (task.task.lap, task.task.visit)
        });
        if named && newer {
            found = Some(task);
        }
    }
    found
}

fn task(path: &str, check: &TaskCheck, outcome: &Outcome, run: ExecutionId) -> Difference {
    let ledger = &outcome.ledger;
    let Some(task) = latest(path, outcome, run) else {
        return match check {
            TaskCheck::Status(None) => None,
            _ => Some((
                format!("a task '{path}'"),
                "nothing is recorded of it".to_owned(),
            )),
        };
    };
    let child = task.execution.and_then(|id| ledger.execution(id));
    match check {
        TaskCheck::Status(expected) => differs(
            expected.map_or("never", Status::as_str),
            task.status.as_str(),
        ),
        TaskCheck::Reason(part) => contains(part, task.reason.as_deref()),
        TaskCheck::Error(part) => contains(part, task.error.as_ref().map(|e| e.message.as_str())),
        TaskCheck::Result(expected) => {
            let actual = ledger.result(task);
            (actual.as_ref() != Some(expected))
                .then(|| (shown(expected), shown_or(actual.as_ref(), "no result")))
        }
        TaskCheck::With(expected) => {
            let actual = child.map(|child| Value::Object((*child.spec.parameters).clone()));
            (actual.as_ref() != Some(expected))
                .then(|| (shown(expected), shown_or(actual.as_ref(), "no execution")))
        }
        TaskCheck::Attempts(expected) => {
            let actual = child.map_or(0, |child| child.state.attempt);
            differs(&expected.to_string(), &actual.to_string())
        }
        TaskCheck::Visits(expected) => differs(&expected.to_string(), &task.task.visit.to_string()),
        TaskCheck::Items(expected) => {
            let actual = task
                .items
                .map_or_else(|| "no items".to_owned(), |n| n.to_string());
            differs(&expected.to_string(), &actual)
        }
        TaskCheck::ItemStatuses(expected) => items(expected, ledger, task),
        TaskCheck::RunsAfter(others) => runs_after(others, task, outcome, run),
        TaskCheck::Starts(expected) => {
            let at = Some(outcome.offset(task.started_at));
            times(*expected, at, "it has not started")
        }
        TaskCheck::Ends(expected) => {
            let at = task.ended_at.map(|at| outcome.offset(at));
            times(*expected, at, "it has not ended")
        }
        TaskCheck::TakenFrom(expected) => {
            let actual = task.taken_from.as_ref().map(|taken| match taken {
                TakenFrom::Cache => "cache",
                TakenFrom::Run { .. } => "run",
            });
            differs(expected.unwrap_or("nothing"), actual.unwrap_or("nothing"))
        }
    }
}

fn items(
    expected: &BTreeMap<u32, Option<Status>>,
    ledger: &Ledger,
    task: &TaskRecord,
) -> Difference {
    let actual: BTreeMap<u32, Status> = ledger
        .items_of(task)
        .filter_map(|child| Some((child.spec.task.as_ref()?.item?, child.state.status)))
        .collect();
    let named = |item: &u32, status: Option<Status>| {
        let status = status.map_or("never", Status::as_str);
        format!("{item}: {status}")
    };
    let wanted: Vec<String> = expected
        .iter()
        .map(|(item, status)| named(item, *status))
        .collect();
    let came: Vec<String> = expected
        .keys()
        .map(|item| named(item, actual.get(item).copied()))
        .collect();
    differs(&wanted.join(", "), &came.join(", "))
}

fn runs_after(
    others: &[String],
    task: &TaskRecord,
    outcome: &Outcome,
    run: ExecutionId,
) -> Difference {
    let ledger = &outcome.ledger;
    let start = ledger
        .started
        .iter()
        .rfind(|started| started.path.0.last() == Some(&task.task) && started.root == run);
    let start = start.map_or(0, |started| started.commit);
    let too_late: Vec<&String> = others
        .iter()
        .filter(|other| {
            let end = latest(other, outcome, run)
                .and_then(|other| ledger.ended.get(&(other.run, other.task.clone())));
            end.is_none_or(|end| *end > start)
        })
        .collect();
    (!too_late.is_empty()).then(|| {
        let expected = format!("that it starts after the end of {}", others.join(", "));
        let names: Vec<&str> = too_late.iter().map(|name| name.as_str()).collect();
        (
            expected,
            format!("it started before the end of {}", names.join(", ")),
        )
    })
}

/// In what two simulations of one scenario came to another end: statuses of runs and tasks, outputs
/// and errors. When things happened and how many attempts they took is another matter.
pub(super) fn differences(straight: &Outcome, crashed: &Outcome) -> Vec<(String, String, String)> {
    let (left, right) = (ends(straight), ends(crashed));
    let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let nothing = || "nothing".to_owned();
    let mut found: Vec<(String, String, String)> = names
        .into_iter()
        .filter_map(|name| {
            let (left, right) = (left.get(name), right.get(name));
            let text = |value: Option<&Value>| value.map_or_else(nothing, shown);
            (left != right).then(|| (name.clone(), text(left), text(right)))
        })
        .collect();
    let complaints = crashed.complaints.iter();
    found.extend(complaints.map(|text| ("complaint".to_owned(), nothing(), text.clone())));
    found
}

fn ends(outcome: &Outcome) -> BTreeMap<String, Value> {
    let mut ends = BTreeMap::new();
    for (number, run) in outcome.runs.iter().enumerate() {
        if let Some(execution) = outcome.ledger.execution(*run) {
            let state = &execution.state;
            let error = state.error.as_ref().map(|error| &error.message);
            let end = json!({"status": state.status, "output": state.result, "error": error});
            ends.insert(format!("run {}", number + 1), end);
        }
        for (path, task) in outcome.ledger.tasks_below(*run) {
            let name = format!("run {} lap {} {path}", number + 1, task.task.lap);
            ends.insert(name, json!(task.status));
        }
    }
    ends
}
