//! Processes as the kernel shows them.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Trouble;

/// A process that carries the name of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// 0 where its leader is outside the pid namespace.
    pub(crate) group: i32,
    /// In ticks since the start of the machine.
    pub(crate) started: u64,
}

/// Every process that an engine on this data directory has started, and what these have started.
pub(crate) fn of_instance(data_dir: &Path) -> Result<Vec<Process>, Trouble> {
    let instance = fs::read_to_string(data_dir.join("instance"))?;
    let wanted = format!("CAMSHAFT_INSTANCE={}", instance.trim()).into_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted)
        {
            found.extend(stat(pid));
        }
    }
    Ok(found)
}

/// A process, unless it is gone or a zombie.
pub(crate) fn stat(pid: i32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let alive = !matches!(*fields.first()?, "Z" | "X");
    let process = Process {
        pid,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    };
    alive.then_some(process)
}

/// Kills the groups of processes, but never the one that this program is in.
pub(crate) fn kill_groups(processes: &[Process]) {
    let Some(own) = i32::try_from(std::process::id()).ok().and_then(stat) else {
        return;
    };
    let others = processes
        .iter()
        .filter(|process| process.group != own.group && process.group > 1);
    for group in others.filter_map(|process| Pid::from_raw(process.group)) {
        // One that is gone already is as dead as it was to be.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The most memory that a process ever had resident, in bytes.
pub(crate) fn peak_memory(pid: i32) -> Result<u64, Trouble> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("the kernel does not say VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
