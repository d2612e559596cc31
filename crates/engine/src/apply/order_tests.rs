//! What one decision is built on is decided before it, and stored before it.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::workflow::{
    Awaited, Entry, Need, OnTimeout, Question, Task, Work, Workflow,
};
use camshaft_model::definition::{Action, EntryPoint};
use camshaft_model::port::store::Change;
use camshaft_model::{Event, ExecutionId, Object, Status};
use serde_json::{Value, json};

use super::constraint_tests::constraint;
use super::tests::{Bench, action, origin, poked, rule, started, task};
use crate::decision::{Decision, Effect};

pub(super) fn wait(trigger: &str, parameters: Value) -> Task {
    let awaited = Awaited {
        trigger: trigger.parse().unwrap(),
        parameters: serde_json::from_value(parameters).unwrap(),
        criteria: Vec::new(),
        when: None,
        on_timeout: OnTimeout::Skip,
    };
    Task::new("wait", Work::WaitFor(awaited))
}

pub(super) fn flow(tasks: Vec<Task>, timeout: Option<Duration>) -> Action {
    let graph = Workflow {
        tasks,
        ..Workflow::default()
    };
    let entry_point = EntryPoint::Workflow(Arc::new(graph));
    Action {
        origin: Some(origin()),
        timeout,
        ..Action::new("t.flow".parse().unwrap(), "workflow", entry_point)
    }
}

impl Bench {
    /// All that is due, each decision as it is handed over and stored.
    pub(super) fn all_due(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.read_events();
        while self.state.next_due().is_some_and(|at| at <= self.now) {
            let due = self.apply(|state, context| state.due(context));
            self.stored(&due);
            self.read_events();
            decisions.push(due);
        }
        decisions.iter().for_each(assert_is_whole);
        decisions
    }

    /// What the database answers to who wants to read events that go next.
    pub(super) fn read_events(&mut self) -> usize {
        let Some(wanted) = self.state.held_events.take_wanted() else {
            return 0;
        };
        let read = wanted.iter().filter_map(|id| self.events.get(id).cloned());
        self.state.held_events.supply(&wanted, read.collect());
        wanted.len()
    }

    pub(super) fn stored(&mut self, decision: &Decision) {
        let events = decision.units.iter().flat_map(|unit| &unit.events);
        let events = events.map(|event| (event.id, Event::clone(event)));
        self.events.extend(events);
        for effect in decision.units.iter().flat_map(|unit| &unit.effects) {
            match effect {
                Effect::Held(event) => self.state.held_events.stored(event.clone()),
                Effect::Told => self.state.untold.answered(),
                _ => {}
            }
        }
    }

    pub(super) fn pause_events(&mut self, scope: &str, drop: bool) {
        self.pause_events_for(scope, drop, None);
    }

    pub(super) fn pause_events_for(&mut self, scope: &str, drop: bool, ttl: Option<Duration>) {
        let params = json!({ "drop": drop });
        let mut constraint = constraint(scope, "event_pause", &params, self.now);
        constraint.expires_at = ttl.map(|ttl| self.now + ttl);
        self.apply(|state, context| state.set_constraint(constraint, context))
            .unwrap();
    }

    pub(super) fn resume_events(&mut self, scope: &str) -> Vec<Decision> {
        let scope = scope.parse().unwrap();
        self.apply(|state, context| state.clear_constraints(&scope, None, context));
        self.all_due()
    }
}

fn assert_is_whole(decision: &Decision) {
    assert_eq!(decision.torn(), None, "{decision:#?}");
}

pub(super) fn held(decision: &Decision) -> bool {
    let mut changes = decision.units.iter().flat_map(|unit| &unit.changes);
    changes.any(|change| matches!(change, Change::HoldEvent { .. }))
}

pub(super) fn requested(decisions: &[Decision]) -> Vec<ExecutionId> {
    let units = decisions.iter().flat_map(|decision| &decision.units);
    units.flat_map(|unit| &unit.fresh).copied().collect()
}

#[test]
fn an_event_that_the_database_knows_already_meets_no_wait() {
    let tasks = vec![wait("t.poked", json!({})), task("go_on", &[0], json!({}))];
    let mut bench = Bench::new(4, vec![action("work"), flow(tasks, None)], vec![]);
    let (_, run) = bench.request("flow");
    let waits = |bench: &Bench| bench.state.runs[&run].active.contains_key(&0);

    let again = bench.emit(poked(Some("order-7"))).unwrap().decision;
    assert!(held(&again) && started(&again).is_empty());
    assert!(bench.all_due().is_empty(), "it is not stored yet");
    for unit in again.units {
        bench.apply(|state, context| state.take_back(unit, context));
    }
    assert!(bench.all_due().iter().all(|due| started(due).is_empty()));
    assert!(waits(&bench));

    let new = bench.emit(poked(Some("order-8"))).unwrap().decision;
    bench.stored(&new);
    let met = bench.all_due();
    assert_eq!(met.iter().flat_map(started).count(), 1);
    assert!(!waits(&bench));
}

#[test]
fn an_event_that_the_database_may_know_cancels_nothing_before_it_is_stored() {
    let on_poke = rule("on_poke", "t.poked", "cancel_previous");
    let mut bench = Bench::new(4, vec![action("work")], vec![on_poke]);
    let first = bench.emit(poked(None)).unwrap();
    let [previous] = first.executions[..] else {
        panic!("{:#?}", first.decision)
    };
    let again = bench.emit(poked(Some("k"))).unwrap().decision;
    assert_eq!(bench.status(previous), Some(Status::Running));
    bench.stored(&again);
    bench.all_due();
    assert_eq!(bench.status(previous), Some(Status::Canceling));
}

#[test]
fn what_was_due_while_nobody_looked_is_decided_one_after_another() {
    let hour = Duration::from_secs(3_600);
    let question = Question {
        prompt: "?".into(),
        schema: None,
        roles: Vec::new(),
        on_timeout: OnTimeout::Skip,
    };
    let ask = Task {
        timeout: Some(hour),
        ..Task::new("ask", Work::Inquiry(question))
    };
    let go_on = Task {
        entry: Entry::Needs(vec![Need {
            task: 0,
            on: vec![Status::Skipped],
            implied: false,
        }]),
        ..task("go_on", &[], json!({}))
    };
    let flow = flow(vec![ask, go_on], Some(2 * hour));
    let mut bench = Bench::new(4, vec![action("work"), flow], vec![]);
    let (_, run) = bench.request("flow");
    bench.now = bench.now + 3 * hour;
    let decisions = bench.all_due();
    let [go_on] = requested(&decisions)[..] else {
        panic!("{decisions:#?}")
    };
    assert_eq!(bench.status(go_on), Some(Status::Canceling));
    let last = bench.end(go_on, Status::Cancelled);
    let ended: Vec<_> = last.units[0].ended.iter().map(|e| e.spec.id).collect();
    assert_eq!(ended, [go_on, run]);
}

#[test]
fn events_that_are_let_go_cancel_what_the_ones_before_them_began() {
    let on_poke = rule("on_poke", "t.poked", "cancel_previous");
    let mut bench = Bench::new(4, vec![action("work")], vec![on_poke]);
    bench.pause_events("global", false);
    for _ in 0..3 {
        let kept = bench.emit(poked(None)).unwrap().decision;
        assert!(held(&kept));
        bench.stored(&kept);
    }
    let decisions = bench.resume_events("global");
    let executions = requested(&decisions);
    assert_eq!(executions.len(), 3);
    let statuses: Vec<_> = executions.iter().map(|id| bench.status(*id)).collect();
    let (canceling, waits) = (Some(Status::Canceling), Some(Status::Requested));
    assert_eq!(statuses, [canceling, None, waits]);
}

#[test]
fn a_pause_that_drops_leaves_what_was_kept_before_it_and_a_wait_is_not_met_by_what_was() {
    let on_poke = rule("on_poke", "t.poked", "allow");
    let tasks = vec![wait("t.poked", json!({}))];
    let actions = vec![action("work"), flow(tasks, None)];
    let mut bench = Bench::new(4, actions, vec![on_poke]);
    bench.pause_events("rule:t.on_poke", false);
    let kept = bench.emit(poked(None)).unwrap().decision;
    bench.stored(&kept);
    bench.pause_events("rule:t.on_poke", true);
    assert!(requested(&bench.all_due()).is_empty());
    assert_eq!(requested(&bench.resume_events("rule:*")), []);
    assert_eq!(requested(&bench.resume_events("rule:t.on_poke")).len(), 1);

    bench.pause_events("global", false);
    let kept = bench.emit(poked(None)).unwrap().decision;
    bench.stored(&kept);
    let (_, run) = bench.request("flow");
    bench.resume_events("global");
    assert_eq!(bench.status(run), Some(Status::Waiting), "it began later");
    bench.emit(poked(None)).unwrap();
    assert_eq!(bench.status(run), None);
}

#[test]
fn a_run_waits_for_the_end_of_an_execution_as_it_is_asked_for_and_without_any_rule() {
    let parameters = json!({ "action": "t.work", "status": "completed" });
    let tasks = vec![wait("core.execution", parameters)];
    let actions = vec![action("work"), action("other"), flow(tasks, None)];
    let mut bench = Bench::new(4, actions, vec![]);
    let (_, run) = bench.request("flow");
    for (name, status) in [("work", Status::Failed), ("other", Status::Completed)] {
        let (_, id) = bench.request(name);
        bench.end(id, status);
        assert_eq!(bench.status(run), Some(Status::Waiting));
    }
    let (_, id) = bench.request("work");
    let last = bench.end(id, Status::Completed);
    assert_eq!(bench.status(run), None);
    let ended: Vec<_> = last.units[0].ended.iter().map(|e| e.spec.id).collect();
    assert_eq!(ended, [id, run]);
}

#[test]
fn an_event_on_which_the_condition_of_a_wait_cannot_be_evaluated_is_another_one() {
    let mut wait = wait("t.poked", json!({}));
    if let Work::WaitFor(awaited) = &mut wait.work {
        awaited.when = Some("trigger.order.id == 7".into());
    }
    let mut bench = Bench::new(4, vec![flow(vec![wait], None)], vec![]);
    let (_, run) = bench.request("flow");
    bench.emit(poked(None)).unwrap();
    assert_eq!(bench.status(run), Some(Status::Waiting));
    let mut right = poked(None);
    right.payload = json!({ "order": { "id": 7 } });
    let met = bench.emit(right).unwrap().decision;
    assert_eq!(met.units[0].ended[0].state.status, Status::Completed);
}

#[test]
fn nobody_else_tells_of_the_end_of_an_execution() {
    let mut bench = Bench::new(4, vec![action("work")], vec![]);
    let mut draft = poked(None);
    draft.trigger = "core.execution".parse().unwrap();
    draft.payload = Value::Object(Object::new());
    let refused = bench.emit(draft).err().unwrap().to_string();
    assert!(refused.contains("the engine's own"), "{refused}");
}

#[test]
fn a_start_that_is_taken_back_gives_back_its_share_of_a_rate() {
    let mut bench = Bench::new(4, vec![action("work")], vec![]);
    let limit = constraint(
        "global",
        "rate_limit",
        &json!({ "rate": "10/m" }),
        bench.now,
    );
    bench
        .apply(|state, context| state.set_constraint(limit, context))
        .unwrap();
    let (first, id) = bench.request("work");
    assert_eq!(started(&first), [id]);
    for unit in first.units {
        bench.apply(|state, context| state.take_back(unit, context));
    }
    let (second, id) = bench.request("work");
    assert_eq!(started(&second), [id]);
    let (third, _) = bench.request("work");
    assert!(started(&third).is_empty());
}
