//! Keeping each version of a pack in the data directory, and reading it back at start.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camshaft_model::definition::{
    Catalog, Loaded, Pack, PackSource, Problems, load_packs, load_pinned_pack,
};
use camshaft_model::port::store::PackRecord;
use parking_lot::Mutex;

use super::{EngineChecks, Folder, PackError, folder};

/// How much of a hash is in the name of a folder.
const HASH_IN_NAME: usize = 12;
/// What a folder is called while it is being written; what a crash leaves is written over.
const INCOMPLETE: &str = ".incoming-";

/// One installation at a time: two of the same version would write the same temporary folder.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The folder of a version of a pack.
pub(super) fn installed_dir(data_dir: &Path, pack: &str, hash: &str) -> PathBuf {
    let short = hash.get(..HASH_IN_NAME).unwrap_or(hash);
    data_dir.join("packs").join(format!("{pack}-{short}"))
}

/// Copies a pack into the data directory. The folder is there completely or not at all, also after a
/// crash; installing the same version again changes nothing.
///
/// # Errors
/// A file could not be written.
pub fn install(content: &Folder, pack: &str, data_dir: &Path) -> Result<PathBuf, PackError> {
    let _one_at_a_time = INSTALLING.lock();
    let hash = content.hash();
    let target = installed_dir(data_dir, pack, &hash);
    if target.is_dir() {
        if folder::read(&target).is_ok_and(|there| there.hash() == hash) {
            return Ok(target);
        }
        // Somebody edited the copy: what runs must be what was applied.
        fs::remove_dir_all(&target).map_err(PackError::io(&target))?;
    }
    let packs = data_dir.join("packs");
    let temporary = packs.join(format!("{INCOMPLETE}{pack}-{hash}"));
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(PackError::io(&temporary))?;
    }
    fs::create_dir_all(&temporary).map_err(PackError::io(&temporary))?;
    for (path, bytes) in &content.files {
        let path_there = temporary.join(path);
        write(&path_there, bytes, content.executable.contains(path))
            .map_err(PackError::io(&path_there))?;
    }
    sync_folders(&temporary).map_err(PackError::io(&temporary))?;
    fs::rename(&temporary, &target).map_err(PackError::io(&target))?;
    sync(&packs).map_err(PackError::io(&packs))?;
    Ok(target)
}

fn write(path: &Path, bytes: &[u8], executable: bool) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

fn sync_folders(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync(dir)
}

/// Loads versions that were installed before, together, as they may name each other.
///
/// # Errors
/// A folder is gone or was edited, or this version of Camshaft refuses what is in it.
pub fn load_installed(records: &[PackRecord], world: &Catalog) -> Result<Vec<Loaded>, PackError> {
    let sources = records.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    Ok(load_packs(&sources, world, &EngineChecks)?)
}

/// Loads a version for the runs that are pinned to it: its actions, triggers and runtimes. What it
/// names of other packs may be gone since it was current, so its rules are left out and what its
/// workflows name is not asked for.
///
/// # Errors
/// The folder is gone or was edited, or this version of Camshaft refuses what is in it.
pub fn load_pinned(record: &PackRecord, world: &Catalog) -> Result<Arc<Pack>, PackError> {
    let mut source = source(record)?;
    source.files.retain(|path, _| !path.starts_with("rules"));
    let without_rules = |pack: &Arc<Pack>| {
        Arc::new(Pack {
            rules: BTreeMap::new(),
            ..Pack::clone(pack)
        })
    };
    let world = Catalog {
        packs: world
            .packs
            .iter()
            .map(|(name, pack)| (name.clone(), without_rules(pack)))
            .collect(),
    };
    let loaded = load_pinned_pack(&source, &world, &EngineChecks)?;
    Ok(Arc::new(loaded.pack))
}

fn source(record: &PackRecord) -> Result<PackSource, PackError> {
    let dir = PathBuf::from(&record.dir);
    let content = folder::read(&dir)?;
    if content.hash() != record.hash {
        let message = format!(
            "the installed files of {} {} were edited; apply the pack again",
            record.pack, record.version
        );
        return Err(Problems::of_file(record.dir.clone(), message).into());
    }
    Ok(PackSource {
        label: record.dir.clone(),
        files: content.files,
        dir,
        hash: record.hash.clone(),
    })
}
