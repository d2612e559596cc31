//! What became of the items of a task, from the executions that they were.

use camshaft_model::run::ItemErrors;
use camshaft_model::{Execution, ExecutionState, Status};
use serde_json::Value;

/// Of an item that failed before it was an execution, when nothing else is known.
pub(crate) const NEVER_MADE: &str = "its parameters could not be made";

/// The results and the errors of a task whose items have all ended, in their order.
pub(crate) struct ItemEnds {
    pub(crate) results: Vec<Value>,
    pub(crate) errors: Vec<Option<String>>,
    told: ItemErrors,
}

impl ItemEnds {
    /// `told` are the errors that no execution says.
    pub(crate) fn new(total: u32, told: Option<&ItemErrors>) -> Self {
        let total = total as usize;
        let mut told = told.cloned().unwrap_or_default();
        told.resize(total, None);
        let unknown = || Some(NEVER_MADE.to_owned());
        let errors = told.iter().map(|error| error.clone().or_else(unknown));
        Self {
            results: vec![Value::Null; total],
            errors: errors.collect(),
            told,
        }
    }

    /// Takes the end of an item.
    pub(crate) fn take(&mut self, child: &Execution) {
        let item = child.spec.task.as_ref().and_then(|place| place.item);
        let item = item.map(|item| item as usize);
        let is_told = |item: &usize| !matches!(self.told.get(*item), Some(None));
        let Some(item) = item.filter(|item| !is_told(item)) else {
            return;
        };
        if let Some(slot) = self.errors.get_mut(item) {
            *slot = item_error(&child.state);
        }
        if let (Some(slot), Some(result)) = (self.results.get_mut(item), &child.state.result) {
            *slot = Value::clone(result);
        }
    }
}

/// Why an item did not complete; `None` if it did.
pub(crate) fn item_error(state: &ExecutionState) -> Option<String> {
    let message = || {
        let error = state.error.as_ref();
        error.map_or_else(|| state.status.to_string(), |error| error.message.clone())
    };
    (state.status != Status::Completed).then(message)
}
