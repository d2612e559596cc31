//! A task that is under way in a run, and how it ends.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use camshaft_model::run::ItemErrors;
use camshaft_model::{ExecutionId, Failure, FailureKind, Inquiry, Status, TaskRecord};
use serde_json::Value;

use super::items::Fanout;
use super::weight;
use crate::rule::AwaitedEvent;

/// So many errors of items are recorded that no execution says.
const MAX_TOLD: usize = 100;

/// A task that has started and not ended.
pub(crate) struct Active {
    pub(crate) record: TaskRecord,
    pub(crate) work: ActiveWork,
}

impl Active {
    /// The executions that are under way for it.
    pub(crate) fn executions(&self) -> Vec<ExecutionId> {
        match &self.work {
            ActiveWork::Child(id) => vec![*id],
            ActiveWork::Items(items) => items.running.values().copied().collect(),
            ActiveWork::Inquiry(_) | ActiveWork::Event(_) => Vec::new(),
        }
    }

    /// Whether it waits for a person or an event.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.work, ActiveWork::Inquiry(_) | ActiveWork::Event(_))
    }
}

/// What a task that has started is doing.
pub(crate) enum ActiveWork {
    Child(ExecutionId),
    Items(Box<ActiveItems>),
    Inquiry(Box<Inquiry>),
    Event(AwaitedEvent),
}

/// A task with items that has started.
pub(crate) struct ActiveItems {
    pub(crate) fanout: Fanout,
    pub(crate) items: Arc<Value>,
    pub(crate) results: Vec<Option<Arc<Value>>>,
    pub(crate) errors: BTreeMap<u32, String>,
    /// Those of them that no execution says.
    told: BTreeMap<u32, String>,
    pub(crate) running: HashMap<u32, ExecutionId>,
    pub(crate) cancelled: bool,
    /// Whether anything may read the results of its items.
    pub(crate) is_read: bool,
    /// What its list and the results of its items take.
    pub(crate) bytes: usize,
}

impl ActiveItems {
    pub(crate) fn new(fanout: Fanout, items: Arc<Value>, is_read: bool) -> Self {
        let total = items.as_array().map_or(0, Vec::len);
        Self {
            fanout,
            bytes: weight::bytes(&items),
            is_read,
            items,
            results: vec![None; total],
            errors: BTreeMap::new(),
            told: BTreeMap::new(),
            running: HashMap::new(),
            cancelled: false,
        }
    }

    pub(crate) fn item(&self, index: u32) -> &Value {
        static NULL: Value = Value::Null;
        self.items.get(index as usize).unwrap_or(&NULL)
    }

    /// Takes the end of an item.
    pub(crate) fn ended(&mut self, item: u32, result: Option<Arc<Value>>, error: Option<String>) {
        self.running.remove(&item);
        self.fanout.ended(item, error.is_none());
        if let Some(result) = result.filter(|_| self.is_read) {
            self.take_result(item, result);
        }
        if let Some(error) = error {
            self.errors.insert(item, error);
        }
    }

    /// Takes the end of an item that failed for something that no execution says.
    pub(crate) fn failed(&mut self, item: u32, message: String) {
        if self.told.len() < MAX_TOLD {
            self.told.insert(item, message.clone());
        }
        self.ended(item, None, Some(message));
    }

    /// What is to be recorded of its errors because no execution says it; nothing if that is recorded.
    pub(crate) fn untold(&self, recorded: Option<&ItemErrors>) -> Option<ItemErrors> {
        let recorded = recorded.into_iter().flatten().flatten().count();
        let last = self.told.last_key_value().map(|(item, _)| *item);
        let last = last.filter(|_| self.told.len() > recorded)?;
        Some(
            (0..=last)
                .map(|item| self.told.get(&item).cloned())
                .collect(),
        )
    }

    /// Lets no further item start, because the run has failed: the task is cut short by that, unless
    /// all its items have started.
    pub(crate) fn start_no_more(&mut self) {
        self.cancelled |= self.fanout.has_more();
        self.fanout.close();
    }

    /// The errors that were recorded because no execution says them.
    pub(crate) fn tell_again(&mut self, recorded: &ItemErrors) {
        for (item, error) in (0..).zip(recorded) {
            if let Some(error) = error {
                self.told.insert(item, error.clone());
                self.errors.insert(item, error.clone());
            }
        }
    }

    /// Whether there is a result of an item.
    pub(crate) fn has_result(&self, item: u32) -> bool {
        matches!(self.results.get(item as usize), Some(Some(_)))
    }

    /// Takes the result of an item.
    pub(crate) fn take_result(&mut self, item: u32, result: Arc<Value>) {
        if let Some(slot) = self.results.get_mut(item as usize) {
            self.bytes += weight::bytes(&result);
            *slot = Some(result);
        }
    }

    /// What the task ends as, once all that was to run has. Its result is null if nothing reads it.
    pub(crate) fn end(&self, tolerant: bool) -> TaskEnd {
        let value = |result: &Option<Arc<Value>>| {
            result
                .as_ref()
                .map_or(Value::Null, |value| Value::clone(value))
        };
        let result = if self.is_read {
            Arc::new(self.results.iter().map(value).collect())
        } else {
            Arc::default()
        };
        let total = self.results.len();
        let errors = (0..total).map(|item| {
            let item = u32::try_from(item).ok()?;
            self.errors.get(&item).cloned()
        });
        let end = TaskEnd {
            errors: Some(errors.collect()),
            ..TaskEnd::completed(result)
        };
        if self.cancelled {
            return TaskEnd {
                status: Status::Cancelled,
                error: Some(Failure {
                    kind: FailureKind::Cancelled,
                    message: format!("stopped after {} of {total} items", self.fanout.done()),
                }),
                ..end
            };
        }
        match self.errors.first_key_value() {
            Some((item, error)) if !tolerant => TaskEnd {
                status: Status::Failed,
                error: Some(Failure {
                    kind: FailureKind::Task,
                    message: match self.errors.len() {
                        1 => format!("item {item} of {total} failed: {error}"),
                        n => format!("{n} of {total} items failed; item {item}: {error}"),
                    },
                }),
                ..end
            },
            _ => end,
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone)]
pub(crate) struct TaskEnd {
    pub(crate) status: Status,
    pub(crate) result: Arc<Value>,
    pub(crate) error: Option<Failure>,
    pub(crate) attempt: u32,
    /// Of a task with items: why each did not complete.
    pub(crate) errors: Option<ItemErrors>,
}

impl TaskEnd {
    pub(crate) fn completed(result: Arc<Value>) -> Self {
        Self {
            status: Status::Completed,
            result,
            error: None,
            attempt: 1,
            errors: None,
        }
    }

    /// Of a task with items: why each did not complete. Of a start that came to no items as many as
    /// its result has.
    pub(crate) fn item_errors(&self) -> Cow<'_, [Option<String>]> {
        match &self.errors {
            Some(errors) => Cow::Borrowed(errors),
            None => Cow::Owned(vec![None; self.result.as_array().map_or(0, Vec::len)]),
        }
    }

    pub(crate) fn skipped() -> Self {
        Self {
            status: Status::Skipped,
            attempt: 0,
            ..Self::completed(Arc::default())
        }
    }

    pub(crate) fn ended(status: Status, kind: FailureKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error: Some(Failure { kind, message }),
            status,
            attempt: 0,
            ..Self::completed(Arc::new(Value::Null))
        }
    }

    pub(crate) fn expression(message: impl Into<String>) -> Self {
        Self::ended(Status::Failed, FailureKind::Expression, message)
    }
}
