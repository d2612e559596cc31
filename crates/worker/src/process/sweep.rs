//! After a crash: ending what an earlier life of this worker had started.
//!
//! Two sources that cover each other. The [journal](super::journal) names processes by pid and start
//! time, also those that changed their environment; `CAMSHAFT_INSTANCE` in the environment of a process
//! names those that were started in the instant before they were journalled, and those that left their
//! group. A pid alone is never believed, and this process and its ancestors are never touched.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;

use camshaft_model::AttemptKey;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::Instant;

use super::journal::{self, Record};
use super::procfs::{self, Stat};

/// How long killed processes are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// An attempt of an earlier life of which processes were still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Which attempt.
    pub key: AttemptKey,
    /// Its process: the leader of its group, if that was still there.
    pub pid: i32,
    /// Whether every process of it was gone when the sweep ended.
    pub gone: bool,
}

/// Kills every process of attempts of an earlier life and waits until they are gone. To be called
/// when it is certain that the earlier life has ended, and before anything is started.
///
/// # Errors
/// The journal of the data directory cannot be read.
pub fn sweep(data_dir: &Path, instance: &str) -> io::Result<Vec<Survivor>> {
    let records = journal::left_behind(data_dir)?;
    let until = Instant::now() + PATIENCE;
    let mut survivors: BTreeMap<_, Survivor> = BTreeMap::new();
    loop {
        let found = find(&records, instance);
        for survivor in survivors.values_mut() {
            survivor.gone = !found
                .iter()
                .any(|process| process.key == Some(survivor.key));
        }
        for process in &found {
            let Some(key) = process.key else { continue };
            let id = (key.execution, key.attempt, key.epoch);
            let survivor = survivors.entry(id).or_insert(Survivor {
                key,
                pid: process.stat.pid,
                gone: false,
            });
            if process.stat.pid == process.stat.group {
                survivor.pid = process.stat.pid;
            }
        }
        if found.is_empty() {
            journal::reset(data_dir)?;
            break;
        }
        if Instant::now() >= until {
            // What is still there stays in the journal for the next start.
            break;
        }
        found.iter().for_each(Found::kill);
        std::thread::sleep(PAUSE);
    }
    Ok(survivors.into_values().collect())
}

/// A process that belongs to an attempt (or a sensor, which has no attempt) of an earlier life.
struct Found {
    stat: Stat,
    key: Option<AttemptKey>,
}

impl Found {
    fn kill(&self) {
        let Some(leader) = Pid::from_raw(self.stat.pid) else {
            return;
        };
        procfs::signal(&self.stat, Signal::KILL);
        // As its own leader it pins the number of its group until its parent has reaped it.
        let is_leader = self.stat.pid == self.stat.group;
        if is_leader
            && procfs::stat(self.stat.pid)
                .is_some_and(|now| now.start_ticks == self.stat.start_ticks)
        {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

fn find(records: &[Record], instance: &str) -> Vec<Found> {
    let all: HashMap<i32, Stat> = procfs::all().map(|stat| (stat.pid, stat)).collect();
    let protected = own_line(&all);
    all.values()
        .filter(|stat| stat.is_alive() && !protected.contains(&stat.pid))
        .filter_map(|stat| {
            let journalled = records
                .iter()
                .find(|record| is_of(stat, record, &all))
                .map(|record| record.key);
            let environ = procfs::environ(stat.pid);
            let ours = environ
                .filter(|e| !instance.is_empty() && e.get("CAMSHAFT_INSTANCE") == Some(instance));
            if journalled.is_none() && ours.is_none() {
                return None;
            }
            Some(Found {
                stat: *stat,
                key: journalled.or_else(|| ours?.attempt()),
            })
        })
        .collect()
}

/// Whether a process is the recorded one or a member of the group that it led.
fn is_of(stat: &Stat, record: &Record, all: &HashMap<i32, Stat>) -> bool {
    if stat.pid == record.pid {
        return stat.start_ticks == record.start_ticks;
    }
    if stat.group != record.pid || stat.start_ticks < record.start_ticks {
        return false;
    }
    match all.get(&record.pid) {
        // While the leader is there, it says whose group it is.
        Some(leader) => leader.start_ticks == record.start_ticks,
        // A number is not given out while a group has it, so only the session can still differ.
        None => stat.session == record.session,
    }
}

/// This process and its ancestors.
fn own_line(all: &HashMap<i32, Stat>) -> Vec<i32> {
    let mut line = vec![1];
    let mut next = rustix::process::getpid().as_raw_pid();
    while next > 1 && !line.contains(&next) {
        line.push(next);
        next = all.get(&next).map_or(0, |stat| stat.parent);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use camshaft_model::ExecutionId;

    fn stat(pid: i32, group: i32, session: i32, start_ticks: u64) -> Stat {
        Stat {
            pid,
            state: b'S',
            parent: 1,
            group,
            session,
            start_ticks,
        }
    }

    fn belongs(process: Stat, others: &[Stat]) -> bool {
        let key = AttemptKey {
            execution: ExecutionId::from_bytes([1; 16]),
            attempt: 1,
            epoch: 1,
        };
        let record = Record {
            key,
            pid: 500,
            session: 10,
            start_ticks: 1000,
            boot: 0,
        };
        let all = others
            .iter()
            .chain([&process])
            .map(|stat| (stat.pid, *stat))
            .collect();
        is_of(&process, &record, &all)
    }

    #[test]
    fn a_pid_counts_only_with_its_start_time() {
        assert!(belongs(stat(500, 500, 10, 1000), &[]));
        assert!(!belongs(stat(500, 500, 10, 1001), &[]));
    }

    #[test]
    fn members_count_with_their_leader_or_in_its_session() {
        assert!(belongs(
            stat(501, 500, 99, 1005),
            &[stat(500, 500, 10, 1000)]
        ));
        assert!(
            !belongs(stat(501, 500, 10, 1005), &[stat(500, 500, 10, 1002)]),
            "the number is another's now"
        );
        assert!(belongs(stat(501, 500, 10, 1005), &[]));
        assert!(!belongs(stat(501, 500, 11, 1005), &[]));
        assert!(
            !belongs(stat(501, 500, 10, 999), &[]),
            "older than the group"
        );
        assert!(!belongs(stat(501, 502, 10, 1005), &[]));
    }
}
