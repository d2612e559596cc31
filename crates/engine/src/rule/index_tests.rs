use camshaft_model::Event;
use proptest::prelude::*;
use serde_json::json;

use super::super::comparison::tests::any_json;
use super::super::matching::tests::{event, now, object, rule};
use super::super::{Surroundings, Verdict};
use super::*;

fn index(rules: &[Rule]) -> RuleIndex {
    RuleIndex::of(
        rules
            .iter()
            .map(|rule| Arc::new(CompiledRule::new(Arc::new(rule.clone())))),
    )
}

fn named(number: usize, mut rule: Rule) -> Rule {
    rule.reference = format!("demo.r{number}").parse().unwrap();
    rule
}

/// The rules that do anything at all with an event, and what.
fn verdicts<'a>(
    rules: impl Iterator<Item = &'a CompiledRule>,
    event: &Event,
) -> Vec<(Ref, Verdict)> {
    let none = BTreeMap::new();
    let surroundings = Surroundings {
        secrets: &none,
        env: &none,
    };
    let mut verdicts: Vec<_> = rules
        .map(|rule| {
            (
                rule.rule().reference.clone(),
                rule.decide(event, &surroundings, now()),
            )
        })
        .filter(|(_, verdict)| *verdict != Verdict::NoMatch)
        .collect();
    verdicts.sort_by(|a, b| a.0.cmp(&b.0));
    verdicts
}

#[test]
fn a_thousand_patterns_cost_one_lookup() {
    let rules: Vec<Rule> = (0..1_000)
        .map(|n| {
            named(
                n,
                rule(
                    "demo.t",
                    &[
                        ("trigger.kind", "equals", json!("x")),
                        ("trigger.host", "eq", json!(format!("h{n}"))),
                    ],
                ),
            )
        })
        .collect();
    let index = index(&rules);
    let found: Vec<_> = index
        .candidates(&event("demo.t", json!({"kind": "x", "host": "h42"})).draft)
        .map(|rule| rule.rule().reference.to_string())
        .collect();
    assert_eq!(found, ["demo.r42"]);
    assert_eq!(index.len(), 1_000);
    assert_eq!(
        index
            .candidates(&event("demo.other", json!({})).draft)
            .count(),
        0
    );
}

#[test]
fn an_event_of_a_sensor_reaches_the_rules_that_it_feeds() {
    let with = |number, parameters: Value| {
        let mut rule = named(number, rule("core.interval", &[]));
        rule.trigger_parameters = object(parameters);
        rule
    };
    let index = index(&[
        with(1, json!({"every": "1s"})),
        with(2, json!({"every": "2s"})),
        with(3, json!({"every": "1s"})),
    ]);
    let mut event = event("core.interval", json!({}));
    assert_eq!(index.candidates(&event.draft).count(), 3);
    event.draft.sensor = Some(sensor_key(
        &event.draft.trigger,
        &object(json!({"every": "1s"})),
    ));
    let found: Vec<_> = index
        .candidates(&event.draft)
        .map(|rule| rule.rule().reference.name().to_owned())
        .collect();
    assert_eq!(found, ["r1", "r3"]);
    event.draft.sensor = Some("core.interval#gone".to_owned());
    assert_eq!(index.candidates(&event.draft).count(), 0);
}

#[test]
fn a_sensor_key_does_not_depend_on_the_order_of_keys() {
    let trigger: Ref = "core.cron".parse().unwrap();
    let key = sensor_key(&trigger, &object(json!({"b": {"y": 1, "x": 2}, "a": 1})));
    assert_eq!(
        key,
        sensor_key(&trigger, &object(json!({"a": 1, "b": {"x": 2, "y": 1}})))
    );
    assert_ne!(
        key,
        sensor_key(&trigger, &object(json!({"a": 2, "b": {"x": 2, "y": 1}})))
    );
    let digits = key.strip_prefix("core.cron#").unwrap();
    assert!(
        digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        "{key}"
    );
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let path = proptest::sample::select(vec![
        "trigger",
        "trigger.a",
        "trigger.b",
        "trigger.a.b",
        "trigger.a[0]",
        "event.source.kind",
    ]);
    let operator = proptest::sample::select(vec![
        "eq",
        "eq",
        "eq",
        "neq",
        "gt",
        "contains",
        "exists",
        "startswith",
    ]);
    let pattern = prop_oneof![small(), any_json()];
    proptest::collection::vec((path, operator, pattern), 0..4)
        .prop_map(|criteria| rule("demo.t", &criteria))
}

/// Few values, so that patterns and payloads meet.
fn small() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(1),
        json!(1.0),
        json!("1"),
        json!("x"),
        json!(null),
        json!(true),
        json!([1]),
        json!(0),
        json!(-0.0),
    ])
}

proptest! {
    #[test]
    fn the_index_answers_as_trying_every_rule_does(
        rules in proptest::collection::vec(any_rule(), 0..12),
        payload in prop_oneof![
            any_json(),
            (small(), small()).prop_map(|(a, b)| json!({"a": a, "b": b})),
            small().prop_map(|b| json!({"a": {"b": b}})),
            small().prop_map(|a| json!({"a": [a]})),
        ],
    ) {
        let rules: Vec<Rule> = rules.into_iter().enumerate().map(|(n, rule)| named(n, rule)).collect();
        let event = event("demo.t", payload);
        let index = index(&rules);
        let all: Vec<CompiledRule> = rules.into_iter().map(|rule| CompiledRule::new(Arc::new(rule))).collect();
        prop_assert_eq!(verdicts(index.candidates(&event.draft), &event), verdicts(all.iter(), &event));
    }
}
