//! What we published and the broker will send back to us, because we listen to the same topics.
//!
//! An echo is known by its topic and its payload, so that nothing that says something else is taken for
//! one. A broker that denies us a topic acknowledges a message and drops it; so an echo that has not come
//! some time after the acknowledgement is not waited for any more.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use camshaft_model::Timestamp;

/// How long after its acknowledgement an echo may come.
const LAPSES_AFTER: Duration = Duration::from_secs(5);
/// Beyond so many topics, those whose echoes have lapsed are forgotten.
const MANY_TOPICS: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Echoes(HashMap<String, VecDeque<Echo>>);

#[derive(Debug)]
struct Echo {
    payload: Vec<u8>,
    acknowledged_at: Option<Timestamp>,
}

impl Echo {
    fn has_lapsed(&self, now: Timestamp) -> bool {
        self.acknowledged_at
            .is_some_and(|at| now.since(at) > LAPSES_AFTER)
    }
}

impl Echoes {
    /// Something was handed over to be published.
    pub(super) fn expect(&mut self, topic: &str, payload: &[u8], now: Timestamp) {
        if self.0.len() >= MANY_TOPICS {
            self.0.retain(|_, echoes| {
                echoes.retain(|echo| !echo.has_lapsed(now));
                !echoes.is_empty()
            });
        }
        self.0.entry(topic.to_owned()).or_default().push_back(Echo {
            payload: payload.to_vec(),
            acknowledged_at: None,
        });
    }

    /// The broker has the oldest message to this topic that it had not acknowledged.
    pub(super) fn acknowledged(&mut self, topic: &str, now: Timestamp) {
        let of_topic = self.0.get_mut(topic);
        let oldest =
            of_topic.and_then(|all| all.iter_mut().find(|echo| echo.acknowledged_at.is_none()));
        if let Some(oldest) = oldest {
            oldest.acknowledged_at = Some(now);
        }
    }

    /// Whether a message is one of ours. Those before it do not come any more: the order is kept.
    pub(super) fn is_one(&mut self, topic: &str, payload: &[u8], now: Timestamp) -> bool {
        let Some(echoes) = self.0.get_mut(topic) else {
            return false;
        };
        echoes.retain(|echo| !echo.has_lapsed(now));
        let place = echoes.iter().position(|echo| echo.payload == payload);
        if let Some(place) = place {
            echoes.drain(..=place);
        }
        if echoes.is_empty() {
            self.0.remove(topic);
        }
        place.is_some()
    }

    /// What a lost connection did not bring back does not come any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_224_000_000_000);

    #[test]
    fn only_what_was_sent_is_an_echo_and_only_once() {
        let mut echoes = Echoes::default();
        echoes.expect("t", b"", NOW);
        echoes.expect("t", b"x", NOW);
        assert!(!echoes.is_one("t", b"y", NOW));
        assert!(!echoes.is_one("u", b"", NOW));
        assert!(echoes.is_one("t", b"x", NOW));
        assert!(!echoes.is_one("t", b"", NOW), "it would have come before");
    }

    #[test]
    fn what_never_comes_is_not_waited_for_for_ever() {
        let mut echoes = Echoes::default();
        let later = NOW + LAPSES_AFTER + Duration::from_micros(1);
        echoes.expect("t", b"", NOW);
        assert!(echoes.is_one("t", b"", later), "it has not left yet");
        echoes.expect("t", b"", NOW);
        echoes.acknowledged("t", NOW);
        assert!(!echoes.is_one("t", b"", later));
        assert!(echoes.0.is_empty());
        for topic in 0..MANY_TOPICS {
            echoes.expect(&topic.to_string(), b"", NOW);
            echoes.acknowledged(&topic.to_string(), NOW);
        }
        echoes.expect("t", b"", later);
        assert_eq!(echoes.0.len(), 1);
    }
}
