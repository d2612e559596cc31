//! Constraints from the broker: what a message changes, and what the broker must forget.
//!
//! [`Constraints`] takes messages and what the engine tells of constraints, one after another, and is
//! the only one that asks the engine for changes. What the broker retains when a connection begins is
//! gathered until all of it is there and applied before anything that came later: messages of one type
//! first, then those that every client reads, because every client writes the latter, so they are the
//! later word.
//!
//! A constraint that came by the broker and is ended or replaced here would come back with the next
//! connection; so the broker is made to forget it. An empty message to the topic of a whole scope ends
//! all of the scope's types for everybody who listens. Where others still hold, one of these takes its
//! place. What we publish comes back to us and must not be taken for somebody else's wish: it is passed
//! over, but it also shows what the broker retains from then on. If that is not what holds, because somebody
//! published while ours was on its way, what holds is published again.

mod echo;
mod owed;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camshaft_model::port::clock::Clock;
use camshaft_model::port::constraint::{ConstraintControl, ControlRefused};
use camshaft_model::{Constraint, ConstraintChange, ConstraintKey, Via, duration};
use tokio::sync::mpsc;

use super::gate::Gate;
use super::inbox::{Input, Inputs};
use super::message::{self, MAX_CONSTRAINT_BYTES, MessageError};
use super::session::Message;
use super::topic::{ConstraintTopic, Topics};
use echo::Echoes;
pub use owed::Notes;
use owed::Owed;

/// The most retained messages that are gathered at the begin of a connection.
const MAX_GATHERED: usize = 10_000;
/// The most bytes of them.
const MAX_GATHERED_BYTES: usize = 16 * 1024 * 1024;
/// The most refused messages that are remembered, so that a retained one is logged once.
const MAX_REMEMBERED: usize = 1_024;
/// How many refused messages are logged in a minute.
const LOGGED_A_MINUTE: u32 = 10;
/// How long to wait before a constraint that could not be stored is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Something that the broker is to retain, or to retain no more.
#[derive(Debug)]
pub(super) struct Tell {
    /// The connection that it is for; with another one it is decided anew.
    pub(super) connection: u64,
    pub(super) message: Message,
    /// What the broker has forgotten once it has this.
    pub(super) forgotten: Option<ConstraintKey>,
}

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
    /// Messages of the begin of a connection, while it lasts.
    gathering: Option<Gathering>,
    /// Which topics hold a message for who comes later, and of which constraint.
    kept: HashMap<String, ConstraintKey>,
    /// What came by the broker and is in force.
    in_force: HashMap<ConstraintKey, Constraint>,
    /// What the broker has not forgotten yet, as it was.
    owed: Owed,
    /// What is still to come back to us.
    echoes: Echoes,
}

#[derive(Default)]
struct Gathering {
    retained: Vec<(String, Vec<u8>)>,
    later: Vec<(String, Vec<u8>)>,
    bytes: usize,
}

impl Gathering {
    fn has_room(&self, topic: &str, payload: &[u8]) -> bool {
        self.retained.len() + self.later.len() < MAX_GATHERED
            && self.bytes + topic.len() + payload.len() <= MAX_GATHERED_BYTES
    }
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
                state.in_force.insert(constraint.key(), constraint);
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

    /// Goes on with what an earlier life has left for the broker to forget.
    #[must_use]
    pub(super) fn keeping(mut self, notes: Arc<dyn Notes>) -> Self {
        self.state.owed = Owed::restore(notes, self.clock.now());
        for key in self.state.in_force.keys() {
            self.state.owed.constraints.remove(key);
        }
        self
    }

    /// Takes inputs until nobody sends any more.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        while let Some(input) = inputs.next().await {
            self.take(input).await;
            self.state.owed.note(self.state.connection.is_some());
        }
    }

    pub(super) async fn take(&mut self, input: Input) {
        match input {
            Input::Connected(connection) => {
                self.state.connection = Some(connection);
                self.state.echoes.clear();
                self.state.kept.clear();
                self.state.gathering = Some(Gathering::default());
            }
            Input::Received {
                topic,
                payload,
                retained,
            } => match &mut self.state.gathering {
                Some(gathering) if gathering.has_room(&topic, &payload) => {
                    gathering.bytes += topic.len() + payload.len();
                    let list = if retained {
                        &mut gathering.retained
                    } else {
                        &mut gathering.later
                    };
                    list.push((topic, payload));
                }
                Some(_) => self.refuse(&topic, &payload, "there are too many retained messages"),
                None => {
                    self.received(topic, &payload, retained).await;
                }
            },
            Input::TooLarge { topic, bytes } => {
                let error = MessageError::TooLarge(bytes);
                self.refuse(&topic, &bytes.to_le_bytes(), &error.to_string());
            }
            Input::Gathered {
                connection,
                complete,
            } => {
                if self.state.connection == Some(connection) {
                    self.apply_gathered(complete).await;
                }
                self.gate.open(connection);
            }
            Input::Disconnected(connection) => {
                self.state.connection = None;
                // What has come holds, whatever did not.
                self.apply_gathered(false).await;
                self.gate.open(connection);
            }
            Input::Changed(constraint, change) => self.changed(&constraint, change),
            Input::Told { topic, forgotten } => {
                self.state.echoes.acknowledged(&topic, self.clock.now());
                if let Some(key) = forgotten {
                    self.state.owed.constraints.remove(&key);
                }
            }
        }
    }

    async fn apply_gathered(&mut self, complete: bool) {
        let Some(gathered) = self.state.gathering.take() else {
            return;
        };
        let Gathering {
            mut retained,
            later,
            ..
        } = gathered;
        // A stable sort: `false` is before `true`.
        retained.sort_by_key(|(topic, _)| !is_of_type(topic));
        let mut held = HashSet::new();
        for (topic, payload) in retained {
            held.extend(self.received(topic, &payload, true).await);
        }
        if complete {
            // What is owed and was not among them is gone already.
            self.state
                .owed
                .constraints
                .retain(|key, _| held.contains(key));
        }
        for (topic, payload) in later {
            self.received(topic, &payload, false).await;
        }
    }

    /// Does what a message asks for. Returns the constraint if the broker holds it and must forget it.
    async fn received(
        &mut self,
        topic: String,
        payload: &[u8],
        retained: bool,
    ) -> Option<ConstraintKey> {
        let now = self.clock.now();
        if !retained && self.state.echoes.is_one(&topic, payload, now) {
            self.echoed(&topic, payload);
            return None;
        }
        let about = match self.topics.read_constraint(&topic) {
            Ok(about) => about,
            Err(error) => {
                self.refuse(&topic, payload, &error.to_string());
                return None;
            }
        };
        if payload.is_empty() {
            self.cleared(&topic, about).await;
            return None;
        }
        let constraint = match message::read(payload, now) {
            Ok(constraint) => constraint,
            Err(error) => {
                self.refuse(&topic, payload, &error.to_string());
                return None;
            }
        };
        if constraint.scope != about.scope {
            let message = format!(
                "its scope is '{}', but its topic is that of the scope '{}'",
                constraint.scope, about.scope
            );
            self.refuse(&topic, payload, &message);
            return None;
        }
        let kind = constraint.terms.kind();
        if about.kind.is_some_and(|wanted| wanted != kind) {
            let message = format!("its type is {kind}, but its topic is that of another type");
            self.refuse(&topic, payload, &message);
            return None;
        }
        self.set(topic, payload, constraint, retained).await
    }

    async fn set(
        &mut self,
        topic: String,
        payload: &[u8],
        mut constraint: Constraint,
        retained: bool,
    ) -> Option<ConstraintKey> {
        let key = constraint.key();
        if message::is_over(&constraint) {
            // It keeps the place of one that was cleared by the topic of its type.
            self.state.kept.remove(&topic);
            return None;
        }
        if !is_of_type(&topic)
            && let Some(same) = self.state.in_force.get(&key)
            && is_same(same, &constraint)
        {
            // Reason and owner are told by the topic of the type only.
            constraint.reason = constraint.reason.or_else(|| same.reason.clone());
            constraint.owner = constraint.owner.or_else(|| same.owner.clone());
        }
        if retained
            && self
                .state
                .owed
                .constraints
                .get(&key)
                .is_some_and(|old| is_same(old, &constraint))
        {
            self.state.kept.insert(topic, key.clone());
            self.make_forget(&key);
            return Some(key);
        }
        let expires_at = constraint.expires_at;
        loop {
            match self.control.set(constraint.clone()).await {
                Ok(()) => {
                    self.state.owed.constraints.remove(&key);
                    self.state.in_force.insert(key.clone(), constraint);
                    self.state.kept.insert(topic, key);
                    return None;
                }
                Err(ControlRefused::Store(error)) => {
                    tracing::error!(%topic, %error, "a constraint from the broker was not stored; it is tried again");
                    tokio::time::sleep(self.retry).await;
                }
                Err(ControlRefused::Expired) => {
                    self.state.kept.remove(&topic);
                    if retained {
                        tracing::debug!(%topic, "a constraint that the broker retains has expired");
                        return None;
                    }
                    let late = expires_at.map_or(Duration::ZERO, |at| self.clock.now().since(at));
                    let message = format!(
                        "it had expired {} before it arrived; if its time was meant to be ahead, the clock of its sender or of this machine is wrong",
                        duration::display(late)
                    );
                    self.refuse(&topic, payload, &message);
                    return None;
                }
                Err(error) => {
                    self.refuse(&topic, payload, &error.to_string());
                    return None;
                }
            }
        }
    }

    async fn cleared(&mut self, topic: &str, about: ConstraintTopic) {
        self.state.kept.remove(topic);
        let ConstraintTopic { scope, kind } = about;
        while let Err(error) = self.control.clear(&scope, kind).await {
            if !matches!(error, ControlRefused::Store(_)) {
                tracing::error!(%topic, %error, "a constraint was not cleared");
                return;
            }
            tracing::error!(%topic, %error, "that a constraint was cleared was not stored; it is tried again");
            tokio::time::sleep(self.retry).await;
        }
        // Somebody ended the whole scope by the topic that every client knows: the messages of its types
        // must not bring it back.
        if kind.is_none() {
            let of_scope: Vec<ConstraintKey> = self
                .state
                .kept
                .values()
                .filter(|key| key.scope == scope)
                .cloned()
                .collect();
            of_scope.iter().for_each(|key| self.make_forget(key));
        }
    }

    /// What the engine tells of a constraint, whoever asked for it.
    fn changed(&mut self, constraint: &Constraint, change: ConstraintChange) {
        let key = constraint.key();
        if change == ConstraintChange::Set && constraint.via == Via::Mqtt {
            self.state.in_force.insert(key, constraint.clone());
            return;
        }
        let earlier = self.state.in_force.remove(&key);
        let came_by_broker = match change {
            ConstraintChange::Set => earlier,
            ConstraintChange::Cleared | ConstraintChange::Expired => {
                earlier.or_else(|| (constraint.via == Via::Mqtt).then(|| constraint.clone()))
            }
        };
        let Some(earlier) = came_by_broker else {
            return;
        };
        self.state.owed.constraints.insert(key.clone(), earlier);
        self.make_forget(&key);
    }

    /// Has the broker forget every message of a constraint that it is known to hold.
    fn make_forget(&mut self, key: &ConstraintKey) {
        if self.state.connection.is_none() || self.state.gathering.is_some() {
            return;
        }
        let topics: Vec<String> = self
            .state
            .kept
            .iter()
            .filter(|(_, kept)| *kept == key)
            .map(|(topic, _)| topic.clone())
            .collect();
        if topics.is_empty() {
            self.state.owed.constraints.remove(key);
        }
        let plain = self.topics.constraint(&key.scope);
        let mut left = topics.len();
        for topic in topics {
            left -= 1;
            let successor = (topic == plain).then(|| self.successor(key)).flatten();
            let payload = successor.as_ref().map(message::write_plain);
            let forgotten = (left == 0).then(|| key.clone());
            if !self.publish(&topic, payload.unwrap_or_default(), forgotten) {
                // It stays owed, so the next connection makes up for it.
                return;
            }
            match successor {
                Some(other) => self.state.kept.insert(topic, other.key()),
                None => self.state.kept.remove(&topic),
            };
        }
    }

    /// What we published has come back, so it is what the broker retains now.
    fn echoed(&mut self, topic: &str, payload: &[u8]) {
        let holds = self.state.kept.get(topic);
        let holds = holds.and_then(|key| self.state.in_force.get(key));
        let wanted = holds.map(|constraint| {
            if is_of_type(topic) {
                message::write(constraint)
            } else {
                message::write_plain(constraint)
            }
        });
        let wanted = wanted.unwrap_or_default();
        if wanted != payload {
            self.publish(topic, wanted, None);
        }
    }

    /// Hands over what the broker is to retain; its echo is then expected. `false` if it cannot be taken.
    fn publish(&mut self, topic: &str, payload: Vec<u8>, forgotten: Option<ConstraintKey>) -> bool {
        let Some(connection) = self.state.connection else {
            return false;
        };
        let message = Message::retained(topic.to_owned(), payload.clone());
        let tell = Tell {
            connection,
            message,
            forgotten,
        };
        if self.tell.try_send(tell).is_err() {
            tracing::warn!(
                topic,
                "too many constraints end at once: the broker goes on holding what it holds for now"
            );
            return false;
        }
        self.state.echoes.expect(topic, &payload, self.clock.now());
        true
    }

    /// Another constraint of the same scope that came by the broker and holds.
    fn successor(&self, key: &ConstraintKey) -> Option<Constraint> {
        let now = self.clock.now();
        let all = self.control.constraints();
        all.into_iter().find(|other| {
            other.scope == key.scope
                && other.terms.kind() != key.kind
                && other.via == Via::Mqtt
                && !other.is_expired(now)
        })
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

/// Whether a topic is that of one type only.
fn is_of_type(topic: &str) -> bool {
    topic
        .rsplit('/')
        .next()
        .is_some_and(|last| last.starts_with('~'))
}

/// Whether two messages say the same.
fn is_same(one: &Constraint, other: &Constraint) -> bool {
    one.id == other.id && one.terms == other.terms && one.expires_at == other.expires_at
}

/// Which refused messages are logged.
#[derive(Default)]
struct Log {
    seen: HashSet<u64>,
    minute: i64,
    written: u32,
    unsaid: u64,
}

impl Log {
    /// Whether a message is logged, and how many were not since the last one that was.
    fn may_write(
        &mut self,
        topic: &str,
        payload: &[u8],
        now: camshaft_model::Timestamp,
    ) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (topic, &payload[..payload.len().min(MAX_CONSTRAINT_BYTES)]).hash(&mut hasher);
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.clear();
        }
        if !self.seen.insert(hasher.finish()) {
            return None;
        }
        let minute = now.as_micros().div_euclid(60_000_000);
        if minute != self.minute {
            self.minute = minute;
            self.written = 0;
        }
        if self.written >= LOGGED_A_MINUTE {
            self.unsaid += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests;
