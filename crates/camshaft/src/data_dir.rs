//! The data directory: who holds it, and what is kept in it beside the database.
//!
//! ```text
//! lock        held (flock) by the process that uses the directory; its content is that process's id
//! api.json    address and token of the API, for the command line on this machine; mode 0600
//! token       the API's token, made at the first start; mode 0600
//! instance    a random name of this directory, which every child process carries
//! camshaft.db the database      packs/ installed packs      logs/ output      environments/ of packs
//! ```

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use camshaft_model::ErrorCode;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::clock::SystemEntropy;
use crate::exit::CliError;

/// How often the lock of a dead process is tried for, and the pause between: five seconds in all.
const TRIES: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(5);
/// So many tries are more than it takes to ask whether somebody holds it.
const ASKING: u32 = 4;

/// A data directory that this process holds. Dropping it lets go.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    instance: String,
    token: String,
    /// Whether it goes when this value goes.
    is_temporary: bool,
    lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, and takes its lock.
    ///
    /// # Errors
    /// Another process holds it, or it cannot be written.
    pub fn hold(path: &Path) -> Result<Self, CliError> {
        let failed = |what: &Path| {
            let what = what.to_owned();
            move |error: io::Error| {
                CliError::new(
                    ErrorCode::InvalidConfiguration,
                    format!("cannot use {}: {error}", what.display()),
                )
                .hint("choose a folder that can be written with --data-dir")
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed(path))?;
        let path = path.canonicalize().map_err(failed(path))?;
        if path.to_str().is_none() {
            // It goes to child processes, into the database and over the API, which are all of text.
            let not_text = io::Error::other("the path is not UTF-8");
            return Err(failed(&path)(not_text));
        }
        let lock = lock(&path.join("lock"), || std::thread::sleep(PAUSE))
            .map_err(failed(&path))?
            .map_err(|pid| {
                CliError::new(
                    ErrorCode::AlreadyRunning,
                    format!("{} is in use by process {pid}", path.display()),
                )
                .hint("stop that one, or use another --data-dir")
            })?;
        let instance = kept(&path.join("instance"), || hex(&SystemEntropy::bytes::<8>()))
            .map_err(failed(&path))?;
        let token = kept(&path.join("token"), || {
            format!("cam_{}", hex(&SystemEntropy::bytes::<24>()))
        })
        .map_err(failed(&path))?;
        Ok(Self {
            path,
            instance,
            token,
            is_temporary: false,
            lock,
        })
    }

    /// A directory of a random name among the temporary files of the machine, for an engine whose
    /// database is in memory. It is removed when this value is dropped.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn temporary() -> Result<Self, CliError> {
        let name = format!("camshaft-{}", hex(&SystemEntropy::bytes::<12>()));
        let mut held = Self::hold(&std::env::temp_dir().join(name))?;
        held.is_temporary = true;
        Ok(held)
    }

    /// Whether it is one of [`DataDir::temporary`].
    pub const fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its random name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The API's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A key that only this directory's engine has, to sign attempt tokens with.
    pub fn signing_key(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"camshaft attempt tokens\n");
        hash.update(self.token.as_bytes());
        hash.finalize().into()
    }

    /// Tells the command line where the API is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn announce(&self, url: &str) -> io::Result<()> {
        let text =
            serde_json::json!({ "url": url, "token": self.token, "pid": std::process::id() });
        let temporary = self.path.join(".api.json");
        write_private(&temporary, &text.to_string())?;
        fs::rename(temporary, self.path.join("api.json"))
    }

    /// Takes the announcement back.
    pub fn unannounce(&self) {
        // Who still finds it finds nobody listening, which says the same.
        let _ = fs::remove_file(self.path.join("api.json"));
    }
}

impl Drop for DataDir {
    /// Nobody is sent here any more. For the lock, closing the file is not enough: a child that is being started by another thread has it open too,
    /// until its program is in place.
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed is left to whoever cleans the temporary files of the machine.
            let _ = fs::remove_dir_all(&self.path);
        }
        self.unannounce();
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Takes the lock; `Err` inside is the id of the process that holds it, as far as it is known.
///
/// A process that was killed while it started another one leaves the lock to that one until the new
/// program is in place. So a lock whose holder is dead is tried for again a while, with `pause` between.
/// Waiting is needed anyhow: only then does that process carry the variables by which it is found.
/// A holder that lives is given a few tries too: it may be one who only asks ([`is_held`]).
fn lock(path: &Path, mut pause: impl FnMut()) -> io::Result<Result<File, String>> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    for tries_left in (0..TRIES).rev() {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                file.rewind()?;
                file.read_to_string(&mut pid)?;
                if tries_left == 0 || (tries_left < TRIES - ASKING && is_alive(&pid)) {
                    return Ok(Err(if pid.is_empty() {
                        "(unknown)".to_owned()
                    } else {
                        pid
                    }));
                }
                pause();
            }
            Err(error) => return Err(error.into()),
        }
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())?;
    Ok(Ok(file))
}

/// Whether a process holds the data directory. What cannot be found out counts as yes: then the request
/// to that process tells.
///
/// The id of a process says nothing of it: ids are given out again, in a container at every start. The
/// lock is tried for together with everybody else who asks, and given back at once.
pub fn is_held(path: &Path) -> bool {
    let file = match File::open(path.join("lock")) {
        Ok(file) => file,
        Err(error) => return error.kind() != io::ErrorKind::NotFound,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = flock(&file, FlockOperation::Unlock);
            false
        }
        Err(_) => true,
    }
}

/// Whether a process is there and no zombie.
fn is_alive(pid: &str) -> bool {
    // The state follows the name, which is in parentheses and may contain anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The content of a file that is made once.
fn kept(path: &Path, make: impl FnOnce() -> String) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => write_kept(path, make()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_kept(path, make()),
        Err(error) => Err(error),
    }
}

fn write_kept(path: &Path, text: String) -> io::Result<String> {
    write_private(path, &text)?;
    Ok(text)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it_and_the_other_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataDir::hold(&path).unwrap();
        let error = DataDir::hold(&path).unwrap_err();
        assert_eq!(error.code, ErrorCode::AlreadyRunning);
        assert!(
            error.message.contains(&std::process::id().to_string()),
            "{}",
            error.message
        );
        drop(first);
        DataDir::hold(&path).unwrap();
    }

    #[test]
    fn whether_somebody_holds_it_is_a_matter_of_the_lock_and_asking_does_not_take_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_held(folder.path()), "nobody ever did");
        let held = DataDir::hold(folder.path()).unwrap();
        held.announce("http://127.0.0.1:1").unwrap();
        assert!(is_held(folder.path()));
        drop(held);
        assert!(!is_held(folder.path()), "its file is still there");
        assert!(!folder.path().join("api.json").exists());
        // One who asks at this instant, while the file names a process that lives.
        let lock_file = folder.path().join("lock");
        let asks = File::open(&lock_file).unwrap();
        flock(&asks, FlockOperation::NonBlockingLockShared).unwrap();
        assert!(
            !is_held(folder.path()),
            "who asks does not disturb others who do"
        );
        let mut asks = Some(asks);
        lock(&lock_file, || drop(asks.take())).unwrap().unwrap();
    }

    #[test]
    fn a_path_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let name = std::ffi::OsStr::from_bytes(b"data\xff");
        let error = DataDir::hold(&folder.path().join(name)).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidConfiguration);
        assert!(error.message.contains("not UTF-8"), "{error}");
    }

    #[test]
    fn what_a_killed_process_was_just_starting_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let held = File::create(&path).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        write!(&held, "{}", gone.id()).unwrap();
        let mut pauses = 0;
        let refused = lock(&path, || pauses += 1).unwrap().unwrap_err();
        assert_eq!(
            (refused, pauses),
            (gone.id().to_string(), TRIES - 1),
            "not for ever"
        );
        let mut held = Some(held);
        lock(&path, || drop(held.take())).unwrap().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
    }

    #[test]
    fn a_process_that_is_just_being_started_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::hold(folder.path()).unwrap();
        // What a child has until its program is in place.
        let inherited = first.lock.try_clone().unwrap();
        drop(first);
        DataDir::hold(folder.path()).unwrap();
        drop(inherited);
    }

    #[test]
    fn a_temporary_one_goes_with_its_holder() {
        let first = DataDir::temporary().unwrap();
        let second = DataDir::temporary().unwrap();
        let path = first.path().to_owned();
        assert_ne!(path, second.path());
        assert!(path.is_dir());
        drop(first);
        assert!(!path.exists());
        assert!(second.path().is_dir());
    }

    #[test]
    fn token_and_instance_stay_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::hold(folder.path()).unwrap();
        let (token, instance) = (first.token().to_owned(), first.instance().to_owned());
        first.announce("http://127.0.0.1:1").unwrap();
        for name in ["token", "api.json", "lock"] {
            let mode = fs::metadata(first.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        drop(first);
        let second = DataDir::hold(folder.path()).unwrap();
        assert_eq!(
            (second.token(), second.instance()),
            (token.as_str(), instance.as_str())
        );
    }
}
