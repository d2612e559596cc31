//! What the broker is to retain: copies of what holds, erasures of what does not, and the ends of what was
//! ended here. See the table of the module above.

use camshaft_model::{Constraint, ConstraintKey};
use tokio::sync::mpsc;

use super::super::message;
use super::super::session::Message;
use super::word::{Standing, is_same};
use super::{Constraints, State};

/// Something that the broker is to retain.
#[derive(Debug)]
pub(in crate::mqtt) struct Tell {
    /// The connection that it is for; with another one it is decided anew.
    pub(in crate::mqtt) connection: u64,
    pub(in crate::mqtt) message: Message,
}

/// What we last published to the topic of a type.
pub(super) struct Sent {
    payload: Vec<u8>,
    /// The constraint, if it is a copy.
    copy: Option<Constraint>,
}

impl State {
    /// What the topic of a type will retain when all that we published has arrived: that comes after
    /// everything that has been heard by now.
    fn expected(&self, key: &ConstraintKey) -> Option<&Constraint> {
        match self.on_its_way.get(key) {
            Some(sent) => sent.copy.as_ref(),
            None => self.slots.typed(key).map(|slot| &slot.constraint),
        }
    }

    /// A message to the topic of a type has come; it may be what we published.
    pub(super) fn came_back(&mut self, key: &ConstraintKey, payload: &[u8]) {
        if self
            .on_its_way
            .get(key)
            .is_some_and(|sent| sent.payload == payload)
        {
            self.on_its_way.remove(key);
        }
    }
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
    pub(super) fn copy_word(&mut self, key: &ConstraintKey) -> bool {
        let Some(word) = self.state.words.of.get(key) else {
            return false;
        };
        let is_there = match self.state.expected(key) {
            Some(expected) => is_same(expected, &word.constraint),
            None => self.state.slots.is_full(),
        };
        if is_there {
            return false;
        }
        let copy = word.constraint.clone();
        let payload = message::write_kept(&copy);
        self.publish_typed(key, payload, Some(copy));
        true
    }

    /// The same if that word is on the topic of the scope.
    pub(super) fn copy_plain(&mut self, key: &ConstraintKey) {
        let plain = self.state.slots.plain(key).map(|slot| &slot.constraint);
        let word = self.state.words.of.get(key);
        if plain.is_some_and(|plain| word.is_some_and(|word| is_same(plain, &word.constraint))) {
            self.copy_word(key);
        }
    }

    /// Takes a constraint from the topic of its type.
    pub(super) fn erase(&mut self, key: &ConstraintKey) -> bool {
        let over = self.state.expected(key).map(message::write_over);
        let is_there = over.is_some();
        if let Some(over) = over {
            self.publish_typed(key, over, None);
        }
        is_there
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
        let mark = self.state.ends.tell(word.constraint.clone());
        let ended = message::write_ended(&word.constraint, Some(&mark));
        self.publish_typed(key, ended, None);
    }

    /// Publishes to the topic of a type a copy, or what leaves none there.
    fn publish_typed(&mut self, key: &ConstraintKey, payload: Vec<u8>, copy: Option<Constraint>) {
        let topic = self.topics.constraint_of_type(key);
        if self.publish(topic, payload.clone()) {
            let sent = Sent { payload, copy };
            self.state.on_its_way.insert(key.clone(), sent);
        }
    }

    /// Hands over what the broker is to retain. What is not taken now is decided anew with the next
    /// connection.
    fn publish(&self, topic: String, payload: Vec<u8>) -> bool {
        let Some(connection) = self.state.connection else {
            return false;
        };
        if self.state.gathering.is_some() {
            return false;
        }
        let message = Message::retained(topic, payload);
        let tell = Tell {
            connection,
            message,
        };
        let sent = self.tell.try_send(tell);
        if let Err(
            mpsc::error::TrySendError::Full(tell) | mpsc::error::TrySendError::Closed(tell),
        ) = &sent
        {
            tracing::warn!(
                topic = tell.message.topic,
                "too many constraints change at once: the broker goes on retaining what it has for now"
            );
        }
        sent.is_ok()
    }
}
