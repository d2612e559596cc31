//! What is retained, and the way of a subscription through it.
//!
//! Nothing is copied for who subscribes: a [`Cursor`] waits in its mailbox and goes on as the client
//! reads. The set may change meanwhile. A message that has changed since the subscription began is
//! passed over, because the client has it coming as any other message, after what the cursor brings. So
//! it sees of each topic the old message or the new one, and the newest last.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rumqttc::QoS;

use super::limits::{MAX_RETAINED, MAX_RETAINED_BYTES};
use super::mailbox::{Delivery, lower};
use crate::mqtt::topic::fits;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Retained(Mutex<Set>);

#[derive(Debug, Default)]
struct Set {
    messages: BTreeMap<Arc<str>, Kept>,
    bytes: usize,
    /// Numbers the changes.
    changes: u64,
    /// Whether it has been told that there is no room since there was some.
    is_full: bool,
}

#[derive(Debug)]
struct Kept {
    payload: Bytes,
    qos: QoS,
    change: u64,
}

/// How far a subscription has come.
#[derive(Debug)]
pub(super) struct Cursor {
    filters: Vec<(String, QoS)>,
    /// What every topic that fits begins with.
    prefix: String,
    /// The topic that was looked at last.
    at: Option<Arc<str>>,
    /// The last change before it began.
    since: u64,
}

/// What a cursor has found.
#[derive(Debug)]
pub(super) enum Found {
    /// A message.
    Message(Delivery),
    /// Nothing yet.
    NotYet,
    /// There is nothing more.
    End,
}

impl Retained {
    /// Keeps a message; an empty one ends what was kept.
    pub(super) fn keep(&self, topic: &Arc<str>, payload: &Bytes, qos: QoS) {
        let mut set = self.0.lock();
        if let Some(old) = set.messages.remove(topic) {
            set.bytes -= old.payload.len() + topic.len();
        }
        if payload.is_empty() {
            return;
        }
        let bytes = payload.len() + topic.len();
        if set.messages.len() >= MAX_RETAINED || set.bytes + bytes > MAX_RETAINED_BYTES {
            let was_full = std::mem::replace(&mut set.is_full, true);
            drop(set);
            if !was_full {
                tracing::warn!(%topic, "the embedded broker retains no more than {MAX_RETAINED} messages or {MAX_RETAINED_BYTES} bytes: others are passed on only");
            }
            return;
        }
        set.is_full = false;
        set.bytes += bytes;
        set.changes += 1;
        let (payload, change) = (payload.clone(), set.changes);
        let kept = Kept {
            payload,
            qos,
            change,
        };
        set.messages.insert(topic.clone(), kept);
    }

    /// The way of a new subscription.
    pub(super) fn cursor(&self, filters: Vec<(String, QoS)>) -> Cursor {
        Cursor {
            prefix: common_prefix(&filters).to_owned(),
            filters,
            at: None,
            since: self.0.lock().changes,
        }
    }

    /// Lets a cursor go on behind what waits now: what has changed so far is not passed over any more.
    pub(super) fn renew(&self, cursor: &mut Cursor) {
        cursor.since = self.0.lock().changes;
    }

    /// Goes on to the next message, with so many comparisons at the most.
    pub(super) fn next(&self, cursor: &mut Cursor, comparisons: &mut usize) -> Found {
        let set = self.0.lock();
        let from = match &cursor.at {
            Some(at) => Bound::Excluded(&**at),
            None => Bound::Included(cursor.prefix.as_str()),
        };
        for (topic, kept) in set.messages.range::<str, _>((from, Bound::Unbounded)) {
            if !topic.starts_with(&cursor.prefix) {
                return Found::End;
            }
            if *comparisons < cursor.filters.len() {
                *comparisons = 0;
                return Found::NotYet;
            }
            *comparisons -= cursor.filters.len();
            cursor.at = Some(topic.clone());
            if kept.change > cursor.since {
                continue;
            }
            let fitting = cursor
                .filters
                .iter()
                .filter(|(filter, _)| fits(filter, topic));
            if let Some(wanted) = fitting.map(|(_, qos)| *qos).max_by_key(|qos| *qos as u8) {
                return Found::Message(Delivery {
                    topic: topic.clone(),
                    payload: kept.payload.clone(),
                    qos: lower(wanted, kept.qos),
                    retain: true,
                });
            }
        }
        Found::End
    }
}

impl Cursor {
    /// What it takes while it waits.
    pub(super) fn bytes(&self) -> usize {
        self.filters.iter().map(|(filter, _)| filter.len()).sum()
    }
}

/// What every topic that fits one of these begins with.
fn common_prefix(filters: &[(String, QoS)]) -> &str {
    let mut all = filters.iter().map(|(filter, _)| literal(filter));
    let Some(first) = all.next() else {
        return "";
    };
    all.fold(first, |prefix, other| {
        let same = prefix.chars().zip(other.chars());
        let same = same.take_while(|(a, b)| a == b);
        &prefix[..same.map(|(a, _)| a.len_utf8()).sum()]
    })
}

/// What is before the first wildcard. `a/#` fits `a` too, so the slash is left out.
fn literal(filter: &str) -> &str {
    match filter.split_once(['+', '#']) {
        Some((before, _)) => before.strip_suffix('/').unwrap_or(before),
        None => filter,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filters(texts: &[&str]) -> Vec<(String, QoS)> {
        let filter = |text: &&str| ((*text).to_owned(), QoS::AtLeastOnce);
        texts.iter().map(filter).collect()
    }

    fn keep(set: &Retained, topic: &str, payload: &str) {
        set.keep(&topic.into(), &payload.to_owned().into(), QoS::AtLeastOnce);
    }

    /// As `topic payload`.
    fn rest(set: &Retained, cursor: &mut Cursor, at_once: usize) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let mut comparisons = at_once;
            match set.next(cursor, &mut comparisons) {
                Found::Message(delivery) => {
                    let payload = std::str::from_utf8(&delivery.payload).unwrap();
                    found.push(format!("{} {payload}", delivery.topic));
                }
                Found::NotYet => {}
                Found::End => return found,
            }
        }
    }

    #[test]
    fn what_changes_on_the_way_is_left_to_who_tells_of_the_change() {
        let set = Retained::default();
        for topic in ["a", "b", "c", "d"] {
            keep(&set, topic, "old");
        }
        let mut cursor = set.cursor(filters(&["#"]));
        assert!(matches!(set.next(&mut cursor, &mut 1), Found::Message(_)));
        keep(&set, "a", "new");
        keep(&set, "b", "new");
        keep(&set, "bb", "new");
        keep(&set, "c", "");
        assert_eq!(rest(&set, &mut cursor, 100), ["d old"]);
        let mut late = set.cursor(filters(&["#"]));
        assert_eq!(
            rest(&set, &mut late, 1),
            ["a new", "b new", "bb new", "d old"]
        );
    }

    #[test]
    fn a_topic_that_fits_several_filters_comes_once() {
        let set = Retained::default();
        keep(&set, "a/b", "1");
        keep(&set, "a", "2");
        let mut cursor = set.cursor(filters(&["a/#", "a/+", "a/b"]));
        assert_eq!(rest(&set, &mut cursor, 3), ["a 2", "a/b 1"]);
    }

    #[test]
    fn it_stays_within_its_bounds_and_what_is_ended_makes_room() {
        let set = Retained::default();
        for number in 0..MAX_RETAINED + 10 {
            keep(&set, &format!("t/{number}"), "x");
        }
        assert_eq!(set.0.lock().messages.len(), MAX_RETAINED);
        keep(&set, "t/0", "");
        keep(&set, "other", "x");
        assert!(set.0.lock().messages.contains_key("other"));
        for number in 0..MAX_RETAINED {
            keep(&set, &format!("t/{number}"), "");
        }
        keep(&set, "other", "");
        assert_eq!(set.0.lock().bytes, 0);
        let large = "x".repeat(1024 * 1024);
        for number in 0..100 {
            keep(&set, &format!("t/{number}"), &large);
        }
        assert!(set.0.lock().bytes <= MAX_RETAINED_BYTES);
    }

    proptest! {
        #[test]
        fn a_cursor_finds_what_fits_whatever_it_may_compare_at_once(
            topics in prop::collection::btree_set("[ab$é]{0,2}(/[ab]{0,2}){0,2}", 0..20),
            wanted in prop::collection::vec("([ab$é]{0,2}|\\+)(/([ab]{0,1}|\\+)){0,2}(/#)?|#", 1..4),
            at_once in 4usize..9,
        ) {
            let set = Retained::default();
            for topic in &topics {
                keep(&set, topic, "x");
            }
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let fitting = topics.iter().filter(|topic| wanted.iter().any(|filter| fits(filter, topic)));
            let expected: Vec<String> = fitting.map(|topic| format!("{topic} x")).collect();
            prop_assert_eq!(rest(&set, &mut set.cursor(filters(&wanted)), at_once), expected);
        }
    }
}
