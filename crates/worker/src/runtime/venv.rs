//! The Python environment of a pack: made once, named by the hash of what goes into it.
//!
//! An environment knows its own path and does not survive being moved, so it is built where it will
//! stay and counts only once the file `.complete` is in it. Whoever builds holds a lock on a file
//! beside it; everybody else who needs it waits for that lock in the thread of their own job. What a
//! maker that failed or died left behind is removed by the next one, so a failure is never kept.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use camshaft_model::definition::{PackOrigin, PythonEnvironment};
use camshaft_model::port::dispatch::Job;
use camshaft_model::{Failure, FailureKind};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::{Context, failure, launch};
use crate::process::{self, Attempt, Cause, End, Launch, Limits};

/// No installation takes longer than this.
const MAKING_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const LOCK_POLL: Duration = Duration::from_millis(50);
const SHOWN_LINES: usize = 5;

/// What environment is needed, and for whom.
pub(crate) struct Wanted<'a> {
    /// The interpreter.
    pub(crate) program: &'a Path,
    /// Its version.
    pub(crate) version: &'a str,
    /// The pack.
    pub(crate) origin: &'a PackOrigin,
    /// What it asks for.
    pub(crate) environment: &'a PythonEnvironment,
    /// The job that waits for it.
    pub(crate) job: &'a Job,
}

fn refused(message: impl Into<String>) -> Failure {
    failure(FailureKind::Runtime, message)
}

fn cancelled() -> Failure {
    failure(
        FailureKind::Cancelled,
        "cancelled while its Python environment was made",
    )
}

/// Asks an interpreter for what decides whether an environment fits it.
pub(crate) fn python_version(program: &Path, context: &Context<'_>) -> Result<String, Failure> {
    let shown = program.display();
    let output = std::process::Command::new(program)
        .args([
            "-I",
            "-c",
            "import sys; print(sys.version, sys.base_prefix)",
        ])
        .env_clear()
        .envs(&context.site.environment)
        .output()
        .map_err(|error| refused(format!("{shown} cannot be started: {error}")))?;
    if !output.status.success() {
        return Err(refused(format!(
            "{shown} does not say its version: {}",
            last_lines(&output.stderr)
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The folder of the environment, made if it is not there yet.
pub(crate) fn ensure(wanted: &Wanted<'_>, context: &Context<'_>) -> Result<PathBuf, Failure> {
    let requirements = wanted.origin.dir.join(&wanted.environment.requirements);
    let text = fs::read_to_string(&requirements).map_err(|error| {
        refused(format!(
            "{} cannot be read: {error}",
            requirements.display()
        ))
    })?;
    let folder = context.site.data_dir.join("environments").join("python");
    let home = folder.join(name(&text, wanted));
    if is_complete(&home) {
        return Ok(home);
    }
    let broken = |error: io::Error| refused(format!("{} cannot be made: {error}", home.display()));
    fs::create_dir_all(&folder).map_err(broken)?;
    let _lock = lock(&home.with_extension("lock"), context)?;
    if is_complete(&home) {
        return Ok(home);
    }
    if home.exists() {
        fs::remove_dir_all(&home).map_err(broken)?;
    }
    let made = make(
        &home,
        &requirements,
        entries(&text).next().is_some(),
        wanted,
        context,
    )
    .and_then(|()| File::create(home.join(".complete")).map_err(broken));
    match made {
        Ok(_) => Ok(home),
        Err(failure) => {
            if let Err(error) = fs::remove_dir_all(&home)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %home.display(), %error, "an unfinished Python environment could not be removed");
            }
            Err(failure)
        }
    }
}

fn is_complete(home: &Path) -> bool {
    home.join(".complete").exists()
}

/// Lines of a requirements file that ask for something.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The hash of all that decides what is in the environment. Where requirements name other files, the
/// whole pack decides.
fn name(requirements: &str, wanted: &Wanted<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(wanted.version);
    hash.update([0]);
    hash.update(requirements);
    if entries(requirements).any(|line| line.starts_with(['-', '.', '/']) || line.contains("file:"))
    {
        hash.update([0]);
        hash.update(wanted.origin.hash.as_bytes());
    }
    hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Waits until this job is the only maker. Other jobs wait in threads of their own, so nothing else
/// is held up.
fn lock(path: &Path, context: &Context<'_>) -> Result<File, Failure> {
    let broken =
        |error: io::Error| refused(format!("{} cannot be locked: {error}", path.display()));
    let file = File::create(path).map_err(broken)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if context.stopped.load(Ordering::Relaxed) => {
                return Err(cancelled());
            }
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_POLL),
            Err(error) => return Err(broken(error.into())),
        }
    }
}

fn make(
    home: &Path,
    requirements: &Path,
    install: bool,
    wanted: &Wanted<'_>,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let pack = &wanted.origin.pack;
    tracing::info!(%pack, path = %home.display(), "making a Python environment");
    let mut args = vec!["-m".into(), "venv".into()];
    if !install {
        args.push("--without-pip".into());
    }
    args.push(home.into());
    step(
        "python3 -m venv",
        launch(wanted.program, args, wanted.origin.dir.clone()),
        wanted,
        context,
    )?;
    if install {
        let fixed = [
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "-r",
        ];
        let mut args: Vec<_> = fixed.iter().map(Into::into).collect();
        args.push(requirements.into());
        tracing::info!(%pack, requirements = %requirements.display(), "installing into the Python environment");
        step(
            "pip install",
            launch(home.join("bin/python"), args, wanted.origin.dir.clone()),
            wanted,
            context,
        )?;
    }
    tracing::info!(%pack, path = %home.display(), "the Python environment is complete");
    Ok(())
}

/// Runs one program of the making under the same supervision as an attempt: written down in the
/// journal, stopped with the job, killed as a group.
fn step(
    what: &str,
    mut launch: Launch,
    wanted: &Wanted<'_>,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let site = context.site;
    let variables = site.environment.iter().chain(&site.install_environment);
    launch.env = variables
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    launch
        .env
        .push(("CAMSHAFT_INSTANCE".into(), site.instance.clone().into()));
    let logs = site.data_dir.join("environments").join("logs");
    let end = process::run(Attempt {
        key: wanted.job.key,
        root: wanted.job.root,
        step: what,
        step_scope: None,
        agent: "",
        launch,
        limits: Limits {
            timeout: Some(MAKING_TIMEOUT),
            stall_timeout: None,
            ..Limits::default()
        },
        secrets: &[],
        logs: &logs,
        stop: context.stop,
        clock: context.clock,
        journal: context.journal,
        emit: &|_| {},
    });
    judge(what, wanted, &end)
}

fn judge(what: &str, wanted: &Wanted<'_>, end: &End) -> Result<(), Failure> {
    let how = match &end.cause {
        Cause::Exited(0) => return Ok(()),
        Cause::Stopped => return Err(cancelled()),
        Cause::Exited(code) => format!("ended with exit status {code}"),
        Cause::NotStarted(why) => format!("could not be started: {why}"),
        Cause::TimedOut | Cause::Stalled => {
            format!("took longer than {} minutes", MAKING_TIMEOUT.as_secs() / 60)
        }
        Cause::Signaled(signal) => format!("was killed by signal {signal}"),
        Cause::OutOfMemory => "ran out of memory".to_owned(),
    };
    let said = if end.stderr_tail.is_empty() {
        &end.captured
    } else {
        &end.stderr_tail
    };
    Err(refused(format!(
        "the Python environment of pack '{}' could not be made: {what} {how}: {}",
        wanted.origin.pack,
        last_lines(said),
    )))
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    if shown.is_empty() {
        "it said nothing".to_owned()
    } else {
        shown.join("\n")
    }
}
