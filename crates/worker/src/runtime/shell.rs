//! `shell`: a script file or the text of one, by `sh`. Parameters are never put into the text of a
//! command; they reach the script by the delivery alone, so no value can become a command.

use std::path::{Path, PathBuf};

use camshaft_model::Failure;
use camshaft_model::definition::EntryPoint;
use camshaft_model::port::dispatch::Job;

use super::{Context, Runtime, entry_file, folder_without_file, has_extension, launch};
use crate::process::Launch;

const SHELL: &str = "/bin/sh";

pub(crate) struct Shell;

impl Runtime for Shell {
    fn name(&self) -> &str {
        "shell"
    }

    fn available(&self) -> bool {
        super::is_executable(Path::new(SHELL))
    }

    fn prepare(&self, job: &Job, _: &Context<'_>) -> Result<Launch, Failure> {
        if let EntryPoint::Script(script) = &job.action.entry_point {
            // What follows the script is $0, which messages of the shell begin with.
            let args = vec![
                "-c".into(),
                script.into(),
                job.action.reference.as_str().into(),
            ];
            return Ok(launch(SHELL, args, folder_without_file(job)));
        }
        let (file, folder): (PathBuf, PathBuf) = entry_file(job)?;
        Ok(launch(SHELL, vec![file.into()], folder))
    }

    fn claims(&self, file: &Path) -> bool {
        has_extension(file, &["sh"])
    }
}
