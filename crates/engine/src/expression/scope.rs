//! The names that an expression can use.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Object;
use serde::Serialize;

use super::shared::Shared;

/// Names and their values. Cloning shares the values.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    names: BTreeMap<&'static str, Value>,
}

impl Scope {
    /// A scope without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more name.
    #[must_use]
    pub fn with<T: Serialize + ?Sized>(mut self, name: &'static str, value: &T) -> Self {
        self.names.insert(name, Value::from_serialize(value));
        self
    }

    /// The same with one more name, whose value was converted before.
    #[must_use]
    pub fn with_shared(mut self, name: &'static str, value: Shared) -> Self {
        self.names.insert(name, value.0);
        self
    }

    /// What minijinja looks names up in.
    pub(super) fn root(&self) -> Value {
        Value::from_object(Names(self.names.clone()))
    }

    /// Whether a dotted path leads to a value.
    pub(super) fn has(&self, path: &str) -> bool {
        let mut parts = path.split('.');
        let first = parts.next().and_then(|name| self.names.get(name));
        let last = parts.try_fold(first.cloned(), |value, part| {
            let next = value?.get_attr(part).ok()?;
            (!next.is_undefined()).then_some(Some(next))
        });
        matches!(last, Some(Some(_)))
    }
}

#[derive(Debug)]
struct Names(BTreeMap<&'static str, Value>);

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).cloned()
    }
}
