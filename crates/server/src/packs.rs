//! What the server asks of whoever can read packs from folders: the composition root.

use std::path::PathBuf;

use async_trait::async_trait;
use camshaft_engine::handle::Pinned;
use camshaft_model::ErrorCode;
use serde_json::Value;

use crate::problem::{Problem, ProblemItem};

/// Why a pack was not planned, applied or removed. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PackError {
    /// The stable code.
    pub code: ErrorCode,
    /// A sentence that says what and where.
    pub message: String,
    /// Every mistake that was found, with its place.
    pub problems: Vec<ProblemItem>,
}

impl From<PackError> for Problem {
    fn from(error: PackError) -> Self {
        Self::new(error.code, error.message).items(error.problems)
    }
}

/// Plans, applies, removes and reads packs.
#[async_trait]
pub trait PackService: Send + Sync {
    /// What applying the folder would change.
    ///
    /// # Errors
    /// The folder cannot be read or a definition in it is not valid.
    async fn plan(&self, dir: PathBuf) -> Result<Value, PackError>;

    /// Makes the folder's pack current and says what that changed. With `check_version` it is refused
    /// with `conflict` unless the current version is that one.
    ///
    /// # Errors
    /// As [`PackService::plan`], or the world moved.
    async fn apply(&self, dir: PathBuf, check_version: Option<String>) -> Result<Value, PackError>;

    /// Removes a pack. Runs that are pinned to it go on.
    ///
    /// # Errors
    /// There is no such pack, or it cannot be removed.
    async fn remove(&self, pack: String) -> Result<(), PackError>;

    /// The workflow in a file, in a version of its pack that is installed and not made current.
    ///
    /// # Errors
    /// The file cannot be read, or a definition in it is not valid.
    async fn workflow(&self, file: PathBuf) -> Result<Pinned, PackError>;
}
