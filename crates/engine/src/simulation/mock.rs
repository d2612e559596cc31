//! How attempts end in place of running.
//!
//! Which mock an attempt gets is a function of its task, its item and the number of attempts at these
//! that ended by themselves before, and of nothing else. An attempt that a crash cut off has used up
//! none.

use std::collections::BTreeMap;
use std::time::Duration;

use camshaft_model::Status;
use serde_json::Value;

use super::ledger::TaskPath;

/// How one attempt ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Mock {
    /// `Completed`, `Failed`, `TimedOut` or `Abandoned`.
    pub status: Status,
    /// What it returns.
    pub result: Value,
    /// Whether it returns its parameters instead.
    pub echo: bool,
    /// Why it did not complete.
    pub error: Option<String>,
    /// How long it runs. One that takes longer than its timeout ends `timed_out` at that instant.
    pub takes: Duration,
}

impl Default for Mock {
    /// Completes with null at once.
    fn default() -> Self {
        Self {
            status: Status::Completed,
            result: Value::Null,
            echo: false,
            error: None,
            takes: Duration::ZERO,
        }
    }
}

/// The mocks of a task by attempt: the last one is that of all later attempts too.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PerItem {
    /// Where the item has no list of its own.
    pub default: Vec<Mock>,
    /// By item.
    pub items: BTreeMap<u32, Vec<Mock>>,
}

/// The mocks of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mocks {
    /// Whether an attempt without a mock is a mistake; otherwise it completes with null at once.
    pub strict: bool,
    /// By the path of the task: `inner`, `sub/inner` for one of a child run, `sub[2]/inner` for one of
    /// the child run of an item.
    pub tasks: BTreeMap<String, PerItem>,
}

impl Mocks {
    /// The mock of the `nth` attempt (from 0) at a task or item; `None` if nobody wrote one.
    pub(super) fn find(&self, path: &TaskPath, nth: usize) -> Option<&Mock> {
        let per_item = self
            .tasks
            .get(&path.within_items())
            .or_else(|| self.tasks.get(&path.names()))?;
        let own = path.item().and_then(|item| per_item.items.get(&item));
        let list = own.unwrap_or(&per_item.default);
        list.get(nth).or_else(|| list.last())
    }
}
