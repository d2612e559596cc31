//! Constraints, against a plain restatement of what they promise, under random work, changes and crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::workflow::{Items, OnItemFailure, Task, Work, Workflow};
use camshaft_model::definition::{Action, EntryPoint, Rule};
use camshaft_model::port::store::{Change, ConstraintRecord};
use camshaft_model::{
    BlockedBy, Constraint, ConstraintKey, ConstraintType, ExecutionId, Object, Output, Ref, Scope,
    Status, StepEventType, Terms, Timestamp, Via,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{Bench, action, origin, poked, rule, started};
use crate::constraint::Hold;
use crate::decision::Decision;

const ACTIONS: [&str; 3] = ["copy", "check", "gpu"];
/// What is requested by the rule, beside what is requested by hand.
const BY_RULE: usize = 3;
/// An item of the workflow.
const ITEM: usize = 4;
const SLOTS: u32 = 4;
const RETRY_DELAY: Duration = Duration::from_millis(40);

pub(crate) fn constraint(scope: &str, kind: &str, params: &Value, now: Timestamp) -> Constraint {
    let scope: Scope = scope.parse().unwrap();
    let kind: ConstraintType = kind.parse().unwrap();
    Constraint {
        id: Constraint::default_id(&scope, kind),
        terms: Terms::read(kind, params).unwrap(),
        expires_at: None,
        reason: None,
        owner: None,
        via: Via::Api,
        set_at: now,
        scope,
    }
}

impl Bench {
    pub(super) fn of_three_actions(slots: u32) -> Self {
        let mut actions: Vec<_> = ACTIONS.iter().map(|name| action(name)).collect();
        actions[2].resources = [("gpu".to_owned(), 1)].into();
        for action in &mut actions {
            action.idempotent = true;
            action.retry.max_attempts = 3;
            action.retry.delay = RETRY_DELAY;
        }
        let work = Work::Action {
            reference: actions[1].reference.clone(),
            with: Object::new(),
        };
        let each = Task {
            items: Some(Items {
                over: json!([0, 1, 2]),
                concurrency: 3,
                on_failure: OnItemFailure::Continue,
            }),
            ..Task::new("each", work)
        };
        let graph = Workflow {
            tasks: vec![each],
            ..Workflow::default()
        };
        let entry_point = EntryPoint::Workflow(Arc::new(graph));
        actions.push(Action {
            origin: Some(origin()),
            ..Action::new("t.flow".parse().unwrap(), "workflow", entry_point)
        });
        let on_poke = Rule {
            action: actions[0].reference.clone(),
            ..rule("on_poke", "t.poked", "allow")
        };
        Self::new(slots, actions, vec![on_poke])
    }

    pub(super) fn set(&mut self, scope: &str, kind: &str, params: &Value) -> Decision {
        self.set_for(scope, kind, params, None)
    }

    pub(super) fn set_for(
        &mut self,
        scope: &str,
        kind: &str,
        params: &Value,
        ttl: Option<Duration>,
    ) -> Decision {
        let mut constraint = constraint(scope, kind, params, self.now);
        constraint.expires_at = ttl.map(|ttl| self.now + ttl);
        let set = self.apply(|state, context| state.set_constraint(constraint, context));
        set.unwrap_or_default()
    }

    pub(super) fn clear(&mut self, scope: &str, kind: Option<ConstraintType>) -> Decision {
        let scope = scope.parse().unwrap();
        self.apply(|state, context| state.clear_constraints(&scope, kind, context))
            .0
    }

    /// How many executions of each action are in line, and held by a constraint as `why` says.
    fn held_by(&self, key: &ConstraintKey) -> BTreeMap<Ref, u64> {
        let mut held = BTreeMap::new();
        for live in self.state.live.values() {
            let class = self.state.waiting.class(live.candidate.number);
            if !class.is_some_and(|class| class.has(&live.place())) {
                continue;
            }
            let names_it = |reason: &BlockedBy| matches!(reason, BlockedBy::Constraint(held) if held.key == *key);
            if self.state.blockers(live, self.now).iter().any(names_it) {
                *held.entry(live.spec.action.clone()).or_default() += 1;
            }
        }
        held
    }

    /// Lets time pass up to an instant that the engine asked to be woken at, or for so long.
    pub(super) fn pass(&mut self, ms: u64) -> Decision {
        self.now = self.now + Duration::from_millis(ms);
        self.apply(|state, context| state.due(context))
    }
}

pub(super) fn told(decision: &Decision) -> Vec<ExecutionId> {
    let steps = decision.units.iter().flat_map(|unit| &unit.steps);
    let blocked = steps.filter(|step| step.event_type == StepEventType::TaskBlocked);
    blocked.map(|step| step.item.unwrap_or(step.root)).collect()
}

#[test]
fn a_pause_holds_what_waits_for_a_limit_and_what_comes_and_touches_nothing_that_runs() {
    let mut bench = Bench::of_three_actions(4);
    bench.set("action:t.copy", "concurrency", &json!({ "limit": 1 }));
    let (_, first) = bench.request("copy");
    let (waits, second) = bench.request("copy");
    assert_eq!(told(&waits), [second]);
    bench.set("global", "pause", &json!({}));
    let (paused, third) = bench.request("check");
    assert!(started(&paused).is_empty());
    assert_eq!(told(&paused), [third]);
    assert!(started(&bench.end(first, Status::Completed)).is_empty());
    assert_eq!(bench.status(second), Some(Status::Requested));
    let mut freed = started(&bench.clear("global", Some(ConstraintType::Pause)));
    freed.sort_unstable();
    assert_eq!(freed, [second, third]);
}

#[test]
fn a_preview_of_another_limit_counts_by_action_what_would_be_left_in_line() {
    let mut bench = Bench::of_three_actions(7);
    bench.set("global", "concurrency", &json!({ "limit": 0 }));
    let line = ["copy", "check", "copy", "gpu", "copy", "check"];
    for name in line {
        bench.request(name);
        bench.pass(1);
    }
    for limit in 0..8 {
        let limited = constraint(
            "global",
            "concurrency",
            &json!({ "limit": limit }),
            bench.now,
        );
        let preview = bench.state.preview(&limited, bench.now);
        let mut held = BTreeMap::<_, u64>::new();
        for name in line.iter().skip(limit) {
            *held.entry(action(name).reference).or_default() += 1;
        }
        assert_eq!((preview.waiting, preview.held), (6, held.values().sum()));
        assert_eq!(preview.by_action, held, "{limit}");
    }
}

#[test]
fn a_preview_counts_nothing_for_a_limit_that_is_not_reached_whatever_else_is_waited_for() {
    let mut bench = Bench::of_three_actions(4);
    for _ in 0..3 {
        bench.request("check");
    }
    for _ in 0..11 {
        bench.request("copy");
    }
    let held = |kind: &str, params: Value| {
        let tried = constraint("action:t.copy", kind, &params, bench.now);
        let preview = bench.state.preview(&tried, bench.now);
        assert_eq!((preview.running, preview.waiting), (1, 10));
        preview.held
    };
    assert_eq!(held("concurrency", json!({ "limit": 8 })), 0);
    assert_eq!(held("concurrency", json!({ "limit": 1 })), 10);
    assert_eq!(held("rate_limit", json!({ "rate": "1/m" })), 0);
    assert_eq!(held("pause", json!({})), 10);
}

#[test]
fn raising_a_limit_starts_so_many_more_and_clearing_it_starts_the_rest() {
    let mut bench = Bench::of_three_actions(100);
    bench.set("task:co*", "concurrency", &json!({ "limit": 1 }));
    for _ in 0..10 {
        bench.request("copy");
    }
    assert_eq!(bench.state.leases.len(), 1);
    let raised = bench.set("task:co*", "concurrency", &json!({ "limit": 4 }));
    assert_eq!(started(&raised).len(), 3);
    let lowered = bench.set("task:co*", "concurrency", &json!({ "limit": 0 }));
    assert!(started(&lowered).is_empty());
    assert_eq!(started(&bench.clear("task:co*", None)).len(), 6);
}

#[test]
fn an_expiry_wakes_what_was_held_and_is_recorded() {
    let mut bench = Bench::of_three_actions(4);
    let ttl = Some(Duration::from_millis(250));
    bench.set_for("global", "pause", &json!({}), ttl);
    let until = bench.state.constraints.next_expiry().unwrap();
    let (_, id) = bench.request("copy");
    assert_eq!(bench.state.next_due(), Some(until));
    let left = until.since(bench.now) - Duration::from_millis(2);
    bench.now = bench.now + left;
    assert!(started(&bench.pass(0)).is_empty());
    let woken = bench.pass(0);
    assert_eq!(started(&woken), [id]);
    let changes = woken.units.iter().flat_map(|unit| &unit.changes);
    let removed = changes.filter(|change| matches!(change, Change::RemoveConstraint(_)));
    assert_eq!(removed.count(), 1);
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn a_rate_asks_to_be_woken_at_its_next_start_and_not_before() {
    let mut bench = Bench::of_three_actions(4);
    bench.set("task:copy", "rate_limit", &json!({ "rate": "10/m" }));
    let (at_once, _) = bench.request("copy");
    assert_eq!(started(&at_once).len(), 1);
    let begun = bench.now;
    let (_, next) = bench.request("copy");
    assert_eq!(bench.state.next_due(), Some(begun + Duration::from_secs(6)));
    let BlockedBy::Constraint(held) = bench
        .state
        .blocked_by(&bench.state.live[&next], bench.now)
        .unwrap()
    else {
        panic!("no constraint holds it");
    };
    assert_eq!(held.next_at, Some(begun + Duration::from_secs(6)));
    assert_eq!(started(&bench.pass(6_000)), [next]);
}

#[test]
fn a_paused_rate_does_not_wake_anybody() {
    let mut bench = Bench::of_three_actions(4);
    bench.set(
        "task:copy",
        "rate_limit",
        &json!({ "rate": "10/s", "burst": 1 }),
    );
    bench.set("global", "pause", &json!({}));
    bench.request("copy");
    bench.request("copy");
    assert_eq!(bench.state.next_due(), None);
}

#[test]
fn a_closed_gate_starts_nothing() {
    let mut bench = Bench::of_three_actions(1);
    bench.state.gate_closed = true;
    let (_, id) = bench.request("copy");
    assert_eq!(bench.status(id), Some(Status::Requested));
    let why = bench.state.blocked_by(&bench.state.live[&id], bench.now);
    assert_eq!(why, Some(BlockedBy::Gate));
    bench.state.gate_closed = false;
    let opened = bench.apply(|state, context| state.start_what_may(context));
    assert_eq!(started(&opened), [id]);
}

#[derive(Debug, Clone)]
enum Move {
    Request {
        action: usize,
        priority: i32,
    },
    Poke,
    /// A run of three items.
    Run,
    End(usize),
    Fail(usize),
    Set {
        scope: usize,
        terms: usize,
        ttl_ms: Option<u64>,
    },
    Clear {
        scope: usize,
        kind: Option<usize>,
    },
    Pass(u64),
    SetBack(u64),
    Crash,
}

const SCOPES: [&str; 13] = [
    "global",
    "project:default",
    "pack:t",
    "rule:t.on_poke",
    "action:t.copy",
    "action:t.c*",
    "action:t.flow",
    "workflow:t.f*",
    "task:gpu",
    "task:flow",
    "task:each",
    "runtime:shell",
    "worker:w",
];

fn terms(which: usize) -> (&'static str, Value) {
    match which {
        0 => ("pause", json!({})),
        1 => ("concurrency", json!({ "limit": 0 })),
        2 => ("concurrency", json!({ "limit": 1 })),
        3 => ("concurrency", json!({ "limit": 3 })),
        4 => ("rate_limit", json!({ "rate": "10/s", "burst": 1 })),
        5 => ("rate_limit", json!({ "rate": "20/s", "burst": 3 })),
        _ => ("rate_limit", json!({ "rate": "3/s", "burst": 2 })),
    }
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => (0..3usize, -1..2i32).prop_map(|(action, priority)| Move::Request { action, priority }),
        2 => Just(Move::Poke),
        1 => Just(Move::Run),
        8 => (0..8usize).prop_map(Move::End),
        3 => (0..8usize).prop_map(Move::Fail),
        4 => (0..SCOPES.len(), 0..7usize, prop::option::of(1..400u64))
            .prop_map(|(scope, terms, ttl_ms)| Move::Set { scope, terms, ttl_ms }),
        2 => (0..SCOPES.len(), prop::option::of(0..3usize)).prop_map(|(scope, kind)| Move::Clear { scope, kind }),
        6 => (1..300u64).prop_map(Move::Pass),
        1 => (1..2_000u64).prop_map(Move::SetBack),
        1 => Just(Move::Crash),
    ];
    prop::collection::vec(one, 1..120)
}

/// What constraints promise, said plainly: everything that waits is looked at from the first to the last,
/// as often as something starts.
#[derive(Default)]
struct Naive {
    in_force: BTreeMap<ConstraintKey, (Constraint, Timestamp)>,
    waiting: BTreeSet<(i32, Timestamp, ExecutionId, usize)>,
    /// Until when what failed is not tried again.
    delayed: BTreeMap<ExecutionId, (Timestamp, usize)>,
    running: BTreeMap<ExecutionId, usize>,
}

fn chooses(scope: &str, action: usize) -> bool {
    match scope {
        "rule:t.on_poke" => action == BY_RULE,
        "action:t.copy" => action == 0 || action == BY_RULE,
        "action:t.c*" => action != 2,
        "task:gpu" => action == 2,
        "action:t.flow" | "workflow:t.f*" | "task:flow" | "task:each" => action == ITEM,
        _ => true,
    }
}

impl Naive {
    fn may_start(&self, action: usize, now: Timestamp) -> bool {
        let gpus = self
            .running
            .values()
            .filter(|running| **running == 2)
            .count();
        if self.running.len() >= SLOTS as usize || (action == 2 && gpus >= 1) {
            return false;
        }
        self.in_force.values().all(|(constraint, due)| {
            let scope = constraint.scope.to_string();
            if !chooses(&scope, action) {
                return true;
            }
            let running = self.running.values();
            let in_scope = running.filter(|running| chooses(&scope, **running)).count();
            match &constraint.terms {
                Terms::Pause => false,
                Terms::Concurrency { limit } => in_scope < *limit as usize,
                Terms::RateLimit { rate, burst } => *due <= now + rate.interval() * (burst - 1),
                Terms::EventPause { .. } => true,
            }
        })
    }

    fn expire(&mut self, now: Timestamp) {
        self.in_force
            .retain(|_, (constraint, _)| constraint.expires_at.is_none_or(|at| at > now));
    }

    /// Puts an execution in line, if there is another attempt at it.
    fn wait(&mut self, bench: &Bench, id: ExecutionId, action: usize) {
        if let Some(live) = bench.state.live.get(&id) {
            let spec = &live.spec;
            (self.waiting).insert((-spec.priority, spec.requested_at, id, action));
        }
    }

    /// Puts in line what is to be tried again.
    fn end_delays(&mut self, bench: &Bench) {
        for (id, (until, action)) in std::mem::take(&mut self.delayed) {
            if until <= bench.now {
                self.wait(bench, id, action);
            } else {
                self.delayed.insert(id, (until, action));
            }
        }
    }

    /// A rate is never owed more than its burst and one start.
    fn settle(&mut self, now: Timestamp) {
        for (constraint, due) in self.in_force.values_mut() {
            if let Terms::RateLimit { rate, burst } = &constraint.terms {
                *due = (*due).min(now + rate.interval() * *burst);
            }
        }
    }

    fn start_all(&mut self, now: Timestamp) -> BTreeSet<ExecutionId> {
        let mut started = BTreeSet::new();
        loop {
            let next = self
                .waiting
                .iter()
                .find(|(_, _, _, action)| self.may_start(*action, now));
            let Some(next) = next.copied() else {
                return started;
            };
            self.waiting.remove(&next);
            let (_, _, id, action) = next;
            self.running.insert(id, action);
            for (constraint, due) in self.in_force.values_mut() {
                if let Terms::RateLimit { rate, .. } = &constraint.terms
                    && chooses(&constraint.scope.to_string(), action)
                {
                    *due = (*due).max(now) + rate.interval();
                }
            }
            started.insert(id);
        }
    }
}

/// The rows of constraints, as the changes of all decisions made them.
#[derive(Default)]
struct Rows(BTreeMap<ConstraintKey, ConstraintRecord>);

impl Rows {
    fn store(&mut self, decision: &Decision) {
        for change in decision.units.iter().flat_map(|unit| &unit.changes) {
            match change {
                Change::PutConstraint { constraint, since } => {
                    let before = self.0.get(&constraint.key());
                    let record = ConstraintRecord {
                        constraint: (**constraint).clone(),
                        since: *since,
                        rate_at: before.and_then(|before| before.rate_at),
                    };
                    self.0.insert(constraint.key(), record);
                }
                Change::RemoveConstraint(key) => drop(self.0.remove(key)),
                Change::PutRateInstant { key, at } => {
                    if let Some(record) = self.0.get_mut(key) {
                        record.rate_at = Some(*at);
                    }
                }
                _ => {}
            }
        }
    }
}

fn crash(bench: &mut Bench, rows: &Rows) -> Decision {
    let mut after = Bench::of_three_actions(SLOTS);
    after.now = bench.now;
    // Ids go on, also where the clock was set back.
    std::mem::swap(&mut after.entropy, &mut bench.entropy);
    after.state.epoch = bench.state.epoch + 1;
    for record in rows.0.values() {
        (after.state.constraints).restore(record.clone(), after.now);
    }
    let pack = after.state.catalog.packs["t"].clone();
    after.state.versions.insert("h".into(), pack);
    after.state.capacity.slots = 0;
    let mut cut_off = Vec::new();
    // In the order of their ids, as they are read from the database.
    let mut unfinished: Vec<_> = bench.state.live.values().collect();
    unfinished.sort_unstable_by_key(|live| live.spec.id);
    for live in unfinished {
        after.state.take(live.record());
        cut_off.extend(live.holds_lease().then_some(live.spec.id));
    }
    cut_off.sort_unstable();
    for id in cut_off {
        let outputs = (Output::default(), Output::default());
        after.apply(|state, context| state.interrupted(id, outputs, context));
    }
    after.state.capacity.slots = SLOTS;
    *bench = after;
    bench.apply(|state, context| state.sweep(context))
}

/// What waited starts before what is new in the decision, and its unit is stored after it.
#[test]
fn the_instant_of_a_rate_that_is_stored_last_is_the_latest() {
    let on_poke = rule("on_poke", "t.poked", "allow");
    let mut bench = Bench::new(4, vec![action("work")], vec![on_poke]);
    let mut rows = Rows::default();
    rows.store(&bench.set("global", "rate_limit", &json!({"rate": "1/m", "burst": 2})));
    let waits: Vec<_> = (0..3).map(|_| bench.request("work").1).collect();
    bench.now = bench.now + Duration::from_secs(600);
    let poked = bench.emit(poked(None)).unwrap();
    rows.store(&poked.decision);
    let begun = started(&poked.decision);
    assert_eq!(begun.len(), 2);
    assert!(begun.contains(&waits[2]) && begun.contains(&poked.executions[0]));
    let kept = rows.0.values().map(|record| record.rate_at);
    let latest = Some(bench.now + Duration::from_secs(120));
    assert_eq!(kept.collect::<Vec<_>>(), [latest]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_starts_is_what_may_in_order_and_nothing_that_may_start_waits(moves in moves()) {
        let mut bench = Bench::of_three_actions(SLOTS);
        let (mut naive, mut rows) = (Naive::default(), Rows::default());
        for one in moves {
            let at = bench.now + Duration::from_millis(1);
            let mut decision = match one.clone() {
                Move::Request { action, priority } => {
                    let (decision, id) = bench.request_at(ACTIONS[action], priority);
                    naive.waiting.insert((-priority, bench.now, id, action));
                    decision
                }
                Move::Poke => {
                    let poked = bench.emit(poked(None)).unwrap();
                    naive.wait(&bench, poked.executions[0], BY_RULE);
                    poked.decision
                }
                Move::Run => {
                    let (decision, run) = bench.request("flow");
                    let items = bench.state.live.values().filter(|live| live.spec.parent == Some(run));
                    let items: Vec<_> = items.map(|live| live.spec.id).collect();
                    prop_assert_eq!(items.len(), 3);
                    items.into_iter().for_each(|id| naive.wait(&bench, id, ITEM));
                    decision
                }
                Move::Fail(which) => {
                    let Some((id, action)) = naive.running.iter().nth(which) else { continue };
                    let (id, action) = (*id, *action);
                    naive.running.remove(&id);
                    let decision = bench.end(id, Status::Failed);
                    let until = bench.state.live.get(&id).and_then(|live| live.state.not_before);
                    naive.delayed.extend(until.map(|until| (id, (until, action))));
                    decision
                }
                Move::End(which) => {
                    let Some(id) = naive.running.keys().nth(which).copied() else { continue };
                    naive.running.remove(&id);
                    bench.end(id, Status::Completed)
                }
                Move::Set { scope, terms: which, ttl_ms } => {
                    let (kind, params) = terms(which);
                    let mut new = constraint(SCOPES[scope], kind, &params, bench.now);
                    new.expires_at = ttl_ms.map(|ms| bench.now + Duration::from_millis(ms));
                    naive.expire(at);
                    if new.expires_at.is_none_or(|until| until > at) {
                        let before = naive.in_force.remove(&new.key());
                        let due = before.map(|(_, due)| due).unwrap_or_default();
                        naive.in_force.insert(new.key(), (new.clone(), due));
                        naive.settle(at);
                    }
                    let tried = bench.state.preview(&new, at);
                    let decision = bench.set_for(SCOPES[scope], kind, &params, ttl_ms.map(Duration::from_millis));
                    // What was set holds what a preview said that it would.
                    if !new.is_expired(at) {
                        prop_assert_eq!(tried.by_action, bench.held_by(&new.key()), "{:?}", one);
                    }
                    decision
                }
                Move::Clear { scope, kind } => {
                    let kind = kind.map(|kind| ConstraintType::ALL[kind]);
                    naive.in_force.retain(|key, _| {
                        key.scope.to_string() != SCOPES[scope] || kind.is_some_and(|kind| kind != key.kind)
                    });
                    bench.clear(SCOPES[scope], kind)
                }
                Move::Pass(ms) => bench.pass(ms),
                Move::SetBack(ms) => {
                    bench.now = bench.now - Duration::from_millis(ms);
                    naive.settle(bench.now + Duration::from_millis(1));
                    bench.pass(0)
                }
                // What a crash does to runs is for the simulation of workflows.
                Move::Crash if bench.state.live.values().any(|live| live.is_run()) => continue,
                Move::Crash => {
                    let restarted_at = bench.now;
                    let decision = crash(&mut bench, &rows);
                    for (key, (_, due)) in &mut naive.in_force {
                        *due = rows.0[key].rate_at.unwrap_or_default();
                    }
                    naive.settle(restarted_at);
                    let running = std::mem::take(&mut naive.running);
                    for (id, action) in running {
                        // One that was cut off too often is given up.
                        naive.wait(&bench, id, action);
                    }
                    decision
                }
            };
            // The loop that wakes the state when something is due.
            bench.stored(&decision);
            while bench.state.next_due().is_some_and(|due| due <= bench.now) {
                let due = bench.at_once(|state, context| state.due(context));
                bench.stored(&due);
                decision.units.extend(due.units);
            }
            rows.store(&decision);
            // What is over by now is not in force, whether or not a loop has said so yet.
            naive.expire(bench.now);
            // Delays end in a decision of their own, but where that is what the move asks for.
            let ends_delays = matches!(one, Move::Pass(_) | Move::SetBack(_) | Move::Crash);
            let mut expected = BTreeSet::new();
            if !ends_delays {
                expected = naive.start_all(bench.now);
            }
            naive.end_delays(&bench);
            expected.extend(naive.start_all(bench.now));
            let begun: BTreeSet<ExecutionId> = started(&decision).into_iter().collect();
            prop_assert_eq!(begun, expected, "{:?}", one);
            let woken_by = bench.state.next_due();
            for live in bench.state.live.values().filter(|live| live.state.status == Status::Requested) {
                prop_assert!(bench.state.blocked_by(live, bench.now).is_some());
                if live.state.not_before.is_some() {
                    continue;
                }
                // What is said to be held by a constraint is, and was told so.
                let class = bench.state.waiting.class(live.candidate.number).unwrap();
                let Some(Hold::Constraint(key)) = bench.state.waiting.hold_of(class) else { continue };
                let found = bench.state.constraints.get(key).unwrap();
                let leases = bench.state.constraints.leases_in(&found.scope, &bench.state.leases);
                prop_assert!(found.holds(|_| leases, bench.now).is_some(), "{:?}", key);
                prop_assert!(live.told.has(found.number), "{:?}", key);
            }
            // Whatever time alone ends has an instant at which somebody looks.
            let held_for_a_time = naive.in_force.values().any(|(constraint, _)| constraint.expires_at.is_some());
            prop_assert!(!held_for_a_time || woken_by.is_some());
        }
    }
}
