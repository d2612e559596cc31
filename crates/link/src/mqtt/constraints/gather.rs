//! What the broker retains, and what it says: acted on once all of it has come, and before what came later.

use camshaft_model::{Constraint, ConstraintKey, Via};

use super::super::message::Said;
use super::slots::{MAX_TOPICS, Slot};
use super::word::{Standing, is_same, labelled};
use super::{Constraints, Received, State};

/// The most bytes of messages that wait until all that is retained is here.
pub(super) const MAX_LATER_BYTES: usize = 16 * 1024 * 1024;

/// What is needed when every retained message has come.
#[derive(Default)]
pub(super) struct Gathering {
    /// The messages that came after them.
    pub(super) later: Vec<(String, Vec<u8>)>,
    pub(super) later_bytes: usize,
    /// The ends that are retained of what is in force.
    pub(super) ended: Vec<Constraint>,
}

impl Constraints {
    /// Keeps a message until all that is retained is here. If there are too many, that is not waited for any more.
    pub(super) async fn later(&mut self, topic: String, payload: Vec<u8>) {
        if let Some(gathering) = &mut self.state.gathering {
            gathering.later_bytes += topic.len() + payload.len();
            gathering.later.push((topic, payload));
            if gathering.later_bytes > MAX_LATER_BYTES {
                self.gathered(false).await;
            }
        }
    }

    /// A topic retains this.
    pub(super) async fn retained(&mut self, received: Received) {
        let (constraint, is_kept) = match received.said {
            Some(Said::Wanted(constraint)) => (constraint, false),
            Some(Said::Kept(constraint)) => (constraint, true),
            Some(Said::Ended {
                constraint, mark, ..
            }) => {
                let key = constraint.key();
                let is_news =
                    !self.state.ends.was_heard(&key, &mark) && self.is_in_force(&constraint);
                match &mut self.state.gathering {
                    Some(gathering) if is_news && gathering.ended.len() < MAX_TOPICS => {
                        gathering.ended.push(constraint);
                    }
                    None if is_news && !self.state.witnessed.contains_key(&key) => {
                        self.catch_up(&constraint).await;
                    }
                    Some(_) | None => {}
                }
                return;
            }
            Some(Said::Over(_)) | None => return,
        };
        let key = constraint.key();
        let slot = Slot {
            constraint,
            is_kept,
        };
        if !self.state.slots.put(received.about, slot, self.clock.now()) {
            let reason = format!("more than {MAX_TOPICS} topics have one");
            self.refuse(&received.topic, &received.payload, &reason);
        } else if self.state.gathering.is_some() {
            // It is acted on when all has come.
        } else if self.state.witnessed.contains_key(&key) {
            // What was heard is newer.
            if self.state.words.standing(&key).is_none() {
                self.state.pass_over_left(&key);
            }
            self.tidy(&key);
        } else {
            // The time for gathering is over.
            let new = self.new_by_slots(&key);
            self.set(new.into_iter().collect()).await;
            self.tell_of(&key);
        }
    }

    /// Acts on all that is retained, and then on what came later.
    pub(super) async fn gathered(&mut self, complete: bool) {
        self.state.has_all |= complete;
        if let Some(gathering) = self.state.gathering.take() {
            self.act(gathering).await;
        }
        if self.state.has_all {
            // What the broker has forgotten need not be passed over any more. The end of what was ended here is
            // told all the same: other engines may hold it.
            let State { words, slots, .. } = &mut self.state;
            words.of.retain(|key, word| {
                matches!(word.standing, Standing::InForce | Standing::Ended) || slots.has(key)
            });
        }
    }

    async fn act(&mut self, gathering: Gathering) {
        for ended in &gathering.ended {
            self.catch_up(ended).await;
        }
        let mut keys = self.state.slots.keys();
        let new: Vec<Constraint> = keys
            .iter()
            .filter_map(|key| self.new_by_slots(key))
            .collect();
        self.set(new).await;
        let words = self.state.words.of.iter();
        let ended = words.filter(|(_, word)| word.standing == Standing::Ended);
        keys.extend(ended.map(|(key, _)| key.clone()));
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            self.tell_of(key);
        }
        for (topic, payload) in gathering.later {
            if let Some(received) = self.read(topic, payload) {
                self.heard(received).await;
            }
        }
    }

    /// Has the topics say of a constraint that they retained what is right.
    fn tell_of(&mut self, key: &ConstraintKey) {
        match self.state.words.standing(key) {
            Some(Standing::InForce | Standing::Overridden) => self.copy_plain(key),
            Some(Standing::Ended) => self.publish_end(key),
            Some(Standing::Cleared) => {
                self.erase(key);
                self.erase_plain(key);
            }
            None => {}
        }
    }

    /// Whether this is the broker's word, and in force.
    fn is_in_force(&self, constraint: &Constraint) -> bool {
        let word = self.state.words.of.get(&constraint.key());
        word.is_some_and(|word| {
            word.standing == Standing::InForce && is_same(&word.constraint, constraint)
        })
    }

    /// Ends what was ended while this engine was away, unless somebody wished for it since.
    async fn catch_up(&mut self, ended: &Constraint) {
        let key = ended.key();
        if self.is_in_force(ended) && self.state.slots.stated(&key, self.clock.now()).is_none() {
            self.is_over(&key).await;
        }
    }

    /// What is to be put in force because the slots say something that is not known yet.
    fn new_by_slots(&mut self, key: &ConstraintKey) -> Option<Constraint> {
        let Slot {
            constraint,
            is_kept,
        } = self.state.slots.stated(key, self.clock.now())?;
        let word = self.state.words.of.get(key);
        let constraint = labelled(constraint, word.map(|word| &word.constraint));
        let is_known = word.is_some_and(|word| match word.standing {
            Standing::InForce => word.constraint.says_the_same(&constraint),
            _ => is_same(&word.constraint, &constraint),
        });
        if is_known {
            return None;
        }
        self.unless_overridden(constraint, is_kept)
    }

    /// A copy takes the place of nothing that the API set: it may be of a wish that is past.
    pub(super) fn unless_overridden(
        &mut self,
        constraint: Constraint,
        is_kept: bool,
    ) -> Option<Constraint> {
        let in_force = self.control.constraint(&constraint.key());
        if is_kept && in_force.is_some_and(|held| held.via != Via::Mqtt) {
            self.state.words.put(constraint, Standing::Overridden);
            return None;
        }
        Some(constraint)
    }
}
