//! The second pass: what definitions name is looked up among all packs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::draft::{Draft, MANIFEST, whole_file};
use super::workflow::link_workflow;
use super::{Checks, Loaded, Purpose};
use crate::definition::authored::{AuthoredRule, BUILT_IN_RUNTIMES, Mapped, WORKFLOW};
use crate::definition::problem::{Problem, Reporter, did_you_mean};
use crate::definition::resolved::UseOf;
use crate::definition::{Action, Catalog, Pack, ParameterSchema, Rule, Runtime};
use crate::{Object, Ref};

/// Every pack as it will be, and every ref that a file of this load claims.
pub(super) struct World {
    pub(super) catalog: Catalog,
    declared: BTreeSet<Ref>,
}

pub(super) fn link(
    drafts: Vec<Draft>,
    world: &Catalog,
    checks: &dyn Checks,
    purpose: Purpose,
    problems: &mut Vec<Problem>,
) -> Vec<Loaded> {
    let mut catalog = world.clone();
    for draft in &drafts {
        catalog
            .packs
            .insert(draft.pack.origin.pack.clone(), Arc::new(draft.pack.clone()));
    }
    let declared = drafts
        .iter()
        .flat_map(|draft| draft.declared.keys().cloned())
        .collect();
    let future = World { catalog, declared };
    for draft in drafts.iter().filter(|_| purpose == Purpose::Current) {
        still_used(draft, world, &drafts, &future, problems);
    }
    drafts
        .into_iter()
        .map(|draft| finish(draft, &future, checks, purpose, problems))
        .collect()
}

fn finish(
    draft: Draft,
    world: &World,
    checks: &dyn Checks,
    purpose: Purpose,
    problems: &mut Vec<Problem>,
) -> Loaded {
    let Draft {
        mut pack,
        rules,
        workflows,
        files,
        mut warnings,
        ..
    } = draft;
    let mut linked = BTreeMap::new();
    for (file, workflow) in workflows {
        let reporter = Reporter::new(file);
        let action = link_workflow(workflow, world, checks, &reporter, &mut warnings);
        if purpose == Purpose::Current {
            problems.extend(reporter.into_found());
        }
        if let Some(known) = pack.actions.get_mut(&action.reference) {
            *known = Arc::new(Action {
                origin: known.origin.clone(),
                ..action
            });
        }
    }
    for action in pack.actions.values_mut() {
        if action.runtime == WORKFLOW {
            continue;
        }
        let definition = runtime_of(action, &world.catalog);
        if definition.is_none() && !BUILT_IN_RUNTIMES.contains(&action.runtime.as_str()) {
            let file = files.get(&action.reference).cloned().unwrap_or_default();
            warnings.push(unknown_runtime(action, &world.catalog, file));
        }
        *action = Arc::new(Action {
            runtime_definition: definition,
            ..Action::clone(action)
        });
    }
    for (file, rule) in rules {
        let reporter = Reporter::new(file);
        let rule = link_rule(rule, &pack, world, checks, &reporter);
        problems.extend(reporter.into_found());
        linked.extend(rule.map(|rule| (rule.reference.clone(), Arc::new(rule))));
    }
    pack.rules = linked;
    Loaded { pack, warnings }
}

/// A runtime of the action's own pack before those of others.
fn runtime_of(action: &Action, catalog: &Catalog) -> Option<Arc<Runtime>> {
    let own = catalog.packs.get(action.reference.pack());
    own.into_iter()
        .chain(catalog.packs.values())
        .find_map(|pack| pack.runtimes.get(&action.runtime).cloned())
}

/// No mistake: a worker may have the runtime all the same, and until then the execution waits.
fn unknown_runtime(action: &Action, catalog: &Catalog, file: String) -> Problem {
    let defined = catalog
        .packs
        .values()
        .flat_map(|pack| pack.runtimes.keys().map(String::as_str));
    let known: Vec<&str> = BUILT_IN_RUNTIMES.iter().copied().chain(defined).collect();
    let message = format!(
        "no pack defines the runtime '{}', so executions wait until a worker has it{}",
        action.runtime,
        did_you_mean(&action.runtime, known.iter().copied())
    );
    Problem {
        path: "runtime".to_owned(),
        ..whole_file(file, message)
    }
}

fn link_rule(
    rule: AuthoredRule,
    pack: &Pack,
    world: &World,
    checks: &dyn Checks,
    reporter: &Reporter,
) -> Option<Rule> {
    let trigger = rule
        .trigger
        .and_then(|mapped| link_trigger(mapped, world, checks, reporter));
    let action = rule
        .action
        .and_then(|mapped| link_action(mapped, world, reporter));
    let (trigger, trigger_parameters) = trigger?;
    let (action, action_parameters) = action?;
    Some(Rule {
        reference: rule.reference,
        description: rule.description,
        enabled: rule.enabled,
        trigger,
        trigger_parameters,
        criteria: rule.criteria,
        when: rule.when,
        action,
        action_parameters,
        priority: rule.priority,
        origin: Some(pack.origin.clone()),
    })
}

fn link_trigger(
    mapped: Mapped,
    world: &World,
    checks: &dyn Checks,
    reporter: &Reporter,
) -> Option<(Ref, Object)> {
    let reference = &mapped.reference.value;
    let Some(trigger) = world.catalog.trigger(reference) else {
        let all = world
            .catalog
            .packs
            .values()
            .flat_map(|pack| pack.triggers.keys());
        unknown("trigger", &mapped, world, all, reporter);
        return None;
    };
    match checks.trigger_parameters(trigger, mapped.parameters) {
        Ok(parameters) => Some((reference.clone(), parameters)),
        Err(wrong) => {
            for problem in wrong {
                let position = mapped
                    .names
                    .get(&problem.name)
                    .copied()
                    .unwrap_or(mapped.position);
                reporter.report(
                    position,
                    below("trigger.parameters", &problem.name),
                    problem.message,
                );
            }
            None
        }
    }
}

fn link_action(mapped: Mapped, world: &World, reporter: &Reporter) -> Option<(Ref, Object)> {
    let reference = &mapped.reference.value;
    let Some(action) = world.catalog.action(reference) else {
        let all = world
            .catalog
            .packs
            .values()
            .flat_map(|pack| pack.actions.keys());
        unknown("action", &mapped, world, all, reporter);
        return None;
    };
    parameter_names(&action.parameters, &mapped, reporter);
    Some((reference.clone(), mapped.parameters))
}

/// The values of an action's parameters are templates and known only when an event is there; their
/// names are known now.
fn parameter_names(schema: &ParameterSchema, mapped: &Mapped, reporter: &Reporter) {
    // An action that takes any object declares nothing.
    let Some(declared) = schema.schema["properties"].as_object() else {
        return;
    };
    let known: Vec<&str> = declared.keys().map(String::as_str).collect();
    for (name, position) in &mapped.names {
        if !known.contains(&name.as_str()) {
            let free = known
                .iter()
                .copied()
                .filter(|known| !mapped.names.contains_key(*known));
            let message = format!(
                "{} has no parameter '{name}'{}",
                mapped.reference.value,
                did_you_mean(name, free)
            );
            reporter.report(*position, "action.parameters", message);
        }
    }
    for name in schema.schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str())
    {
        if !mapped.names.contains_key(name) && !schema.defaults.contains_key(name) {
            let message = format!("{} needs the parameter '{name}'", mapped.reference.value);
            reporter.report(mapped.position, "action.parameters", message);
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if name.is_empty() {
        path.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn unknown<'a>(
    what: &str,
    mapped: &Mapped,
    world: &World,
    all: impl Iterator<Item = &'a Ref>,
    reporter: &Reporter,
) {
    let reference = &mapped.reference.value;
    // A definition of that ref has mistakes of its own, which are reported where they are.
    if world.names_with_mistakes(what, reference) {
        return;
    }
    let near = did_you_mean(reference.as_str(), all.map(Ref::as_str));
    mapped
        .reference
        .problem(reporter, format!("unknown {what} '{reference}'{near}"));
}

impl World {
    /// Whether a ref that was not found has a definition with mistakes.
    pub(super) fn names_with_mistakes(&self, what: &str, reference: &Ref) -> bool {
        self.declared.contains(reference) && !self.is_something_else(what, reference)
    }

    /// Whether a ref is well-defined, but as something else.
    fn is_something_else(&self, what: &str, reference: &Ref) -> bool {
        let action = self.catalog.action(reference).is_some();
        let trigger = self.catalog.trigger(reference).is_some();
        (what == "trigger" && action) || (what == "action" && trigger)
    }
}

/// Notes rules and workflows of other packs that would lose a trigger or an action.
fn still_used(
    draft: &Draft,
    before: &Catalog,
    drafts: &[Draft],
    future: &World,
    problems: &mut Vec<Problem>,
) {
    let pack = draft.pack.origin.pack.as_str();
    let replaced = |name: &str| drafts.iter().any(|draft| draft.pack.origin.pack == name);
    for used in before
        .uses()
        .filter(|used| used.needs.pack() == pack && !replaced(used.user.pack()))
    {
        let reference = used.needs;
        let there = match used.what {
            UseOf::Trigger => future.catalog.trigger(reference).is_some(),
            UseOf::Action => future.catalog.action(reference).is_some(),
        };
        if !there && !future.declared.contains(reference) {
            let message = format!(
                "'{reference}' is gone, but the {} {} of another pack uses it",
                used.kind, used.user
            );
            problems.push(whole_file(draft.file_name(MANIFEST), message));
        }
    }
}
