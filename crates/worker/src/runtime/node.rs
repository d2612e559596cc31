//! `node`: a JavaScript file by the first `node` in `PATH`.

use std::path::{Path, PathBuf};

use camshaft_model::Failure;
use camshaft_model::port::dispatch::Job;

use super::{Context, Runtime, entry_file, find_program, has_extension, launch, missing_program};
use crate::process::Launch;

pub(crate) struct Node {
    program: Option<PathBuf>,
}

impl Node {
    pub(crate) fn find(search_path: &str) -> Self {
        Self {
            program: find_program("node", search_path),
        }
    }
}

impl Runtime for Node {
    fn name(&self) -> &str {
        "node"
    }

    fn available(&self) -> bool {
        self.program.is_some()
    }

    fn prepare(&self, job: &Job, context: &Context<'_>) -> Result<Launch, Failure> {
        let program = self
            .program
            .as_ref()
            .ok_or_else(|| missing_program("node", "node", context))?;
        let (file, folder) = entry_file(job)?;
        Ok(launch(program, vec![file.into()], folder))
    }

    fn claims(&self, file: &Path) -> bool {
        has_extension(file, &["js", "mjs", "cjs"])
    }
}
