//! Several packs together: a folder of packs, and who uses whom.

use std::fs;
use std::path::{Path, PathBuf};

use camshaft_model::Ref;
use camshaft_model::definition::{Catalog, PackSource, document, load_packs};

use super::{Candidate, EngineChecks, Folder, PackError, folder, install::installed_dir};

/// Loads every subfolder that has a `pack.yaml`: all of them or none. They may name each other.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn load_folder(
    dir: &Path,
    data_dir: &Path,
    world: &Catalog,
) -> Result<Vec<Candidate>, PackError> {
    let folders = pack_folders(dir)?;
    let contents = folders
        .iter()
        .map(|path| folder::read(path))
        .collect::<Result<Vec<Folder>, _>>()?;
    let sources: Vec<PackSource> = folders
        .iter()
        .zip(&contents)
        .map(|(path, content)| source(&path.display().to_string(), content, data_dir))
        .collect();
    let loaded = load_packs(&sources, world, &EngineChecks)?;
    Ok(contents
        .into_iter()
        .zip(loaded)
        .map(|(folder, loaded)| Candidate::new(folder, loaded))
        .collect())
}

pub(super) fn pack_folders(dir: &Path) -> Result<Vec<PathBuf>, PackError> {
    if !dir.is_dir() {
        return Err(PackError::Missing(dir.to_owned()));
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir).map_err(PackError::io(dir))? {
        let path = entry.map_err(PackError::io(dir))?.path();
        if path.join("pack.yaml").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// A folder as the loader takes it, with the place where it will be installed.
pub(super) fn source(label: &str, content: &Folder, data_dir: &Path) -> PackSource {
    let hash = content.hash();
    let pack = written_ref(content).unwrap_or_default();
    PackSource {
        label: label.to_owned(),
        files: content.files.clone(),
        dir: installed_dir(data_dir, &pack, &hash),
        hash,
    }
}

/// The ref that `pack.yaml` says, before anything is checked.
pub(super) fn written_ref(content: &Folder) -> Option<String> {
    let node = document::parse(content.files.get(Path::new("pack.yaml"))?).ok()?;
    let document::Content::Mapping(entries) = node.content else {
        return None;
    };
    entries
        .into_iter()
        .find(|entry| entry.key == "ref")
        .and_then(|entry| match entry.value.content {
            // Only a name that cannot lead anywhere else may become part of a path.
            document::Content::Text(text) if camshaft_model::reference::is_name(&text) => {
                Some(text)
            }
            _ => None,
        })
}

/// A rule or workflow of another pack that needs something of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// `rule` or `workflow`.
    pub kind: &'static str,
    /// The rule or workflow.
    pub user: Ref,
    /// The trigger or action of the pack that it names.
    pub needs: Ref,
}

/// What of other packs names something of this pack. While there is anything, it is not removed.
pub fn used_by_others(pack: &str, world: &Catalog) -> Vec<Use> {
    world
        .uses()
        .filter(|used| used.user.pack() != pack && used.needs.pack() == pack)
        .map(|used| Use {
            kind: used.kind,
            user: used.user.clone(),
            needs: used.needs.clone(),
        })
        .collect()
}
