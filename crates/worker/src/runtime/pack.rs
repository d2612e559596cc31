//! Runtimes that packs define: a command, and after it the entry point.

use std::path::Path;
use std::sync::Arc;

use camshaft_model::definition::{self, EntryPoint};
use camshaft_model::port::dispatch::Job;
use camshaft_model::{Failure, FailureKind};

use super::{
    Context, Runtime, entry_file, failure, find_program, folder_without_file, launch,
    missing_program,
};
use crate::process::Launch;

pub(crate) struct PackDefined(pub(crate) Arc<definition::Runtime>);

impl Runtime for PackDefined {
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether its program is there is said by [`Runtime::prepare`], which knows where to look.
    fn available(&self) -> bool {
        !self.0.command.is_empty()
    }

    fn prepare(&self, job: &Job, context: &Context<'_>) -> Result<Launch, Failure> {
        let Some((word, rest)) = self.0.command.split_first() else {
            return Err(failure(
                FailureKind::Runtime,
                format!("runtime '{}' has an empty command", self.0.reference),
            ));
        };
        let program = find_program(word, context.site.search_path())
            .ok_or_else(|| missing_program(&self.0.name, word, context))?;
        let mut args: Vec<_> = rest.iter().map(Into::into).collect();
        let folder = match &job.action.entry_point {
            EntryPoint::File(_) => {
                let (file, folder) = entry_file(job)?;
                args.push(file.into());
                folder
            }
            EntryPoint::Script(script) => {
                args.push(script.into());
                folder_without_file(job)
            }
            EntryPoint::Native(_) | EntryPoint::Workflow(_) | EntryPoint::None => {
                folder_without_file(job)
            }
        };
        Ok(launch(program, args, folder))
    }

    fn claims(&self, file: &Path) -> bool {
        file.extension().and_then(|e| e.to_str()).is_some_and(|e| {
            self.0
                .extensions
                .iter()
                .any(|known| known.eq_ignore_ascii_case(e))
        })
    }
}
