//! Packs on disk: from a folder that a person edits to the definitions that the engine works with.
//!
//! ```text
//! folder ── folder.rs ──> files + hash ── model::definition::load ──> Pack      (checks.rs: the engine's checks)
//!                              │                                        │
//!                         install.rs                                plan.rs: what would change
//!                              v                                        v
//!              <data_dir>/packs/<ref>-<hash>/                  the engine makes it current
//! ```
//! Actions run from the installed copy and never from the folder that is being edited, so a run goes
//! on with the version it started with.

mod checks;
mod core;
mod folder;
mod install;
mod plan;
mod program;
pub mod service;
mod set;
pub mod standalone;
mod watch;

pub use checks::EngineChecks;
pub use core::core_pack;
pub use folder::{Folder, hash_of, read};
pub use install::{install, load_installed, load_pinned};
pub use plan::{Candidate, Change, ChangeKind, PackPlan, PackVersion, plan};
pub use program::{PROGRAM, Program, load_program};
pub use set::{Use, load_folder, used_by_others};
pub use standalone::workflow_of_file;
pub use watch::{PackWatch, watch};

use std::io;
use std::path::{Path, PathBuf};

use camshaft_model::definition::Problems;

/// Why a pack could not be read, loaded or installed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The folder is not there.
    #[error("there is no folder {0}")]
    Missing(PathBuf),
    /// The folder breaks a limit or holds what a pack may not hold.
    #[error("{path}: {reason}")]
    Refused {
        /// The file or folder.
        path: PathBuf,
        /// Why, in a sentence.
        reason: String,
    },
    /// The definitions have mistakes.
    #[error("{0}")]
    Invalid(Problems),
    /// A file could not be read or written.
    #[error("cannot access {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The engine did not take it.
    #[error("the pack was not recorded: {0}")]
    NotRecorded(String),
    /// A folder cannot be watched.
    #[error("cannot watch {path}")]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
}

impl PackError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

impl From<Problems> for PackError {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

#[cfg(test)]
mod tests;
