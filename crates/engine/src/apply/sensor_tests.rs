//! Which sensors are wanted, and when somebody has to look.

use std::time::Duration;

use camshaft_model::Status;
use camshaft_model::definition::Rule;
use camshaft_model::definition::workflow::{OnTimeout, Work};
use serde_json::{Value, json};

use super::order_tests::{flow, wait};
use super::tests::{Bench, action, poked, rule};
use crate::decision::Definitions;

fn every(name: &str, every: &str) -> Rule {
    let mut rule = rule(name, "t.other", "allow");
    rule.trigger_parameters = [("every".to_owned(), Value::from(every))]
        .into_iter()
        .collect();
    rule
}

fn bench(rules: Vec<Rule>) -> Bench {
    let tasks = vec![wait("t.poked", json!({ "path": "/a" }))];
    let mut bench = Bench::new(4, vec![action("work"), flow(tasks, None)], rules);
    bench.wanted();
    bench
}

impl Bench {
    /// What is wanted now as its parameters say, if that has changed.
    fn wanted(&mut self) -> Option<Vec<Value>> {
        let wanted = self.state.take_changed_sensors()?;
        let sensors = wanted.sensors().into_iter();
        let mut said: Vec<_> = sensors.map(|spec| Value::Object(spec.parameters)).collect();
        said.extend(
            wanted
                .broken()
                .into_iter()
                .map(|health| health.problem.into()),
        );
        Some(said)
    }
}

#[test]
fn a_thousand_waits_want_their_sensor_once() {
    let mut bench = bench(vec![every("r", "{{ 2 + 3 }}s")]);
    let (of_rule, awaited) = (json!({ "every": "5s" }), json!({ "path": "/a" }));
    for run in 0..1_000 {
        bench.request("flow");
        let first = (run == 0).then(|| vec![of_rule.clone(), awaited.clone()]);
        assert_eq!(bench.wanted(), first, "{run}");
    }
    bench.emit(poked(None)).unwrap();
    assert_eq!(bench.state.awaited.len(), 0);
    assert_eq!(bench.wanted(), Some(vec![of_rule]));
    assert_eq!(bench.wanted(), None);
}

#[test]
fn a_sensor_goes_with_the_last_wait_however_that_ends() {
    let mut timed = wait("t.poked", json!({ "path": "/a" }));
    timed.timeout = Some(Duration::from_secs(60));
    if let Work::WaitFor(awaited) = &mut timed.work {
        awaited.on_timeout = OnTimeout::Skip;
    }
    let mut bench = Bench::new(4, vec![flow(vec![timed], None)], vec![]);
    assert_eq!(bench.wanted(), Some(vec![]));
    let awaited = Some(vec![json!({ "path": "/a" })]);
    let runs = [(); 2].map(|()| bench.request("flow").1);
    assert_eq!(bench.wanted(), awaited);
    bench.apply(|state, context| state.cancel(runs[0], context));
    assert_eq!(bench.wanted(), None);
    bench.apply(|state, context| state.cancel(runs[1], context));
    assert_eq!(bench.wanted(), Some(vec![]));

    let (first, _) = bench.request("flow");
    assert_eq!(bench.wanted(), awaited);
    for unit in first.units {
        bench.apply(|state, context| state.take_back(unit, context));
    }
    assert_eq!(bench.wanted(), Some(vec![]), "it was never stored");

    let (_, run) = bench.request("flow");
    assert_eq!(bench.wanted(), awaited);
    bench.now = bench.now + Duration::from_secs(60);
    bench.all_due();
    assert_eq!(
        (bench.status(run), bench.wanted()),
        (None::<Status>, Some(vec![]))
    );
}

#[test]
fn definitions_change_what_is_wanted() {
    let rules = vec![
        every("a", "5s"),
        every("b", "5s"),
        every("c", "{{ nothing.here }}"),
    ];
    let mut bench = Bench::new(4, vec![action("work")], rules);
    let said = bench.wanted().unwrap();
    assert_eq!(said[0], json!({ "every": "5s" }), "two rules, one sensor");
    assert!(said[1].as_str().unwrap().contains("nothing"), "{said:?}");
    let mut enable = |name: &str, enabled| {
        let rule = format!("t.{name}").parse().unwrap();
        bench.state.define(Definitions::Enable(rule, Some(enabled)));
        bench.wanted().map(|said| said.len())
    };
    assert_eq!(enable("c", false), Some(1));
    assert_eq!(enable("a", false), Some(1), "the other rule wants it still");
    assert_eq!(enable("b", false), Some(0));
    assert_eq!(enable("a", true), Some(1));
}
