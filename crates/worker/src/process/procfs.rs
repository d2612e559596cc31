//! What `/proc` says about processes. Everything here may be gone a moment later, so whoever acts on
//! an answer pins the process with a pidfd and asks again.

use std::fs::File;
use std::io::Read;

use camshaft_model::AttemptKey;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The kernel's own limit for arguments and environment together under the default stack limit.
const ENVIRON_LIMIT: u64 = 2 * 1024 * 1024;

/// The fields of `/proc/<pid>/stat` that tell one process from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) state: u8,
    pub(super) parent: i32,
    /// 0 where its leader is outside the pid namespace, as with the session.
    pub(super) group: i32,
    pub(super) session: i32,
    /// Since the boot, in clock ticks; with the pid it identifies a process until the next boot.
    pub(super) start_ticks: u64,
}

impl Stat {
    /// Whether it is more than an entry that waits for its parent.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }
}

/// What is known of a process, if it exists.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    let mut text = [0; 1024];
    // The kernel hands a line of this file over in one piece.
    let length = File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(&mut text)
        .ok()?;
    parse_stat(pid, &text[..length])
}

/// This process. Unlike the calls for single numbers it also answers where the leader of the group or
/// of the session is outside the pid namespace.
pub(super) fn own() -> Option<Stat> {
    stat(rustix::process::getpid().as_raw_pid())
}

fn parse_stat(pid: i32, text: &[u8]) -> Option<Stat> {
    // The second field is the name in parentheses and may itself hold spaces and parentheses.
    let end_of_name = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end_of_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        pid,
        state: *fields.next()?.as_bytes().first()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        session: fields.next()?.parse().ok()?,
        start_ticks: fields.nth(15)?.parse().ok()?,
    })
}

/// Every process that exists.
pub(super) fn all() -> impl Iterator<Item = Stat> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
}

/// The environment with which a process was started; `None` if it is gone or not ours to read.
pub(super) fn environ(pid: i32) -> Option<Environ> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRON_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(Environ(bytes))
}

/// The environment of a process.
pub(super) struct Environ(Vec<u8>);

impl Environ {
    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.split(|byte| *byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok()
        })
    }

    /// The attempt that the process was started for.
    pub(super) fn attempt(&self) -> Option<AttemptKey> {
        Some(AttemptKey {
            execution: self.get("CAMSHAFT_EXECUTION_ID")?.parse().ok()?,
            attempt: self.get("CAMSHAFT_ATTEMPT")?.parse().ok()?,
            epoch: self
                .get("CAMSHAFT_EPOCH")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
        })
    }
}

/// Signals exactly this process and no later one with its number.
pub(super) fn signal(process: &Stat, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else {
        return;
    };
    let Ok(pinned) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if stat(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks) {
        // It may have ended meanwhile, or belong to another user: both are for the caller to see.
        let _ = pidfd_send_signal(&pinned, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = b"7 (a) b (c) S 1 5 6 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let stat = parse_stat(7, text).unwrap();
        assert_eq!(
            (stat.state, stat.parent, stat.group, stat.session),
            (b'S', 1, 5, 6)
        );
        assert_eq!(stat.start_ticks, 4242);
        assert_eq!(parse_stat(7, b"7 (cut"), None);
        assert_eq!(parse_stat(7, b"7 (cut) S 1 2"), None);
    }

    #[test]
    fn the_own_process_is_found_with_its_parent() {
        let own = i32::try_from(std::process::id()).unwrap();
        let stat = all().find(|stat| stat.pid == own).unwrap();
        assert!(stat.is_alive());
        assert_eq!(
            stat.parent,
            i32::try_from(std::os::unix::process::parent_id()).unwrap()
        );
    }

    #[test]
    fn variables_are_found_by_their_whole_name() {
        let environ = Environ(b"XA=1\0A=2\0B=\0".to_vec());
        assert_eq!(
            (environ.get("A"), environ.get("B"), environ.get("C")),
            (Some("2"), Some(""), None)
        );
    }
}
