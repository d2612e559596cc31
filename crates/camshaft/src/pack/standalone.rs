//! A workflow by its file: the version of a pack in which it is, without making that current.
//!
//! A file that lies in the folder `workflows/` of a pack belongs to that pack. Any other stands in the
//! pack that its ref names, in the place of the workflow of that ref: in the current version of that
//! pack, or in one that has nothing else.

use std::path::{Path, PathBuf};

use camshaft_model::Ref;
use camshaft_model::definition::document::{self, Content};
use camshaft_model::definition::{Catalog, Problem, Problems, load_packs};

use super::set::source;
use super::{Candidate, EngineChecks, Folder, PackError, folder};

/// Where a file stands in a pack that it does not lie in.
const INSIDE: &str = "workflows/this.yaml";

/// Loads the workflow in a file, with its pack.
///
/// # Errors
/// The file cannot be read, says no ref, or something in its pack is wrong.
pub fn workflow_of_file(
    path: &Path,
    data_dir: &Path,
    world: &Catalog,
) -> Result<(Ref, Candidate), PackError> {
    let bytes = std::fs::read(path).map_err(PackError::io(path))?;
    let shown = path.display().to_string();
    let Some(reference) = written_ref(&bytes) else {
        let message = "it says no ref, such as: ref: demo.nightly";
        return Err(Problems::of_file(shown, message).into());
    };
    let (label, content) = match enclosing_pack(path) {
        Some(dir) => (dir.display().to_string(), folder::read(&dir)?),
        None => (String::new(), beside_others(&reference, bytes, world)?),
    };
    let here = |problem: Problem| Problem {
        file: if problem.file == INSIDE {
            shown.clone()
        } else {
            problem.file
        },
        ..problem
    };
    let source = source(&label, &content, data_dir);
    let loaded = load_packs(std::slice::from_ref(&source), world, &EngineChecks);
    let loaded = loaded.map_err(|problems| {
        let problems = problems.into_list().into_iter().map(here).collect();
        Problems::check(problems)
            .err()
            .unwrap_or_else(|| Problems::of_file(&*shown, "wrong"))
    })?;
    let candidate = loaded
        .into_iter()
        .next()
        .map(|loaded| Candidate::new(content, loaded));
    let candidate = candidate.filter(|found| {
        found
            .pack
            .actions
            .get(&reference)
            .is_some_and(|a| a.workflow().is_some())
    });
    candidate.map(|found| (reference, found)).ok_or_else(|| {
        Problems::of_file(path.display().to_string(), "there is no workflow in it").into()
    })
}

/// The files of the pack that a ref names, with a workflow in the place of the one of that ref.
fn beside_others(reference: &Ref, bytes: Vec<u8>, world: &Catalog) -> Result<Folder, PackError> {
    let name = reference.pack();
    let current = world.packs.get(name).map(|pack| &pack.origin.dir);
    let mut content = match current.filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => folder::read(dir)?,
        None => {
            let manifest = format!("ref: {name}\nversion: '0'\n").into_bytes();
            Folder {
                files: [(PathBuf::from("pack.yaml"), manifest)].into(),
                ..Folder::default()
            }
        }
    };
    content.files.retain(|path, bytes| {
        !path.starts_with("workflows") || written_ref(bytes).as_ref() != Some(reference)
    });
    content.files.insert(INSIDE.into(), bytes);
    Ok(content)
}

/// The folder of the pack that a file belongs to.
pub fn enclosing_pack(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    let folder = real.parent()?;
    let pack = folder.parent()?;
    (folder.ends_with("workflows") && pack.join("pack.yaml").is_file()).then(|| pack.to_owned())
}

/// The ref that a definition says, before anything is checked.
pub fn written_ref(bytes: &[u8]) -> Option<Ref> {
    let Content::Mapping(entries) = document::parse(bytes).ok()?.content else {
        return None;
    };
    entries
        .into_iter()
        .find(|entry| entry.key == "ref")
        .and_then(|entry| match entry.value.content {
            Content::Text(text) => text.parse().ok(),
            _ => None,
        })
}
