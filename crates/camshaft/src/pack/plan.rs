//! What applying a folder would change, without changing anything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use camshaft_model::Object;
use camshaft_model::definition::{
    Catalog, EntryPoint, Loaded, Pack, Problem, Problems, load_packs,
};
use serde::Serialize;
use serde_json::Value;

use super::{EngineChecks, Folder, PackError, folder, set};

/// A pack that was loaded and can be installed and made current.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its files.
    pub folder: Folder,
    /// Its definitions. Their origin is the folder that installing will make.
    pub pack: Arc<Pack>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Problem>,
}

impl Candidate {
    pub(super) fn new(folder: Folder, loaded: Loaded) -> Self {
        let Loaded { pack, mut warnings } = loaded;
        warnings.extend(not_executable(&folder, &pack));
        Self {
            folder,
            pack: Arc::new(pack),
            warnings,
        }
    }
}

/// Which version of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackVersion {
    /// What `pack.yaml` says.
    pub version: String,
    /// The hash of its files.
    pub hash: String,
}

/// What becomes of a definition or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is there and differs.
    Changed,
    /// It is gone.
    Removed,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What becomes of it.
    pub kind: ChangeKind,
    /// `pack`, `action`, `trigger`, `rule`, `runtime` or `file`.
    pub what: &'static str,
    /// Its ref, or the path of a file.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The keys that differ, for a change.
    pub fields: Vec<String>,
}

/// What applying a folder would do.
#[derive(Debug, Clone, Serialize)]
pub struct PackPlan {
    /// The pack's ref; empty if `pack.yaml` does not say.
    pub pack: String,
    /// The current version, if there is one.
    pub from: Option<PackVersion>,
    /// The version in the folder; `None` if it has mistakes.
    pub to: Option<PackVersion>,
    /// Every change, in a stable order.
    pub changes: Vec<Change>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Problem>,
    /// Everything that is wrong; if there is anything, nothing can be applied.
    pub problems: Vec<Problem>,
    /// What to install, if there are no problems.
    #[serde(skip)]
    pub candidate: Option<Candidate>,
}

impl PackPlan {
    /// Whether the current version is the one that a person saw when they decided: its version, its
    /// hash or at least eight characters of it, or `none`.
    pub fn starts_from(&self, expected: &str) -> bool {
        const SHORTEST_HASH: usize = 8;
        match &self.from {
            None => expected == "none",
            Some(from) => {
                from.version == expected
                    || (expected.len() >= SHORTEST_HASH && from.hash.starts_with(expected))
            }
        }
    }
}

/// Compares a folder with the current packs.
///
/// # Errors
/// The folder cannot be read. Mistakes in its definitions are part of the plan.
pub fn plan(dir: &Path, data_dir: &Path, world: &Catalog) -> Result<PackPlan, PackError> {
    // A folder without a definition of a pack is not looked through: it may be the root of all.
    let is_other = dir.is_dir() && !dir.join("pack.yaml").is_file();
    let content = if is_other {
        folder::Folder::default()
    } else {
        folder::read(dir)?
    };
    let pack = set::written_ref(&content).unwrap_or_default();
    let current = world.packs.get(&pack).map(AsRef::as_ref);
    let from = current.map(version_of);
    let source = set::source(&dir.display().to_string(), &content, data_dir);
    let empty = PackPlan {
        pack,
        from,
        to: None,
        changes: Vec::new(),
        warnings: Vec::new(),
        problems: Vec::new(),
        candidate: None,
    };
    Ok(
        match load_packs(std::slice::from_ref(&source), world, &EngineChecks) {
            Err(problems) => PackPlan {
                problems: Problems::into_list(problems),
                ..empty
            },
            Ok(loaded) => match loaded.into_iter().next() {
                None => empty,
                Some(loaded) => {
                    let candidate = Candidate::new(content, loaded);
                    PackPlan {
                        to: Some(version_of(&candidate.pack)),
                        changes: changes(current, &candidate),
                        warnings: candidate.warnings.clone(),
                        candidate: Some(candidate),
                        ..empty
                    }
                }
            },
        },
    )
}

fn version_of(pack: &Pack) -> PackVersion {
    PackVersion {
        version: pack.version.clone(),
        hash: pack.origin.hash.to_string(),
    }
}

fn changes(current: Option<&Pack>, next: &Candidate) -> Vec<Change> {
    if current.is_some_and(|pack| pack.origin.hash == next.pack.origin.hash) {
        return Vec::new();
    }
    let mut changes = manifest_change(current, &next.pack);
    macro_rules! compare {
        ($what:literal, $field:ident) => {
            compare(
                $what,
                current
                    .map(|pack| described(&pack.$field))
                    .unwrap_or_default(),
                described(&next.pack.$field),
                &mut changes,
            )
        };
    }
    compare!("runtime", runtimes);
    compare!("trigger", triggers);
    compare!("action", actions);
    compare!("rule", rules);
    compare(
        "file",
        current.map(code_on_disk).unwrap_or_default(),
        code(&next.folder),
        &mut changes,
    );
    changes
}

fn manifest_change(current: Option<&Pack>, next: &Pack) -> Vec<Change> {
    let Some(pack) = current else {
        return Vec::new();
    };
    let differs = [
        ("version", pack.version != next.version),
        ("description", pack.description != next.description),
        ("python", pack.origin.python != next.origin.python),
    ];
    let fields: Vec<String> = differs
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    if fields.is_empty() {
        return Vec::new();
    }
    vec![Change {
        kind: ChangeKind::Changed,
        what: "pack",
        reference: next.origin.pack.clone(),
        fields,
    }]
}

/// Definitions as JSON objects by ref, without where they come from.
fn described<K: ToString, T: Serialize>(
    definitions: &BTreeMap<K, Arc<T>>,
) -> BTreeMap<String, Object> {
    definitions
        .iter()
        .map(|(key, definition)| {
            let fields = match serde_json::to_value(definition.as_ref()) {
                Ok(Value::Object(mut fields)) => {
                    fields.shift_remove("origin");
                    fields
                }
                _ => Object::new(),
            };
            (key.to_string(), fields)
        })
        .collect()
}

/// Files that are no definitions, as if their content were a field.
fn code(folder: &Folder) -> BTreeMap<String, Object> {
    folder
        .files
        .iter()
        .filter(|(path, _)| {
            path.extension()
                .is_none_or(|extension| extension != "yaml" && extension != "yml")
        })
        .map(|(path, content)| {
            let one = std::iter::once((path.clone(), content.clone())).collect();
            let hash = folder::hash_of(&one, &std::collections::BTreeSet::new());
            let mut fields = Object::new();
            fields.insert("content".to_owned(), hash.into());
            fields.insert(
                "executable".to_owned(),
                folder.executable.contains(path).into(),
            );
            (path.display().to_string(), fields)
        })
        .collect()
}

fn code_on_disk(pack: &Pack) -> BTreeMap<String, Object> {
    // A copy that is gone compares as if it had had no files: the plan shows them as added.
    folder::read(&pack.origin.dir)
        .map(|folder| code(&folder))
        .unwrap_or_default()
}

fn compare(
    what: &'static str,
    before: BTreeMap<String, Object>,
    after: BTreeMap<String, Object>,
    changes: &mut Vec<Change>,
) {
    let mut push = |kind, reference: &String, fields| {
        changes.push(Change {
            kind,
            what,
            reference: reference.clone(),
            fields,
        });
    };
    for (reference, new) in &after {
        match before.get(reference) {
            None => push(ChangeKind::Added, reference, Vec::new()),
            Some(old) if old != new => push(ChangeKind::Changed, reference, differing(old, new)),
            Some(_) => {}
        }
    }
    for reference in before
        .keys()
        .filter(|reference| !after.contains_key(*reference))
    {
        push(ChangeKind::Removed, reference, Vec::new());
    }
}

fn differing(old: &Object, new: &Object) -> Vec<String> {
    let mut fields: Vec<String> = new
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(value))
        .map(|(key, _)| key.clone())
        .collect();
    fields.extend(old.keys().filter(|key| !new.contains_key(*key)).cloned());
    fields
}

/// The runtime `local` runs the file itself, which fails at once if it may not be executed.
fn not_executable(folder: &Folder, pack: &Pack) -> Vec<Problem> {
    pack.actions
        .values()
        .filter_map(|action| match &action.entry_point {
            EntryPoint::File(path)
                if action.runtime == "local" && !folder.executable.contains(path) =>
            {
                Some(path)
            }
            _ => None,
        })
        .flat_map(|path| {
            let message = format!(
                "the runtime local runs this file itself, but it is not executable: chmod +x {}",
                path.display()
            );
            Problems::of_file(path.display().to_string(), message).into_list()
        })
        .collect()
}
