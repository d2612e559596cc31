//! What a run holds in memory of results and variables, and until when.
//!
//! Each result that is held has a witness: something that may still read it. Only once the witness is
//! done with is another one looked for, so that an end costs what it decides, however many results
//! there are. A result without a witness is dropped: its row keeps it.

use std::collections::{BTreeMap, HashMap};

use crate::expression::Shared;

/// What the results, variables and lists of items of one run may take in memory if the configuration
/// says nothing else (`engine.run_memory_bytes`): 256 MiB.
pub const RUN_MEMORY_BYTES: u64 = 256 << 20;

/// What is no larger is taken in without asking.
const SMALL_BYTES: usize = 1_024;

/// What expressions see of a task: parts of a map.
pub(super) type Entries = Vec<(&'static str, Shared)>;

/// Something that may still read a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Witness {
    /// An expression of a task that runs or may start.
    Task(usize),
    /// `output` or `loop.condition`.
    End,
}

/// See the module.
pub(crate) struct Held {
    limit: usize,
    results: BTreeMap<usize, HeldResult>,
    /// Tasks whose result had this witness when it was last looked for.
    by_witness: HashMap<Witness, Vec<usize>>,
    result_bytes: usize,
    vars: HashMap<String, usize>,
    /// Of lists of items and the results of items of tasks that are under way.
    pub(super) fan_bytes: usize,
}

struct HeldResult {
    bytes: usize,
    witness: Witness,
    /// What expressions see of the task once its result is dropped.
    without: Entries,
}

impl Held {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            results: BTreeMap::new(),
            by_witness: HashMap::new(),
            result_bytes: 0,
            vars: HashMap::new(),
            fan_bytes: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.result_bytes + self.fan_bytes + self.vars.values().sum::<usize>()
    }

    /// Whether there is room for so many bytes more. For what is small there always is: the number of
    /// tasks bounds it, and what says that there is no room has to find some.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        bytes <= SMALL_BYTES || self.bytes().saturating_add(bytes) <= self.limit
    }

    /// Notes a result and what may read it.
    pub(super) fn hold(&mut self, task: usize, bytes: usize, witness: Witness, without: Entries) {
        self.release(task);
        self.result_bytes += bytes;
        self.by_witness.entry(witness).or_default().push(task);
        let held = HeldResult {
            bytes,
            witness,
            without,
        };
        self.results.insert(task, held);
    }

    pub(super) fn holds(&self, task: usize) -> bool {
        self.results.contains_key(&task)
    }

    /// Notes that a result which is held takes so many bytes; gives what expressions see of its task
    /// besides.
    pub(super) fn take(&mut self, task: usize, bytes: usize) -> Option<Entries> {
        let held = self.results.get_mut(&task)?;
        self.result_bytes = self.result_bytes - held.bytes + bytes;
        held.bytes = bytes;
        Some(held.without.clone())
    }

    /// The results whose witness this was and that wait for another.
    pub(super) fn orphans(&mut self, witness: Witness) -> Vec<usize> {
        let tasks = self.by_witness.remove(&witness).unwrap_or_default();
        let mut orphans: Vec<usize> = tasks
            .into_iter()
            .filter(|task| {
                let held = self.results.get(task);
                held.is_some_and(|held| held.witness == witness)
            })
            .collect();
        orphans.sort_unstable();
        orphans.dedup();
        orphans
    }

    /// Gives a result another witness.
    pub(super) fn witnessed(&mut self, task: usize, witness: Witness) {
        if let Some(held) = self.results.get_mut(&task) {
            held.witness = witness;
            self.by_witness.entry(witness).or_default().push(task);
        }
    }

    /// Lets a result go; gives what expressions see of its task from here on.
    pub(super) fn release(&mut self, task: usize) -> Option<Entries> {
        let held = self.results.remove(&task)?;
        self.result_bytes -= held.bytes;
        Some(held.without)
    }

    /// Notes what a variable takes.
    pub(super) fn hold_var(&mut self, name: &str, bytes: Option<usize>) {
        match bytes {
            Some(bytes) => self.vars.insert(name.to_owned(), bytes),
            None => self.vars.remove(name),
        };
    }

    pub(super) fn var(&self, name: &str) -> usize {
        self.vars.get(name).copied().unwrap_or(0)
    }

    /// Why something is not taken in.
    pub(super) fn no_room(&self, what: &str, bytes: usize) -> String {
        format!(
            "{what} takes {bytes} bytes, and with what else the expressions of the run still read that \
             is more than its {} (engine.run_memory_bytes): keep large data in files and hand on their paths",
            self.limit
        )
    }

    /// Lets all results go: another lap begins.
    pub(super) fn clear_results(&mut self) {
        self.results.clear();
        self.by_witness.clear();
        self.result_bytes = 0;
    }
}
