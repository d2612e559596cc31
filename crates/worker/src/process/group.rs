//! The processes of one attempt: its group, and those that left the group but carry its variables.
//!
//! The group's number is the pid of its leader, which the kernel gives to nobody else as long as the
//! leader has not been reaped. So the group may be signalled until then, and not after.

use camshaft_model::AttemptKey;
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid,
};

use super::procfs::{self, Stat};

/// The processes of one attempt.
pub(super) struct Group {
    leader: Pid,
    leader_start_ticks: u64,
    key: AttemptKey,
}

impl Group {
    pub(super) fn new(leader: Pid, leader_start_ticks: u64, key: AttemptKey) -> Self {
        Self {
            leader,
            leader_start_ticks,
            key,
        }
    }

    /// Asks every process of the attempt to end, also those that are stopped.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
        let _ = kill_process_group(self.leader, Signal::CONT);
    }

    /// Ends every process of the attempt.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Ends what is in the group and looks nowhere else: one system call.
    pub(super) fn kill_members(&self) {
        let _ = kill_process_group(self.leader, Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // A group that has just ended cannot be signalled, which is what was wanted.
        let _ = kill_process_group(self.leader, signal);
        for process in self
            .processes()
            .filter(|process| process.group != self.leader.as_raw_pid())
        {
            procfs::signal(&process, signal);
        }
    }

    /// Whether any process of the attempt is alive, wherever it went.
    pub(super) fn is_alive(&self) -> bool {
        self.processes().next().is_some()
    }

    /// Whether a process of the group is alive, its leader having been reaped. Nothing may be killed
    /// on this answer: the number may be somebody else's by now.
    pub(super) fn has_members(&self) -> bool {
        if test_kill_process_group(self.leader).is_err() {
            return false;
        }
        // Orphans of the group may be children of this process if it is the first one of a container.
        while let Ok(Some(_)) = waitpgid(self.leader, WaitOptions::NOHANG) {}
        test_kill_process_group(self.leader).is_ok()
            && procfs::stat(self.leader.as_raw_pid()).is_none()
    }

    fn processes(&self) -> impl Iterator<Item = Stat> {
        let own = rustix::process::getpid().as_raw_pid();
        procfs::all().filter(move |process| {
            process.is_alive()
                && process.pid != own
                && process.start_ticks >= self.leader_start_ticks
                && (process.group == self.leader.as_raw_pid()
                    || self.carries_variables(process.pid))
        })
    }

    fn carries_variables(&self, pid: i32) -> bool {
        procfs::environ(pid)
            .and_then(|environ| environ.attempt())
            .is_some_and(|key| {
                key.execution == self.key.execution && key.attempt == self.key.attempt
            })
    }
}
