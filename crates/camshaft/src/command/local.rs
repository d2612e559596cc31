//! What works without an engine, and the engine that a command brings along where none runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camshaft_model::port::store::Violation;

use super::up::UpOptions;
use crate::exit::CliError;

/// What works without an engine; the binary fills it in, so that commands do not depend on the engine.
#[derive(Clone, Copy)]
pub struct Local {
    /// Runs the engine in this process.
    pub up: fn(UpOptions) -> Result<ExitCode, CliError>,
    /// Brings an engine up for the time of one command.
    pub guest: fn(GuestOptions) -> Result<Guest, CliError>,
    /// Checks the promises of the database in a data directory that no engine uses.
    pub check_database: fn(&Path) -> Result<Vec<Violation>, CliError>,
}

/// What an engine for one command is made from.
#[derive(Debug, Clone)]
pub struct GuestOptions {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Folders with packs to apply; those of the configuration if there is none.
    pub packs: Vec<PathBuf>,
}

/// An engine for one command. It stops when this is dropped, and what still ran is taken up by the next
/// engine on the data directory.
pub struct Guest(Option<Box<dyn FnOnce() + Send>>);

impl Guest {
    /// An engine that stops by this.
    pub fn new(stop: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(stop)))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}
