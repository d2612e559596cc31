//! An engine that keeps constraints and nothing else, a clock that stands where it is put, and messages.

use std::collections::VecDeque;
use std::sync::atomic::AtomicI64;

use camshaft_model::{BlockedBy, ConstraintType, ExecutionId, Scope, Timestamp};
use parking_lot::Mutex;

use super::super::*;

pub(super) const NOW: Timestamp = Timestamp::from_micros(1_795_224_000_000_000);

/// A clock that stands where it is put.
pub(super) struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(NOW.as_micros()))
    }
}

impl TestClock {
    pub(super) fn advance(&self, by: Duration) {
        self.0
            .store((self.now() + by).as_micros(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A name that no other engine has.
pub(super) fn name() -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    format!("engine-{}-", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// An engine that keeps constraints and nothing else.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) clock: Arc<TestClock>,
    pub(super) held: Mutex<Vec<Constraint>>,
    pub(super) calls: Mutex<Vec<String>>,
    /// Each is set at an instant of its own.
    pub(super) number: AtomicU64,
    /// What it tells of its constraints.
    pub(super) notices: Mutex<VecDeque<(Arc<Constraint>, ConstraintChange)>>,
}

impl Fake {
    pub(super) fn put(&self, mut constraint: Constraint) -> Result<(), ControlRefused> {
        let now = self.clock.now();
        if constraint.is_expired(now) {
            return Err(ControlRefused::Expired);
        }
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        constraint.set_at = now + Duration::from_micros(number);
        let mut held = self.held.lock();
        if held
            .iter()
            .any(|old| old.via == constraint.via && old.says_the_same(&constraint))
        {
            return Ok(());
        }
        held.retain(|old| old.key() != constraint.key());
        held.push(constraint.clone());
        let notice = (Arc::new(constraint), ConstraintChange::Set);
        self.notices.lock().push_back(notice);
        Ok(())
    }

    pub(super) fn end(
        &self,
        scope: &Scope,
        kind: Option<ConstraintType>,
        change: ConstraintChange,
    ) -> Vec<ConstraintKey> {
        self.end_those(change, |held| {
            held.scope == *scope && kind.is_none_or(|kind| held.terms.kind() == kind)
        })
    }

    pub(super) fn expire(&self) {
        let now = self.clock.now();
        self.end_those(ConstraintChange::Expired, |held| held.is_expired(now));
    }

    pub(super) fn end_those(
        &self,
        change: ConstraintChange,
        ends: impl Fn(&Constraint) -> bool,
    ) -> Vec<ConstraintKey> {
        let mut held = self.held.lock();
        let ended: Vec<Constraint> = held.extract_if(.., |held| ends(held)).collect();
        let keys = ended.iter().map(Constraint::key).collect();
        let notices = ended.into_iter().map(|ended| (Arc::new(ended), change));
        self.notices.lock().extend(notices);
        keys
    }
}

#[async_trait::async_trait]
impl ConstraintControl for Fake {
    async fn set(&self, constraint: Constraint) -> Result<(), ControlRefused> {
        let call = format!("set {} {}", constraint.key(), constraint.terms);
        self.put(constraint)?;
        self.calls.lock().push(call);
        Ok(())
    }

    async fn clear(
        &self,
        scope: &Scope,
        kind: Option<ConstraintType>,
    ) -> Result<Vec<ConstraintKey>, ControlRefused> {
        let kinds = kind.map_or("all".to_owned(), |kind| kind.to_string());
        self.calls.lock().push(format!("clear {kinds} on {scope}"));
        Ok(self.end(scope, kind, ConstraintChange::Cleared))
    }

    fn constraint(&self, key: &ConstraintKey) -> Option<Constraint> {
        let held = self.held.lock();
        held.iter().find(|held| held.key() == *key).cloned()
    }

    fn constraints(&self) -> Vec<Constraint> {
        self.held.lock().clone()
    }

    fn blockers(&self, _: &[ExecutionId]) -> HashMap<ExecutionId, Vec<BlockedBy>> {
        HashMap::new()
    }

    fn set_gate(&self, closed: bool) {
        self.calls.lock().push(format!("gate {closed}"));
    }
}

pub(super) struct Bench {
    pub(super) fake: Arc<Fake>,
    pub(super) gate: Arc<Gate>,
    pub(super) constraints: Constraints,
    pub(super) told: mpsc::Receiver<Tell>,
    pub(super) connection: u64,
    /// The end that was told last, with its mark.
    pub(super) end: Option<(String, String)>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(&[])
    }

    /// An engine that starts with these in its database, because of the broker.
    pub(super) fn with(stored: &[&str]) -> Self {
        let fake = Arc::new(Fake::default());
        for message in stored {
            fake.put(message::read(message.as_bytes(), NOW).unwrap())
                .unwrap();
        }
        let gate = Arc::new(Gate::new(fake.clone()));
        let (tell, told) = mpsc::channel(64);
        let constraints = Constraints::new(
            fake.clone(),
            Arc::new(TestClock::default()),
            Topics::new("cascade"),
            gate.clone(),
            tell,
            name(),
        );
        Self {
            fake,
            gate,
            constraints,
            told,
            connection: 0,
            end: None,
        }
    }

    /// A connection whose broker retains these.
    pub(super) async fn connect(&mut self, retained: &[(&str, &str)]) {
        self.connection = self.gate.close();
        self.constraints
            .take(Input::Connected(self.connection))
            .await;
        for (topic, payload) in retained {
            self.receive(topic, payload, true).await;
        }
        self.gathered(true).await;
    }

    pub(super) async fn gathered(&mut self, complete: bool) {
        let connection = self.connection;
        self.constraints
            .take(Input::Gathered {
                connection,
                complete,
            })
            .await;
    }

    pub(super) async fn disconnect(&mut self) {
        self.constraints
            .take(Input::Disconnected(self.connection))
            .await;
    }

    pub(super) async fn receive(&mut self, topic: &str, payload: &str, retained: bool) {
        let (topic, payload) = (topic.to_owned(), payload.as_bytes().to_vec());
        self.constraints
            .take(Input::Received {
                topic,
                payload,
                retained,
            })
            .await;
    }

    /// Somebody clears by the API.
    pub(super) async fn clear_here(&mut self, scope: &str, kind: &str, change: ConstraintChange) {
        let (scope, kind) = (scope.parse().unwrap(), kind.parse().unwrap());
        let key = ConstraintKey { scope, kind };
        let old = self
            .fake
            .constraints()
            .into_iter()
            .find(|held| held.key() == key)
            .unwrap();
        self.fake.held.lock().retain(|held| held.key() != key);
        self.constraints
            .take(Input::Changed(Arc::new(old), change))
            .await;
    }

    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.calls.lock())
    }

    /// What the broker was told, as topic and payload; without the marks of ends.
    pub(super) fn told(&mut self) -> Vec<(String, String)> {
        self.told_with_marks()
            .into_iter()
            .map(
                |(topic, payload)| match payload.split_once(r#", "mark": "#) {
                    Some((unmarked, _)) => (topic, format!("{unmarked}}}")),
                    None => (topic, payload),
                },
            )
            .collect()
    }

    fn told_with_marks(&mut self) -> Vec<(String, String)> {
        let told = std::iter::from_fn(|| self.told.try_recv().ok());
        let told: Vec<_> = told
            .map(|tell| {
                let payload = String::from_utf8(tell.message.payload).unwrap();
                (tell.message.topic, payload)
            })
            .collect();
        let ends = told.iter().filter(|(_, payload)| payload.contains("mark"));
        self.end = ends.cloned().next_back().or(self.end.take());
        told
    }

    /// The end that was told last has been published.
    pub(super) async fn end_comes_back(&mut self) {
        let (topic, payload) = self.end.take().unwrap();
        self.receive(&topic, &payload, false).await;
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        let scope = "task:x".parse().unwrap();
        let kind = ConstraintType::Pause;
        let key = ConstraintKey { scope, kind };
        self.constraints.state.words.standing(&key)
    }
}

pub(super) const TASK: &str = "cascade/constraints/task/x";
pub(super) const PAUSE: &str = r#"{"id": "pause-task:x", "scope": "task:x", "type": "pause", "params": {}, "expires_at": null}"#;
pub(super) const LIMIT: &str = r#"{"id": "concurrency-task:x", "scope": "task:x", "type": "concurrency", "params": {"limit": 3}, "expires_at": null}"#;

pub(super) fn of_type(kind: &str) -> String {
    format!("{TASK}/~{kind}")
}

/// With another key at its end.
pub(super) fn with(message: &str, key: &str) -> String {
    format!("{}, {key}}}", message.strip_suffix('}').unwrap())
}

pub(super) fn kept(message: &str) -> String {
    with(message, r#""kept": true"#)
}

pub(super) fn over(message: &str) -> String {
    message.replace("null", "1.0")
}

/// What is told of a pause that was ended here, but for the mark.
pub(super) fn ended() -> (String, String) {
    (of_type("pause"), with(&over(PAUSE), r#""was": null"#))
}

/// What is told of a pause that was ended by an empty message, but for the mark.
pub(super) fn emptied() -> (String, String) {
    (of_type("pause"), emptied_by(PAUSE))
}

pub(super) fn emptied_by(message: &str) -> String {
    with(
        &with(&over(message), r#""was": null"#),
        r#""emptied": true"#,
    )
}

pub(super) fn until(micros: i64) -> String {
    PAUSE.replace(
        "null",
        &format!("{:?}", (NOW.as_micros() + micros) as f64 / 1e6),
    )
}

#[derive(Default)]
pub(super) struct Paper(Mutex<String>);

impl Notes for Paper {
    fn read(&self) -> String {
        self.0.lock().clone()
    }

    fn write(&self, text: &str) {
        *self.0.lock() = text.to_owned();
    }
}
