//! The ends that engines have told on this connection: ours, and those of others that we followed.
//!
//! Everybody hears the messages of a broker in one order, but who tells an end does not know what is on its way
//! to them. A wish that they hear before their own end comes back was published before that end. If it is for
//! the very constraint that they ended, all others take the end for that of the wish. Only who told the end
//! knows better: they go on with the wish, and say so to those who followed that end.

use std::collections::HashMap;

use camshaft_model::{Constraint, ConstraintKey};
use uuid::Uuid;

use super::MAX_WITNESSED;
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
    ours: HashMap<ConstraintKey, Ours>,
    /// The marks of the ends of others that are the last word about a constraint here.
    followed: HashMap<ConstraintKey, String>,
}

struct Ours {
    constraint: Constraint,
    mark: String,
    is_back: bool,
    /// The last wish, if that came before our end was back and not to end it as well.
    wish: Option<Constraint>,
    /// How often engines are told once more; not after a wish.
    answers: u8,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            name: Uuid::now_v7().simple().to_string(),
            told: 0,
            ours: HashMap::new(),
            followed: HashMap::new(),
        }
    }
}

impl Ends {
    /// A connection begins.
    pub(super) fn clear(&mut self) {
        self.ours.clear();
        self.followed.clear();
    }

    /// Keeps what is remembered within bounds.
    pub(super) fn forget_some(&mut self) {
        if self.ours.len() >= MAX_WITNESSED {
            self.ours.retain(|_, ours| !ours.is_back);
        }
        if self.followed.len() >= MAX_WITNESSED {
            self.followed.clear();
        }
    }

    /// We tell the end of a constraint. Returns its mark.
    pub(super) fn tell(&mut self, constraint: Constraint) -> String {
        self.told += 1;
        let mark = format!("{}-{}", self.name, self.told);
        let key = constraint.key();
        self.followed.remove(&key);
        let ours = Ours {
            constraint,
            mark: mark.clone(),
            is_back: false,
            wish: None,
            answers: MAX_ANSWERS,
        };
        self.ours.insert(key, ours);
        mark
    }

    /// Somebody wished for a constraint, or for the end of one.
    pub(super) fn wished(&mut self, key: &ConstraintKey, wish: Option<&Constraint>) {
        self.followed.remove(key);
        if let Some(ours) = self.ours.get_mut(key) {
            ours.answers = 0;
            let wish = wish.filter(|wish| !ours.is_back && is_same(wish, &ours.constraint));
            ours.wish = wish.cloned();
        }
    }

    /// An end has come.
    pub(super) fn came(&mut self, constraint: &Constraint, mark: &str) -> Whose {
        match self.ours.get_mut(&constraint.key()) {
            Some(ours) if ours.mark == mark => {
                ours.is_back = true;
                let wish = ours.wish.take();
                Whose::Ours { wish }
            }
            Some(_) if mark.starts_with(&self.name) => Whose::OursBefore,
            _ => Whose::Others,
        }
    }

    /// The mark of our end that is on its way and was told before somebody wished for this.
    pub(super) fn not_meant_for(&self, constraint: &Constraint) -> Option<&str> {
        let ours = self.ours.get(&constraint.key())?;
        let wish = ours.wish.as_ref()?;
        is_same(wish, constraint).then_some(ours.mark.as_str())
    }

    /// The end of another is the last word about a constraint.
    pub(super) fn follow(&mut self, key: ConstraintKey, mark: String) {
        self.followed.insert(key, mark);
    }

    /// Whether the last word about a constraint is the end of another.
    pub(super) fn is_following(&self, key: &ConstraintKey) -> bool {
        self.followed.contains_key(key)
    }

    /// Who told an end says that it was not meant for what has followed it. Whether that end is the last word.
    pub(super) fn unfollow(&mut self, key: &ConstraintKey, mark: &str) -> bool {
        let is_last = self.followed.get(key).is_some_and(|last| last == mark);
        if is_last {
            self.followed.remove(key);
        }
        is_last
    }

    /// Whether a copy is of a constraint that was ended here: of an engine that has come in between, and has
    /// found it on the topic of the scope. Only so often, as others may have heard a wish that we have not.
    pub(super) fn may_answer(&mut self, copy: &Constraint) -> bool {
        let ours = self.ours.get_mut(&copy.key());
        let Some(ours) = ours.filter(|ours| is_same(&ours.constraint, copy)) else {
            return false;
        };
        let is_left = ours.answers > 0;
        ours.answers = ours.answers.saturating_sub(1);
        is_left
    }
}
