//! What several engines on one broker promise, whatever happens in whatever order: the broker retains and
//! delivers each message in order, but everything takes its own time. Clients of the field write the topic
//! of a scope only, ours that of the type first.
//!
//! - When everything is quiet, what the broker retains is in force at every engine, and nothing else of
//!   the broker's, unless the API of an engine decided otherwise there or it was away at a clear.
//! - What an API set goes only by that API, by its expiry, or by somebody's wish on the wire.
//! - An expiry publishes nothing.
//! - After a restart everything is as before.
//! - A clear on the wire clears everywhere.
//! - What an API cleared of the broker's is not retained any more, until somebody wishes for it again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::mqtt::session::Message;

const ENGINES: usize = 3;
const SCOPES: [&str; 2] = ["task:x", "global"];
const KINDS: [ConstraintType; 2] = [ConstraintType::Pause, ConstraintType::Concurrency];
/// Far more messages than ever follow from those of a test: engines must not answer one another for ever.
const MANY: usize = 10_000;

#[derive(Debug, Clone, Copy)]
enum What {
    Set { limit: u32, ttl: u8 },
    Clear,
    ClearAll,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Field(usize, usize, What),
    Own(usize, usize, What),
    Api(usize, usize, usize, What),
    Wait(u8),
    Cut(usize),
    Connect(usize),
    /// The gate opens before what is retained has come.
    ConnectSlowly(usize),
    Restart(usize),
    /// What it had to say is lost.
    Crash(usize),
    Progress(usize),
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => (1u32..4, 0u8..3).prop_map(|(limit, ttl)| What::Set { limit, ttl }),
        2 => Just(What::Clear),
        1 => Just(What::ClearAll),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let (scope, kind, engine) = (0..SCOPES.len(), 0..KINDS.len(), 0..ENGINES);
    prop_oneof![
        3 => (scope.clone(), kind.clone(), what()).prop_map(|(s, k, w)| Step::Field(s, k, w)),
        3 => (scope.clone(), kind.clone(), what()).prop_map(|(s, k, w)| Step::Own(s, k, w)),
        3 => (engine.clone(), scope, kind, what()).prop_map(|(e, s, k, w)| Step::Api(e, s, k, w)),
        1 => (0u8..3).prop_map(Step::Wait),
        // One is never away.
        1 => (1..ENGINES).prop_map(Step::Cut),
        2 => engine.clone().prop_map(Step::Connect),
        1 => engine.prop_map(Step::ConnectSlowly),
        1 => (1..ENGINES).prop_map(Step::Restart),
        1 => (1..ENGINES).prop_map(Step::Crash),
        20 => any::<usize>().prop_map(Step::Progress),
    ]
}

/// What somebody wants: about these constraints, if it comes before this.
#[derive(Clone, Default)]
struct Wish {
    about: Vec<ConstraintKey>,
    ends: Option<Timestamp>,
}

/// What goes from the broker to an engine.
#[derive(Clone)]
enum Delivery {
    Begin(u64),
    Message {
        topic: String,
        payload: Vec<u8>,
        retained: bool,
        wish: Wish,
    },
    /// The time for gathering is over.
    Enough(u64),
    All(u64),
}

/// What goes to the broker.
enum Going {
    Message(String, Vec<u8>),
    /// The message by whose echo an engine knows that all is there.
    Marker(u64),
}

enum Op {
    Publish(String, Vec<u8>),
    /// Asks what the topics retain of these.
    Look(Vec<ConstraintKey>),
    /// Publishes the ends of what they retained. If it was of one type only, that is written over where the
    /// topic of the scope has it.
    LeaveEnds(Option<ConstraintKey>),
}

/// A client of ours.
#[derive(Default)]
struct Controller {
    ops: VecDeque<Op>,
    seen: Vec<Constraint>,
}

struct Member {
    fake: Arc<Fake>,
    paper: Arc<Paper>,
    constraints: Constraints,
    told: mpsc::Receiver<Tell>,
    connection: Option<u64>,
    incoming: VecDeque<Delivery>,
    outgoing: VecDeque<Going>,
    /// Wishes that wait until all that is retained is there.
    later: Option<Vec<Wish>>,
    missed: HashSet<ConstraintKey>,
    /// What the API set, and nobody ended.
    own: HashMap<ConstraintKey, Constraint>,
    /// About which the API spoke after the last wish.
    spoken: HashSet<ConstraintKey>,
    /// Of which a clear may have been missed.
    away: HashSet<ConstraintKey>,
}

struct Fleet {
    clock: Arc<TestClock>,
    topics: Topics,
    retained: BTreeMap<String, Vec<u8>>,
    members: Vec<Member>,
    controllers: Vec<Controller>,
    connections: u64,
    marks: u64,
    published: usize,
    /// What the API of an engine cleared that is connected since, and of which there was no wish since.
    cleared: HashMap<ConstraintKey, (usize, Constraint)>,
}

fn key(scope: usize, kind: usize) -> ConstraintKey {
    let scope = SCOPES[scope].parse().unwrap();
    let kind = KINDS[kind];
    ConstraintKey { scope, kind }
}

fn all_keys() -> Vec<ConstraintKey> {
    let pairs = (0..SCOPES.len()).flat_map(|scope| (0..KINDS.len()).map(move |kind| (scope, kind)));
    pairs.map(|(scope, kind)| key(scope, kind)).collect()
}

fn brain(
    fake: &Arc<Fake>,
    clock: &Arc<TestClock>,
    paper: &Arc<Paper>,
) -> (Constraints, mpsc::Receiver<Tell>) {
    let (tell, told) = mpsc::channel(MANY);
    let gate = Arc::new(Gate::new(fake.clone()));
    let topics = Topics::new("cascade");
    let constraints = Constraints::new(fake.clone(), clock.clone(), topics, gate, tell, name());
    (constraints.keeping(paper.clone()), told)
}

impl Member {
    fn new(clock: &Arc<TestClock>) -> Self {
        let fake = Arc::new(Fake {
            clock: clock.clone(),
            ..Fake::default()
        });
        let paper = Arc::new(Paper::default());
        let (constraints, told) = brain(&fake, clock, &paper);
        Self {
            fake,
            paper,
            constraints,
            told,
            connection: None,
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            later: None,
            missed: HashSet::new(),
            own: HashMap::new(),
            spoken: HashSet::new(),
            away: HashSet::new(),
        }
    }

    async fn take(&mut self, input: Input) {
        self.constraints.take(input).await;
        while let Ok(tell) = self.told.try_recv() {
            if Some(tell.connection) == self.connection {
                let Message { topic, payload, .. } = tell.message;
                self.outgoing.push_back(Going::Message(topic, payload));
            }
        }
    }

    async fn hear_notice(&mut self) -> bool {
        let next = self.fake.notices.lock().pop_front();
        match next {
            Some((constraint, change)) => {
                self.take(Input::Changed(constraint, change)).await;
                true
            }
            None => false,
        }
    }

    fn wished(&mut self, wish: &Wish) {
        // One whose time is over changes nothing.
        let now = self.fake.clock.now();
        let is_over = wish.ends.is_some_and(|ends| ends <= now);
        for key in wish.about.iter().filter(|_| !is_over) {
            self.own.remove(key);
            self.spoken.remove(key);
            self.away.remove(key);
        }
    }

    /// Whether it is connected, and every wish about a constraint has come here.
    fn knows_all_wishes(&self, key: &ConstraintKey) -> bool {
        let is_about = |next: &Delivery| match next {
            Delivery::Message { wish, .. } => wish.about.contains(key),
            Delivery::Begin(_) | Delivery::Enough(_) | Delivery::All(_) => true,
        };
        self.connection.is_some() && self.later.is_none() && !self.incoming.iter().any(is_about)
    }

    async fn gathered(&mut self, connection: u64, complete: bool) {
        if complete {
            for key in self.missed.drain() {
                self.own.remove(&key);
            }
        }
        let later = self.later.take().unwrap_or_default();
        later.iter().for_each(|wish| self.wished(wish));
        let input = Input::Gathered {
            connection,
            complete,
        };
        self.take(input).await;
    }

    async fn deliver(&mut self) -> bool {
        match self.incoming.pop_front() {
            None => return false,
            Some(Delivery::Begin(connection)) => {
                self.later = Some(Vec::new());
                self.take(Input::Connected(connection)).await;
            }
            Some(Delivery::Enough(connection)) => self.gathered(connection, false).await,
            Some(Delivery::All(connection)) => self.gathered(connection, true).await,
            Some(Delivery::Message {
                topic,
                payload,
                retained,
                wish,
            }) => {
                match &mut self.later {
                    Some(later) => later.push(wish),
                    None => self.wished(&wish),
                }
                let input = Input::Received {
                    topic,
                    payload,
                    retained,
                };
                self.take(input).await;
            }
        }
        true
    }
}

impl Fleet {
    fn new() -> Self {
        let clock = Arc::new(TestClock::default());
        Self {
            topics: Topics::new("cascade"),
            retained: BTreeMap::new(),
            members: (0..ENGINES).map(|_| Member::new(&clock)).collect(),
            controllers: (0..2).map(|_| Controller::default()).collect(),
            connections: 0,
            marks: 0,
            published: 0,
            cleared: HashMap::new(),
            clock,
        }
    }

    fn constraint(&self, key: &ConstraintKey, limit: u32, ttl: u8) -> Constraint {
        let now = self.clock.now();
        let ends = (ttl > 0).then(|| now + Duration::from_secs(u64::from(ttl) * 10));
        let terms = match key.kind {
            ConstraintType::Concurrency => Terms::Concurrency { limit },
            _ => Terms::Pause,
        };
        Constraint {
            id: Constraint::default_id(&key.scope, key.kind),
            scope: key.scope.clone(),
            terms,
            expires_at: ends,
            reason: None,
            owner: None,
            via: Via::Mqtt,
            set_at: now,
        }
    }

    /// The broker takes a message.
    fn publish(&mut self, topic: String, payload: Vec<u8>, about: &[ConstraintKey]) {
        let said = message::read(&payload, NOW);
        let wish = Wish {
            about: about.to_vec(),
            ends: said.ok().and_then(|said| said.expires_at),
        };
        self.cleared.retain(|key, _| !about.contains(key));
        if payload.is_empty() {
            self.retained.remove(&topic);
        } else {
            self.retained.insert(topic.clone(), payload.clone());
        }
        for member in &mut self.members {
            if member.connection.is_none() {
                member.missed.extend(wish.about.iter().cloned());
                continue;
            }
            member.incoming.push_back(Delivery::Message {
                topic: topic.clone(),
                payload: payload.clone(),
                retained: false,
                wish: wish.clone(),
            });
        }
    }

    fn field(&mut self, key: &ConstraintKey, what: What) {
        let topic = self.topics.constraint(&key.scope);
        let of_scope = all_keys().into_iter().filter(|one| one.scope == key.scope);
        match what {
            What::Set { limit, ttl } => {
                let constraint = self.constraint(key, limit, ttl);
                self.publish(
                    topic,
                    message::write_plain(&constraint),
                    std::slice::from_ref(key),
                );
            }
            What::Clear | What::ClearAll => {
                self.publish(topic, Vec::new(), &of_scope.collect::<Vec<_>>());
            }
        }
    }

    fn own(&mut self, key: &ConstraintKey, what: What) {
        let plain = self.topics.constraint(&key.scope);
        let typed = |kind: ConstraintType| {
            let scope = key.scope.clone();
            self.topics
                .constraint_of_type(&ConstraintKey { scope, kind })
        };
        let ops = match what {
            What::Set { limit, ttl } => {
                let constraint = self.constraint(key, limit, ttl);
                vec![
                    Op::Publish(typed(key.kind), message::write(&constraint)),
                    Op::Publish(plain, message::write_plain(&constraint)),
                ]
            }
            What::Clear => vec![
                Op::Look(vec![key.clone()]),
                Op::Publish(typed(key.kind), Vec::new()),
                Op::LeaveEnds(Some(key.clone())),
            ],
            What::ClearAll => {
                let scope = &key.scope;
                let all = all_keys().into_iter().filter(|key| key.scope == *scope);
                let topics = ConstraintType::ALL.iter().map(|kind| typed(*kind));
                let emptied = topics.chain([plain]);
                let emptied = emptied.map(|topic| Op::Publish(topic, Vec::new()));
                [Op::Look(all.collect())]
                    .into_iter()
                    .chain(emptied)
                    .chain([Op::LeaveEnds(None)])
                    .collect()
            }
        };
        let quietest = self.controllers.iter_mut().min_by_key(|one| one.ops.len());
        quietest.unwrap().ops.extend(ops);
    }

    /// The constraint that a topic retains.
    fn held_on(&self, topic: &str) -> Option<Constraint> {
        match message::read_said(self.retained.get(topic)?, NOW).unwrap() {
            Said::Wanted(held) | Said::Kept(held) => Some(held),
            Said::Ended { .. } | Said::Over(_) => None,
        }
    }

    fn control(&mut self, controller: usize) -> bool {
        match self.controllers[controller].ops.pop_front() {
            None => return false,
            Some(Op::Publish(topic, payload)) => {
                let about = self.topics.read_constraint(&topic).unwrap();
                let mut wish = all_keys();
                wish.retain(|key| {
                    key.scope == about.scope && about.kind.is_none_or(|kind| kind == key.kind)
                });
                if let Ok(constraint) = message::read(&payload, NOW) {
                    wish.retain(|key| *key == constraint.key());
                }
                self.publish(topic, payload, &wish);
            }
            Some(Op::Look(keys)) => {
                let topics = keys.iter().flat_map(|key| {
                    let of_type = self.topics.constraint_of_type(key);
                    [of_type, self.topics.constraint(&key.scope)]
                });
                let held = topics.filter_map(|topic| self.held_on(&topic));
                let held = held.filter(|held| keys.contains(&held.key())).collect();
                self.controllers[controller].seen = held;
            }
            Some(Op::LeaveEnds(key)) => {
                let mut seen = std::mem::take(&mut self.controllers[controller].seen);
                let plain = key.map(|key| (self.topics.constraint(&key.scope), key));
                let over = plain.and_then(|(plain, key)| {
                    let held = self.held_on(&plain)?;
                    (held.key() == key).then_some((plain, held))
                });
                seen.extend(over.iter().map(|(_, held)| held.clone()));
                self.marks += 1;
                let mark = format!("client-{}", self.marks);
                for held in seen {
                    let of_type = self.topics.constraint_of_type(&held.key());
                    self.publish(of_type, message::write_emptied(&held, &mark), &[]);
                }
                if let Some((plain, held)) = over {
                    self.publish(plain, message::write_over(&held), &[]);
                }
            }
        }
        true
    }

    fn api(&mut self, engine: usize, key: &ConstraintKey, what: What) {
        let set = match what {
            What::Set { limit, ttl } => Some(self.constraint(key, limit + 10, ttl)),
            What::Clear | What::ClearAll => None,
        };
        let member = &mut self.members[engine];
        member.spoken.insert(key.clone());
        member.own.remove(key);
        if let Some(mut constraint) = set {
            constraint.id = format!("own-{engine}");
            constraint.via = Via::Api;
            member.fake.put(constraint.clone()).unwrap();
            member.own.insert(key.clone(), constraint);
        } else {
            let held = member.fake.constraint(key);
            let held = held.filter(|held| held.via == Via::Mqtt);
            if let Some(held) = held.filter(|_| member.knows_all_wishes(key)) {
                self.cleared.insert(key.clone(), (engine, held));
            }
            member
                .fake
                .end(&key.scope, Some(key.kind), ConstraintChange::Cleared);
        }
    }

    fn wait(&mut self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
        let now = self.clock.now();
        for member in &mut self.members {
            member.own.retain(|_, own| !own.is_expired(now));
            member.fake.expire();
        }
    }

    /// What was sent has arrived; what has not been heard is not.
    async fn cut(&mut self, engine: usize) {
        while self.send(engine) {}
        let member = &mut self.members[engine];
        let Some(connection) = member.connection.take() else {
            return;
        };
        for lost in member.incoming.drain(..) {
            if let Delivery::Message { wish, .. } = lost {
                member.missed.extend(wish.about);
            }
        }
        if let Some(later) = member.later.take() {
            later.iter().for_each(|wish| member.wished(wish));
            for key in member.missed.clone() {
                member.own.remove(&key);
            }
        }
        member.away.extend(all_keys());
        self.cleared.retain(|_, (by, _)| *by != engine);
        member.take(Input::Disconnected(connection)).await;
        member.outgoing.clear();
    }

    fn connect(&mut self, engine: usize, slowly: bool) {
        let member = &mut self.members[engine];
        if member.connection.is_some() {
            return;
        }
        self.connections += 1;
        member.connection = Some(self.connections);
        member.incoming.push_back(Delivery::Begin(self.connections));
        if slowly {
            member
                .incoming
                .push_back(Delivery::Enough(self.connections));
        }
        for (topic, payload) in &self.retained {
            member.incoming.push_back(Delivery::Message {
                topic: topic.clone(),
                payload: payload.clone(),
                retained: true,
                wish: Wish::default(),
            });
        }
        member.outgoing.push_back(Going::Marker(self.connections));
    }

    async fn restart(&mut self, engine: usize) {
        self.cut(engine).await;
        let member = &mut self.members[engine];
        while member.hear_notice().await {}
        member.constraints.state.words.note();
        (member.constraints, member.told) = brain(&member.fake, &self.clock, &member.paper);
        self.connect(engine, false);
    }

    fn send(&mut self, engine: usize) -> bool {
        match self.members[engine].outgoing.pop_front() {
            None => return false,
            Some(Going::Message(topic, payload)) => {
                self.published += 1;
                self.publish(topic, payload, &[]);
            }
            Some(Going::Marker(connection)) => {
                let all = Delivery::All(connection);
                self.members[engine].incoming.push_back(all);
            }
        }
        true
    }

    /// One of all things that may happen next; `false` if that one does not.
    async fn progress(&mut self, choice: usize) -> bool {
        let members = self.members.len();
        let choice = choice % (3 * members + self.controllers.len());
        match choice / members {
            0 => self.members[choice].deliver().await,
            1 => self.members[choice % members].hear_notice().await,
            2 => self.send(choice % members),
            _ => self.control(choice - 3 * members),
        }
    }

    async fn settle(&mut self) {
        for _ in 0..MANY {
            let mut is_quiet = true;
            for choice in 0..3 * self.members.len() + self.controllers.len() {
                is_quiet &= !self.progress(choice).await;
            }
            if is_quiet {
                return;
            }
        }
        panic!("it never becomes quiet");
    }

    /// What the broker says about a constraint to one who comes now.
    fn stated(&self, key: &ConstraintKey) -> Option<Constraint> {
        let topics = [
            self.topics.constraint(&key.scope),
            self.topics.constraint_of_type(key),
        ];
        let read = topics.iter().filter_map(|topic| self.retained.get(topic));
        let mut read = read.map(|payload| message::read(payload, NOW).unwrap());
        read.find(|found| found.key() == *key && !found.is_expired(self.clock.now()))
    }

    #[track_caller]
    fn check(&self) {
        for (key, (engine, cleared)) in &self.cleared {
            let stated = self.stated(key);
            assert!(
                !stated.is_some_and(|stated| is_same(&stated, cleared)),
                "engine {engine} cleared {key}, and the broker has it again"
            );
        }
        for (number, member) in self.members.iter().enumerate() {
            for key in all_keys() {
                let at = format!("{key} at engine {number}");
                let held = member.fake.constraint(&key);
                let stated = self.stated(&key);
                if let Some(own) = member.own.get(&key) {
                    assert!(
                        held.as_ref().is_some_and(|held| held.says_the_same(own)),
                        "{at}: {held:?}, and the API set {own:?}"
                    );
                }
                let by_broker = held.filter(|held| held.via == Via::Mqtt);
                match (&stated, by_broker) {
                    (Some(stated), Some(held)) => assert!(
                        is_same(stated, &held),
                        "{at}: {held:?}, and the broker has {stated:?}"
                    ),
                    (Some(stated), None) => assert!(
                        member.spoken.contains(&key),
                        "{at}: nothing, and the broker has {stated:?}"
                    ),
                    (None, Some(held)) => assert!(
                        member.away.contains(&key),
                        "{at}: {held:?}, and the broker has nothing"
                    ),
                    (None, None) => {}
                }
            }
        }
    }

    fn in_force(&self) -> Vec<Vec<Constraint>> {
        let sorted = |member: &Member| {
            let mut held = member.fake.constraints();
            held.sort_by_key(Constraint::key);
            held
        };
        self.members.iter().map(sorted).collect()
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Field(scope, kind, what) => self.field(&key(scope, kind), what),
            Step::Own(scope, kind, what) => self.own(&key(scope, kind), what),
            Step::Api(engine, scope, kind, what) => self.api(engine, &key(scope, kind), what),
            Step::Wait(tens) => {
                // Nothing expires on its way.
                self.settle().await;
                self.wait(u64::from(tens) * 10);
            }
            Step::Cut(engine) => self.cut(engine).await,
            Step::Connect(engine) => self.connect(engine, false),
            Step::ConnectSlowly(engine) => self.connect(engine, true),
            Step::Restart(engine) => self.restart(engine).await,
            Step::Crash(engine) => {
                let member = &mut self.members[engine];
                member.outgoing.clear();
                // A wish that it had heard but not copied may be one that the broker has again.
                member.own.clear();
                self.restart(engine).await;
            }
            Step::Progress(choice) => {
                self.progress(choice).await;
            }
        }
    }

    async fn keeps_its_promises(&mut self) {
        for engine in 0..ENGINES {
            self.connect(engine, false);
        }
        self.settle().await;
        self.check();

        let before = self.in_force();
        for engine in 0..ENGINES {
            self.restart(engine).await;
        }
        self.settle().await;
        assert_eq!(self.in_force(), before, "after a restart");

        let published = self.published;
        self.wait(1_000);
        self.settle().await;
        assert_eq!(self.published, published, "an expiry publishes nothing");
        self.check();

        for scope in 0..SCOPES.len() {
            self.field(&key(scope, 0), What::Clear);
        }
        self.settle().await;
        assert_eq!(self.in_force(), vec![Vec::new(); ENGINES], "after a clear");
        for key in all_keys() {
            assert_eq!(self.stated(&key), None, "the broker retains {key}");
        }
    }
}

proptest! {
    #[test]
    fn engines_on_one_broker_agree(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut fleet = Fleet::new();
            fleet.connect(0, false);
            fleet.connect(1, false);
            for next in steps {
                fleet.step(next).await;
            }
            fleet.keeps_its_promises().await;
        });
    }
}

async fn quiet(steps: &[Step]) -> Fleet {
    let mut fleet = Fleet::new();
    for engine in 0..ENGINES {
        fleet.connect(engine, false);
    }
    fleet.settle().await;
    for next in steps {
        fleet.step(*next).await;
        fleet.settle().await;
    }
    fleet
}

const PAUSE_IT: What = What::Set { limit: 1, ttl: 0 };
const FOR_A_TIME: What = What::Set { limit: 1, ttl: 1 };

#[tokio::test]
async fn the_end_of_one_type_leaves_what_an_api_set_of_another() {
    for end in [
        Step::Wait(2),
        Step::Api(1, 0, 0, What::Clear),
        Step::Own(0, 0, What::Clear),
    ] {
        let own_limit = Step::Api(0, 0, 1, PAUSE_IT);
        let mut fleet = quiet(&[own_limit, Step::Own(0, 0, FOR_A_TIME), end]).await;
        assert!(fleet.members[0].fake.constraint(&key(0, 1)).is_some());
        assert!(fleet.members[1].fake.constraints().is_empty());
        fleet.keeps_its_promises().await;
    }
}

#[tokio::test]
async fn a_pause_that_an_api_replaces_is_lifted_nowhere() {
    let own_pause = Step::Api(0, 0, 0, FOR_A_TIME);
    let mut fleet = quiet(&[Step::Own(0, 0, PAUSE_IT), own_pause]).await;
    let held = |fleet: &Fleet| fleet.in_force().iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(held(&fleet), [1, 1, 1]);
    // Nor by the end of the other, nor by one that was ended elsewhere.
    fleet.step(Step::Wait(2)).await;
    fleet.settle().await;
    assert_eq!(held(&fleet), [0, 1, 1]);
    fleet.step(own_pause).await;
    fleet.step(Step::Api(1, 0, 0, What::Clear)).await;
    fleet.settle().await;
    assert_eq!(held(&fleet), [1, 0, 0]);
    fleet.keeps_its_promises().await;
}

#[tokio::test]
async fn a_limit_that_the_topic_of_the_scope_changed_is_not_undone_by_a_restart() {
    let limit = |limit| What::Set { limit, ttl: 0 };
    let steps = [
        Step::Own(0, 1, limit(5)),
        Step::Field(0, 1, limit(3)),
        Step::Field(0, 0, PAUSE_IT),
        Step::Restart(1),
    ];
    let mut fleet = quiet(&steps).await;
    let held = fleet.members[1].fake.constraint(&key(0, 1)).unwrap();
    assert_eq!(held.terms, Terms::Concurrency { limit: 3 });
    fleet.keeps_its_promises().await;
}

#[tokio::test]
async fn a_pause_that_an_api_lifts_does_not_come_back_with_one_who_comes_just_then() {
    let paused = [
        Step::Field(0, 0, PAUSE_IT),
        Step::Restart(0),
        Step::Cut(1),
        Step::Cut(2),
    ];
    let mut fleet = quiet(&paused).await;
    fleet.step(Step::Api(0, 0, 0, What::Clear)).await;
    fleet.members[0].hear_notice().await;
    assert!(fleet.send(0), "the end");
    fleet.connect(1, false);
    fleet.connect(2, false);
    fleet.settle().await;
    assert!(fleet.in_force().concat().is_empty());
    fleet.keeps_its_promises().await;
}
