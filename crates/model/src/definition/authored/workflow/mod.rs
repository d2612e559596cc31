//! `workflows/*.yaml`.
//!
//! A file is read in two steps. `task` reads each task on its own, and [`Texts`] keeps every expression
//! and template with the names that it uses. Then `graph` looks up what tasks name of each other, in
//! `needs`, in `next` and in texts, and makes one graph of either form; `names` checks every other name.
//! What tasks name outside of the file, actions and triggers, is looked up by the load.

mod graph;
mod names;
mod task;
mod texts;
mod wait;

use std::time::Duration;

use self::texts::{Place, Texts};
use super::action::{limit, retry};
use super::{Surroundings, identity, parameters, schema};
use crate::definition::decode::{Cursor, Located};
use crate::definition::load::Form;
use crate::definition::problem::Position;
use crate::definition::workflow::{Cycles, LoopMode, Workflow};
use crate::definition::{Action, EntryPoint, OutputMode};
use crate::{Object, Ref};

/// The most tasks of a workflow.
const MAX_TASKS: usize = 2_000;
/// The most laps of a run.
const MAX_CYCLES: u32 = 100_000;
/// The laps of a run that goes on until a condition is true, if it does not say.
const DEFAULT_CYCLES: u32 = 100;
/// What the action of a workflow says its runtime is.
pub(in crate::definition) const RUNTIME: &str = "workflow";

/// A workflow whose actions and triggers have not been looked up.
pub(in crate::definition) struct AuthoredWorkflow {
    /// The action that it is, with the graph.
    pub action: Action,
    /// The actions of tasks.
    pub calls: Vec<Call>,
    /// The triggers of tasks that wait for an event.
    pub awaited: Vec<AwaitedTrigger>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Located<String>>,
}

/// A task that runs an action.
pub(in crate::definition) struct Call {
    /// The task's place.
    pub task: usize,
    pub action: Located<Ref>,
    /// Where its parameters are, or the task if there are none.
    pub position: Position,
    pub arguments: Vec<Argument>,
}

/// A parameter that a task hands to its action.
pub(in crate::definition) struct Argument {
    pub name: Located<String>,
    pub value: Located<serde_json::Value>,
    pub form: ArgumentForm,
}

/// What is known of the value of a parameter.
pub(in crate::definition) enum ArgumentForm {
    /// It is as it is written.
    Literal,
    /// One text with markup.
    Text(Form),
    /// A list or mapping with markup somewhere in it.
    Mixed,
}

/// A task that waits for an event.
pub(in crate::definition) struct AwaitedTrigger {
    /// The task's place.
    pub task: usize,
    pub trigger: Located<Ref>,
    /// Where its parameters are, and where each of them is.
    pub parameters: Position,
    pub names: Vec<(String, Position)>,
}

pub(in crate::definition) fn workflow(
    root: &Cursor<'_>,
    surroundings: &Surroundings<'_>,
) -> (Option<Ref>, Option<AuthoredWorkflow>) {
    let Some(mut fields) = root.fields() else {
        return (None, None);
    };
    let checks = surroundings.checks;
    let mut texts = Texts::new(checks);
    let (reference, description) = identity(&mut fields, surroundings);
    fields.refused(
        "runtime",
        "a file in workflows/ is on the runtime workflow; leave the key out",
    );
    let parameters = fields
        .optional("parameters")
        .and_then(|cursor| parameters::parameters(&cursor, checks))
        .unwrap_or_else(parameters::none);
    let vars = fields
        .optional("vars")
        .map(|cursor| texts.variables(&cursor, Place::Vars, None))
        .unwrap_or_default();
    let tasks = fields
        .required("tasks", "{ first: { action: core.noop } }")
        .and_then(|cursor| task::tasks(&cursor, &mut texts))
        .unwrap_or_default();
    let cycles = fields
        .optional("loop")
        .and_then(|cursor| cycles(&cursor, &mut texts))
        .unwrap_or_default();
    let output = fields.optional("output").map(|cursor| {
        texts.templates(&cursor, Place::Run, None);
        cursor.value()
    });
    let timeout = fields.optional("timeout").and_then(|cursor| limit(&cursor));
    let retry = fields.optional("retry").and_then(|cursor| retry(&cursor));
    let idempotent = fields
        .optional("idempotent")
        .and_then(|cursor| cursor.boolean());
    let output_schema = fields
        .optional("output_schema")
        .and_then(|cursor| schema(&cursor, checks));
    fields.finish();
    names::check(&texts, &tasks, &vars, &parameters);
    let linked = graph::link(root, tasks, &texts);
    let authored = reference.clone().map(|reference| AuthoredWorkflow {
        action: Action {
            description,
            parameters,
            output: OutputMode::Json,
            output_schema,
            timeout,
            retry: retry.unwrap_or_default(),
            idempotent: idempotent.unwrap_or(true),
            ..Action::new(
                reference,
                RUNTIME,
                EntryPoint::Workflow(
                    Workflow {
                        tasks: linked.tasks,
                        vars,
                        cycles,
                        output,
                    }
                    .into(),
                ),
            )
        },
        calls: linked.calls,
        awaited: linked.awaited,
        warnings: linked.warnings,
    });
    (reference, authored)
}

fn cycles<'a>(cursor: &Cursor<'a>, texts: &mut Texts<'a>) -> Option<Cycles> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Mode {
        Once,
        Fixed,
        Until,
    }
    const MODES: &[(&str, Mode)] = &[
        ("once", Mode::Once),
        ("fixed", Mode::Fixed),
        ("until", Mode::Until),
    ];
    let mut fields = cursor.fields()?;
    let mode = fields
        .required("mode", "until")
        .and_then(|cursor| cursor.one_of(MODES));
    let condition = fields.optional("condition");
    let max_cycles = fields.optional("max_cycles");
    let delay = fields.optional("delay");
    fields.finish();
    let mode = mode?;
    // A key that would have no effect is a misunderstanding.
    if let Some(condition) = condition.as_ref().filter(|_| mode != Mode::Until) {
        condition.problem("only a loop with mode: until has a condition");
    }
    for useless in [&max_cycles, &delay]
        .into_iter()
        .flatten()
        .filter(|_| mode == Mode::Once)
    {
        useless.problem("a run with mode: once has one lap");
    }
    if condition.is_none() && mode == Mode::Until {
        missing(cursor, "condition", "vars.left == 0");
    }
    if max_cycles.is_none() && mode == Mode::Fixed {
        missing(cursor, "max_cycles", "3");
    }
    let condition = condition.and_then(|cursor| texts.expression(&cursor, Place::Run, None));
    let max = max_cycles.and_then(|cursor| cursor.integer(1..=MAX_CYCLES));
    let delay = delay.and_then(|cursor| cursor.duration());
    Some(Cycles {
        max: match mode {
            Mode::Until => max.unwrap_or(DEFAULT_CYCLES),
            Mode::Once | Mode::Fixed => max.unwrap_or(1),
        },
        mode: match mode {
            Mode::Once => LoopMode::Once,
            Mode::Fixed => LoopMode::Fixed,
            Mode::Until => LoopMode::Until(condition.unwrap_or_default()),
        },
        delay: delay.unwrap_or(Duration::ZERO),
    })
}

/// Notes that a key is missing which another key asks for.
fn missing(cursor: &Cursor<'_>, key: &str, example: &str) {
    cursor.problem(format!(
        "the key '{key}' is missing; write, for example, {key}: {example}"
    ));
}

/// What of a parameter can be told before it is rendered.
fn argument_form(value: &serde_json::Value, form: Option<Form>) -> ArgumentForm {
    fn has_markup(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => {
                ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
            }
            serde_json::Value::Array(items) => items.iter().any(has_markup),
            serde_json::Value::Object(map) => map.values().any(has_markup),
            _ => false,
        }
    }
    match (value, form) {
        (serde_json::Value::String(_), Some(form)) if form != Form::Plain => {
            ArgumentForm::Text(form)
        }
        _ if has_markup(value) => ArgumentForm::Mixed,
        _ => ArgumentForm::Literal,
    }
}

/// The templates of a task's parameters as one object.
fn object_of(arguments: &[Argument]) -> Object {
    arguments
        .iter()
        .map(|argument| (argument.name.value.clone(), argument.value.value.clone()))
        .collect()
}
