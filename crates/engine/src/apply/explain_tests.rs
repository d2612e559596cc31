//! What an execution is said to wait for.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::definition::workflow::{Items, OnItemFailure, Task, Workflow};
use camshaft_model::definition::{Action, EntryPoint};
use camshaft_model::{ExecutionId, Status};
use serde_json::json;

use super::tests::{Bench, action, origin, started, task};
use crate::handle::Blocker;

fn bench(slots: u32, tasks: Vec<Task>) -> (Bench, ExecutionId) {
    let graph = Workflow {
        tasks,
        ..Workflow::default()
    };
    let entry_point = EntryPoint::Workflow(Arc::new(graph));
    let flow = Action {
        origin: Some(origin()),
        ..Action::new("t.flow".parse().unwrap(), "workflow", entry_point)
    };
    let mut bench = Bench::new(slots, vec![action("work"), flow], vec![]);
    let (_, run) = bench.request("flow");
    (bench, run)
}

fn of_ten_items() -> Task {
    Task {
        items: Some(Items {
            over: json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
            concurrency: 3,
            on_failure: OnItemFailure::Continue,
        }),
        ..task("each", &[], json!({}))
    }
}

impl Bench {
    fn waits_for(&self, id: ExecutionId) -> Vec<Blocker> {
        let live = &self.state.live[&id];
        self.state.waits_for(live, self.now).0
    }

    fn only(&self, id: ExecutionId) -> Blocker {
        let mut blockers = self.waits_for(id);
        assert_eq!(blockers.len(), 1, "{blockers:?}");
        blockers.remove(0)
    }
}

#[test]
fn a_fan_out_that_a_constraint_holds_names_it() {
    let (mut bench, run) = bench(3, vec![of_ten_items()]);
    let ttl = Some(Duration::from_secs(300));
    bench.set_for("task:each", "pause", &json!({}), ttl);
    let until = bench.state.constraints.next_expiry();
    let runs = bench.only(run);
    assert_eq!(
        (runs.text.as_str(), runs.until),
        ("task 'each' has done 0 of 10 items", None),
        "three of them run"
    );
    let running: Vec<ExecutionId> = bench.state.leases.iter().collect();
    for id in running {
        bench.end(id, Status::Completed);
    }
    let held = bench.only(run);
    assert!(
        held.text.starts_with(
            "task 'each' has done 3 of 10 items. Constraint 'pause-task:each' on task:each holds the rest: pause, expires at "
        ),
        "{}",
        held.text
    );
    assert_eq!((held.until, held.holder_count), (until, 3));
}

#[test]
fn a_task_that_waits_for_a_slot_or_a_constraint_says_so() {
    let (mut bench, run) = bench(
        1,
        vec![task("a", &[], json!({})), task("b", &[], json!({}))],
    );
    let texts = |bench: &Bench| bench.waits_for(run).into_iter().map(|found| found.text);
    assert_eq!(
        texts(&bench).collect::<Vec<_>>(),
        [
            "task 'a' has not ended",
            "task 'b' has not ended: All 1 slots are taken"
        ]
    );
    let ttl = Some(Duration::from_secs(300));
    bench.set_for("task:b", "pause", &json!({}), ttl);
    let held = bench.waits_for(run).remove(1);
    assert!(
        held.text
            .starts_with("Constraint 'pause-task:b' on task:b holds task 'b': pause, expires at "),
        "{}",
        held.text
    );
    assert_eq!(held.until, bench.state.constraints.next_expiry());
}

#[test]
fn all_holders_are_counted_and_some_are_named() {
    let mut bench = Bench::new(500, vec![action("work")], vec![]);
    for _ in 0..500 {
        assert_eq!(started(&bench.request("work").0).len(), 1);
    }
    let (_, waits) = bench.request("work");
    let slots = bench.only(waits);
    assert_eq!((slots.holders.len(), slots.holder_count), (20, 500));
}

#[test]
fn tasks_that_are_not_named_are_counted() {
    let tasks = (0..25).map(|number| task(&format!("t{number}"), &[], json!({})));
    let (bench, run) = bench(25, tasks.collect());
    let blockers = bench.waits_for(run);
    assert_eq!(blockers.len(), 21);
    assert_eq!(blockers[20].text, "5 more tasks have not ended");
}

#[test]
fn what_a_lifted_pause_has_not_started_yet_waits_for_a_slot_and_for_nothing_else() {
    let mut bench = Bench::of_three_actions(1);
    let (_, running) = bench.request("copy");
    bench.set("task:check", "pause", &json!({}));
    for _ in 0..3 {
        bench.request("check");
    }
    let load = |bench: &Bench| bench.state.load(bench.now);
    assert_eq!((load(&bench).held, load(&bench).ready), (3, 0));
    bench.apply(|state, context| state.sweep(context));
    assert_eq!((load(&bench).held, load(&bench).ready), (3, 0));
    bench.clear("task:check", None);
    assert_eq!((load(&bench).held, load(&bench).ready), (0, 3));
    let (_, last) = bench.request("gpu");
    let live = &bench.state.live[&last];
    let ahead = bench.state.waiting.ahead(&live.candidate, &live.place());
    assert_eq!(ahead, 3);
    assert_eq!(started(&bench.end(running, Status::Completed)).len(), 1);
}
