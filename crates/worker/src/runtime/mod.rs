//! How actions are run.
//!
//! A process runtime turns a job into a [`Launch`]: which program, with which arguments, where.
//! What is the same for all of them is added here afterwards: the clean [`environment`] and the
//! parameters by the [`delivery`] that the action declares. What the process printed becomes the
//! result in [`output`]. Native functions and HTTP requests are no processes; [`native`] and [`http`]
//! are called by the worker's tasks.

pub mod delivery;
mod environment;
pub mod http;
mod local;
pub mod native;
mod node;
pub mod output;
mod pack;
mod python;
pub(crate) mod schema;
mod shell;
pub mod venv;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use camshaft_model::definition::{Action, EntryPoint};
use camshaft_model::port::clock::Clock;
use camshaft_model::port::dispatch::Job;
use camshaft_model::{Failure, FailureKind};

pub(crate) use local::Local;
pub(crate) use node::Node;
pub(crate) use pack::PackDefined;
pub(crate) use python::Python;
pub(crate) use shell::Shell;

use crate::process::journal::Journal;
use crate::process::{Launch, StopHandle};
use delivery::ParameterFile;

/// What every job of a worker has in common.
#[derive(Debug, Clone)]
pub struct Site {
    /// The data directory: environments, temporary files and logs are in it.
    pub data_dir: PathBuf,
    /// The variables that every process gets, `PATH` among them.
    pub environment: BTreeMap<String, String>,
    /// Variables that only the making of a pack's environment gets besides (a package index, a proxy).
    pub install_environment: BTreeMap<String, String>,
    /// The value of `CAMSHAFT_INSTANCE`, by which processes of this data directory are found again.
    pub instance: String,
    /// The value of `CAMSHAFT_API_URL`.
    pub api_url: String,
}

impl Site {
    /// The folders in which programs are looked up.
    pub fn search_path(&self) -> &str {
        self.environment.get("PATH").map_or("", String::as_str)
    }
}

/// What a runtime may use while it prepares a job; preparing may take long and can be stopped.
pub struct Context<'a> {
    /// What every job has in common.
    pub site: &'a Site,
    /// Stops processes that are started on the way.
    pub stop: &'a StopHandle,
    /// Set when the job is to be stopped.
    pub stopped: &'a AtomicBool,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Where processes are written down while they live.
    pub journal: &'a Journal,
}

/// A way to run actions as processes.
pub trait Runtime: Send + Sync {
    /// The name by which actions ask for it.
    fn name(&self) -> &str;

    /// Whether this machine has what it needs.
    fn available(&self) -> bool;

    /// The program, its arguments up to those that carry parameters, the folder, and variables
    /// that the runtime itself adds.
    ///
    /// # Errors
    /// A failure of kind `Runtime`: what is missing, and what to do about it.
    fn prepare(&self, job: &Job, context: &Context<'_>) -> Result<Launch, Failure>;

    /// Whether it would run this file if nobody said how. Asked for ad-hoc files only.
    fn claims(&self, file: &Path) -> bool;
}

/// A launch with everything in it, and what must live as long as the process.
pub struct Prepared {
    /// What to start.
    pub launch: Launch,
    /// The file with the parameters; removed when this is dropped.
    pub parameter_file: Option<ParameterFile>,
}

/// Prepares a job on a runtime: the runtime's own part, then environment and parameters.
///
/// # Errors
/// What the runtime says, or a failure of kind `Parameters`.
pub fn prepare(
    runtime: &dyn Runtime,
    job: &Job,
    context: &Context<'_>,
) -> Result<Prepared, Failure> {
    let mut launch = runtime.prepare(job, context)?;
    let added = std::mem::take(&mut launch.env);
    launch.env = environment::of(job, context.site, added);
    launch.args.extend(job.args.iter().map(OsString::from));
    let parameter_file = delivery::deliver(job, context.site, &mut launch)?;
    Ok(Prepared {
        launch,
        parameter_file,
    })
}

/// The absolute path of a program: the text itself if it has a slash, else the first executable
/// file of that name in the folders of `search_path`.
pub fn find_program(name: &str, search_path: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return is_executable(Path::new(name)).then(|| PathBuf::from(name));
    }
    std::env::split_paths(search_path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

/// Whether a path is a file that this process may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

pub(crate) fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure {
        kind,
        message: message.into(),
    }
}

fn missing_program(runtime: &str, program: &str, context: &Context<'_>) -> Failure {
    let path = context.site.search_path();
    failure(
        FailureKind::Runtime,
        format!("runtime '{runtime}' needs '{program}', which is in none of {path}"),
    )
}

/// The file that an action runs, checked to be there, and the folder to run it in.
fn entry_file(job: &Job) -> Result<(PathBuf, PathBuf), Failure> {
    let EntryPoint::File(relative) = &job.action.entry_point else {
        return Err(failure(
            FailureKind::Runtime,
            format!(
                "runtime '{}' runs a file: give '{}' an entry_point",
                job.action.runtime, job.action.reference
            ),
        ));
    };
    let file = match &job.action.origin {
        Some(origin) => origin.dir.join(relative),
        None => relative.clone(),
    };
    if !file.is_file() {
        let what = if file.exists() {
            "is not a file"
        } else {
            "does not exist"
        };
        return Err(failure(
            FailureKind::Runtime,
            format!("entry point {} {what}", file.display()),
        ));
    }
    let folder = job
        .working_dir
        .clone()
        .unwrap_or_else(|| match file.parent() {
            Some(folder) => folder.to_owned(),
            None => PathBuf::from("/"),
        });
    Ok((file, folder))
}

/// The folder for an action without a file: what the job says, its pack's folder, or the root, where
/// a service without a place of its own runs.
fn folder_without_file(job: &Job) -> PathBuf {
    let pack = |action: &Action| action.origin.as_ref().map(|o| o.dir.clone());
    job.working_dir
        .clone()
        .or_else(|| pack(&job.action).filter(|dir| !dir.as_os_str().is_empty()))
        .unwrap_or_else(|| PathBuf::from("/"))
}

fn has_extension(file: &Path, extensions: &[&str]) -> bool {
    file.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| extensions.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn launch(program: impl Into<OsString>, args: Vec<OsString>, working_dir: PathBuf) -> Launch {
    Launch {
        program: program.into(),
        args,
        env: Vec::new(),
        working_dir,
        stdin: Vec::new(),
    }
}
