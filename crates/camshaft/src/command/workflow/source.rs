//! Finding workflows without applying anything: a file, a folder, or what the engine has.
//!
//! A file that lies in the folder `workflows/` of a pack is loaded with its pack. Any other is loaded as
//! if it were in the pack that its ref names. What is there beside it are the packs of `--packs`, else
//! those of the engine that runs on this data directory, else the packs next to its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camshaft_model::definition::{
    Action, Catalog, Pack, PackFiles, PackSource, Problem, Problems, load_packs,
};
use camshaft_model::{ErrorCode, Ref};
use serde_json::Value;

use crate::command::Context;
use crate::exit::{self, CliError};
use crate::pack::standalone::{enclosing_pack, written_ref};
use crate::pack::{self, Candidate, EngineChecks, PackError};

/// How much of a hash is in the name of the folder of an installed pack.
const HASH_IN_NAME: usize = 12;

/// What a person named on the command line.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A definition that the engine has.
    Ref(Ref),
    /// A file or a folder.
    Path(PathBuf),
}

/// Reads an argument: what is there, or looks like a path, is one; anything else is a ref.
///
/// # Errors
/// It is neither.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let path = Path::new(text);
    let like_a_path = text.contains('/')
        || path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
    if path.exists() || like_a_path {
        return Ok(Target::Path(path.to_owned()));
    }
    text.parse()
        .map(Target::Ref)
        .map_err(|error| format!("there is no file '{text}', and it is no ref: {error}"))
}

/// Workflows that are in order, and what is allowed there and probably not meant.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) workflows: Vec<Arc<Action>>,
    pub(super) warnings: Vec<Problem>,
}

/// Packs that are there beside what is looked at, by ref.
#[derive(Default)]
struct World {
    catalog: Catalog,
    files: BTreeMap<String, PackFiles>,
}

impl World {
    fn core() -> Result<Self, CliError> {
        let core = pack::core_pack().map_err(|problems| mistakes("the core pack", problems))?;
        let mut world = Self::default();
        world.catalog.packs.insert(core.origin.pack.clone(), core);
        Ok(world)
    }

    fn extend(&mut self, candidates: Vec<Candidate>) {
        for Candidate { folder, pack, .. } in candidates {
            let name = pack.origin.pack.clone();
            self.files.insert(name.clone(), folder.files);
            self.catalog.packs.insert(name, pack);
        }
    }

    /// The packs of a folder of packs, which must be in order.
    fn of_folder(dir: &Path) -> Result<Self, CliError> {
        let mut world = Self::core()?;
        let loaded = pack::load_folder(dir, Path::new(""), &world.catalog);
        world.extend(loaded.map_err(|error| refused(dir, error))?);
        Ok(world)
    }

    /// The packs that an engine on this data directory has; none if it does not run.
    async fn of_engine(context: &Context) -> Result<Option<Self>, CliError> {
        let Ok(page) = context.client.read("/packs").await else {
            return Ok(None);
        };
        let mut world = Self::core()?;
        let mut sources = Vec::new();
        for item in crate::command::context::items(&page) {
            let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
            let (pack, hash) = (text("pack"), text("hash"));
            let short = hash.get(..HASH_IN_NAME).unwrap_or(hash);
            let dir = context
                .data_dir
                .join("packs")
                .join(format!("{pack}-{short}"));
            // An engine elsewhere has its files elsewhere, and the core pack has none.
            if let Ok(folder) = pack::read(&dir) {
                world.files.insert(pack.to_owned(), folder.files.clone());
                sources.push(PackSource {
                    label: dir.display().to_string(),
                    files: folder.files,
                    hash: hash.to_owned(),
                    dir,
                });
            }
        }
        let loaded = load_packs(&sources, &world.catalog, &EngineChecks);
        for one in loaded.map_err(|problems| mistakes("the packs of the engine", problems))? {
            let name = one.pack.origin.pack.clone();
            world.catalog.packs.insert(name, Arc::new(one.pack));
        }
        Ok(Some(world))
    }

    async fn find(
        context: &Context,
        packs: Option<&Path>,
        own: Option<&Path>,
    ) -> Result<Self, CliError> {
        if let Some(dir) = packs {
            return Self::of_folder(dir);
        }
        if let Some(world) = Self::of_engine(context).await? {
            return Ok(world);
        }
        // Mistakes of neighbours are not what was asked for: then they are not there.
        let beside = own.and_then(Path::parent).map(Self::of_folder);
        match beside {
            Some(Ok(world)) => Ok(world),
            _ => Self::core(),
        }
    }
}

/// Loads what is in a file or a folder.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) async fn load(
    context: &Context,
    path: &Path,
    packs: Option<&Path>,
) -> Result<Found, CliError> {
    if path.is_dir() {
        return load_dir(context, path, packs).await;
    }
    let bytes = fs::read(path)
        .map_err(|error| CliError::invalid(format!("cannot read {}: {error}", path.display())))?;
    let Some(dir) = enclosing_pack(path) else {
        let world = World::find(context, packs, None).await?;
        return load_alone(path, bytes, &world);
    };
    let world = World::find(context, packs, Some(&dir)).await?;
    let plan = plan(&dir, &world)?;
    let own = |problem: &Problem| same_file(Path::new(&problem.file), path);
    let (mut here, elsewhere): (Vec<Problem>, Vec<Problem>) =
        plan.problems.into_iter().partition(own);
    for problem in &mut here {
        problem.file = path.display().to_string();
    }
    if !here.is_empty() {
        return Err(failure(path, here));
    }
    if !elsewhere.is_empty() {
        let count = elsewhere.len();
        let error = failure(&dir, elsewhere);
        return Err(CliError {
            message: format!(
                "{} cannot be checked: its pack has {count} other mistake{}",
                path.display(),
                if count == 1 { "" } else { "s" }
            ),
            ..error
        });
    }
    let loaded = plan.candidate.map(|candidate| candidate.pack);
    Ok(Found {
        workflows: loaded
            .and_then(|pack| pack.actions.get(written_ref(&bytes)?.as_str()).cloned())
            .into_iter()
            .collect(),
        warnings: plan.warnings.into_iter().filter(own).collect(),
    })
}

async fn load_dir(context: &Context, dir: &Path, packs: Option<&Path>) -> Result<Found, CliError> {
    if !dir.join("pack.yaml").is_file() {
        let world = match packs {
            Some(packs) => World::of_folder(packs)?,
            None => World::core()?,
        };
        let loaded = pack::load_folder(dir, Path::new(""), &world.catalog);
        let mut found = Found::default();
        for candidate in loaded.map_err(|error| refused(dir, error))? {
            found.workflows.extend(workflows_of(&candidate.pack));
            found.warnings.extend(candidate.warnings);
        }
        return Ok(found);
    }
    let own = dir.canonicalize().ok();
    let world = World::find(context, packs, own.as_deref()).await?;
    let plan = plan(dir, &world)?;
    if !plan.problems.is_empty() {
        return Err(failure(dir, plan.problems));
    }
    let pack = plan.candidate.map(|candidate| candidate.pack);
    Ok(Found {
        workflows: pack.iter().flat_map(|pack| workflows_of(pack)).collect(),
        warnings: plan.warnings,
    })
}

fn plan(dir: &Path, world: &World) -> Result<pack::PackPlan, CliError> {
    pack::plan(dir, Path::new(""), &world.catalog).map_err(|error| refused(dir, error))
}

fn workflows_of(pack: &Pack) -> impl Iterator<Item = Arc<Action>> + '_ {
    pack.actions
        .values()
        .filter(|action| action.workflow().is_some())
        .cloned()
}

/// A file that is in no pack, in the place of the pack that its ref names.
fn load_alone(path: &Path, bytes: Vec<u8>, world: &World) -> Result<Found, CliError> {
    const INSIDE: &str = "workflows/this.yaml";
    let reference = written_ref(&bytes);
    let name = reference.as_ref().map_or("local", Ref::pack);
    let manifest = format!("ref: {name}\nversion: '0'\n").into_bytes();
    let mut files = world
        .files
        .get(name)
        .cloned()
        .unwrap_or_else(|| PackFiles::from([(PathBuf::from("pack.yaml"), manifest)]));
    // It stands in for the definition of its ref, wherever the pack has that.
    files.retain(|path, bytes| {
        !path.starts_with("workflows") || reference.is_none() || written_ref(bytes) != reference
    });
    files.insert(INSIDE.into(), bytes);
    let source = PackSource {
        label: String::new(),
        files,
        dir: PathBuf::from(name),
        hash: String::new(),
    };
    let shown = path.display().to_string();
    let here = |mut problem: Problem| {
        if problem.file == INSIDE {
            problem.file.clone_from(&shown);
        }
        problem
    };
    let loaded = load_packs(std::slice::from_ref(&source), &world.catalog, &EngineChecks)
        .map_err(|problems| failure(path, problems.into_list().into_iter().map(here).collect()))?;
    let mut found = Found::default();
    for one in loaded {
        let action = reference
            .as_ref()
            .and_then(|reference| one.pack.actions.get(reference));
        found.workflows.extend(action.cloned());
        let warnings = one.warnings.into_iter().map(here);
        found
            .warnings
            .extend(warnings.filter(|warning| warning.file == shown));
    }
    Ok(found)
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn mistakes(what: &str, problems: Problems) -> CliError {
    failure(Path::new(what), problems.into_list())
}

fn failure(path: &Path, problems: Vec<Problem>) -> CliError {
    let count = problems.len();
    let message = format!(
        "{count} mistake{} in {}",
        if count == 1 { "" } else { "s" },
        path.display()
    );
    CliError::new(ErrorCode::InvalidDefinition, message)
        .problems(problems.into_iter().map(exit::Problem::from).collect())
}

fn refused(path: &Path, error: PackError) -> CliError {
    match error {
        PackError::Invalid(problems) => failure(path, problems.into_list()),
        PackError::Io { path, source } => {
            CliError::invalid(format!("cannot access {}: {source}", path.display()))
        }
        other => CliError::invalid(other.to_string()),
    }
}
