//! Constraints from the broker: what a message changes here, and what the broker is to retain.
//!
//! [`Constraints`] takes messages and what the engine tells of constraints, one after another, and is
//! the only one that asks the engine for changes. It remembers:
//!
//! - *words*, the broker's last word about each constraint and how it stands here: in force, overridden or
//!   ended by the API of this engine, or cleared by the broker;
//! - *slots*, what each topic retains, as this connection has shown, and what we have *on its way* there;
//! - *witnessed*, the constraints of which somebody's wish was heard on this connection. Everybody who has
//!   heard the last wish has the same word;
//! - *ends*, those that we told on this connection, and which were heard.
//!
//! | input | words | slots | witnessed | the engine | published |
//! |---|---|---|---|---|---|
//! | a connection begins | what has expired goes | emptied | emptied | | |
//! | a retained message | | the topic | | | |
//! | all that is retained is here | where slots say something new, or retain the end | | | what is new is set, what was ended meanwhile cleared | copies; the ends that are owed |
//! | a wish: a constraint | in force | the topic | added | set | a copy |
//! | a wish: an empty message | gone, or cleared while the other topic has it | the topic | added | cleared, whoever set it | its end, on the topic of the type |
//! | of an engine: a copy | if not witnessed, nor ended here: in force | the topic | | then set, but not over what the API set | if witnessed, or ended here: what is right |
//! | of an engine: an end by its API | gone, if that is the word | the topic | added for a while | then cleared, if it came by the broker | what the topic of the scope has is written over |
//! | the same, of us, after a wish for the same | in force | the topic | | set | a copy |
//! | an end by an empty message | if not witnessed, and that is the word: gone | the topic | | then cleared, if it came by the broker | if witnessed: what is right |
//! | one that is over and says no more | | the topic | | | if witnessed: what is right |
//! | the API set one | overridden | | | | |
//! | the API cleared one of the broker's | ended | | | | its end |
//! | one expired | | | | | |
//!
//! One topic retains one message, so what clients publish for one type to the topic of a scope takes the
//! place of another type there. Engines make up for that on the topics of the types: a *copy* of what holds
//! by the topic of the scope, or the *end* of what does not hold any more. Neither is a wish: whoever
//! knows better writes what is right, a few times, and the others follow. So it does not matter in which order several
//! engines write, nor that what they write arrives after a new wish; and what we published ourselves comes
//! back as a message like any other.
//!
//! Every reader sees when a constraint expires, so nobody publishes that. What the API sets is of this engine
//! alone: it is not published, and only a wish takes its place.

mod ends;
mod gather;
mod heard;
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
use camshaft_model::{Constraint, ConstraintChange, ConstraintKey, MAX_CONSTRAINTS, Via};
use futures::future::join_all;
use tokio::sync::mpsc;

use super::gate::Gate;
use super::inbox::{Input, Inputs};
use super::message::{self, MessageError, Said};
use super::topic::{ConstraintTopic, Topics};
use ends::Ends;
use gather::Gathering;
use log::Log;
use publish::Sent;
pub(super) use publish::Tell;
use slots::Slots;
pub use word::Notes;
use word::{Standing, Words};

/// The most constraints of which one thing is remembered, besides what the topics retain.
const MAX_KEYS: usize = 4 * MAX_CONSTRAINTS;
/// How often engines are told what is right after each wish. Two that have heard different wishes would answer
/// one another for ever.
const MAX_ANSWERS: u8 = 4;
/// The same after the end that another engine has told: fewer, so that who has heard a wish since has the last word.
const MAX_ANSWERS_AFTER_END: u8 = 2;
/// After how many inputs at the most it is noted what the engine decided otherwise.
const MAX_UNNOTED: usize = 256;
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

struct State {
    /// The connection that there is.
    connection: Option<u64>,
    /// While the retained messages are awaited.
    gathering: Option<Gathering>,
    /// Whether every retained message has come.
    has_all: bool,
    words: Words,
    slots: Slots,
    /// With the answers to engines that are left.
    witnessed: HashMap<ConstraintKey, u8>,
    ends: Ends,
    /// What we last published to the topics of types, until it has come back.
    on_its_way: HashMap<ConstraintKey, Sent>,
}

impl State {
    fn new(name: String) -> Self {
        Self {
            connection: None,
            gathering: None,
            has_all: false,
            words: Words::default(),
            slots: Slots::default(),
            witnessed: HashMap::new(),
            ends: Ends::new(name),
            on_its_way: HashMap::new(),
        }
    }

    /// Somebody's wish was heard.
    fn wished(&mut self, key: &ConstraintKey, wish: Option<&Constraint>) {
        self.witnessed.insert(key.clone(), MAX_ANSWERS);
        self.ends.wished(key, wish);
    }

    /// What a topic still retains of a constraint that was cleared is not to come back.
    fn pass_over_left(&mut self, key: &ConstraintKey) {
        let left = self.slots.typed(key).or_else(|| self.slots.plain(key));
        if let Some(left) = left.map(|slot| slot.constraint.clone()) {
            self.words.put(left, Standing::Cleared);
        }
    }
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
    /// The name is of this life of the engine alone.
    pub(super) fn new(
        control: Arc<dyn ConstraintControl>,
        clock: Arc<dyn Clock>,
        topics: Topics,
        gate: Arc<Gate>,
        tell: mpsc::Sender<Tell>,
        name: String,
    ) -> Self {
        let mut state = State::new(name);
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
        let mut unnoted = 0;
        while let Some(input) = inputs.next().await {
            self.take(input).await;
            unnoted += 1;
            if inputs.is_empty() || unnoted >= MAX_UNNOTED {
                self.state.words.note();
                unnoted = 0;
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
            } if self.state.gathering.is_some() => self.later(topic, payload).await,
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
        state.gathering = Some(Gathering::default());
        state.has_all = false;
        state.slots.clear();
        state.witnessed.clear();
        state.ends.clear();
        state.on_its_way.clear();
        state.words.forget_expired(now);
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
                (Said::Ended { constraint, .. }, None) => Said::Over(constraint),
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
