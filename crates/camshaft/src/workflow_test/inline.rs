//! Definitions that a test brings with it: a pack of its own, named `t`, whose actions need no code.
//!
//! The workflow under test is `t.main`. Actions that its tasks name as `t.…` and that nobody describes
//! are made up, with the parameters that are given to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use camshaft_model::definition::decode::Cursor;
use camshaft_model::definition::{Catalog, PackSource, Position, Problem, load_packs};
use camshaft_model::{Object, Ref};
use serde_json::{Value, json};

use crate::pack::EngineChecks;

/// The ref of the pack.
const PACK: &str = "t";
/// The name of the workflow under test.
const MAIN: &str = "main";

/// Definitions that a test brings with it.
#[derive(Debug, Clone)]
pub struct Inline {
    /// The workflow under test.
    pub reference: Ref,
    position: Position,
    workflows: BTreeMap<String, Object>,
    actions: BTreeMap<String, Object>,
    triggers: BTreeMap<String, Object>,
}

impl Inline {
    /// From the keys `definition`, `workflows`, `actions` and `triggers`.
    pub(super) fn read(
        definition: Option<&Cursor<'_>>,
        workflows: Option<Cursor<'_>>,
        actions: Option<Cursor<'_>>,
        triggers: Option<Cursor<'_>>,
    ) -> Option<Self> {
        let definition = definition?;
        let mut workflows = named(workflows);
        workflows.insert(MAIN.to_owned(), definition.object()?);
        let mut actions = named(actions);
        make_up(&workflows, &mut actions);
        Some(Self {
            reference: format!("{PACK}.{MAIN}").parse().ok()?,
            position: definition.position(),
            workflows,
            actions,
            triggers: named(triggers),
        })
    }

    /// The pack beside those that there are.
    ///
    /// # Errors
    /// What is wrong with the definitions, at the place of `definition`.
    pub(super) fn load(&self, file: &str, packs: &Catalog) -> Result<Catalog, Vec<Problem>> {
        let source = PackSource {
            label: String::new(),
            files: self.files(),
            dir: PathBuf::from(PACK),
            hash: PACK.to_owned(),
        };
        let mut world = packs.clone();
        world.packs.remove(PACK);
        let loaded = load_packs(&[source], &world, &EngineChecks).map_err(|problems| {
            let problems = problems.into_list().into_iter();
            problems
                .map(|problem| self.here(file, problem))
                .collect::<Vec<_>>()
        })?;
        for loaded in loaded {
            let pack = loaded.pack;
            world
                .packs
                .insert(pack.origin.pack.clone(), std::sync::Arc::new(pack));
        }
        Ok(world)
    }

    /// The lines of a made-up file are nobody's: the problem is shown where the definition is.
    fn here(&self, file: &str, problem: Problem) -> Problem {
        Problem {
            file: file.to_owned(),
            position: self.position,
            message: format!("{}: {}", problem.file, problem.message),
            path: problem.path,
        }
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let manifest = json!({"ref": PACK, "version": "1.0.0"});
        let mut files = BTreeMap::from([(PathBuf::from("pack.yaml"), text(&manifest))]);
        let folders = [
            ("workflows", &self.workflows),
            ("actions", &self.actions),
            ("triggers", &self.triggers),
        ];
        for (folder, definitions) in folders {
            for (name, definition) in definitions {
                let mut whole = Object::new();
                whole.insert("ref".to_owned(), format!("{PACK}.{name}").into());
                whole.extend(definition.clone());
                let path = PathBuf::from(folder).join(format!("{name}.yaml"));
                files.insert(path, text(&Value::Object(whole)));
            }
        }
        files
    }
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn named(cursor: Option<Cursor<'_>>) -> BTreeMap<String, Object> {
    let entries = cursor
        .and_then(|cursor| cursor.entries())
        .unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, _, cursor)| {
            let definition = match cursor.value() {
                Value::Null => Object::new(),
                _ => cursor.object()?,
            };
            Some((name.to_owned(), definition))
        })
        .collect()
}

/// Completes what is said of actions: those that nobody describes, code that is never run, and the
/// parameters that tasks give.
fn make_up(workflows: &BTreeMap<String, Object>, actions: &mut BTreeMap<String, Object>) {
    let tasks = workflows
        .values()
        .filter_map(|workflow| workflow.get("tasks")?.as_object())
        .flat_map(Object::values);
    let mut given: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    for task in tasks {
        let reference = task.get("action").and_then(Value::as_str);
        let name = reference.and_then(|text| text.strip_prefix(PACK)?.strip_prefix('.'));
        let Some(name) = name.filter(|name| !workflows.contains_key(*name)) else {
            continue;
        };
        let with = task.get("with").and_then(Value::as_object);
        let names = given.entry(name).or_default();
        names.extend(with.into_iter().flat_map(Object::keys));
    }
    for (name, parameters) in given {
        let action = actions.entry(name.to_owned()).or_default();
        if !action.contains_key("parameters") {
            let any = parameters.into_iter().map(|name| (name.clone(), json!({})));
            action.insert("parameters".to_owned(), Value::Object(any.collect()));
        }
    }
    for action in actions.values_mut() {
        action.insert("runtime".to_owned(), "shell".into());
        action.insert("script".to_owned(), "true".into());
    }
}
