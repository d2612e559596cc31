//! Results that later runs take in place of running a task.

use std::collections::HashMap;
use std::sync::Arc;

use camshaft_model::Timestamp;
use camshaft_model::run::CachedResult;
use serde_json::Value;

/// The most results that are kept; the one that expires first makes room.
const MAX_CACHED: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ResultCache(HashMap<String, (Arc<Value>, Timestamp)>);

impl ResultCache {
    /// The result of a key, if it is still good.
    pub(crate) fn get(&self, key: &str, now: Timestamp) -> Option<Arc<Value>> {
        let (result, expires_at) = self.0.get(key)?;
        (*expires_at > now).then(|| result.clone())
    }

    /// Keeps a result.
    pub(crate) fn put(&mut self, cached: &CachedResult, now: Timestamp) {
        if self.0.len() >= MAX_CACHED && !self.0.contains_key(&cached.key) {
            self.0.retain(|_, (_, expires_at)| *expires_at > now);
        }
        if self.0.len() >= MAX_CACHED && !self.0.contains_key(&cached.key) {
            let soonest = self.0.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(key) = soonest.map(|(key, _)| key.clone()) {
                self.0.remove(&key);
            }
        }
        let entry = (cached.result.clone(), cached.expires_at);
        self.0.insert(cached.key.clone(), entry);
    }
}
