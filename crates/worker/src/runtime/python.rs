//! `python`: a file by `python3`, or by the environment that its pack asks for.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use camshaft_model::Failure;
use camshaft_model::port::dispatch::Job;

use super::{
    Context, Runtime, entry_file, find_program, has_extension, launch, missing_program, venv,
};
use crate::process::Launch;

pub(crate) struct Python {
    program: Option<PathBuf>,
    version: OnceLock<String>,
}

impl Python {
    pub(crate) fn find(search_path: &str) -> Self {
        Self {
            program: find_program("python3", search_path),
            version: OnceLock::new(),
        }
    }
}

impl Runtime for Python {
    fn name(&self) -> &str {
        "python"
    }

    fn available(&self) -> bool {
        self.program.is_some()
    }

    fn prepare(&self, job: &Job, context: &Context<'_>) -> Result<Launch, Failure> {
        let program = self
            .program
            .as_ref()
            .ok_or_else(|| missing_program("python", "python3", context))?;
        let (file, folder) = entry_file(job)?;
        let args = vec!["-u".into(), file.into()];
        let wanted = job
            .action
            .origin
            .as_ref()
            .and_then(|o| Some((o, o.python.as_ref()?)));
        let Some((origin, environment)) = wanted else {
            return Ok(launch(program, args, folder));
        };
        let version = match self.version.get() {
            Some(version) => version,
            None => {
                let asked = venv::python_version(program, context)?;
                self.version.get_or_init(|| asked)
            }
        };
        let made = venv::ensure(
            &venv::Wanted {
                program,
                version,
                origin,
                environment,
                job,
            },
            context,
        )?;
        let bin = made.join("bin");
        let mut launch = launch(bin.join("python"), args, folder);
        let path = format!("{}:{}", bin.display(), context.site.search_path());
        launch.env = vec![
            ("PATH".into(), path.into()),
            ("VIRTUAL_ENV".into(), made.into()),
        ];
        Ok(launch)
    }

    fn claims(&self, file: &Path) -> bool {
        has_extension(file, &["py"])
    }
}
