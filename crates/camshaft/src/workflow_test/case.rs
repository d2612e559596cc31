//! From a file to cases. Keys are strict, and every mistake is reported with its place.
//!
//! A file holds one case, or several under `cases`. What stands beside `cases` holds for each of them
//! that does not say otherwise itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camshaft_engine::simulation::{Act, Mocks, Scenario};
use camshaft_model::definition::decode::{Cursor, Fields};
use camshaft_model::definition::document::{self, Content, Node};
use camshaft_model::definition::problem::Reporter;
use camshaft_model::definition::{Catalog, Position, Problem, Problems};
use camshaft_model::{Object, Ref};

use super::expect::{self, Expectation};
use super::inline::Inline;
use super::script;

/// The most slots that a case may ask for.
const MAX_SLOTS: u32 = 1_000_000;

/// One test.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    /// Where it begins.
    pub position: Position,
    /// What it runs.
    pub subject: Subject,
    /// Whether it must come to the same end whenever the engine crashes.
    pub restarts: bool,
    /// What must come of each run: the first one, and those of retries. One alone is about the last.
    pub expectations: Vec<Expectation>,
    inputs: Object,
    mocks: Mocks,
    acts: Vec<Act>,
    slots: Option<u32>,
    secrets: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
}

/// What a case runs.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A workflow, or another action, of a pack.
    Reference(Ref),
    /// A workflow that the case brings.
    Inline(Inline),
}

impl Case {
    /// What the engine is told.
    pub(super) fn scenario(&self, catalog: Arc<Catalog>) -> Scenario {
        let action = match &self.subject {
            Subject::Reference(reference) => reference.clone(),
            Subject::Inline(inline) => inline.reference.clone(),
        };
        let mut scenario = Scenario::new(catalog, action);
        scenario.parameters = self.inputs.clone();
        scenario.mocks = self.mocks.clone();
        scenario.acts = self.acts.clone();
        scenario.secrets = self.secrets.clone();
        scenario.env = self.env.clone();
        if let Some(slots) = self.slots {
            scenario.slots = slots;
        }
        scenario
    }
}

/// Whether a document is one of tests of workflows, and not of another kind.
pub fn is_workflow_test(node: &Node) -> bool {
    const MARKS: &[&str] = &["workflow", "definition", "cases"];
    match &node.content {
        Content::Mapping(entries) => entries
            .iter()
            .any(|entry| MARKS.contains(&entry.key.as_str())),
        _ => false,
    }
}

/// The cases of a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn cases(file: &str, bytes: &[u8]) -> Result<Vec<Case>, Problems> {
    let node = document::parse(bytes).map_err(|errors| {
        let problems: Vec<Problem> = errors
            .into_iter()
            .map(|error| Problem {
                file: file.to_owned(),
                position: error.position,
                path: String::new(),
                message: error.message,
            })
            .collect();
        Problems::check(problems)
            .err()
            .unwrap_or_else(|| Problems::of_file(file, "it is no document"))
    })?;
    let reporter = Reporter::new(file);
    let found = read(&Cursor::root(&node, &reporter), file);
    Problems::check(reporter.into_found())?;
    Ok(found)
}

fn read(root: &Cursor<'_>, file: &str) -> Vec<Case> {
    let Some(mut shared) = root.fields() else {
        return Vec::new();
    };
    let Some(list) = shared.optional("cases") else {
        drop(shared);
        let mut layers = Layers {
            own: None,
            shared: root.fields(),
        };
        let case = case(root, &mut layers, file);
        layers.finish();
        return case.into_iter().collect();
    };
    let mut layers = Layers {
        own: None,
        shared: Some(shared),
    };
    let mut found = Vec::new();
    for cursor in list.items().unwrap_or_default() {
        layers.own = cursor.fields();
        if layers.own.is_some() {
            found.extend(case(&cursor, &mut layers, file));
        }
        if let Some(own) = layers.own.take() {
            own.finish();
        }
    }
    layers.finish();
    found
}

/// The keys of a case, and behind them those that hold for every case of the file.
struct Layers<'a> {
    own: Option<Fields<'a>>,
    shared: Option<Fields<'a>>,
}

impl<'a> Layers<'a> {
    fn get(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        let own = self.own.as_mut().and_then(|fields| fields.optional(key));
        let shared = self.shared.as_mut().and_then(|fields| fields.optional(key));
        own.or(shared)
    }

    fn finish(self) {
        self.own
            .into_iter()
            .chain(self.shared)
            .for_each(Fields::finish);
    }
}

fn case(cursor: &Cursor<'_>, layers: &mut Layers<'_>, file: &str) -> Option<Case> {
    let name = layers
        .get("name")
        .and_then(|cursor| cursor.filled_text().map(str::to_owned));
    let subject = subject(cursor, layers);
    let inputs = layers.get("inputs").and_then(|cursor| cursor.object());
    let strict = layers.get("strict").and_then(|cursor| cursor.boolean());
    let tasks = layers
        .get("mocks")
        .map(|cursor| script::mocks(&cursor))
        .unwrap_or_default();
    let acts = acts(layers);
    let slots = layers
        .get("slots")
        .and_then(|cursor| cursor.integer(1..=MAX_SLOTS));
    let secrets = texts(layers.get("secrets"));
    let env = texts(layers.get("env"));
    let restarts = layers.get("restarts").and_then(|cursor| cursor.boolean());
    let expectations = layers.get("expect").map(|cursor| expect::all(&cursor));
    if expectations.as_ref().is_none_or(Vec::is_empty) {
        cursor
            .problem("a test expects something; write, for example, expect: { status: completed }");
    }
    Some(Case {
        name: name.unwrap_or_else(|| file.to_owned()),
        file: file.to_owned(),
        position: cursor.position(),
        subject: subject?,
        restarts: restarts.unwrap_or(true),
        expectations: expectations.unwrap_or_default(),
        inputs: inputs.unwrap_or_default(),
        mocks: Mocks {
            strict: strict.unwrap_or(false),
            tasks,
        },
        acts,
        slots,
        secrets,
        env,
    })
}

fn subject(cursor: &Cursor<'_>, layers: &mut Layers<'_>) -> Option<Subject> {
    let reference = layers.get("workflow");
    let definition = layers.get("definition");
    let inline = Inline::read(
        definition.as_ref(),
        layers.get("workflows"),
        layers.get("actions"),
        layers.get("triggers"),
    );
    match (reference, definition) {
        (Some(reference), None) => reference.reference().map(Subject::Reference),
        (None, Some(_)) => inline.map(Subject::Inline),
        (Some(_), Some(_)) => {
            cursor.problem("there is a workflow and a definition; write one of them");
            None
        }
        (None, None) => {
            cursor.problem(
                "the key 'workflow' is missing; write, for example, workflow: demo.etl, or the definition itself under definition",
            );
            None
        }
    }
}

fn acts(layers: &mut Layers<'_>) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut add = |list: Option<Cursor<'_>>, read: fn(&Cursor<'_>) -> Option<Act>| {
        let items = list.and_then(|cursor| cursor.items()).unwrap_or_default();
        acts.extend(items.iter().filter_map(read));
    };
    add(layers.get("answers"), script::answer);
    add(layers.get("events"), script::event);
    add(layers.get("control"), script::control);
    acts
}

fn texts(cursor: Option<Cursor<'_>>) -> BTreeMap<String, String> {
    let entries = cursor
        .and_then(|cursor| cursor.entries())
        .unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, _, cursor)| Some((name.to_owned(), cursor.text()?.to_owned())))
        .collect()
}

/// An instant or a length of time.
pub(super) fn duration(cursor: Option<Cursor<'_>>) -> Option<Duration> {
    cursor.and_then(|cursor| cursor.duration())
}
