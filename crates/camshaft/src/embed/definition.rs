//! The files that a program's definitions are: the same that a person writes, checked by the same loader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use camshaft_model::Ref;
use camshaft_model::definition::{Catalog, PackFiles, PackSource, load_packs};
use camshaft_worker::NativeRegistry;
use serde_json::{Value, json};

use super::error::{Error, described};
use crate::pack::{EngineChecks, Folder, PROGRAM, core_pack};

/// A workflow that was built: its files, its functions, and the workflows that its tasks run.
#[derive(Clone)]
pub(super) struct Definition {
    pub(super) reference: Ref,
    /// All of one pack: the one of the ref.
    pub(super) files: PackFiles,
    pub(super) functions: NativeRegistry,
    pub(super) parts: Vec<Arc<Definition>>,
}

/// Files of several packs.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(BTreeMap<String, PackFiles>);

/// The kinds of definitions that a program writes, by the folder that they are in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Action,
    Trigger,
    Workflow,
}

impl Kind {
    const fn folder(self) -> &'static str {
        match self {
            Self::Action => "actions",
            Self::Trigger => "triggers",
            Self::Workflow => "workflows",
        }
    }

    /// Where the definition of a ref is.
    pub(super) fn path(self, reference: &str) -> PathBuf {
        format!("{}/{reference}.yaml", self.folder()).into()
    }
}

/// A native function as an action.
pub(super) fn native(action: &str) -> Value {
    json!({ "ref": action, "runtime": "native", "entry_point": action, "parameters": "any" })
}

impl Files {
    /// Adds a definition to its pack. One that is there already must be the same.
    pub(super) fn add(&mut self, pack: &str, path: PathBuf, text: Vec<u8>) -> Result<(), String> {
        let files = self
            .0
            .entry(pack.to_owned())
            .or_insert_with(|| manifest(pack));
        if let Some(there) = files.get(&path)
            && *there != text
        {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            return Err(format!("there are two different definitions of '{name}'"));
        }
        files.insert(path, text);
        Ok(())
    }

    /// The files of one pack.
    pub(super) fn of(&self, pack: &str) -> PackFiles {
        self.0.get(pack).cloned().unwrap_or_default()
    }

    /// Adds a workflow with everything below it.
    pub(super) fn add_workflow(&mut self, definition: &Definition) -> Result<(), String> {
        for (path, text) in &definition.files {
            self.add(definition.reference.pack(), path.clone(), text.clone())?;
        }
        definition
            .parts
            .iter()
            .try_for_each(|part| self.add_workflow(part))
    }

    /// Whether there is a definition of this ref.
    fn has(&self, kind: Kind, reference: &Ref) -> bool {
        let files = self.0.get(reference.pack());
        files.is_some_and(|files| files.contains_key(&kind.path(reference.as_str())))
    }

    /// Each pack.
    pub(super) fn into_folders(self) -> Vec<Folder> {
        let folder = |files| Folder {
            files,
            executable: BTreeSet::new(),
        };
        self.0.into_values().map(folder).collect()
    }

    /// Checks everything that can be known before the packs are there that the program is started with:
    /// what these bring is taken for granted.
    ///
    /// # Errors
    /// Every mistake.
    pub(super) fn check(
        mut self,
        what: &Ref,
        used: &[(Kind, String)],
        mut problems: Vec<String>,
    ) -> Result<(), Error> {
        let core = core_pack().map_err(|problems| Error::Definition {
            what: "the core pack".to_owned(),
            problems: vec![problems.to_string()],
        })?;
        for (kind, reference) in used {
            // What is no ref is a mistake that the loader finds.
            let Ok(reference) = reference.parse::<Ref>() else {
                continue;
            };
            let known = [Kind::Action, Kind::Workflow, Kind::Trigger];
            if reference.pack() == core.origin.pack
                || known.iter().any(|kind| self.has(*kind, &reference))
            {
                continue;
            }
            let assumed = match kind {
                Kind::Trigger => json!({ "ref": reference.as_str(), "parameters": "any" }),
                Kind::Action | Kind::Workflow => native(reference.as_str()),
            };
            let path = kind.path(reference.as_str());
            problems.extend(
                self.add(reference.pack(), path, assumed.to_string().into_bytes())
                    .err(),
            );
        }
        let sources: Vec<PackSource> = self
            .0
            .into_iter()
            .map(|(pack, files)| PackSource {
                label: PROGRAM.to_owned(),
                files,
                // Not empty, which only the core pack's is.
                dir: PathBuf::from(pack),
                hash: String::new(),
            })
            .collect();
        let world = Catalog {
            packs: [(core.origin.pack.clone(), core)].into(),
        };
        if let Err(found) = load_packs(&sources, &world, &EngineChecks) {
            let found = found.into_list().into_iter();
            problems.extend(found.map(|problem| described(&problem.into())));
        }
        if problems.is_empty() {
            return Ok(());
        }
        let what = format!("the workflow {what}");
        Err(Error::Definition { what, problems })
    }
}

fn manifest(pack: &str) -> PackFiles {
    let manifest = json!({
        "ref": pack,
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Definitions of the program that embeds the engine",
    });
    [(
        PathBuf::from("pack.yaml"),
        manifest.to_string().into_bytes(),
    )]
    .into()
}
