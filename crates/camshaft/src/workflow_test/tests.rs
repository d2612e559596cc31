//! The format itself: what is refused, and what a report says.

use std::sync::Arc;

use camshaft_model::definition::Catalog;

use super::{Report, Restarts, cases, run};
use crate::pack;

fn core() -> Arc<Catalog> {
    let core = pack::core_pack().unwrap();
    Arc::new(Catalog {
        packs: [(core.origin.pack.clone(), core)].into(),
    })
}

fn mistakes(text: &str) -> String {
    cases("a.yaml", text.as_bytes()).unwrap_err().to_string()
}

fn report(text: &str) -> Report {
    let cases = cases("a.yaml", text.as_bytes()).unwrap();
    assert_eq!(cases.len(), 1);
    run(&cases[0], &core(), Restarts::All)
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_place() {
    let text = "
workflow: demo.etl
definition: {}
mocks:
  a: { result: 1, error: both }
  b: [ { status: maybe } ]
  c: { items: { first: {} } }
answers: [ { approve: true } ]
events: [ { trigger: demo.x } ]
control: [ { do: stop }, { do: cancel }, { at: 1s, do: cancel, from: a }, { do: retry, from: a, failed_only: true } ]
expect: { stauts: completed, tasks: { a: fine, b: { items: { x: completed } } } }
";
    insta::assert_snapshot!(mistakes(text), @r#"
    a.yaml:2:1: there is a workflow and a definition; write one of them
    a.yaml:5:6: mocks.a: only an attempt that completes has a result, and echo is one of its own
    a.yaml:6:18: mocks.b[0].status: expected one of completed, failed, timed_out, abandoned, found 'maybe'
    a.yaml:7:24: mocks.c.items.first: 'first' is no item; they are numbered from 0
    a.yaml:8:12: answers[0]: the key 'task' is missing; write, for example, task: approve
    a.yaml:9:11: events[0]: the key 'at' is missing; write, for example, at: 5s
    a.yaml:10:18: control[0].do: expected one of cancel, pause, resume, retry, rerun, found 'stop'
    a.yaml:10:26: control[1]: the key 'at' is missing; write, for example, at: 5s
    a.yaml:10:42: control[2]: only a retry says what it keeps
    a.yaml:10:75: control[3]: there is from and failed_only; write one of them
    a.yaml:11:11: expect: unknown key 'stauts'; did you mean 'status'?
    a.yaml:11:42: expect.tasks.a: expected one of requested, running, waiting, canceling, completed, failed, timed_out, cancelled, abandoned, skipped, never, found 'fine'
    a.yaml:11:65: expect.tasks.b.items.x: 'x' is no item; they are numbered from 0
    "#);
}

#[test]
fn a_test_that_expects_nothing_is_refused() {
    insta::assert_snapshot!(mistakes("workflow: demo.etl\n"), @r#"
    a.yaml:1:1: a test expects something; write, for example, expect: { status: completed }
    "#);
    insta::assert_snapshot!(mistakes("expect: {}\n"), @r#"
    a.yaml:1:1: the key 'workflow' is missing; write, for example, workflow: demo.etl, or the definition itself under definition
    a.yaml:1:9: expect: nothing is expected; write, for example, status: completed
    "#);
}

#[test]
fn what_stands_beside_the_cases_holds_for_each_that_does_not_say_otherwise() {
    let text = "
definition: { tasks: { a: { action: t.work } } }
mocks: { a: { result: 1 } }
cases:
  - { name: shared, expect: { tasks: { a: { result: 1 } } } }
  - { name: own, mocks: { a: { result: 2 } }, expect: { tasks: { a: { result: 2 } } } }
";
    for case in cases("a.yaml", text.as_bytes()).unwrap() {
        let report = run(&case, &core(), Restarts::All);
        assert!(report.passed(), "{}", report.render());
        assert!(report.restarts > 0);
    }
}

#[test]
fn a_report_shows_every_difference_with_its_line_and_what_happened() {
    let text = "
name: it is told
definition: { tasks: { a: { action: t.work }, b: { needs: [a], action: t.work } } }
mocks: { a: { result: { rows: 3 }, takes: 2s } }
expect:
  status: failed
  output: [1]
  error: gone
  order: [b, a]
  takes: 1s
  vars: { n: 1 }
  step_events: { step_skipped: 1 }
  tasks:
    a: { status: skipped, result: 7, attempts: 2, visits: 2, items: 4, ends: 1s, taken_from: cache }
    b: { with: { x: 1 }, starts: 5s, reason: never, error: none }
    c: completed
";
    insta::assert_snapshot!(report(text).render(), @r#"
    a.yaml:2: it is told
      a.yaml:6: expect.status
        expected failed
        came     completed
      a.yaml:7: expect.output
        expected [1]
        came     {}
      a.yaml:8: expect.error
        expected something with 'gone'
        came     nothing
      a.yaml:9: expect.order
        expected b, a
        came     a, b
      a.yaml:10: expect.takes
        expected 1s
        came     2s
      a.yaml:11: expect.vars
        expected {"n":1}
        came     {}
      a.yaml:12: expect.step_events.step_skipped
        expected 1
        came     0
      a.yaml:14: expect.tasks.a.status
        expected skipped
        came     completed
      a.yaml:14: expect.tasks.a.result
        expected 7
        came     {"rows":3}
      a.yaml:14: expect.tasks.a.attempts
        expected 2
        came     1
      a.yaml:14: expect.tasks.a.visits
        expected 2
        came     1
      a.yaml:14: expect.tasks.a.items
        expected 4
        came     no items
      a.yaml:14: expect.tasks.a.ends
        expected 1s
        came     2s
      a.yaml:14: expect.tasks.a.taken_from
        expected cache
        came     nothing
      a.yaml:15: expect.tasks.b.reason
        expected something with 'never'
        came     nothing
      a.yaml:15: expect.tasks.b.error
        expected something with 'none'
        came     nothing
      a.yaml:15: expect.tasks.b.with
        expected {"x":1}
        came     {}
      a.yaml:15: expect.tasks.b.starts
        expected 5s
        came     2s
      a.yaml:16: expect.tasks.c
        expected a task 'c'
        came     nothing is recorded of it
      what happened:
             0ms  step_started    main attempt=1
             0ms  step_started    a attempt=1
              2s  step_finished   a success=true duration_ms=2000
              2s  task_completed  a status="completed" duration_ms=2000
              2s  step_started    b attempt=1
              2s  step_finished   b success=true duration_ms=0
              2s  task_completed  b status="completed" duration_ms=0
              2s  task_completed  main status="completed" duration_ms=2000
    "#);
}

#[test]
fn definitions_with_mistakes_are_reported_at_the_definition() {
    let text = "
definition: { tasks: { a: { action: t.work, needs: [b] } } }
expect: { status: completed }
";
    insta::assert_snapshot!(report(text).render(), @r#"
    a.yaml:2: a.yaml
      a.yaml:2: tasks.a.needs[0]
        expected a definition without mistakes
        came     workflows/main.yaml: there is no task 'b'
    "#);
}

#[test]
fn an_attempt_without_a_mock_is_told_where_mocks_are_strict() {
    let text = "
definition: { tasks: { a: { action: t.work } } }
strict: true
expect: { status: completed }
";
    let report = report(text);
    assert_eq!(report.mismatches.len(), 1);
    assert_eq!(report.mismatches[0].actual, "'a' ran and has no mock");
}

#[test]
fn the_mock_of_an_action_must_fit_what_the_action_declares() {
    let text = "
definition: { tasks: { a: { action: t.work } } }
actions: { work: { output_schema: { type: integer } } }
mocks: { a: { result: text } }
expect: { status: completed }
";
    let report = report(text);
    assert!(
        report.mismatches[0].actual.contains("t.work"),
        "{}",
        report.render()
    );
}

#[test]
fn an_answer_that_nobody_asked_for_is_told() {
    let text = "
definition: { tasks: { a: { action: t.work } } }
answers: [ { task: a } ]
expect: { status: completed }
";
    let report = report(text);
    assert_eq!(
        report.mismatches[0].actual,
        "there was never reason for an answer to 'a'"
    );
}
