//! Starting one process: pipes, a group of its own, and a clear sentence where it does not work.
//!
//! The launch stays on the `posix_spawn` path of the standard library (a fork costs 49 ms in a parent
//! of 1 GB), which is why there is no closure between fork and exec, no user change, and why a
//! program without a slash is looked up here and not by `Command`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{Access, OFlags, access, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use super::Launch;

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Another thread's child may hold a just written program open for writing until it has called exec.
const BUSY_TRIES: u32 = 40;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A process that has been started.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    /// Readable once the process has ended.
    pub(super) pidfd: OwnedFd,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// What is still to be written to its standard input.
    pub(super) stdin: Option<Feed>,
}

/// Keeps every descriptor that this process has now, also those that it inherited, from the processes
/// that it will start. What is opened by Rust is kept from them anyway. To be called once at the start.
///
/// # Errors
/// The kernel does not know how (before Linux 5.11).
pub fn keep_descriptors() -> io::Result<()> {
    let (first, last, flags) = (3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    #[expect(
        unsafe_code,
        reason = "no safe wrapper exists; the call changes a flag and takes no pointers"
    )]
    // SAFETY: it closes nothing and touches no memory.
    let outcome = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Starts a process; the error is a sentence for people.
pub(super) fn spawn(launch: &mut Launch) -> Result<Spawned, String> {
    let program = resolve(launch)?;
    let payload = std::mem::take(&mut launch.stdin);
    let (stdin, feed) = input(payload).map_err(|error| no_pipes(&error))?;
    let (stdout, child_stdout) = output().map_err(|error| no_pipes(&error))?;
    let (stderr, child_stderr) = output().map_err(|error| no_pipes(&error))?;
    let mut command = Command::new(&program);
    command
        .arg0(&launch.program)
        .args(&launch.args)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&launch.working_dir)
        .process_group(0)
        .stdin(stdin)
        .stdout(child_stdout)
        .stderr(child_stderr);
    let pid = start(&mut command).map_err(|error| explain(&error, launch, &program))?;
    // The child's ends of the pipes close here, so that the end of its streams can be seen.
    drop(command);
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Spawned {
            pid,
            pidfd,
            stdout: Some(stdout),
            stderr: Some(stderr),
            stdin: feed,
        }),
        Err(error) => {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
            Err(format!(
                "the process could not be watched and was killed: {}",
                io::Error::from(error)
            ))
        }
    }
}

fn start(command: &mut Command) -> io::Result<Pid> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Ok(child) => {
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                return pid.ok_or_else(|| io::Error::other("the kernel gave an impossible pid"));
            }
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
            {
                tries += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

fn no_pipes(error: &io::Error) -> String {
    format!("no pipes for the process: {error}")
}

/// A pipe whose reading end is ours and never blocks.
fn output() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    Ok((reader, writer))
}

/// The child's standard input, and what did not fit into it yet.
fn input(payload: Vec<u8>) -> io::Result<(Stdio, Option<Feed>)> {
    if payload.is_empty() {
        return Ok((Stdio::null(), None));
    }
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    let mut feed = Feed {
        pipe: writer,
        payload,
        sent: 0,
    };
    let done = feed.pump();
    Ok((reader.into(), (!done).then_some(feed)))
}

/// The rest of a payload on its way into a pipe.
pub(super) struct Feed {
    pipe: OwnedFd,
    payload: Vec<u8>,
    sent: usize,
}

impl Feed {
    /// Writes what fits now. Says whether nothing is left to do, which is also so when the child has
    /// closed its end: not reading its input is its own business.
    pub(super) fn pump(&mut self) -> bool {
        match rustix::io::write(&self.pipe, &self.payload[self.sent..]) {
            Ok(written) => {
                self.sent += written;
                self.sent >= self.payload.len()
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            Err(_) => true,
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// The file to execute: a program without a slash is looked up in the child's own `PATH`.
fn resolve(launch: &Launch) -> Result<PathBuf, String> {
    let program = Path::new(&launch.program);
    if launch.program.is_empty() {
        return Err("no program is named".to_owned());
    }
    if program.components().count() > 1 || program.is_absolute() || has_slash(&launch.program) {
        return Ok(program.to_owned());
    }
    let path = launch
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.clone());
    let path = path.unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    std::env::split_paths(&path)
        .map(|folder| launch.working_dir.join(folder).join(program))
        .find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok())
        .ok_or_else(|| {
            format!(
                "program '{}' was not found in PATH ({})",
                program.display(),
                path.to_string_lossy()
            )
        })
}

fn has_slash(program: &OsStr) -> bool {
    program.as_encoded_bytes().contains(&b'/')
}

/// The kernel says ENOENT for a missing folder, program and interpreter alike: finds out which.
fn explain(error: &io::Error, launch: &Launch, program: &Path) -> String {
    let folder = launch.working_dir.display();
    if !launch.working_dir.exists() {
        return format!("the working directory '{folder}' does not exist");
    }
    if !launch.working_dir.is_dir() {
        return format!("the working directory '{folder}' is not a directory");
    }
    let file = launch.working_dir.join(program);
    let name = program.display();
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) if !file.exists() => {
            format!("program '{name}' does not exist")
        }
        Some(Errno::NOENT) => format!(
            "the interpreter that program '{name}' needs does not exist (see its first line)"
        ),
        Some(Errno::ACCESS) if file.is_dir() => format!("program '{name}' is a directory"),
        Some(Errno::ACCESS) if access(&file, Access::EXEC_OK).is_err() => {
            format!("program '{name}' is not executable (chmod +x '{name}')")
        }
        Some(Errno::NOEXEC) => {
            format!(
                "program '{name}' is neither a binary for this machine nor a script with '#!' in its first line"
            )
        }
        Some(Errno::TOOBIG) => {
            format!(
                "the arguments and the environment of program '{name}' are larger than the kernel allows"
            )
        }
        _ => format!("program '{name}' could not be started: {error}"),
    }
}
