//! Executions whose own unit the database may yet refuse, because something that is new in it has a key
//! that may be there already.
//!
//! A unit that is refused is taken back from the state, and so is what is new in it. What else was built on
//! it could not be. So until it is known whether such an execution is recorded, it leads to nothing that
//! would be stored without it, and what it would lead to is put off. That costs who has no key nothing, and
//! who has one only where somebody else is concerned.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camshaft_model::{ExecutionId, Timestamp};

use crate::workflow::Alarm;

/// So many receipts are kept before those that have come are looked for.
const LOOKED_FOR_AT: usize = 64;

/// What tells, from the writer's thread and without the lock of the state, that an execution is recorded.
#[derive(Debug, Default)]
pub(crate) struct Receipt {
    has_come: AtomicBool,
    is_awaited: AtomicBool,
}

impl Receipt {
    /// The database has it. Says whether anything was put off until now.
    pub(crate) fn come(&self) -> bool {
        self.has_come.store(true, Ordering::SeqCst);
        self.is_awaited.load(Ordering::SeqCst)
    }

    fn has_come(&self) -> bool {
        self.has_come.load(Ordering::SeqCst)
    }
}

/// What is put off until an execution is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutOff {
    /// It gets in line.
    Execution(ExecutionId),
    /// It is reminded of something.
    Alarm(Timestamp, Alarm),
    /// Events that are held go on: the answer to the next one depends on it.
    HeldEvents(ExecutionId),
}

impl PutOff {
    const fn of(&self) -> ExecutionId {
        match self {
            Self::Execution(id) | Self::HeldEvents(id) => *id,
            Self::Alarm(_, alarm) => alarm.run(),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Uncertain {
    receipts: HashMap<ExecutionId, Arc<Receipt>>,
    look_at: usize,
    put_off: VecDeque<PutOff>,
}

impl Uncertain {
    /// Whether it is not known yet if an execution is recorded.
    pub(crate) fn has(&self, id: ExecutionId) -> bool {
        let receipt = self.receipts.get(&id);
        receipt.is_some_and(|receipt| !receipt.has_come())
    }

    /// Whether it is not known yet of any execution.
    pub(crate) fn has_any(&self) -> bool {
        self.receipts.values().any(|receipt| !receipt.has_come())
    }

    /// The receipt for an execution whose unit may be refused.
    pub(crate) fn receipt(&mut self, id: ExecutionId) -> Arc<Receipt> {
        if self.receipts.len() >= self.look_at.max(LOOKED_FOR_AT) {
            self.receipts.retain(|_, receipt| !receipt.has_come());
            self.look_at = 2 * self.receipts.len();
        }
        let receipt = self.receipts.entry(id).or_default();
        // What is put off already may be about it, or come after what is.
        if !self.put_off.is_empty() {
            receipt.is_awaited.store(true, Ordering::SeqCst);
        }
        receipt.clone()
    }

    /// Puts something off until the execution that it is about is recorded, or refused.
    pub(crate) fn put_off(&mut self, what: PutOff) {
        // The one that is there, even if it has just come: another one never would.
        let receipt = self.receipts.entry(what.of()).or_default();
        receipt.is_awaited.store(true, Ordering::SeqCst);
        self.put_off.push_back(what);
    }

    /// Puts something off to the next decision.
    pub(crate) fn put_off_to_the_next(&mut self, what: PutOff) {
        self.put_off.push_back(what);
    }

    /// It was refused.
    pub(crate) fn forget(&mut self, id: ExecutionId) {
        self.receipts.remove(&id);
        self.put_off.retain(|what| what.of() != id);
    }

    /// Whether there is something whose time has come. In the order in which it was put off: units are stored
    /// in order, so that what comes first does not wait long for the first.
    pub(crate) fn has_next(&self) -> bool {
        self.put_off
            .front()
            .is_some_and(|what| !self.has(what.of()))
    }

    /// Takes out what was put off and whose time has come.
    pub(crate) fn next(&mut self) -> Option<PutOff> {
        if self.has_next() {
            self.put_off.pop_front()
        } else {
            None
        }
    }
}
