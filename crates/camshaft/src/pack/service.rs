//! Planning, applying and removing packs on a running engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use camshaft_engine::Engine;
use camshaft_engine::handle::Pinned;
use camshaft_model::definition::{Catalog, Pack, Problem};
use camshaft_model::port::clock::Clock;
use camshaft_model::port::store::PackRecord;
use camshaft_model::{ErrorCode, Timestamp};
use camshaft_server::{PackError as Refused, PackService, ProblemItem};
use serde_json::Value;

use super::{Candidate, PackError, install, load_folder, plan, used_by_others, workflow_of_file};

/// The core pack belongs to the program and is never applied or removed.
const CORE: &str = "core";

/// Applies packs to an engine.
pub struct Packs {
    engine: Engine,
    clock: Arc<dyn Clock>,
    data_dir: PathBuf,
    /// One change of the catalog at a time: each is checked against the world that it changes.
    changing: tokio::sync::Mutex<()>,
}

impl Packs {
    /// A service for one engine.
    pub fn new(engine: Engine, clock: Arc<dyn Clock>, data_dir: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            engine,
            clock,
            data_dir,
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Applies every pack of a folder of packs that differs from the current one: all or none.
    ///
    /// # Errors
    /// Everything that is wrong with any of them; nothing has changed.
    pub async fn apply_folder(&self, dir: &Path) -> Result<Vec<String>, PackError> {
        let _one_at_a_time = self.changing.lock().await;
        let world = self.engine.catalog();
        let (dir, data_dir, without) = (dir.to_owned(), self.data_dir.clone(), world.clone());
        let candidates = blocking(move || load_folder(&dir, &data_dir, &without)).await?;
        let changed: Vec<Candidate> = candidates
            .into_iter()
            .filter(|candidate| !is_current(&world, &candidate.pack))
            .collect();
        for warning in changed.iter().flat_map(|candidate| &candidate.warnings) {
            tracing::warn!("{warning}");
        }
        self.make_current(changed).await
    }

    async fn make_current(&self, candidates: Vec<Candidate>) -> Result<Vec<String>, PackError> {
        let data_dir = self.data_dir.clone();
        let now = self.clock.now();
        let packs = blocking(move || {
            candidates
                .into_iter()
                .map(|candidate| {
                    let record = installed(&candidate, &data_dir, now)?;
                    Ok((candidate.pack, record))
                })
                .collect::<Result<Vec<_>, PackError>>()
        })
        .await?;
        let names = packs
            .iter()
            .map(|(pack, _)| pack.origin.pack.clone())
            .collect();
        if !packs.is_empty() {
            self.engine
                .put_packs(packs)
                .await
                .map_err(|error| PackError::NotRecorded(error.message))?;
        }
        Ok(names)
    }
}

/// Keeps the files of a version.
fn installed(
    candidate: &Candidate,
    data_dir: &Path,
    now: Timestamp,
) -> Result<PackRecord, PackError> {
    let origin = &candidate.pack.origin;
    let dir = install(&candidate.folder, &origin.pack, data_dir)?;
    Ok(PackRecord {
        pack: origin.pack.clone(),
        version: candidate.pack.version.clone(),
        hash: origin.hash.to_string(),
        dir: dir.display().to_string(),
        applied_at: now,
    })
}

fn is_current(world: &Catalog, pack: &Pack) -> bool {
    world
        .packs
        .get(&pack.origin.pack)
        .is_some_and(|current| current.origin.hash == pack.origin.hash)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PackError> + Send + 'static,
) -> Result<T, PackError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(PackError::NotRecorded(error.to_string())))
}

#[async_trait]
impl PackService for Packs {
    async fn plan(&self, dir: PathBuf) -> Result<Value, Refused> {
        let (world, data_dir) = (self.engine.catalog(), self.data_dir.clone());
        let plan = blocking(move || plan(&dir, &data_dir, &world)).await?;
        serde_json::to_value(&plan).map_err(|error| refused(ErrorCode::Internal, error.to_string()))
    }

    async fn apply(&self, dir: PathBuf, check_version: Option<String>) -> Result<Value, Refused> {
        let _one_at_a_time = self.changing.lock().await;
        let (world, data_dir) = (self.engine.catalog(), self.data_dir.clone());
        let plan = blocking(move || plan(&dir, &data_dir, &world)).await?;
        let shown = serde_json::to_value(&plan)
            .map_err(|error| refused(ErrorCode::Internal, error.to_string()))?;
        if let Some(expected) = &check_version
            && !plan.starts_from(expected)
        {
            let from = plan.from.as_ref().map_or_else(
                || "none".to_owned(),
                |v| format!("{} ({})", v.version, v.hash),
            );
            let message = format!(
                "the current version of pack '{}' is {from}, not {expected}: nothing was applied",
                plan.pack
            );
            return Err(refused(ErrorCode::Conflict, message));
        }
        let Some(candidate) = plan.candidate else {
            return Err(Refused {
                code: ErrorCode::InvalidDefinition,
                message: mistakes(plan.problems.len()),
                problems: plan.problems.into_iter().map(item).collect(),
            });
        };
        if candidate.pack.origin.pack == CORE {
            return Err(refused(
                ErrorCode::Conflict,
                "the pack 'core' belongs to the program".to_owned(),
            ));
        }
        if !plan.changes.is_empty() {
            self.make_current(vec![candidate]).await?;
        }
        Ok(shown)
    }

    async fn remove(&self, pack: String) -> Result<(), Refused> {
        let _one_at_a_time = self.changing.lock().await;
        if pack == CORE {
            return Err(refused(
                ErrorCode::Conflict,
                "the pack 'core' belongs to the program".to_owned(),
            ));
        }
        let users = used_by_others(&pack, &self.engine.catalog());
        if !users.is_empty() {
            let list: Vec<String> = users
                .iter()
                .map(|used| format!("{} {} uses {}", used.kind, used.user, used.needs))
                .collect();
            return Err(refused(
                ErrorCode::Conflict,
                format!("pack '{pack}' is in use: {}", list.join("; ")),
            ));
        }
        self.engine
            .remove_pack(pack)
            .await
            .map_err(|error| refused(error.code, error.message))
    }

    async fn workflow(&self, file: PathBuf) -> Result<Pinned, Refused> {
        let (world, data_dir) = (self.engine.catalog(), self.data_dir.clone());
        let now = self.clock.now();
        let pinned = blocking(move || {
            let (action, candidate) = workflow_of_file(&file, &data_dir, &world)?;
            let record = installed(&candidate, &data_dir, now)?;
            Ok(Pinned {
                action,
                pack: candidate.pack,
                record: Some(record),
            })
        });
        Ok(pinned.await?)
    }
}

fn refused(code: ErrorCode, message: String) -> Refused {
    Refused {
        code,
        message,
        problems: Vec::new(),
    }
}

fn item(problem: Problem) -> ProblemItem {
    ProblemItem {
        file: Some(problem.file),
        line: usize::try_from(problem.position.line).ok(),
        column: usize::try_from(problem.position.column).ok(),
        path: Some(problem.path).filter(|path| !path.is_empty()),
        message: problem.message,
    }
}

impl From<PackError> for Refused {
    fn from(error: PackError) -> Self {
        let code = match &error {
            PackError::Missing(_) => ErrorCode::NotFound,
            PackError::Refused { .. } | PackError::Invalid(_) => ErrorCode::InvalidDefinition,
            PackError::NotRecorded(_) => ErrorCode::Unavailable,
            PackError::Io { .. } | PackError::Watch { .. } => ErrorCode::Unavailable,
        };
        let message = match &error {
            PackError::Invalid(problems) => mistakes(problems.list().len()),
            other => chain(other),
        };
        let problems = match error {
            PackError::Invalid(problems) => problems.into_list().into_iter().map(item).collect(),
            _ => Vec::new(),
        };
        Self {
            code,
            message,
            problems,
        }
    }
}

fn mistakes(count: usize) -> String {
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    format!("{count} {noun}; nothing was applied")
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
