//! Results that later runs take in place of running a task.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use camshaft_model::run::{CachedResult, ItemErrors};
use camshaft_model::{Ref, Timestamp};
use serde_json::Value;

use super::active::TaskEnd;
use super::weight;
use crate::expression::sha256_hex;

/// The most results that are kept; the one that expires first makes room.
const MAX_CACHED: usize = 10_000;
/// The most bytes that the results in memory take; the one that expires first makes room. One that is
/// larger by itself is not kept: its task runs again.
pub(crate) const MAX_CACHED_BYTES: usize = 64 << 20;
/// A longer key is named by its hash.
const MAX_KEY_BYTES: usize = 1_024;

/// Under which key the result of a task is kept, from what its definition renders.
pub(crate) fn key(workflow: &Ref, task: &str, text: String) -> String {
    let text = if text.len() > MAX_KEY_BYTES {
        format!("sha256:{}", sha256_hex(&text))
    } else {
        text
    };
    format!("{workflow}/{task}/{text}")
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ResultCache {
    kept: HashMap<Arc<str>, Kept>,
    by_expiry: BTreeSet<(Timestamp, Arc<str>)>,
    /// What the results in `kept` take together.
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    result: Arc<Value>,
    item_errors: Option<ItemErrors>,
    expires_at: Timestamp,
    bytes: usize,
}

impl ResultCache {
    /// The end whose result has a key, if it is still good.
    pub(crate) fn get(&self, key: &str, now: Timestamp) -> Option<TaskEnd> {
        let kept = self.kept.get(key).filter(|kept| kept.expires_at > now)?;
        Some(TaskEnd {
            errors: kept.item_errors.clone(),
            ..TaskEnd::completed(kept.result.clone())
        })
    }

    /// Keeps a result, in the place of an earlier one with its key.
    pub(crate) fn put(&mut self, cached: &CachedResult, now: Timestamp) {
        let key: Arc<str> = cached.key.as_str().into();
        self.remove(&key);
        let messages = cached.item_errors.iter().flatten().flatten();
        let bytes = weight::bytes(&cached.result) + messages.map(String::len).sum::<usize>();
        if bytes > MAX_CACHED_BYTES {
            return;
        }
        while let Some((expires_at, first)) = self.by_expiry.first() {
            let full = self.kept.len() >= MAX_CACHED
                || self.bytes.saturating_add(bytes) > MAX_CACHED_BYTES;
            if *expires_at > now && !full {
                break;
            }
            let first = first.clone();
            self.remove(&first);
        }
        self.by_expiry.insert((cached.expires_at, key.clone()));
        self.bytes += bytes;
        let kept = Kept {
            result: cached.result.clone(),
            item_errors: cached.item_errors.clone(),
            expires_at: cached.expires_at,
            bytes,
        };
        self.kept.insert(key, kept);
    }

    fn remove(&mut self, key: &Arc<str>) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.bytes;
            self.by_expiry.remove(&(kept.expires_at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_micros(1_000);

    fn result(key: &str, result: Value, expires_at: i64) -> CachedResult {
        CachedResult {
            key: key.to_owned(),
            result: Arc::new(result),
            item_errors: None,
            kept_at: NOW,
            expires_at: Timestamp::from_micros(expires_at),
        }
    }

    #[test]
    fn what_expires_first_makes_room_for_bytes() {
        let mut cache = ResultCache::default();
        let third = "x".repeat(MAX_CACHED_BYTES / 3 - 1_000);
        for (key, expires_at) in [("late", 4_000), ("soon", 2_000), ("later", 5_000)] {
            cache.put(&result(key, third.clone().into(), expires_at), NOW);
        }
        assert!(cache.get("soon", NOW).is_some());
        cache.put(&result("new", third.into(), 3_000), NOW);
        let there = ["soon", "new", "late", "later"].map(|key| cache.get(key, NOW).is_some());
        assert_eq!(there, [false, true, true, true]);
        assert!(cache.bytes <= MAX_CACHED_BYTES);
    }

    #[test]
    fn a_result_that_is_too_large_is_not_kept_and_the_one_before_it_is_gone() {
        let mut cache = ResultCache::default();
        cache.put(&result("a", json!(1), 2_000), NOW);
        cache.put(&result("b", json!(2), 2_000), NOW);
        cache.put(
            &result("a", "x".repeat(MAX_CACHED_BYTES).into(), 2_000),
            NOW,
        );
        let get =
            |cache: &ResultCache, key, now| cache.get(key, now).map(|end| (*end.result).clone());
        assert_eq!(get(&cache, "a", NOW), None);
        assert_eq!(get(&cache, "b", NOW), Some(json!(2)));
        cache.put(&result("b", json!(3), 3_000), NOW);
        assert_eq!(get(&cache, "b", NOW), Some(json!(3)));
        assert_eq!((cache.kept.len(), cache.by_expiry.len()), (1, 1));
    }

    #[test]
    fn there_are_never_too_many_and_none_that_expired() {
        let mut cache = ResultCache::default();
        for number in 0..2 * MAX_CACHED {
            let expires_at = 2_000 + i64::try_from(number).unwrap();
            cache.put(&result(&number.to_string(), json!(number), expires_at), NOW);
        }
        assert_eq!(cache.kept.len(), MAX_CACHED);
        assert!(cache.get(&MAX_CACHED.to_string(), NOW).is_some());
        assert!(cache.get(&(MAX_CACHED - 1).to_string(), NOW).is_none());
        let later = Timestamp::from_micros(1_000_000);
        cache.put(&result("last", json!(null), 2_000_000), later);
        assert_eq!((cache.kept.len(), cache.by_expiry.len()), (1, 1));
        let last = cache.get("last", later).unwrap();
        assert_eq!(*last.result, Value::Null);
    }

    #[test]
    fn a_long_key_is_named_by_its_hash() {
        let workflow: Ref = "demo.etl".parse().unwrap();
        assert_eq!(key(&workflow, "a", "k".to_owned()), "demo.etl/a/k");
        let long = key(&workflow, "a", "k".repeat(MAX_KEY_BYTES + 1));
        assert!(
            long.starts_with("demo.etl/a/sha256:") && long.len() < 100,
            "{long}"
        );
        assert_ne!(long, key(&workflow, "a", "k".repeat(MAX_KEY_BYTES + 2)));
    }
}
