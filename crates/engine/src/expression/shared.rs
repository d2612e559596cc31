//! Values that many evaluations read: converted once, and looked up by name when an expression asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use parking_lot::Mutex;
use serde::Serialize;

/// A value in the form in which expressions read it. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Shared(pub(super) Value);

impl Shared {
    /// Converts a value.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(Value::from_serialize(value))
    }

    /// A map of values that are shared already.
    pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self(
            entries
                .into_iter()
                .map(|(name, value)| (name, value.0))
                .collect(),
        )
    }
}

/// A map whose entries change while expressions refer to it, at the cost of the entry that changes.
#[derive(Debug, Clone, Default)]
pub struct Namespace(Arc<Entries>);

#[derive(Debug, Default)]
struct Entries(Mutex<BTreeMap<Arc<str>, Value>>);

impl Namespace {
    /// Sets an entry.
    pub fn set(&self, name: &str, value: Shared) {
        self.0.0.lock().insert(name.into(), value.0);
    }

    /// Removes an entry.
    pub fn remove(&self, name: &str) {
        self.0.0.lock().remove(name);
    }

    /// Removes every entry.
    pub fn clear(&self) {
        self.0.0.lock().clear();
    }

    /// The map as it will be at the time of each evaluation.
    pub fn shared(&self) -> Shared {
        Shared(Value::from_dyn_object(self.0.clone()))
    }
}

impl Object for Entries {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.lock().get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let entries = self.0.lock();
        Enumerator::Values(entries.keys().cloned().map(Value::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::expression::{Scope, evaluate};

    #[test]
    fn a_namespace_is_read_as_it_stands_at_the_time() {
        let names = Namespace::default();
        let scope = Scope::new().with_shared("vars", names.shared());
        assert!(evaluate("vars.total", &scope).is_err());
        names.set("total", Shared::new(&7));
        assert_eq!(evaluate("vars.total + 1", &scope), Ok(json!(8)));
        assert_eq!(evaluate("vars", &scope), Ok(json!({"total": 7})));
        names.clear();
        assert_eq!(evaluate("vars | length", &scope), Ok(json!(0)));
    }
}
