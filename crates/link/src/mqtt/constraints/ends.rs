//! The ends that we have told on this connection.
//!
//! Everybody hears the messages of a broker in one order, but who tells an end does not know what is on its way
//! to them. A wish that they hear before their own end comes back was published before that end. If it is for
//! the very constraint that they ended, all others take the end for that of the wish. Only who told the end
//! knows better: they go on with the wish, and the others follow their copy of it.

use std::collections::HashMap;

use camshaft_model::{Constraint, ConstraintKey};

use super::MAX_KEYS;
use super::word::is_same;

/// How often engines are told once more that a constraint was ended: less often than what somebody wished, so
/// that who has heard a wish since has the last word.
const MAX_ANSWERS: u8 = 3;

/// Whose end came.
#[derive(Debug, PartialEq)]
pub(super) enum Whose {
    /// Of another engine, or of an earlier connection.
    Others,
    /// Ours, and of the same constraint we have told another since.
    OursBefore,
    /// Ours.
    Ours {
        /// What somebody wished for before it came, though it says the same as what we ended.
        wish: Option<Constraint>,
    },
}

/// See the module.
pub(super) struct Ends {
    /// Tells our marks from those of others.
    name: String,
    told: u64,
    of: HashMap<ConstraintKey, End>,
    /// The marks that were heard last, on this connection or an earlier one.
    heard: HashMap<ConstraintKey, String>,
}

struct End {
    constraint: Constraint,
    mark: String,
    is_back: bool,
    /// The last wish, if that came before the end was back and says the same.
    wish: Option<Constraint>,
    /// How often engines are told once more; not after a wish.
    answers: u8,
}

impl Ends {
    /// With a name that nobody else has.
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            told: 0,
            of: HashMap::new(),
            heard: HashMap::new(),
        }
    }

    /// A connection begins.
    pub(super) fn clear(&mut self) {
        self.of.clear();
    }

    /// A mark that no other message has.
    pub(super) fn mark(&mut self) -> String {
        self.told += 1;
        format!("{}-{}", self.name, self.told)
    }

    /// We tell the end of a constraint. Returns its mark.
    pub(super) fn tell(&mut self, constraint: Constraint) -> String {
        if self.of.len() >= MAX_KEYS {
            self.of.clear();
        }
        let mark = self.mark();
        let key = constraint.key();
        let end = End {
            constraint,
            mark: mark.clone(),
            is_back: false,
            wish: None,
            answers: MAX_ANSWERS,
        };
        self.of.insert(key, end);
        mark
    }

    /// Somebody wished for a constraint, or for the end of one.
    pub(super) fn wished(&mut self, key: &ConstraintKey, wish: Option<&Constraint>) {
        if let Some(end) = self.of.get_mut(key) {
            end.answers = 0;
            let wish = wish.filter(|wish| !end.is_back && is_same(wish, &end.constraint));
            end.wish = wish.cloned();
        }
    }

    /// An end was published.
    pub(super) fn came(&mut self, key: &ConstraintKey, mark: &str) -> Whose {
        if self.heard.len() >= MAX_KEYS {
            self.heard.clear();
        }
        self.heard.insert(key.clone(), mark.to_owned());
        match self.of.get_mut(key) {
            Some(end) if end.mark == mark => {
                end.is_back = true;
                let wish = end.wish.take();
                Whose::Ours { wish }
            }
            Some(_) if mark.starts_with(&self.name) => Whose::OursBefore,
            _ => Whose::Others,
        }
    }

    /// Whether this is the end that was heard last. A broker that came up with what it had saved a while ago may
    /// retain it again, without what followed it.
    pub(super) fn was_heard(&self, key: &ConstraintKey, mark: &str) -> bool {
        self.heard.get(key).is_some_and(|heard| heard == mark)
    }

    /// Whether a copy is of a constraint that was ended here and which nobody wished for since: of an engine that
    /// has come in between, and has found it on the topic of the scope. Only so often, as others may have heard a
    /// wish that we have not.
    pub(super) fn is_ended(&self, copy: &Constraint) -> bool {
        let end = self.of.get(&copy.key());
        end.is_some_and(|end| end.answers > 0 && is_same(&end.constraint, copy))
    }

    /// An engine was told once more.
    pub(super) fn answered(&mut self, key: &ConstraintKey) {
        if let Some(end) = self.of.get_mut(key) {
            end.answers = end.answers.saturating_sub(1);
        }
    }
}
