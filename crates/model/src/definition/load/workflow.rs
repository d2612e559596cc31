//! What workflows name outside of their file: actions, what is handed to these, and triggers.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::link::World;
use super::{Checks, Form};
use crate::definition::authored::{Argument, ArgumentForm, AuthoredWorkflow, AwaitedTrigger, Call};
use crate::definition::document::shorten;
use crate::definition::problem::{Problem, Reporter, did_you_mean};
use crate::definition::workflow::{Entry, Task, Work};
use crate::definition::{Action, EntryPoint, ParameterSchema, Workflow};
use crate::{Object, Ref};

/// Looks up what a workflow names; gives it with what triggers are asked for completed.
pub(super) fn link_workflow(
    authored: AuthoredWorkflow,
    world: &World,
    checks: &dyn Checks,
    reporter: &Reporter,
    warnings: &mut Vec<Problem>,
) -> Action {
    let AuthoredWorkflow {
        action,
        calls,
        awaited,
        warnings: noted,
    } = authored;
    let Some(mut workflow) = action.workflow().map(|workflow| Workflow::clone(workflow)) else {
        return action;
    };
    warnings.extend(noted.into_iter().map(|warning| Problem {
        file: reporter.file().to_owned(),
        position: warning.position,
        path: warning.path,
        message: warning.value,
    }));
    for call in &calls {
        if let Some(called) = look_up(call, world, reporter) {
            let types = Types {
                action: &action,
                workflow: &workflow,
                task: &workflow.tasks[call.task],
                world,
            };
            check_names(call, &called.parameters, reporter);
            for argument in &call.arguments {
                check_value(argument, &called.parameters, &types, checks, reporter);
            }
        }
        warnings.extend(recursion(call, &action, &workflow, world, reporter));
    }
    for wait in &awaited {
        link_trigger(wait, &mut workflow, world, checks, reporter);
    }
    Action {
        entry_point: EntryPoint::Workflow(workflow.into()),
        ..action
    }
}

fn look_up<'a>(call: &Call, world: &'a World, reporter: &Reporter) -> Option<&'a Arc<Action>> {
    let reference = &call.action.value;
    let found = world.catalog.action(reference);
    if found.is_none() && !world.names_with_mistakes("action", reference) {
        let all = world
            .catalog
            .packs
            .values()
            .flat_map(|pack| pack.actions.keys());
        let near = did_you_mean(reference.as_str(), all.map(Ref::as_str));
        call.action
            .problem(reporter, format!("unknown action '{reference}'{near}"));
    }
    found
}

fn properties(schema: &ParameterSchema) -> Option<&Object> {
    schema.schema["properties"].as_object()
}

fn check_names(call: &Call, schema: &ParameterSchema, reporter: &Reporter) {
    // An action that takes any object says so by declaring nothing.
    let Some(known) = properties(schema) else {
        return;
    };
    let given: BTreeSet<&str> = call
        .arguments
        .iter()
        .map(|argument| argument.name.value.as_str())
        .collect();
    for argument in &call.arguments {
        let name = &argument.name.value;
        if !known.contains_key(name) {
            let free = known.keys().map(String::as_str);
            let message = format!(
                "{} has no parameter '{}'{}",
                call.action.value,
                shorten(name),
                did_you_mean(name, free.filter(|known| !given.contains(known)))
            );
            argument.name.problem(reporter, message);
        }
    }
    let required = schema.schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !given.contains(name) && !schema.defaults.contains_key(name) {
            reporter.report(
                call.position,
                call.action.path.replace(".action", ".with"),
                format!("{} needs the parameter '{name}'", call.action.value),
            );
        }
    }
}

fn check_value(
    argument: &Argument,
    schema: &ParameterSchema,
    types: &Types<'_>,
    checks: &dyn Checks,
    reporter: &Reporter,
) {
    let name = &argument.name.value;
    let Some(wanted) = properties(schema).and_then(|known| known.get(name)) else {
        return;
    };
    let value = &argument.value.value;
    let given = match &argument.form {
        ArgumentForm::Literal => {
            if let Err(message) = checks.fits(wanted, value) {
                argument.value.problem(reporter, message);
            }
            return;
        }
        ArgumentForm::Mixed if value.is_array() => Some(json!({ "type": "array" })),
        ArgumentForm::Mixed => Some(json!({ "type": "object" })),
        ArgumentForm::Text(Form::Text) => Some(json!({ "type": "string" })),
        ArgumentForm::Text(Form::Name(path)) => types.of(path),
        ArgumentForm::Text(Form::Plain | Form::Value) => None,
    };
    let Some(given) = given else { return };
    let (wanted, given) = (type_names(wanted), type_names(&given));
    let may_fit = |wanted: &&str, given: &&str| {
        let number = |name: &str| matches!(name, "number" | "integer");
        wanted == given || (number(wanted) && number(given))
    };
    let fits = given
        .iter()
        .any(|given| wanted.iter().any(|wanted| may_fit(wanted, given)));
    if !wanted.is_empty() && !given.is_empty() && !fits {
        argument.value.problem(
            reporter,
            format!(
                "'{name}' takes {}, and this is {}",
                wanted.join(" or "),
                given.join(" or ")
            ),
        );
    }
}

/// The types that a schema plainly declares; none if it does not say.
fn type_names(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What is declared of the values that a task can name.
struct Types<'a> {
    action: &'a Action,
    workflow: &'a Workflow,
    task: &'a Task,
    world: &'a World,
}

impl Types<'_> {
    /// The schema of what a path leads to, as far as it is declared.
    fn of(&self, path: &[String]) -> Option<Value> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "params" => below(self.action.parameters.schema.clone(), rest),
            "item_index" => Some(json!({ "type": "integer" })),
            "item" => {
                let over = self.task.items.as_ref()?.over.as_str()?;
                let inner = over.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
                let path: Vec<String> = inner.split('.').map(str::to_owned).collect();
                if path.first().is_some_and(|first| first == "item") {
                    return None;
                }
                below(self.of(&path)?.get("items")?.clone(), rest)
            }
            "tasks" => {
                let (name, rest) = rest.split_first()?;
                let (_, task) = self.workflow.task(name)?;
                let (part, rest) = rest.split_first()?;
                match part.as_str() {
                    "status" => Some(json!({ "type": "string" })),
                    "attempt" => Some(json!({ "type": "integer" })),
                    "result" => below(self.result_of(task)?, rest),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn result_of(&self, task: &Task) -> Option<Value> {
        let one = match &task.work {
            Work::Action { reference, .. } => {
                self.world.catalog.action(reference)?.output_schema.clone()
            }
            Work::Inquiry(question) => Some(json!({
                "type": "object",
                "properties": {
                    "approved": { "type": "boolean" },
                    "response": question.schema,
                    "by": { "type": "string" },
                },
            })),
            Work::WaitFor(_) => Some(json!({
                "type": "object",
                "properties": { "event": { "type": "string" }, "payload": { "type": "object" } },
            })),
            Work::Nothing => None,
        };
        if task.items.is_some() {
            return Some(json!({ "type": "array", "items": one.unwrap_or(json!({})) }));
        }
        one
    }
}

/// What is declared of a value inside another.
fn below(schema: Value, path: &[String]) -> Option<Value> {
    path.iter().try_fold(schema, |schema, name| {
        schema.get("properties")?.get(name).cloned()
    })
}

/// The action that a task is certain to run once it is its turn.
fn certain(task: &Task) -> Option<&Ref> {
    let guarded =
        task.when.is_some() || task.items.is_some() || matches!(task.entry, Entry::Transitions(_));
    match &task.work {
        Work::Action { reference, .. } if !guarded => Some(reference),
        _ => None,
    }
}

/// A workflow that runs itself, and nothing in between that may end it.
fn recursion(
    call: &Call,
    action: &Action,
    workflow: &Workflow,
    world: &World,
    reporter: &Reporter,
) -> Option<Problem> {
    let mut open = vec![certain(workflow.tasks.get(call.task)?)?];
    let mut seen = BTreeSet::new();
    while let Some(reference) = open.pop() {
        if *reference == action.reference {
            return Some(Problem {
                file: reporter.file().to_owned(),
                position: call.action.position,
                path: call.action.path.clone(),
                message: format!(
                    "this runs {} again without end; write a when that is false at some time",
                    action.reference
                ),
            });
        }
        if seen.insert(reference)
            && let Some(found) = world.catalog.action(reference)
            && let Some(inner) = found.workflow()
        {
            open.extend(inner.tasks.iter().filter_map(certain));
        }
    }
    None
}

fn link_trigger(
    wait: &AwaitedTrigger,
    workflow: &mut Workflow,
    world: &World,
    checks: &dyn Checks,
    reporter: &Reporter,
) {
    let reference = &wait.trigger.value;
    let Some(trigger) = world.catalog.trigger(reference) else {
        if !world.names_with_mistakes("trigger", reference) {
            let all = world
                .catalog
                .packs
                .values()
                .flat_map(|pack| pack.triggers.keys());
            let near = did_you_mean(reference.as_str(), all.map(Ref::as_str));
            wait.trigger
                .problem(reporter, format!("unknown trigger '{reference}'{near}"));
        }
        return;
    };
    let Work::WaitFor(awaited) = &mut workflow.tasks[wait.task].work else {
        return;
    };
    match checks.trigger_parameters(trigger, awaited.parameters.clone()) {
        Ok(complete) => awaited.parameters = complete,
        Err(wrong) => {
            for problem in wrong {
                let position = wait
                    .names
                    .iter()
                    .find_map(|(name, position)| (*name == problem.name).then_some(*position));
                reporter.report(
                    position.unwrap_or(wait.parameters),
                    wait.trigger.path.replace(".trigger", ".parameters"),
                    problem.message,
                );
            }
        }
    }
}
