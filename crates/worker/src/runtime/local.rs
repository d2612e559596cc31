//! `local`: the file itself is the program.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use camshaft_model::port::dispatch::Job;
use camshaft_model::{Failure, FailureKind};

use super::{Context, Runtime, entry_file, failure, is_executable, launch};
use crate::process::Launch;

pub(crate) struct Local;

impl Runtime for Local {
    fn name(&self) -> &str {
        "local"
    }

    fn available(&self) -> bool {
        true
    }

    fn prepare(&self, job: &Job, _: &Context<'_>) -> Result<Launch, Failure> {
        let (file, folder) = entry_file(job)?;
        if !is_executable(&file) {
            let path = file.display();
            return Err(failure(
                FailureKind::Runtime,
                format!(
                    "{path} is not executable: run chmod +x {path}, or name a runtime that reads it"
                ),
            ));
        }
        Ok(launch(file, Vec::new(), folder))
    }

    /// An executable file that the kernel knows how to start. The bit alone is not enough: it is set
    /// on everything of some file systems, and a script without a `#!` line would not start.
    fn claims(&self, file: &Path) -> bool {
        let mut head = [0; 4];
        let read = File::open(file)
            .and_then(|mut f| f.read(&mut head))
            .unwrap_or(0);
        is_executable(file) && (head[..read].starts_with(b"#!") || &head[..read] == b"\x7fELF")
    }
}
