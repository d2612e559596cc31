//! The first pass: the files of one pack, each on its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Checks, PackSource};
use crate::Ref;
use crate::definition::authored::{self, AuthoredRule, AuthoredWorkflow, Surroundings};
use crate::definition::decode::Cursor;
use crate::definition::document::{self, Node};
use crate::definition::problem::{Position, Problem, Reporter, did_you_mean};
use crate::definition::{Action, Pack, PackOrigin, Runtime, Trigger};

/// The file that makes a folder a pack.
pub(super) const MANIFEST: &str = "pack.yaml";
const FOLDERS: &[&str] = &["actions", "triggers", "rules", "runtimes", "workflows"];
/// The pack in the binary.
const CORE: &str = "core";

/// A pack whose rules and workflows have not been linked.
pub(super) struct Draft {
    pub label: String,
    /// Without rules.
    pub pack: Pack,
    /// Rules and the files they are in.
    pub rules: Vec<(String, AuthoredRule)>,
    /// Workflows and the files they are in. The pack has their actions as they are before linking.
    pub workflows: Vec<(String, AuthoredWorkflow)>,
    /// Files of actions, for warnings about them.
    pub files: BTreeMap<Ref, String>,
    /// Everything that has a ref here, also if it has mistakes: naming it is no second mistake.
    pub declared: BTreeMap<Ref, (&'static str, String, Position)>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Draft {
    pub(super) fn file_name(&self, file: &str) -> String {
        labelled(&self.label, file)
    }
}

fn labelled(label: &str, file: &str) -> String {
    if label.is_empty() {
        file.to_owned()
    } else {
        format!("{label}/{file}")
    }
}

/// Reads every definition of a pack.
pub(super) fn draft(source: &PackSource, checks: &dyn Checks) -> Draft {
    let embedded = source.dir.as_os_str().is_empty();
    let mut problems = Vec::new();
    let manifest = manifest(source, embedded, &mut problems);
    let surroundings = Surroundings {
        pack: manifest.reference.as_deref(),
        files: &source.files,
        checks,
        embedded,
    };
    let mut reader = Reader {
        source,
        problems,
        declared: BTreeMap::new(),
    };
    let runtimes = reader.folder("runtime", "runtimes", |cursor| {
        authored::runtime(cursor, &surroundings)
    });
    let triggers = reader.folder("trigger", "triggers", |cursor| {
        authored::trigger(cursor, &surroundings)
    });
    let actions = reader.folder("action", "actions", |cursor| {
        authored::action(cursor, &surroundings)
    });
    let rules = reader.folder("rule", "rules", |cursor| {
        authored::rule(cursor, &surroundings)
    });
    let workflows = reader.folder("workflow", "workflows", |cursor| {
        authored::workflow(cursor, &surroundings)
    });
    let warnings = unread_folders(source);
    let origin = PackOrigin {
        pack: manifest.reference.clone().unwrap_or_default(),
        hash: source.hash.as_str().into(),
        dir: source.dir.clone(),
        python: manifest.python.clone(),
    };
    let by_ref = |action: &Action| action.reference.clone();
    Draft {
        label: source.label.clone(),
        files: actions
            .iter()
            .map(|(file, action)| (by_ref(action), file.clone()))
            .collect(),
        pack: Pack {
            version: manifest.version,
            description: manifest.description,
            actions: workflows
                .iter()
                .map(|(_, workflow)| own(workflow.action.clone(), &origin))
                .chain(actions.into_iter().map(|(_, action)| own(action, &origin)))
                .collect(),
            triggers: triggers
                .into_iter()
                .map(|(_, trigger): (_, Trigger)| (trigger.reference.clone(), Arc::new(trigger)))
                .collect(),
            rules: BTreeMap::new(),
            runtimes: runtimes
                .into_iter()
                .map(|(_, runtime): (_, Runtime)| (runtime.name.clone(), Arc::new(runtime)))
                .collect(),
            origin,
        },
        rules,
        workflows,
        declared: reader.declared,
        problems: reader.problems,
        warnings,
    }
}

fn own(action: Action, origin: &PackOrigin) -> (Ref, Arc<Action>) {
    let action = Action {
        origin: Some(origin.clone()),
        ..action
    };
    (action.reference.clone(), Arc::new(action))
}

/// Notes packs that are there under one ref more than once.
pub(super) fn same_pack_twice(drafts: &[Draft], problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<&str, &Draft> = BTreeMap::new();
    for draft in drafts {
        let pack = draft.pack.origin.pack.as_str();
        if pack.is_empty() {
            continue;
        }
        if let Some(earlier) = first.get(pack) {
            let message = format!(
                "the pack '{pack}' is also in {}",
                earlier.file_name(MANIFEST)
            );
            problems.push(whole_file(draft.file_name(MANIFEST), message));
        } else {
            first.insert(pack, draft);
        }
    }
}

pub(super) fn whole_file(file: String, message: String) -> Problem {
    Problem {
        file,
        position: Position::START,
        path: String::new(),
        message,
    }
}

fn manifest(
    source: &PackSource,
    embedded: bool,
    problems: &mut Vec<Problem>,
) -> authored::Manifest {
    let file = labelled(&source.label, MANIFEST);
    let Some(bytes) = source.files.get(Path::new(MANIFEST)) else {
        let message = format!(
            "a pack needs a file {MANIFEST}; write, for example, ref: demo and version: 1.0.0 into it"
        );
        problems.push(whole_file(file, message));
        return authored::Manifest::default();
    };
    let Some(node) = parsed(&file, bytes, problems) else {
        return authored::Manifest::default();
    };
    let reporter = Reporter::new(file);
    let cursor = Cursor::root(&node, &reporter);
    let manifest = authored::manifest(&cursor, &source.files).unwrap_or_default();
    if !embedded && manifest.reference.as_deref() == Some(CORE) {
        cursor.problem("the ref 'core' belongs to the pack in the binary; choose another");
    }
    problems.extend(reporter.into_found());
    manifest
}

fn parsed(file: &str, bytes: &[u8], problems: &mut Vec<Problem>) -> Option<Node> {
    match document::parse(bytes) {
        Ok(node) => Some(node),
        Err(errors) => {
            problems.extend(errors.into_iter().map(|error| Problem {
                file: file.to_owned(),
                position: error.position,
                path: String::new(),
                message: error.message,
            }));
            None
        }
    }
}

struct Reader<'a> {
    source: &'a PackSource,
    problems: Vec<Problem>,
    declared: BTreeMap<Ref, (&'static str, String, Position)>,
}

impl Reader<'_> {
    /// Every definition directly in a folder. Files of other kinds belong to the actions.
    fn folder<T>(
        &mut self,
        kind: &'static str,
        folder: &str,
        read: impl Fn(&Cursor<'_>) -> (Option<Ref>, Option<T>),
    ) -> Vec<(String, T)> {
        let mut found = Vec::new();
        let source = self.source;
        for (path, bytes) in &source.files {
            if path.parent() != Some(Path::new(folder)) || !is_definition(path) {
                continue;
            }
            let file = labelled(&source.label, &path.display().to_string());
            let Some(node) = parsed(&file, bytes, &mut self.problems) else {
                continue;
            };
            let reporter = Reporter::new(file.clone());
            let cursor = Cursor::root(&node, &reporter);
            let (reference, definition) = read(&cursor);
            if let Some(reference) = reference {
                self.declare(kind, &reference, &cursor, &file);
            }
            self.problems.extend(reporter.into_found());
            found.extend(definition.map(|definition| (file, definition)));
        }
        found
    }

    fn declare(&mut self, kind: &'static str, reference: &Ref, cursor: &Cursor<'_>, file: &str) {
        let position = cursor.position();
        if let Some((other, other_file, _)) = self.declared.get(reference) {
            cursor.problem(format!(
                "'{reference}' is also the ref of the {other} in {other_file}"
            ));
            return;
        }
        self.declared
            .insert(reference.clone(), (kind, file.to_owned(), position));
    }
}

fn is_definition(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// A folder whose name is nearly that of definitions, which would be passed over without a word.
fn unread_folders(source: &PackSource) -> Vec<Problem> {
    let mut warned: Vec<&str> = Vec::new();
    let mut warnings = Vec::new();
    for path in source.files.keys().filter(|path| is_definition(path)) {
        let mut components = path.components();
        let (Some(first), Some(_)) = (components.next(), components.next()) else {
            continue;
        };
        let Some(name) = first.as_os_str().to_str() else {
            continue;
        };
        let hint = did_you_mean(name, FOLDERS.iter().copied());
        if !FOLDERS.contains(&name) && !hint.is_empty() && !warned.contains(&name) {
            warned.push(name);
            let file = labelled(&source.label, &path.display().to_string());
            warnings.push(whole_file(
                file,
                format!("the folder '{name}' is not read{hint}"),
            ));
        }
    }
    warnings
}
