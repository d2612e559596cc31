//! What a run holds of the results of its tasks, and for how long.

use std::sync::Arc;

use camshaft_model::definition::workflow::{
    Entry, Items, Join, Next, OnItemFailure, Task, Workflow,
};
use camshaft_model::definition::{Action, EntryPoint};
use camshaft_model::port::store::Change;
use camshaft_model::{ExecutionId, Object, Status};
use serde_json::{Value, json};

use super::tests::{Bench, action, origin, started, task};
use crate::decision::Decision;

fn flow(tasks: Vec<Task>, output: Option<Value>) -> Action {
    let graph = Workflow {
        tasks,
        output,
        ..Workflow::default()
    };
    let entry_point = EntryPoint::Workflow(Arc::new(graph));
    Action {
        origin: Some(origin()),
        ..Action::new("t.flow".parse().unwrap(), "workflow", entry_point)
    }
}

fn bench(tasks: Vec<Task>, output: Option<Value>) -> (Bench, Decision, ExecutionId) {
    let mut bench = Bench::new(9, vec![action("work"), flow(tasks, output)], vec![]);
    let (first, run) = bench.request("flow");
    (bench, first, run)
}

/// Half of what a run may hold here, and a little less.
fn large() -> Value {
    Value::String("x".repeat(9_000))
}

impl Bench {
    fn complete(&mut self, id: ExecutionId, result: Value) -> Decision {
        let key = self.state.live[&id].key();
        self.end_with(key, Status::Completed, result)
    }

    /// The tasks whose results are held.
    fn held(&self, run: ExecutionId) -> Vec<usize> {
        let run = &self.state.runs[&run];
        let tasks = 0..run.program.workflow.tasks.len();
        tasks.filter(|task| run.holds_result(*task)).collect()
    }
}

/// How a run ended, and why.
fn ending(decision: &Decision, run: ExecutionId) -> (Status, String) {
    let mut ended = decision.units.iter().flat_map(|unit| &unit.ended);
    let ended = ended.find(|ended| ended.spec.id == run).unwrap();
    let error = ended.state.error.clone();
    (
        ended.state.status,
        error.map_or_else(String::new, |error| error.message),
    )
}

#[test]
fn a_result_is_held_until_its_last_reader_has_ended() {
    let tasks = vec![
        task("a", &[], json!({})),
        task("b", &[0], json!({"x": "{{ tasks.a.result | length }}"})),
        task(
            "c",
            &[1],
            json!({"x": "{{ tasks['a'].result | length }}", "s": "{{ tasks.b.status }}"}),
        ),
        task("d", &[2], json!({})),
    ];
    let (mut bench, first, run) = bench(tasks, Some(json!("{{ tasks.d.result }}")));
    let second = bench.complete(started(&first)[0], large());
    assert_eq!(bench.held(run), [0]);
    let third = bench.complete(started(&second)[0], large());
    assert_eq!(bench.held(run), [0], "nothing reads the result of b");
    let fourth = bench.complete(started(&third)[0], large());
    assert_eq!(bench.held(run), [0; 0]);
    let last = bench.complete(started(&fourth)[0], large());
    assert_eq!(ending(&last, run).0, Status::Completed);
}

#[test]
fn a_chain_of_large_results_fits_and_a_join_of_them_does_not() {
    let name = |task: usize| format!("t{task}");
    let chain = (0..9).map(|place| match place {
        0 => task(&name(0), &[], json!({})),
        _ => {
            let with = json!({"x": format!("{{{{ tasks.{}.result | length }}}}", name(place - 1))});
            task(&name(place), &[place - 1], with)
        }
    });
    let (mut bench_of, mut last, run) =
        bench(chain.collect(), Some(json!("{{ tasks.t8.result }}")));
    for _ in 0..9 {
        last = bench_of.complete(started(&last)[0], large());
    }
    assert_eq!(ending(&last, run), (Status::Completed, String::new()));

    let joined = (0..3).map(|place| task(&name(place), &[], json!({})));
    let output = json!("{{ tasks[vars.which].result }}");
    let (mut bench, first, run) = bench(joined.collect(), Some(output));
    let [a, b, c] = started(&first)[..] else {
        panic!("{first:#?}")
    };
    bench.complete(a, large());
    bench.complete(b, large());
    assert_eq!(bench.held(run), [0, 1], "any result may be asked for");
    let last = bench.complete(c, large());
    let (status, error) = ending(&last, run);
    assert_eq!(status, Status::Failed);
    assert!(
        error.contains("task 't2' failed: the result of task 't2' takes 9")
            && error.contains("engine.run_memory_bytes"),
        "{error}"
    );
}

#[test]
fn a_cycle_holds_what_its_next_turn_reads() {
    let leading = |name: &str, to: usize, other: &str| {
        let with = json!({"x": format!("{{% if tasks.{other} %}}{{{{ tasks.{other}.result }}}}{{% endif %}}")});
        Task {
            entry: Entry::Transitions(Join::Each),
            next: vec![Next {
                when: None,
                publish: Object::new(),
                to: vec![to],
            }],
            ..task(name, &[], with)
        }
    };
    let mut start = task("start", &[], json!({}));
    start.next = leading("start", 1, "start").next;
    let tasks = vec![
        Task {
            entry: Entry::Transitions(Join::Each),
            ..start
        },
        leading("a", 2, "start"),
        leading("b", 1, "a"),
    ];
    let (mut bench, mut last, run) = bench(tasks, None);
    for turn in 0..9 {
        let [next] = started(&last)[..] else {
            panic!("{turn}: {last:#?}")
        };
        let parameters = &bench.state.live[&next].spec.parameters;
        let reads = parameters.get("x").map_or(0, |x| x.to_string().len());
        assert_eq!(reads, if turn == 0 { 0 } else { 1_002 }, "{turn}");
        last = bench.complete(next, Value::String("x".repeat(1_000)));
    }
    assert_eq!(bench.held(run), [0, 1], "b is read by nothing");
}

#[test]
fn results_of_items_are_held_only_if_something_reads_them_and_within_the_limit() {
    let each = Task {
        items: Some(Items {
            over: json!([1, 2, 3, 4, 5]),
            concurrency: 1,
            on_failure: OnItemFailure::Stop,
        }),
        ..task("each", &[], json!({}))
    };
    let (mut unread, mut last, run) = bench(vec![each.clone()], None);
    for _ in 0..5 {
        last = unread.complete(started(&last)[0], large());
    }
    assert_eq!(ending(&last, run), (Status::Completed, String::new()));

    let (mut read, mut last, run) = bench(vec![each], Some(json!("{{ tasks.each.result }}")));
    for _ in 0..3 {
        last = read.complete(started(&last)[0], large());
    }
    let (status, error) = ending(&last, run);
    assert_eq!(status, Status::Failed);
    assert!(
        error.contains("item 2 of 5 failed: its result takes 9"),
        "{error}"
    );
}

#[test]
fn a_variable_that_does_not_fit_fails_its_task_and_stays_as_it_was() {
    let publishing = |name: &str, needs: &[usize]| Task {
        publish: Object::from_iter([
            ("small".to_owned(), json!("{{ result | length }}")),
            ("large".to_owned(), json!("{{ result }}")),
        ]),
        ..task(name, needs, json!({}))
    };
    let tasks = vec![publishing("a", &[]), publishing("b", &[0])];
    let (mut bench, first, run) = bench(tasks, None);
    let second = bench.complete(started(&first)[0], large());
    let record = bench.state.runs[&run].record.clone();
    assert_eq!(record.vars["small"], 9_000);
    let last = bench.complete(started(&second)[0], Value::String("y".repeat(25_000)));
    let (status, error) = ending(&last, run);
    assert_eq!(status, Status::Failed);
    assert!(
        error.contains("publish.large: the value takes 25"),
        "{error}"
    );
    let changes = last.units.iter().flat_map(|unit| &unit.changes);
    let mut stored = changes.filter_map(|change| match change {
        Change::PutRun(run) => Some(&run.vars),
        _ => None,
    });
    assert_eq!(stored.next_back(), Some(&record.vars));
}

#[test]
fn variables_are_written_when_one_changes_and_not_with_each_arrival_at_a_join() {
    const SOURCES: usize = 9;
    let transition = |entry, next: Vec<Next>, name: &str| Task {
        entry: Entry::Transitions(entry),
        next,
        ..task(name, &[], json!({}))
    };
    let leads = |publish: Object| Next {
        when: None,
        publish,
        to: vec![SOURCES],
    };
    let source = |place: usize| {
        let publish = Object::from_iter([("large".to_owned(), json!("{{ result }}"))]);
        let publish = if place == 0 { publish } else { Object::new() };
        transition(Join::Each, vec![leads(publish)], &format!("s{place}"))
    };
    let mut tasks: Vec<Task> = (0..SOURCES).map(source).collect();
    tasks.push(transition(Join::All, vec![], "join"));
    let (mut bench, first, run) = bench(tasks, Some(json!(null)));
    let (mut with, mut without) = (0, 0);
    for (place, id) in started(&first).into_iter().enumerate() {
        let decision = bench.complete(id, large());
        for change in decision.units.iter().flat_map(|unit| &unit.changes) {
            match change {
                Change::PutRun(record) => {
                    assert_eq!((place, record.vars.len()), (0, 1));
                    with += 1;
                }
                Change::PutRunProgress(record) => {
                    assert_eq!((record.execution, record.vars.len()), (run, 0));
                    without += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!((with, without), (1, SOURCES - 1));
    assert_eq!(bench.state.runs[&run].record.vars["large"], large());
}
