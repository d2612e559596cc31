//! The packs that an embedding program writes itself.
//!
//! Their files are kept in the data directory like those of every other pack, so that a run goes on with
//! the definition that it started with, also if the program has another one by then. They are current
//! only while the program that brings them runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use camshaft_model::definition::{Catalog, Loaded, Pack, PackSource, load_packs};
use camshaft_model::port::store::PackRecord;

use super::set::{pack_folders, source, written_ref};
use super::{Candidate, EngineChecks, Folder, PackError, folder};

/// How the files of the program are named in problems.
pub const PROGRAM: &str = "(program)";

/// What an embedding program brings along.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The packs that it writes itself.
    pub own: Vec<Folder>,
    /// Folders of packs that will be applied, which its own packs may use and which may use these.
    pub beside: Vec<PathBuf>,
}

/// Loads the program's own packs beside the core pack, those that will be applied and those that were.
///
/// # Errors
/// Everything that is wrong with any of them, or a pack of the same name was applied from files.
pub fn load_program(
    program: &Program,
    applied: &[PackRecord],
    data_dir: &Path,
    core: &Arc<Pack>,
) -> Result<Vec<Candidate>, PackError> {
    let own: Vec<PackSource> = program
        .own
        .iter()
        .map(|content| source(PROGRAM, content, data_dir))
        .collect();
    let names: Vec<String> = program.own.iter().filter_map(written_ref).collect();
    if let Some(record) = applied.iter().find(|record| names.contains(&record.pack)) {
        let reason = format!(
            "the pack '{name}' was applied to this data directory from files, and the program brings \
             one of the same name: remove it with `camshaft pack remove {name}`, or rename the program's",
            name = record.pack
        );
        return Err(PackError::refused(Path::new(&record.dir), reason));
    }
    let mut beside = Vec::new();
    for dir in &program.beside {
        for path in pack_folders(dir)? {
            let label = path.display().to_string();
            beside.push(source(&label, &folder::read(&path)?, data_dir));
        }
    }
    let installed = installed(applied, &beside);
    let world = Catalog {
        packs: [(core.origin.pack.clone(), core.clone())].into(),
    };
    let with = |more: &[PackSource]| {
        let sources = [&own, &beside, more].map(<[PackSource]>::to_vec).concat();
        load_packs(&sources, &world, &EngineChecks)
    };
    // An old pack that cannot be loaded any more must not keep the program from starting, unless the
    // program needs it.
    let loaded = with(&installed).or_else(|problems| with(&[]).map_err(|_| problems))?;
    let own = program.own.iter().cloned();
    let candidate = |(folder, loaded): (Folder, Loaded)| Candidate::new(folder, loaded);
    Ok(own.zip(loaded).map(candidate).collect())
}

/// What was applied before and will not be replaced, as far as it can be read.
fn installed(applied: &[PackRecord], beside: &[PackSource]) -> Vec<PackSource> {
    let is_replaced = |dir: &Path, pack: &str| {
        beside
            .iter()
            .any(|source| source.dir == dir || pack_of(source).as_deref() == Some(pack))
    };
    applied
        .iter()
        .filter(|record| !is_replaced(Path::new(&record.dir), &record.pack))
        .filter_map(|record| {
            Some(PackSource {
                label: record.dir.clone(),
                files: folder::read(Path::new(&record.dir)).ok()?.files,
                dir: PathBuf::from(&record.dir),
                hash: record.hash.clone(),
            })
        })
        .collect()
}

fn pack_of(source: &PackSource) -> Option<String> {
    written_ref(&Folder {
        files: source.files.clone(),
        ..Folder::default()
    })
}
