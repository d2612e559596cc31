//! What the broker is to retain: copies of what holds, erasures of what does not, and the ends of what was
//! ended here. See the table of the module above.

use camshaft_model::ConstraintKey;
use tokio::sync::mpsc;

use super::super::message;
use super::super::session::Message;
use super::word::{Standing, is_same};
use super::{Constraints, Ending, MAX_ANSWERS_AFTER_END, State};

/// Something that the broker is to retain.
#[derive(Debug)]
pub(in crate::mqtt) struct Tell {
    /// The connection that it is for; with another one it is decided anew.
    pub(in crate::mqtt) connection: u64,
    pub(in crate::mqtt) message: Message,
}

impl Constraints {
    /// Has the topic of the type say what holds, if a wish was heard that says so. The end of one that was
    /// ended here is on its way. Whether that took a message.
    pub(super) fn tidy(&mut self, key: &ConstraintKey) -> bool {
        let State {
            words,
            slots,
            witnessed,
            has_all,
            ..
        } = &mut self.state;
        let standing = words.standing(key);
        let is_witnessed = witnessed.contains_key(key);
        let is_needed = match standing {
            None | Some(Standing::InForce) => true,
            Some(Standing::Overridden) => is_witnessed || slots.has(key),
            Some(Standing::Ended | Standing::Cleared) => slots.has(key),
        };
        if *has_all && !is_needed {
            words.of.remove(key);
        }
        if !is_witnessed {
            return false;
        }
        match standing {
            Some(Standing::InForce | Standing::Overridden) => self.copy_word(key),
            Some(Standing::Ended) => false,
            Some(Standing::Cleared) | None => self.erase(key),
        }
    }

    /// Copies the broker's word, unless the topic of its type says it, or it would not be known that it does.
    pub(super) fn copy_word(&self, key: &ConstraintKey) -> bool {
        let Some(word) = self.state.words.of.get(key) else {
            return false;
        };
        let slots = &self.state.slots;
        let is_there = match slots.typed(key) {
            Some(slot) => is_same(&slot.constraint, &word.constraint),
            None => slots.is_full(),
        };
        if !is_there {
            let copy = message::write_kept(&word.constraint);
            self.publish(self.topics.constraint_of_type(key), copy);
        }
        !is_there
    }

    /// The same if that word is on the topic of the scope.
    pub(super) fn copy_plain(&self, key: &ConstraintKey) {
        let plain = self.state.slots.plain(key).map(|slot| &slot.constraint);
        let word = self.state.words.of.get(key);
        if plain.is_some_and(|plain| word.is_some_and(|word| is_same(plain, &word.constraint))) {
            self.copy_word(key);
        }
    }

    /// Takes a constraint from the topic of its type.
    pub(super) fn erase(&self, key: &ConstraintKey) -> bool {
        let typed = self.state.slots.typed(key);
        if let Some(slot) = typed {
            let over = message::write_over(&slot.constraint);
            self.publish(self.topics.constraint_of_type(key), over);
        }
        typed.is_some()
    }

    /// Takes a constraint from the topic of its scope.
    pub(super) fn erase_plain(&self, key: &ConstraintKey) {
        if let Some(slot) = self.state.slots.plain(key) {
            let over = message::write_over(&slot.constraint);
            self.publish(self.topics.constraint(&key.scope), over);
        }
    }

    /// Tells that a constraint was ended here. When that comes back, what came before it has come too, and
    /// it is known whether the topic of the scope has it.
    pub(super) fn publish_end(&mut self, key: &ConstraintKey) {
        let Some(word) = self.state.words.of.get(key) else {
            return;
        };
        let ending = Ending {
            constraint: word.constraint.clone(),
            is_back: false,
            answers: MAX_ANSWERS_AFTER_END,
        };
        let ended = message::write_ended(&word.constraint);
        self.publish(self.topics.constraint_of_type(key), ended);
        self.state.ending.insert(key.clone(), ending);
    }

    /// Hands over what the broker is to retain. What is not taken now is decided anew with the next
    /// connection.
    fn publish(&self, topic: String, payload: Vec<u8>) {
        let Some(connection) = self.state.connection else {
            return;
        };
        if self.state.gathering.is_some() {
            return;
        }
        let message = Message::retained(topic, payload);
        let tell = Tell {
            connection,
            message,
        };
        if let Err(error) = self.tell.try_send(tell) {
            let (mpsc::error::TrySendError::Full(tell) | mpsc::error::TrySendError::Closed(tell)) =
                error;
            tracing::warn!(
                topic = tell.message.topic,
                "too many constraints change at once: the broker goes on retaining what it has for now"
            );
        }
    }
}
