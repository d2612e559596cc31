//! What processes this worker has started, for its next life to find if this one ends by a kill.
//!
//! A file of fixed slots in the data directory, one per running attempt, written with one plain
//! `pwrite` after the start and one at the end. The page cache survives the death of our process; the
//! death of the host takes the children with it, so nothing is flushed to the disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use camshaft_model::{AttemptKey, ExecutionId};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::procfs;

pub(super) const SLOT_BYTES: usize = 64;
const MAGIC: u32 = 0x4a53_4301;
const FILE_NAME: &str = "attempts.journal";

/// One started process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: AttemptKey,
    /// The pid, which is also the number of its group.
    pub(super) pid: i32,
    pub(super) session: i32,
    pub(super) start_ticks: u64,
    pub(super) boot: u64,
}

/// The processes that this worker has started and not yet seen the end of.
#[derive(Debug)]
pub struct Journal {
    file: File,
    boot: u64,
    session: i32,
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    free: Vec<u64>,
    count: u64,
}

/// The place of a record; given back with [`Journal::clear`].
#[derive(Debug)]
pub(super) struct Slot(u64);

impl Journal {
    /// Opens the journal of a data directory, or begins one. What an earlier life left in it stays
    /// until [`sweep`](super::sweep::sweep) has dealt with it.
    ///
    /// # Errors
    /// The file cannot be read or created.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let file = open(data_dir)?;
        let records = read(&file)?;
        let free = (0u64..)
            .zip(&records)
            .filter(|(_, record)| record.is_none())
            .map(|(slot, _)| slot);
        let slots = Slots {
            free: free.collect(),
            count: records.len() as u64,
        };
        let own = procfs::own().ok_or_else(|| {
            io::Error::other(
                "/proc does not show this process: mount the proc file system of its pid namespace there",
            )
        })?;
        Ok(Self {
            file,
            boot: boot_hash(),
            session: own.session,
            slots: Mutex::new(slots),
        })
    }

    /// Records a process.
    pub(super) fn put(&self, key: AttemptKey, pid: i32, start_ticks: u64) -> io::Result<Slot> {
        let slot = Slot({
            let mut slots = self.slots.lock();
            slots.free.pop().unwrap_or_else(|| {
                slots.count += 1;
                slots.count - 1
            })
        });
        let record = Record {
            key,
            pid,
            session: self.session,
            start_ticks,
            boot: self.boot,
        };
        match self
            .file
            .write_all_at(&encode(&record), slot.0 * SLOT_BYTES as u64)
        {
            Ok(()) => Ok(slot),
            Err(error) => {
                self.slots.lock().free.push(slot.0);
                Err(error)
            }
        }
    }

    /// Forgets a process that has ended.
    pub(super) fn clear(&self, slot: Slot) -> io::Result<()> {
        let outcome = self
            .file
            .write_all_at(&[0; SLOT_BYTES], slot.0 * SLOT_BYTES as u64);
        self.slots.lock().free.push(slot.0);
        outcome
    }
}

fn open(data_dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data_dir.join(FILE_NAME))
}

/// The records of an earlier life of this boot.
pub(super) fn left_behind(data_dir: &Path) -> io::Result<Vec<Record>> {
    let boot = boot_hash();
    let records = read(&open(data_dir)?)?;
    Ok(records
        .into_iter()
        .flatten()
        .filter(|record| record.boot == boot)
        .collect())
}

/// Empties the journal. Only for a data directory on which nothing runs.
pub(super) fn reset(data_dir: &Path) -> io::Result<()> {
    open(data_dir)?.set_len(0)
}

fn read(file: &File) -> io::Result<Vec<Option<Record>>> {
    let length = file.metadata()?.len();
    let mut records = Vec::new();
    let mut bytes = [0; SLOT_BYTES];
    for slot in 0..length / SLOT_BYTES as u64 {
        file.read_exact_at(&mut bytes, slot * SLOT_BYTES as u64)?;
        records.push(decode(&bytes));
    }
    Ok(records)
}

fn encode(record: &Record) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    put(&MAGIC.to_le_bytes());
    put(record.key.execution.bytes());
    put(&record.key.attempt.to_le_bytes());
    put(&record.key.epoch.to_le_bytes());
    put(&record.pid.to_le_bytes());
    put(&record.session.to_le_bytes());
    put(&record.start_ticks.to_le_bytes());
    put(&record.boot.to_le_bytes());
    let sum = checksum(&bytes[..SLOT_BYTES - 8]);
    bytes[SLOT_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The record of a slot; `None` if it is empty or was not written whole.
fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Record> {
    let (fields, sum) = bytes.split_at(SLOT_BYTES - 8);
    if u64::from_le_bytes(sum.try_into().ok()?) != checksum(fields) {
        return None;
    }
    let mut rest = fields;
    let magic = u32::from_le_bytes(take(&mut rest)?);
    let execution = ExecutionId::from_bytes(take(&mut rest)?);
    let attempt = u32::from_le_bytes(take(&mut rest)?);
    let epoch = i64::from_le_bytes(take(&mut rest)?);
    let record = Record {
        key: AttemptKey {
            execution,
            attempt,
            epoch,
        },
        pid: i32::from_le_bytes(take(&mut rest)?),
        session: i32::from_le_bytes(take(&mut rest)?),
        start_ticks: u64::from_le_bytes(take(&mut rest)?),
        boot: u64::from_le_bytes(take(&mut rest)?),
    };
    (magic == MAGIC && record.pid > 1).then_some(record)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*field)
}

/// FNV-1a: finds a slot that was not written whole.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Which boot of the host this is: pids of another one mean nothing.
fn boot_hash() -> u64 {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digest = Sha256::digest(&id);
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(attempt: u32) -> AttemptKey {
        AttemptKey {
            execution: ExecutionId::from_bytes([7; 16]),
            attempt,
            epoch: -3,
        }
    }

    #[test]
    fn what_was_put_and_not_cleared_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let first = journal.put(key(1), 100, 5).unwrap();
        journal.put(key(2), 200, 6).unwrap();
        journal.clear(first).unwrap();
        journal.put(key(3), 300, 7).unwrap();
        let left = left_behind(dir.path()).unwrap();
        assert_eq!(
            left.iter()
                .map(|r| (r.key.attempt, r.pid))
                .collect::<Vec<_>>(),
            [(3, 300), (2, 200)]
        );
    }

    #[test]
    fn another_opening_overwrites_nothing_that_was_not_swept() {
        let dir = tempfile::tempdir().unwrap();
        Journal::open(dir.path())
            .unwrap()
            .put(key(1), 100, 5)
            .unwrap();
        Journal::open(dir.path())
            .unwrap()
            .put(key(2), 200, 6)
            .unwrap();
        assert_eq!(left_behind(dir.path()).unwrap().len(), 2);
        reset(dir.path()).unwrap();
        assert_eq!(left_behind(dir.path()).unwrap(), []);
    }

    proptest! {
        #[test]
        fn any_file_is_read_and_a_damaged_slot_is_no_record(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..64, flip in 1u8..) {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
            prop_assert_eq!(left_behind(dir.path()).unwrap(), []);
            let record = Record { key: key(1), pid: 9, session: 8, start_ticks: 7, boot: 6 };
            let mut slot = encode(&record);
            prop_assert_eq!(decode(&slot), Some(record));
            slot[at] ^= flip;
            prop_assert_eq!(decode(&slot), None);
        }
    }
}
