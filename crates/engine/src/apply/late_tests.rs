//! Decisions that are made while earlier ones are on their way to the disk, against a plain model of the
//! store, under random work: nothing is refused but what has the key of something that is there, nothing is
//! stored that belongs to nothing, and in the end the state is what the store says.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::workflow::{
    Awaited, Cycles, LoopMode, OnTimeout, Task, Work, Workflow,
};
use camshaft_model::definition::{Action, EntryPoint, RetryPolicy};
use camshaft_model::port::store::{Change, Transaction};
use camshaft_model::{
    AttemptKey, EnforcementOutcome, Event, ExecutionId, ExecutionState, Object, Origin, Status,
    StepEventType, Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::constraint_tests::constraint;
use super::tests::{Bench, action, origin, poked, rule, task};
use crate::decision::{Decision, Effect, Unit};
use crate::handle::{ExecutionRequest, Requested};
use crate::simulation::{Ledger, Refused};
use crate::state::{Context, State};
use crate::uncertain::{PutOff, Uncertain};

mod put_off;

fn flow(name: &str, tasks: Vec<Task>) -> Action {
    looped(name, tasks, Cycles::default())
}

fn looped(name: &str, tasks: Vec<Task>, cycles: Cycles) -> Action {
    let graph = Workflow {
        tasks,
        cycles,
        ..Workflow::default()
    };
    let entry_point = EntryPoint::Workflow(Arc::new(graph));
    Action {
        origin: Some(origin()),
        ..Action::new(
            format!("t.{name}").parse().unwrap(),
            "workflow",
            entry_point,
        )
    }
}

fn wait(trigger: &str, parameters: Value, timeout: Option<Duration>) -> Task {
    let awaited = Awaited {
        trigger: trigger.parse().unwrap(),
        parameters: serde_json::from_value(parameters).unwrap(),
        criteria: Vec::new(),
        when: None,
        on_timeout: OnTimeout::Skip,
    };
    Task {
        timeout,
        ..Task::new("wait", Work::WaitFor(awaited))
    }
}

fn after(name: &str, needs: &[usize], on: Status) -> Task {
    let mut task = task(name, needs, json!({}));
    if let camshaft_model::definition::workflow::Entry::Needs(needs) = &mut task.entry {
        needs.iter_mut().for_each(|need| need.on = vec![on]);
    }
    task
}

fn child(name: &str, reference: &str) -> Task {
    let work = Work::Action {
        reference: reference.parse().unwrap(),
        with: Object::new(),
    };
    Task::new(name, work)
}

const FLOWS: [&str; 10] = [
    "work",
    "quick",
    "failing",
    "nested",
    "for_quick",
    "for_poke",
    "until",
    "laps",
    "only_for_quick",
    "around",
];

fn actions() -> Vec<Action> {
    let moment = Some(Duration::from_millis(3));
    let broken = Task {
        when: Some("{{ 1 // 0 }}".into()),
        ..child("broken", "t.work")
    };
    let failing = Action {
        retry: RetryPolicy {
            max_attempts: 2,
            delay: Duration::from_millis(2),
            ..RetryPolicy::default()
        },
        ..flow("failing", vec![broken])
    };
    let again = Task {
        retry: Some(RetryPolicy {
            max_attempts: 3,
            ..RetryPolicy::default()
        }),
        ..child("again", "t.failing")
    };
    let laps = Cycles {
        mode: LoopMode::Fixed,
        max: 3,
        delay: Duration::from_millis(1),
    };
    let quick = json!({ "action": "t.quick" });
    let for_quick = || wait("core.execution", quick.clone(), None);
    vec![
        action("work"),
        flow("quick", vec![Task::new("nothing", Work::Nothing)]),
        failing,
        flow(
            "nested",
            vec![
                child("quick", "t.quick"),
                again,
                task("then", &[0], json!({})),
            ],
        ),
        flow(
            "for_quick",
            vec![for_quick(), task("then", &[0], json!({}))],
        ),
        flow("only_for_quick", vec![for_quick()]),
        flow("around", vec![child("only", "t.only_for_quick")]),
        flow(
            "for_poke",
            vec![
                wait("t.poked", json!({}), None),
                task("then", &[0], json!({})),
            ],
        ),
        flow(
            "until",
            vec![
                wait("t.poked", json!({}), moment),
                after("then", &[0], Status::Skipped),
            ],
        ),
        looped(
            "laps",
            vec![child("quick", "t.quick"), task("then", &[0], json!({}))],
            laps,
        ),
    ]
}

/// An engine, and a disk that is slower than it.
struct World {
    bench: Bench,
    ledger: Ledger,
    on_the_way: VecDeque<(Transaction, Timestamp, Unit)>,
    refused: VecDeque<Unit>,
    /// What was in units that were refused.
    never: HashSet<ExecutionId>,
    running: Vec<AttemptKey>,
    /// Why rules requested nothing.
    skipped: Vec<String>,
}

impl World {
    /// With rules that answer the end of an execution, and an event by one that overlaps so; or with none.
    fn new(overlap: Option<&str>) -> Self {
        let mut on_end = rule("on_end", "core.execution", "allow");
        on_end.trigger_parameters = Object::from_iter([("action".to_owned(), "t.quick".into())]);
        let rules = match overlap {
            Some(overlap) => vec![rule("on_poke", "t.poked", overlap), on_end],
            None => Vec::new(),
        };
        Self {
            bench: Bench::new(2, actions(), rules),
            ledger: Ledger::default(),
            on_the_way: VecDeque::new(),
            refused: VecDeque::new(),
            never: HashSet::new(),
            running: Vec::new(),
            skipped: Vec::new(),
        }
    }

    fn decide(&mut self, command: impl FnOnce(&mut State, &Context<'_>) -> Decision) {
        let decision = self.bench.apply(command);
        self.hand_over(decision);
    }

    fn hand_over(&mut self, decision: Decision) {
        assert_eq!(decision.torn(), None, "{decision:#?}");
        for mut unit in decision.units {
            self.bench.state.expect_receipts(&mut unit);
            let transaction = unit.transaction(&self.bench.state, self.bench.now);
            self.on_the_way
                .push_back((transaction, self.bench.now, unit));
        }
    }

    /// The disk has taken the next unit, or refused it. What somebody wants to read it reads first.
    fn store(&mut self) {
        self.bench.read_events();
        let Some((transaction, at, unit)) = self.on_the_way.pop_front() else {
            return;
        };
        let reasons = transaction
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::InsertEnforcement(enforcement) => match &enforcement.outcome {
                    EnforcementOutcome::Skipped { reason } => Some(reason.clone()),
                    _ => None,
                },
                _ => None,
            });
        let reasons: Vec<String> = reasons.collect();
        match self.ledger.store(transaction, at) {
            Ok(()) => {
                self.skipped.extend(reasons);
                let events = unit.events.iter();
                let events = events.map(|event| (event.id, Event::clone(event)));
                self.bench.events.extend(events);
                for receipt in &unit.receipts {
                    receipt.come();
                }
                for effect in unit.effects {
                    match effect {
                        Effect::Start(job) => self.running.push(job.key),
                        Effect::Held(event) => self.bench.state.held_events.stored(event),
                        Effect::Told => self.bench.state.untold.answered(),
                        Effect::Cancel(..) | Effect::Sensors | Effect::Definitions(_) => {}
                    }
                }
            }
            Err(refusal) => {
                if let Refused::Elsewhere(id, why) = refusal {
                    assert!(self.never.contains(&id), "{why}: {unit:#?}");
                    // So no run that is recorded is ever taken anew while it is under way.
                    assert_eq!(self.ledger.execution(id), None, "{why}");
                    self.decide(|state, context| state.resync(id, None, context));
                }
                self.never.extend(&unit.fresh);
                self.refused.push_back(unit);
            }
        }
    }

    fn take_back(&mut self) {
        if let Some(unit) = self.refused.pop_front() {
            self.decide(|state, context| state.take_back(unit, context));
        }
    }

    fn end(&mut self, which: usize, status: Status) {
        if !self.running.is_empty() {
            let key = self.running.remove(which % self.running.len());
            let decision = self.bench.end_with(key, status, Value::Null);
            self.hand_over(decision);
        }
    }

    fn all_due(&mut self) {
        while self
            .bench
            .state
            .next_due()
            .is_some_and(|at| at <= self.bench.now)
        {
            self.decide(|state, context| state.due(context));
        }
    }

    /// A run that has not ended and that somebody outside has heard of.
    fn heard_of(&self, which: usize) -> Option<ExecutionId> {
        let live = self.ledger.executions.iter();
        let live: Vec<_> = live
            .filter(|one| one.spec.parent.is_none() && !one.state.status.is_terminal())
            .map(|one| one.spec.id)
            .collect();
        (!live.is_empty()).then(|| live[which % live.len()])
    }

    fn request(&mut self, name: &str, priority: i32, key: Option<u8>, delay: Option<Duration>) {
        let request = ExecutionRequest {
            what: Requested::Action(format!("t.{name}").parse().unwrap()),
            parameters: Object::new(),
            priority,
            not_before: delay.map(|delay| self.bench.now + delay + Duration::from_millis(1)),
            idempotency_key: key.map(|key| format!("k{key}")),
            origin: Origin::Api,
            trace_parent: None,
        };
        self.decide(|state, context| state.request(request, BTreeMap::new(), context).unwrap().0);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Request { what, key } => {
                self.request(FLOWS[what], 0, key, None);
            }
            Act::Later { what, priority, ms } => {
                let delay = Duration::from_millis(ms);
                self.request(FLOWS[what], priority, None, Some(delay));
            }
            Act::Gate(closed) => {
                self.decide(|state, context| {
                    state.gate_closed = closed;
                    state.start_what_may(context)
                });
            }
            Act::Poke { key } => {
                let draft = poked(key.map(|key| format!("k{key}")).as_deref());
                self.decide(|state, context| state.ingest(draft, None, context).unwrap().decision);
            }
            Act::End { which, completes } => {
                let status = if completes {
                    Status::Completed
                } else {
                    Status::Failed
                };
                self.end(which, status);
            }
            Act::Store => self.store(),
            Act::TakeBack => self.take_back(),
            Act::Pass(ms) => self.bench.now = self.bench.now + Duration::from_millis(ms),
            Act::Due => self.all_due(),
            Act::Hold(scope) => {
                let pause = constraint(scope, "pause", &json!({}), self.bench.now);
                self.decide(|state, context| state.set_constraint(pause, context).unwrap());
            }
            Act::LetGo(scope) => {
                let scope = scope.parse().unwrap();
                self.decide(|state, context| state.clear_constraints(&scope, None, context).0);
            }
            Act::Cancel(which) => {
                if let Some(id) = self.heard_of(which) {
                    self.decide(|state, context| state.cancel(id, context));
                }
            }
            Act::Pause(which) => {
                if let Some(id) = self.heard_of(which) {
                    self.decide(|state, context| state.pause(id, context).unwrap_or_default());
                }
            }
            Act::Resume(which) => {
                if let Some(id) = self.heard_of(which) {
                    self.decide(|state, context| state.resume(id, context).unwrap_or_default());
                }
            }
        }
    }

    /// Stores everything, and does all that is due by now.
    fn catch_up(&mut self) {
        while !self.on_the_way.is_empty() {
            self.store();
            self.all_due();
        }
    }

    /// Lets everything go on until nothing does any more.
    fn settle(&mut self) {
        for scope in SCOPES {
            self.act(Act::LetGo(scope));
        }
        self.act(Act::Gate(false));
        for _ in 0..1_000 {
            while !self.on_the_way.is_empty() {
                self.store();
            }
            while !self.refused.is_empty() {
                self.take_back();
            }
            for which in 0..self.ledger.executions.len() {
                self.act(Act::Resume(which));
            }
            self.end(0, Status::Completed);
            if let Some(at) = self.bench.state.next_due() {
                self.bench.now = self.bench.now.max(at);
                self.all_due();
            } else if self.bench.read_events() == 0
                && self.on_the_way.is_empty()
                && self.running.is_empty()
            {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// The state is what the store says, and whoever waits has reason to.
    fn check(&self) {
        assert_eq!(self.ledger.violations(), Vec::<String>::new());
        let state = &self.bench.state;
        let at = |id, state: &ExecutionState| (id, (state.status, state.attempt));
        let known = state.live.iter().map(|(id, live)| at(*id, &live.state));
        let known: BTreeMap<_, _> = known.collect();
        let stored = self.ledger.executions.iter();
        let stored = stored.filter(|one| !one.state.status.is_terminal());
        let stored: BTreeMap<_, _> = stored.map(|one| at(one.spec.id, &one.state)).collect();
        assert_eq!(known, stored);
        for (id, run) in &state.runs {
            let active: BTreeSet<_> = run
                .active
                .values()
                .map(|active| active.record.task.name.clone())
                .collect();
            let under_way = self
                .ledger
                .tasks_of(*id)
                .into_iter()
                .filter(|task| !task.status.is_terminal());
            let under_way: BTreeSet<_> = under_way.map(|task| task.task.name).collect();
            assert_eq!(active, under_way, "{}", run.spec.action);
        }
        for task in self
            .ledger
            .tasks
            .iter()
            .filter(|task| task.awaited.is_some() && task.status == Status::Waiting)
        {
            let waits_for_quick = task.awaited.as_ref().unwrap()["trigger"] == "core.execution";
            let mut ends = self
                .ledger
                .executions
                .iter()
                .filter(|one| one.spec.action.as_str() == "t.quick");
            let missed = ends.find(|one| one.state.ended_at.is_some_and(|at| at > task.started_at));
            assert!(
                !waits_for_quick || missed.is_none(),
                "{task:#?} did not hear of {missed:#?}"
            );
        }
        for (id, live) in &state.live {
            assert_eq!(
                live.state.status,
                Status::Waiting,
                "{id} of {} is stuck",
                live.spec.action
            );
        }
        let mut blocked = self
            .ledger
            .steps
            .iter()
            .filter(|step| step.event_type == StepEventType::TaskBlocked);
        assert!(blocked.all(|step| !self.never.contains(&step.execution_id)));
        for reason in &self.skipped {
            let never = self
                .never
                .iter()
                .find(|id| reason.contains(&id.to_string()));
            assert_eq!(never, None, "{reason}");
        }
        assert_eq!(state.held_events.len(), 0);
    }
}

const SCOPES: [&str; 2] = ["task:work", "global"];

#[derive(Debug, Clone, Copy)]
enum Act {
    Request { what: usize, key: Option<u8> },
    Later { what: usize, priority: i32, ms: u64 },
    Gate(bool),
    Poke { key: Option<u8> },
    End { which: usize, completes: bool },
    Store,
    TakeBack,
    Pass(u64),
    Due,
    Hold(&'static str),
    LetGo(&'static str),
    Cancel(usize),
    Pause(usize),
    Resume(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let which = || 0..100_usize;
    let key = || prop::option::weighted(0.7, 0..3_u8);
    let scope = || prop::sample::select(&SCOPES[..]);
    let act = prop_oneof![
        8 => (0..FLOWS.len(), key()).prop_map(|(what, key)| Act::Request { what, key }),
        3 => (0..FLOWS.len(), 0..3, 0..4_u64).prop_map(|(what, priority, ms)| Act::Later { what, priority, ms }),
        1 => any::<bool>().prop_map(Act::Gate),
        3 => key().prop_map(|key| Act::Poke { key }),
        4 => (which(), prop::bool::weighted(0.8)).prop_map(|(which, completes)| Act::End { which, completes }),
        12 => Just(Act::Store),
        2 => Just(Act::TakeBack),
        3 => (0..5_u64).prop_map(Act::Pass),
        6 => Just(Act::Due),
        1 => scope().prop_map(Act::Hold),
        1 => scope().prop_map(Act::LetGo),
        1 => which().prop_map(Act::Cancel),
        1 => which().prop_map(Act::Pause),
        1 => which().prop_map(Act::Resume),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn what_is_decided_ahead_of_the_disk_is_what_the_disk_takes(
        acts in acts(),
        overlap in prop::option::of(prop::sample::select(vec!["allow", "skip", "queue", "cancel_previous"])),
    ) {
        let mut world = World::new(overlap);
        for act in acts {
            world.act(act);
        }
        world.settle();
        world.check();
    }
}

#[test]
fn a_run_that_may_be_there_already_does_not_end_a_wait_for_its_end() {
    let mut world = World::new(None);
    let quick = Act::Request {
        what: 1,
        key: Some(0),
    };
    world.act(quick);
    world.act(Act::Request { what: 4, key: None });
    world.act(Act::Store);
    world.act(Act::Store);
    world.act(quick);
    world.settle();
    world.check();
    assert_eq!(world.bench.state.runs.len(), 1, "it waits for another one");
    world.act(Act::Request {
        what: 1,
        key: Some(1),
    });
    world.settle();
    world.check();
    assert_eq!(world.bench.state.runs.len(), 0);
}

#[test]
fn what_follows_from_a_run_is_stored_after_it() {
    let mut world = World::new(None);
    let laps = Act::Request { what: 7, key: None };
    world.act(laps);
    world.catch_up();
    // The next lap, whose child ends at once, and a run that waits for such an end, are due together.
    world.end(0, Status::Completed);
    world.request("for_quick", 0, None, Some(Duration::from_millis(1)));
    world.act(Act::Pass(50));
    world.all_due();
    world.settle();
    world.check();
    assert!(world.bench.state.live.is_empty());
}

#[test]
fn what_waits_for_an_end_is_stored_before_it_hears_of_one() {
    let mut world = World::new(None);
    let moment = Some(Duration::from_millis(1));
    world.request("around", 10, None, moment);
    world.request("quick", 0, None, moment);
    world.catch_up();
    world.act(Act::Pass(50));
    // The run that waits begins first, and what it waits for is the other one, which ends at once.
    world.all_due();
    world.settle();
    world.check();
    assert!(world.bench.state.live.is_empty());
}

#[test]
fn who_does_not_concern_others_starts_in_the_unit_that_asks_for_it() {
    let mut world = World::new(Some("allow"));
    world.act(Act::Request {
        what: 1,
        key: Some(0),
    });
    assert_eq!(world.on_the_way.len(), 1);
    world.settle();
    world.check();
}
