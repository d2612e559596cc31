//! What a message that is published changes: a wish, or what another engine does.

use camshaft_model::port::constraint::ControlRefused;
use camshaft_model::{Constraint, ConstraintKey, Via, duration};

use super::super::message::Said;
use super::super::topic::ConstraintTopic;
use super::ends::Whose;
use super::slots::Slot;
use super::word::{Standing, is_same, labelled};
use super::{Constraints, MAX_ANSWERS_AFTER_END, MAX_KEYS, Received};

impl Constraints {
    /// A message that was published just now.
    pub(super) async fn heard(&mut self, received: Received) {
        let Received {
            topic,
            payload,
            about,
            said,
        } = received;
        self.forget_some();
        let keys = match &said {
            Some(said) => vec![said.constraint().key()],
            None => about.keys(),
        };
        if about.kind.is_some() {
            self.state.came_back(&keys[0], &payload);
        }
        let is_wish = matches!(said, None | Some(Said::Wanted(_)));
        match said {
            None => self.cleared(&topic, &about, &keys).await,
            Some(Said::Wanted(constraint)) => {
                self.wanted(&topic, &payload, about, constraint).await;
            }
            Some(Said::Kept(constraint)) => self.kept(about, constraint).await,
            Some(Said::Ended {
                constraint,
                mark,
                emptied,
            }) => {
                self.state.slots.remove(&about);
                self.ended(constraint, &mark, emptied).await;
            }
            Some(Said::Over(_)) => {
                self.state.slots.remove(&about);
            }
        }
        for key in &keys {
            if self.tidy(key) && !is_wish {
                self.answered(key);
            }
        }
    }

    /// An engine was told what is right. Who has said so often enough follows the others.
    fn answered(&mut self, key: &ConstraintKey) {
        if let Some(left) = self.state.witnessed.get_mut(key) {
            *left -= 1;
            if *left == 0 {
                self.state.witnessed.remove(key);
            }
        }
    }

    /// Keeps what is remembered within bounds. Of what is not witnessed the others know better.
    fn forget_some(&mut self) {
        if self.state.witnessed.len() >= MAX_KEYS {
            let now = self.clock.now();
            self.state.witnessed.clear();
            self.state.words.forget_expired(now);
        }
        if self.state.words.of.len() >= MAX_KEYS {
            // Only so many that have not expired are in force.
            self.state.words.forget_expired(self.clock.now());
        }
        if self.state.on_its_way.len() >= MAX_KEYS {
            // Of a broker that lets us read only nothing comes back.
            self.state.on_its_way.clear();
        }
    }

    /// Somebody wants a constraint.
    async fn wanted(
        &mut self,
        topic: &str,
        payload: &[u8],
        about: ConstraintTopic,
        constraint: Constraint,
    ) {
        let now = self.clock.now();
        let key = constraint.key();
        let word = self.state.words.of.get(&key);
        let constraint = labelled(constraint, word.map(|word| &word.constraint));
        let held = self.control.constraint(&key);
        let is_known = word.is_some_and(|word| {
            let is_it =
                |held: Constraint| held.via == Via::Mqtt && held.set_at == word.constraint.set_at;
            word.constraint.says_the_same(&constraint) && held.is_some_and(is_it)
        });
        let slot = Slot {
            constraint: constraint.clone(),
            is_kept: false,
        };
        self.state.slots.put(about, slot, now);
        self.state.wished(&key, Some(&constraint));
        if is_known {
            return;
        }
        let expires_at = constraint.expires_at;
        for refused in self.set(vec![constraint]).await {
            // Others may have taken it: their clocks differ, or they have room.
            self.state.witnessed.remove(&key);
            let standing = self.state.words.standing(&key);
            if matches!(refused, ControlRefused::Expired)
                && matches!(standing, Some(Standing::InForce | Standing::Overridden))
            {
                // What it was to take the place of goes on.
                self.copy_word(&key);
            }
            let reason = match (refused, expires_at) {
                (ControlRefused::Expired, Some(at)) => format!(
                    "it had expired {} before it arrived; if its time was meant to be ahead, the clock of its sender or of this machine is wrong",
                    duration::display(now.since(at))
                ),
                (refused, _) => refused.to_string(),
            };
            self.refuse(topic, payload, &reason);
        }
    }

    /// Somebody ended a constraint, or all of a scope: whoever set them.
    async fn cleared(&mut self, topic: &str, about: &ConstraintTopic, keys: &[ConstraintKey]) {
        let state = &mut self.state;
        state.slots.remove(about);
        for key in keys {
            state.wished(key, None);
            state.words.of.remove(key);
            state.pass_over_left(key);
        }
        self.clear(topic, about).await;
    }

    /// An engine copied what holds by its knowledge.
    async fn kept(&mut self, about: ConstraintTopic, constraint: Constraint) {
        let key = constraint.key();
        let slot = Slot {
            constraint: constraint.clone(),
            is_kept: true,
        };
        self.state.slots.put(about, slot, self.clock.now());
        let word = self.state.words.of.get(&key);
        let is_known = word.is_some_and(|word| {
            word.standing != Standing::Cleared && is_same(&word.constraint, &constraint)
        });
        if is_known || self.state.witnessed.contains_key(&key) {
            return;
        }
        if self.state.ends.is_ended(&constraint) {
            if self.erase(&key) {
                self.state.ends.answered(&key);
            }
            return;
        }
        let new = self.unless_overridden(constraint, true);
        self.set(new.into_iter().collect()).await;
    }

    /// A constraint was ended at the API of an engine, or by an empty message, which only those have not heard who
    /// were away.
    async fn ended(&mut self, constraint: Constraint, mark: &str, emptied: bool) {
        let key = constraint.key();
        let word = self.state.words.of.get(&key);
        let is_word = word.is_some_and(|word| {
            word.standing != Standing::Cleared && is_same(&word.constraint, &constraint)
        });
        match self.state.ends.came(&key, mark) {
            _ if emptied => {
                if is_word && !self.state.witnessed.contains_key(&key) {
                    self.is_over(&key).await;
                }
            }
            Whose::Ours { wish: Some(wish) } => {
                // The end of another may have come since.
                if matches!(
                    self.state.words.standing(&key),
                    None | Some(Standing::Cleared)
                ) {
                    let new = self.unless_overridden(wish, true);
                    self.set(new.into_iter().collect()).await;
                }
                self.copy_word(&key);
            }
            Whose::Ours { wish: None } => {
                if is_word {
                    self.is_over(&key).await;
                }
                self.erase_plain_of(&constraint);
            }
            Whose::Others if is_word => {
                self.is_over(&key).await;
                // The other one may be gone before it is done; but whether that was meant for the last wish, only
                // it knows.
                self.state.witnessed.insert(key, MAX_ANSWERS_AFTER_END);
                self.erase_plain_of(&constraint);
            }
            Whose::Others | Whose::OursBefore => {}
        }
    }

    /// What the broker said does not hold any more; what the API set in its place does.
    pub(super) async fn is_over(&mut self, key: &ConstraintKey) {
        self.state.words.of.remove(key);
        if let Some(left) = self.state.slots.plain(key) {
            let left = left.constraint.clone();
            self.state.words.put(left, Standing::Cleared);
        }
        let in_force = self.control.constraint(key);
        if in_force.is_some_and(|held| held.via == Via::Mqtt) {
            let topic = self.topics.constraint_of_type(key);
            self.clear(&topic, &ConstraintTopic::of(key)).await;
        }
    }
}
