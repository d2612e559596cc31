//! What the broker is to retain: copies of what holds, and the ends of what does not. See the table of the
//! module above.

use std::time::Duration;

use camshaft_model::{Constraint, ConstraintKey, Timestamp};
use tokio::sync::mpsc;

use super::super::message;
use super::super::session::Message;
use super::word::{Standing, is_same};
use super::{Constraints, State};

/// After which time what we published is not waited for any more.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

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
    at: Timestamp,
}

impl State {
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
    /// What the topic of a type will retain when all that we published has arrived: that comes after
    /// everything that has been heard by now. It does not arrive if the broker has no room for it, or does not let
    /// us publish.
    fn expected(&self, key: &ConstraintKey) -> Option<&Constraint> {
        let sent = self.state.on_its_way.get(key);
        match sent.filter(|sent| self.clock.now().since(sent.at) < ON_ITS_WAY) {
            Some(sent) => sent.copy.as_ref(),
            None => self.state.slots.typed(key).map(|slot| &slot.constraint),
        }
    }

    /// Forgets a word that nothing needs any more, and has the topic of the type say what holds, if a wish was
    /// heard that says so. The end of one that was ended here is on its way. Whether that took a message.
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
            // Of one that was ended here until that is back.
            None | Some(Standing::InForce | Standing::Ended) => true,
            Some(Standing::Overridden) => !*has_all || is_witnessed || slots.has(key),
            Some(Standing::Cleared) => slots.has(key),
        };
        if !is_needed {
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
        let is_there = match self.expected(key) {
            Some(expected) => is_same(expected, &word.constraint),
            None => self.state.slots.is_full(),
        };
        if is_there {
            return false;
        }
        let copy = word.constraint.clone();
        self.publish_typed(key, message::write_kept(&copy), Some(copy))
    }

    /// The same if that word is on the topic of the scope.
    pub(super) fn copy_plain(&mut self, key: &ConstraintKey) {
        let plain = self.state.slots.plain(key).map(|slot| &slot.constraint);
        let word = self.state.words.of.get(key);
        if plain.is_some_and(|plain| word.is_some_and(|word| is_same(plain, &word.constraint))) {
            self.copy_word(key);
        }
    }

    /// Takes from the topic of its type a constraint that was ended by an empty message. Whether that took a
    /// message.
    pub(super) fn erase(&mut self, key: &ConstraintKey) -> bool {
        let Some(there) = self.expected(key).cloned() else {
            return false;
        };
        let mark = self.state.ends.mark();
        self.publish_typed(key, message::write_emptied(&there, &mark), None)
    }

    /// Takes a constraint from the topic of its scope.
    pub(super) fn erase_plain(&self, key: &ConstraintKey) {
        if let Some(slot) = self.state.slots.plain(key) {
            let over = message::write_over(&slot.constraint);
            self.publish(self.topics.constraint(&key.scope), over);
        }
    }

    /// The same if it is this one.
    pub(super) fn erase_plain_of(&self, constraint: &Constraint) {
        let key = constraint.key();
        let plain = self.state.slots.plain(&key);
        if plain.is_some_and(|slot| is_same(&slot.constraint, constraint)) {
            self.erase_plain(&key);
        }
    }

    /// Tells that a constraint was ended here. When that comes back, what came before it has come too, and
    /// it is known whether the topic of the scope has it.
    pub(super) fn publish_end(&mut self, key: &ConstraintKey) {
        let Some(word) = self.state.words.of.get(key) else {
            return;
        };
        let mark = self.state.ends.tell(word.constraint.clone());
        let ended = message::write_ended(&word.constraint, &mark);
        self.publish_typed(key, ended, None);
    }

    /// Publishes to the topic of a type a copy, or what leaves none there.
    fn publish_typed(
        &mut self,
        key: &ConstraintKey,
        payload: Vec<u8>,
        copy: Option<Constraint>,
    ) -> bool {
        let topic = self.topics.constraint_of_type(key);
        let is_sent = self.publish(topic, payload.clone());
        if is_sent {
            let at = self.clock.now();
            let sent = Sent { payload, copy, at };
            self.state.on_its_way.insert(key.clone(), sent);
        }
        is_sent
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
