//! Constraints from the broker: what a message changes here, and what the broker is to retain.
//!
//! [`Constraints`] takes messages and what the engine tells of constraints, one after another, and is
//! the only one that asks the engine for changes. It remembers three things:
//!
//! - *words*, the broker's last word about each constraint and how it stands here: in force, overridden or
//!   ended by the API of this engine, or cleared by the broker;
//! - *slots*, what each topic retains, as this connection has shown;
//! - *witnessed*, the constraints of which somebody's wish was heard on this connection. Everybody who has
//!   heard the last wish has the same word.
//!
//! | input | words | slots | witnessed | the engine | published |
//! |---|---|---|---|---|---|
//! | a connection begins | what has expired goes | emptied | emptied | | |
//! | a retained message | | the topic | | | |
//! | all that is retained is here | where slots say something new | | | what is new is set | copies; the ends that are owed |
//! | a wish: a constraint | in force | the topic | added | set | a copy |
//! | a wish: an empty message | gone, or cleared while the other topic has it | the topic | added | cleared, whoever set it | an erasure |
//! | of an engine: a copy | if not witnessed, nor ended here: in force | the topic | | then set, but not over what the API set | if witnessed, or ended here: what is right |
//! | of an engine: an erasure | if not witnessed: gone | the topic | | then cleared, if it came by the broker | if witnessed: what is right |
//! | of an engine: an end | gone, if that is the word | the topic | | then cleared, if it came by the broker | if witnessed: what is right |
//! | the API set one | overridden | | | | |
//! | the API cleared one of the broker's | ended | | | | its end |
//! | one expired | | | | | |
//!
//! One topic retains one message, so what clients publish for one type to the topic of a scope takes the
//! place of another type there. Engines make up for that on the topics of the types: a *copy* of what holds
//! by the topic of the scope, or an *erasure* of what does not hold any more. Neither is a wish: whoever
//! knows better writes what is right, a few times, and the others follow. So it does not matter in which order several
//! engines write, nor that what they write arrives after a new wish; and what we published ourselves comes
//! back as a message like any other.
//!
//! Every reader sees when a constraint expires, so nobody publishes that. What the API sets is of this engine
//! alone: it is not published, and only a wish takes its place.

mod log;
mod publish;
mod slots;
mod word;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camshaft_model::port::clock::Clock;
use camshaft_model::port::constraint::{ConstraintControl, ControlRefused};
use camshaft_model::{Constraint, ConstraintChange, ConstraintKey, MAX_CONSTRAINTS, Via, duration};
use futures::future::join_all;
use tokio::sync::mpsc;

use super::gate::Gate;
use super::inbox::{Input, Inputs};
use super::message::{self, MessageError, Said};
use super::topic::{ConstraintTopic, Topics};
use log::Log;
pub(super) use publish::Tell;
use slots::{MAX_TOPICS, Slot, Slots};
pub use word::Notes;
use word::{Standing, Words, is_same, labelled};

/// The most bytes of messages that wait until all that is retained is here.
const MAX_LATER_BYTES: usize = 16 * 1024 * 1024;
/// The most constraints of which it is remembered that somebody's wish was heard.
const MAX_WITNESSED: usize = 4 * MAX_CONSTRAINTS;
/// How often engines are told what is right after each wish. Two that have heard different wishes would answer
/// one another for ever.
const MAX_ANSWERS: u8 = 4;
/// The same after an end: fewer, so that who has heard a wish since has the last word.
const MAX_ANSWERS_AFTER_END: u8 = 3;
/// How long to wait before a constraint that could not be stored is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How often something from the broker changed nothing.
#[derive(Debug, Default)]
pub struct Refused(AtomicU64);

impl Refused {
    /// The count since the start.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See the module.
pub(super) struct Constraints {
    pub(super) control: Arc<dyn ConstraintControl>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) topics: Topics,
    pub(super) gate: Arc<Gate>,
    pub(super) refused: Arc<Refused>,
    pub(super) tell: mpsc::Sender<Tell>,
    retry: Duration,
    state: State,
    log: Log,
}

#[derive(Default)]
struct State {
    /// The connection that there is.
    connection: Option<u64>,
    /// What came after the retained messages, while these are awaited.
    gathering: Option<Later>,
    /// Whether every retained message has come.
    has_all: bool,
    words: Words,
    slots: Slots,
    /// With the answers to engines that are left.
    witnessed: HashMap<ConstraintKey, u8>,
    /// Of which we told the end on this connection.
    ending: HashMap<ConstraintKey, Ending>,
}

/// A constraint of which we told the end.
struct Ending {
    constraint: Constraint,
    /// Whether that has come back.
    is_back: bool,
    /// How often engines are told once more; not after a wish.
    answers: u8,
}

impl State {
    /// Somebody's wish was heard.
    fn wished(&mut self, key: &ConstraintKey) {
        self.witnessed.insert(key.clone(), MAX_ANSWERS);
        if let Some(ending) = self.ending.get_mut(key) {
            ending.answers = 0;
        }
    }

    /// What a topic still retains of a constraint that was cleared is not to come back.
    fn pass_over_left(&mut self, key: &ConstraintKey) {
        let left = self.slots.typed(key).or_else(|| self.slots.plain(key));
        if let Some(left) = left.map(|slot| slot.constraint.clone()) {
            self.words.put(left, Standing::Cleared);
        }
    }
}

#[derive(Default)]
struct Later {
    messages: Vec<(String, Vec<u8>)>,
    bytes: usize,
}

/// A message about constraints, read.
struct Received {
    topic: String,
    payload: Vec<u8>,
    about: ConstraintTopic,
    /// `None` if it is empty.
    said: Option<Said>,
}

impl Constraints {
    pub(super) fn new(
        control: Arc<dyn ConstraintControl>,
        clock: Arc<dyn Clock>,
        topics: Topics,
        gate: Arc<Gate>,
        tell: mpsc::Sender<Tell>,
    ) -> Self {
        let mut state = State::default();
        for constraint in control.constraints() {
            if constraint.via == Via::Mqtt {
                state.words.put(constraint, Standing::InForce);
            }
        }
        Self {
            control,
            clock,
            topics,
            gate,
            refused: Arc::default(),
            tell,
            retry: RETRY,
            state,
            log: Log::default(),
        }
    }

    /// Goes on with what an earlier life has decided otherwise than the broker.
    #[must_use]
    pub(super) fn keeping(mut self, notes: Arc<dyn Notes>) -> Self {
        self.state.words.restore(notes, self.clock.now());
        self
    }

    /// Takes inputs until nobody sends any more.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        while let Some(input) = inputs.next().await {
            self.take(input).await;
            if inputs.is_empty() {
                self.state.words.note();
            }
        }
    }

    pub(super) async fn take(&mut self, input: Input) {
        match input {
            Input::Connected(connection) => self.connected(connection),
            Input::Received {
                topic,
                payload,
                retained: false,
            } if self.state.gathering.is_some() => self.later(topic, payload),
            Input::Received {
                topic,
                payload,
                retained,
            } => {
                if let Some(received) = self.read(topic, payload) {
                    if retained {
                        self.retained(received).await;
                    } else {
                        self.heard(received).await;
                    }
                }
            }
            Input::TooLarge { topic, bytes } => {
                let error = MessageError::TooLarge(bytes);
                self.refuse(&topic, &bytes.to_le_bytes(), &error.to_string());
            }
            Input::Gathered {
                connection,
                complete,
            } => {
                if self.state.connection == Some(connection) {
                    self.gathered(complete).await;
                }
                self.gate.open(connection);
            }
            Input::Disconnected(connection) => {
                self.state.connection = None;
                // What has come holds, whatever did not.
                self.gathered(false).await;
                self.gate.open(connection);
            }
            Input::Changed(constraint, change) => self.changed(&constraint, change),
        }
    }

    fn connected(&mut self, connection: u64) {
        let now = self.clock.now();
        let state = &mut self.state;
        state.connection = Some(connection);
        state.gathering = Some(Later::default());
        state.has_all = false;
        state.slots.clear();
        state.witnessed.clear();
        state.ending.clear();
        state.words.forget_expired(now);
    }

    fn later(&mut self, topic: String, payload: Vec<u8>) {
        let bytes = topic.len() + payload.len();
        match &mut self.state.gathering {
            Some(later) if later.bytes + bytes <= MAX_LATER_BYTES => {
                later.bytes += bytes;
                later.messages.push((topic, payload));
            }
            _ => self.refuse(&topic, &payload, "too many came before it"),
        }
    }

    /// What a message says, if it is one about constraints.
    fn read(&mut self, topic: String, payload: Vec<u8>) -> Option<Received> {
        let read = self.topics.read_constraint(&topic);
        let read = read.map_err(|error| error.to_string()).and_then(|about| {
            if payload.is_empty() {
                return Ok((about, None));
            }
            let said = message::read_said(&payload, self.clock.now());
            let said = match (said.map_err(|error| error.to_string())?, about.kind) {
                // Only the topic of a type tells what engines do.
                (Said::Kept(constraint), None) => Said::Wanted(constraint),
                (Said::Ended(constraint), None) => Said::Over(constraint),
                (said, _) => said,
            };
            let key = said.constraint().key();
            if key.scope != about.scope {
                return Err(format!(
                    "its scope is '{}', but its topic is that of the scope '{}'",
                    key.scope, about.scope
                ));
            }
            if about.kind.is_some_and(|wanted| wanted != key.kind) {
                let kind = key.kind;
                return Err(format!(
                    "its type is {kind}, but its topic is that of another type"
                ));
            }
            Ok((about, Some(said)))
        });
        match read {
            Ok((about, said)) => Some(Received {
                topic,
                payload,
                about,
                said,
            }),
            Err(reason) => {
                self.refuse(&topic, &payload, &reason);
                None
            }
        }
    }

    /// A topic retains this.
    async fn retained(&mut self, received: Received) {
        let (constraint, is_kept) = match received.said {
            Some(Said::Wanted(constraint)) => (constraint, false),
            Some(Said::Kept(constraint)) => (constraint, true),
            Some(Said::Ended(_) | Said::Over(_)) | None => return,
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
        }
    }

    /// Acts on all that is retained, and then on what came later.
    async fn gathered(&mut self, complete: bool) {
        self.state.has_all |= complete;
        let Some(later) = self.state.gathering.take() else {
            return;
        };
        let keys = self.state.slots.keys();
        let new: Vec<Constraint> = keys
            .iter()
            .filter_map(|key| self.new_by_slots(key))
            .collect();
        self.set(new).await;
        if complete {
            // What the broker has forgotten need not be passed over any more.
            let State { words, slots, .. } = &mut self.state;
            words
                .of
                .retain(|key, word| word.standing == Standing::InForce || slots.has(key));
        }
        for key in &keys {
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
        for (topic, payload) in later.messages {
            if let Some(received) = self.read(topic, payload) {
                self.heard(received).await;
            }
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
    fn unless_overridden(&mut self, constraint: Constraint, is_kept: bool) -> Option<Constraint> {
        let in_force = self.control.constraint(&constraint.key());
        if is_kept && in_force.is_some_and(|held| held.via != Via::Mqtt) {
            self.state.words.put(constraint, Standing::Overridden);
            return None;
        }
        Some(constraint)
    }

    /// A message that was published just now.
    async fn heard(&mut self, received: Received) {
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
        let kind = about.kind;
        let is_wish = matches!(said, None | Some(Said::Wanted(_)));
        match said {
            None => self.cleared(&topic, &about, &keys).await,
            Some(Said::Wanted(constraint)) => {
                self.wanted(&topic, &payload, about, constraint).await;
            }
            Some(Said::Kept(constraint)) => self.kept(about, constraint).await,
            Some(Said::Ended(constraint)) => {
                self.state.slots.remove(&about);
                let word = self.state.words.of.get(&keys[0]);
                if word.is_some_and(|word| is_same(&word.constraint, &constraint)) {
                    self.is_over(&keys[0]).await;
                }
                let ending = self.state.ending.get_mut(&keys[0]);
                let was_back = ending.map(|ending| std::mem::replace(&mut ending.is_back, true));
                let plain = self.state.slots.plain(&keys[0]);
                if was_back == Some(false)
                    && plain.is_some_and(|slot| is_same(&slot.constraint, &constraint))
                {
                    self.erase_plain(&keys[0]);
                }
            }
            Some(Said::Over(_)) => {
                self.state.slots.remove(&about);
                if kind.is_some() && !self.state.witnessed.contains_key(&keys[0]) {
                    self.is_over(&keys[0]).await;
                }
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
        if self.state.witnessed.len() >= MAX_WITNESSED {
            let now = self.clock.now();
            self.state.witnessed.clear();
            self.state.words.forget_expired(now);
        }
        if self.state.words.of.len() >= MAX_WITNESSED {
            // Only so many that have not expired are in force.
            self.state.words.forget_expired(self.clock.now());
        }
        if self.state.ending.len() >= MAX_WITNESSED {
            self.state.ending.retain(|_, ending| !ending.is_back);
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
        self.state.wished(&key);
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
            state.wished(key);
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
        if self.is_ended_here(&constraint) {
            self.erase(&key);
            return;
        }
        let new = self.unless_overridden(constraint, true);
        self.set(new.into_iter().collect()).await;
    }

    /// Whether a copy is of a constraint that was ended here: of an engine that has come in between, and has
    /// found it on the topic of the scope. Only so often, as others may have heard a wish that we have not.
    fn is_ended_here(&mut self, copy: &Constraint) -> bool {
        let ending = self.state.ending.get_mut(&copy.key());
        let Some(ending) = ending.filter(|ending| is_same(&ending.constraint, copy)) else {
            return false;
        };
        let is_left = ending.answers > 0;
        ending.answers = ending.answers.saturating_sub(1);
        is_left
    }

    /// What the broker said does not hold any more; what the API set in its place does.
    async fn is_over(&mut self, key: &ConstraintKey) {
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

    /// What the engine tells of a constraint, whoever asked for it.
    fn changed(&mut self, constraint: &Constraint, change: ConstraintChange) {
        let key = constraint.key();
        let Some(word) = self.state.words.of.get_mut(&key) else {
            return;
        };
        // This may tell of one that another has followed meanwhile.
        let is_this = constraint.via == Via::Mqtt && constraint.set_at == word.constraint.set_at;
        match change {
            _ if matches!(word.standing, Standing::Ended | Standing::Cleared) => {}
            ConstraintChange::Set if is_this => word.standing = Standing::InForce,
            ConstraintChange::Set if constraint.via != Via::Mqtt => {
                word.standing = Standing::Overridden;
            }
            ConstraintChange::Cleared if is_this => {
                word.standing = Standing::Ended;
                self.publish_end(&key);
            }
            ConstraintChange::Set | ConstraintChange::Cleared | ConstraintChange::Expired => {}
        }
    }

    /// Puts constraints in force as the broker's words: hands all over, because that is when they take
    /// effect, and then waits until they are stored. Returns why some are not in force.
    async fn set(&mut self, constraints: Vec<Constraint>) -> Vec<ControlRefused> {
        let mut refused = Vec::new();
        let mut left = constraints;
        while !left.is_empty() {
            let answers = left.iter().map(|one| self.control.set(one.clone()));
            let answers = join_all(answers).await;
            let mut again = Vec::new();
            for (constraint, answer) in left.into_iter().zip(answers) {
                match answer {
                    Ok(()) => self.is_set(constraint),
                    Err(ControlRefused::Store(error)) => {
                        tracing::error!(constraint = constraint.id, %error, "a constraint from the broker was not stored; it is tried again");
                        again.push(constraint);
                    }
                    Err(reason) => {
                        tracing::debug!(constraint = constraint.id, %reason, "a constraint from the broker is not in force");
                        refused.push(reason);
                    }
                }
            }
            if !again.is_empty() {
                tokio::time::sleep(self.retry).await;
            }
            left = again;
        }
        refused
    }

    /// A constraint was put in force as the broker's word. The API may have ended it already.
    fn is_set(&mut self, mut constraint: Constraint) {
        let key = constraint.key();
        let standing = match self.control.constraint(&key) {
            Some(held) if held.via == Via::Mqtt => {
                // By this it is told from the one before it and the one after it.
                constraint.set_at = held.set_at;
                Standing::InForce
            }
            Some(_) => Standing::Overridden,
            None if constraint.is_expired(self.clock.now()) => Standing::InForce,
            None => Standing::Ended,
        };
        self.state.words.put(constraint, standing);
        if standing == Standing::Ended {
            self.publish_end(&key);
        }
    }

    async fn clear(&self, topic: &str, about: &ConstraintTopic) {
        while let Err(error) = self.control.clear(&about.scope, about.kind).await {
            if !matches!(error, ControlRefused::Store(_)) {
                tracing::error!(%topic, %error, "a constraint was not cleared");
                return;
            }
            tracing::error!(%topic, %error, "that a constraint was cleared was not stored; it is tried again");
            tokio::time::sleep(self.retry).await;
        }
    }

    /// Counts a message that changes nothing, and logs why: each once, and not too many in a minute.
    fn refuse(&mut self, topic: &str, payload: &[u8], reason: &str) {
        self.refused.0.fetch_add(1, Ordering::Relaxed);
        let topic: String = topic.chars().take(200).collect();
        match self.log.may_write(&topic, payload, self.clock.now()) {
            Some(0) => {
                tracing::warn!(
                    topic,
                    "a message about constraints changes nothing: {reason}"
                );
            }
            Some(unsaid) => tracing::warn!(
                topic,
                unsaid,
                "a message about constraints changes nothing: {reason}"
            ),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
