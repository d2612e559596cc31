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
//! place. What we publish comes back to us and must not be taken for somebody else's wish: each such
//! message is expected once and passed over.

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
use super::message::{self, MAX_CONSTRAINT_BYTES};
use super::session::Message;
use super::topic::{ConstraintTopic, Topics};

/// The most retained messages that are gathered at the begin of a connection.
const MAX_GATHERED: usize = 10_000;
/// The most refused messages that are remembered, so that a retained one is logged once.
const MAX_REMEMBERED: usize = 1_024;
/// How many refused messages are logged in a minute.
const LOGGED_A_MINUTE: u32 = 10;
/// How long to wait before a constraint that could not be stored is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What happens to constraints, in order.
#[derive(Debug)]
pub(super) enum Input {
    /// A connection was made; retained messages follow.
    Connected,
    /// A message came.
    Received {
        topic: String,
        payload: Vec<u8>,
        retained: bool,
    },
    /// Every retained message has come; what closed the gate with this number may open it.
    Gathered(u64),
    /// The connection is gone.
    Disconnected,
    /// The engine tells of a change.
    Changed(Arc<Constraint>, ConstraintChange),
    /// The broker has forgotten this one.
    Forgotten(ConstraintKey),
}

/// Something for the broker, and the constraint that it makes the broker forget.
#[derive(Debug)]
pub(super) struct Forget {
    pub(super) key: ConstraintKey,
    pub(super) message: Message,
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
    pub(super) forget: mpsc::Sender<Forget>,
    retry: Duration,
    state: State,
    log: Log,
}

#[derive(Default)]
struct State {
    connected: bool,
    /// Messages of the begin of a connection, while it lasts.
    gathering: Option<Gathering>,
    /// Which topics hold a message for who comes later, and of which constraint.
    kept: HashMap<String, ConstraintKey>,
    /// What came by the broker and is in force.
    in_force: HashMap<ConstraintKey, Constraint>,
    /// What the broker has not forgotten yet, as it was.
    owed: HashMap<ConstraintKey, Constraint>,
    /// How often a message of our own is still to come back.
    echoes: HashMap<String, u32>,
}

#[derive(Default)]
struct Gathering {
    retained: Vec<(String, Vec<u8>)>,
    later: Vec<(String, Vec<u8>)>,
}

impl Constraints {
    pub(super) fn new(
        control: Arc<dyn ConstraintControl>,
        clock: Arc<dyn Clock>,
        topics: Topics,
        gate: Arc<Gate>,
        forget: mpsc::Sender<Forget>,
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
            forget,
            retry: RETRY,
            state,
            log: Log::default(),
        }
    }

    /// Takes inputs until nobody sends any more.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.recv().await {
            self.take(input).await;
        }
    }

    pub(super) async fn take(&mut self, input: Input) {
        match input {
            Input::Connected => {
                self.state.connected = true;
                self.state.echoes.clear();
                self.state.kept.clear();
                self.state.gathering = Some(Gathering::default());
            }
            Input::Received {
                topic,
                payload,
                retained,
            } => match &mut self.state.gathering {
                Some(gathering) => {
                    let list = if retained {
                        &mut gathering.retained
                    } else {
                        &mut gathering.later
                    };
                    if list.len() < MAX_GATHERED {
                        list.push((topic, payload));
                    } else {
                        self.refuse(&topic, &payload, "there are too many retained messages");
                    }
                }
                None => {
                    self.received(topic, &payload, false).await;
                }
            },
            Input::Gathered(gate) => {
                if let Some(gathered) = self.state.gathering.take() {
                    self.apply(gathered).await;
                }
                self.gate.open(gate);
            }
            Input::Disconnected => {
                self.state.connected = false;
                self.state.gathering = None;
            }
            Input::Changed(constraint, change) => self.changed(&constraint, change),
            Input::Forgotten(key) => {
                self.state.owed.remove(&key);
            }
        }
    }

    async fn apply(&mut self, gathered: Gathering) {
        let Gathering {
            mut retained,
            later,
        } = gathered;
        // A stable sort: `false` is before `true`.
        retained.sort_by_key(|(topic, _)| {
            !topic.rsplit('/').next().is_some_and(|l| l.starts_with('~'))
        });
        let mut held = HashSet::new();
        for (topic, payload) in retained {
            held.extend(self.received(topic, &payload, true).await);
        }
        // What is owed and was not among them is gone already.
        self.state.owed.retain(|key, _| held.contains(key));
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
        if self.is_echo(&topic) {
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
        let constraint = match message::read(payload, self.clock.now()) {
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
        constraint: Constraint,
        retained: bool,
    ) -> Option<ConstraintKey> {
        let key = constraint.key();
        if retained
            && self
                .state
                .owed
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
                    self.state.owed.remove(&key);
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
                    if retained || expires_at == Some(camshaft_model::Timestamp::default()) {
                        self.refused.0.fetch_add(1, Ordering::Relaxed);
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
        self.state.owed.insert(key.clone(), earlier);
        self.make_forget(&key);
    }

    /// Has the broker forget every message of a constraint that it is known to hold.
    fn make_forget(&mut self, key: &ConstraintKey) {
        if !self.state.connected || self.state.gathering.is_some() {
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
            self.state.owed.remove(key);
        }
        let plain = self.topics.constraint(&key.scope);
        for topic in topics {
            let successor = (topic == plain).then(|| self.successor(key)).flatten();
            let payload = match &successor {
                Some(other) => {
                    self.state.kept.insert(topic.clone(), other.key());
                    message::write(other)
                }
                None => {
                    self.state.kept.remove(&topic);
                    Vec::new()
                }
            };
            *self.state.echoes.entry(topic.clone()).or_default() += 1;
            let message = Message::retained(topic, payload);
            let key = key.clone();
            if self.forget.try_send(Forget { key, message }).is_err() {
                // It stays owed, so the next connection makes up for it.
                tracing::warn!(
                    "too many constraints end at once: the broker goes on holding one for now"
                );
            }
        }
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

    fn is_echo(&mut self, topic: &str) -> bool {
        let Some(count) = self.state.echoes.get_mut(topic) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.state.echoes.remove(topic);
        }
        true
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
