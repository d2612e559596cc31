use std::collections::BTreeMap;

use camshaft_model::definition::{EntryPoint, ParameterSchema};
use serde_json::{Value, json};

use super::super::matching::tests::{event, now, object, rule};
use super::*;

fn action() -> Action {
    Action {
        parameters: ParameterSchema {
            schema: json!({"type": "object", "properties": {"name": {"type": "string"}, "token": {"type": "string"}}, "additionalProperties": false}),
            defaults: object(json!({"name": "nobody"})),
            secret: vec!["token".to_owned()],
        },
        ..Action::new(
            "demo.greet".parse().unwrap(),
            "shell".to_owned(),
            EntryPoint::None,
        )
    }
}

fn try_rule(rule: Rule, enabled: bool, payload: Value) -> RuleTrial {
    let none = BTreeMap::new();
    let surroundings = Surroundings {
        secrets: &none,
        env: &none,
    };
    trial(
        &Arc::new(rule),
        enabled,
        Some(&action()),
        &event("demo.t", payload),
        &surroundings,
        now(),
    )
}

fn counting() -> Rule {
    let mut rule = rule(
        "demo.t",
        &[
            ("trigger.kind", "exists", json!(null)),
            ("trigger.count", "greaterthan", json!(5)),
        ],
    );
    rule.when = Some("trigger.kind == 'a'".to_owned());
    rule.action_parameters = object(json!({"token": "{{ trigger.kind }}"}));
    rule
}

#[test]
fn a_match_shows_parameters_without_secrets() {
    let trial = try_rule(counting(), true, json!({"kind": "a", "count": 6}));
    assert!(trial.matched && trial.applies);
    assert_eq!(trial.verdict, "it matches and requests demo.greet");
    assert_eq!(
        trial.parameters,
        Some(object(json!({"name": "nobody", "token": "[redacted]"})))
    );
}

#[test]
fn every_part_is_evaluated_and_the_deciding_one_is_named() {
    let trial = try_rule(counting(), true, json!({"kind": "b", "count": 3}));
    assert_eq!(
        trial.verdict,
        "criterion trigger.count greaterthan 5 does not hold: the value is 3"
    );
    assert_eq!(
        trial.criteria.iter().map(|c| c.holds).collect::<Vec<_>>(),
        [Some(true), Some(false)]
    );
    assert_eq!(trial.criteria[1].value, Some(json!(3)));
    assert_eq!(trial.when.as_ref().and_then(|when| when.holds), Some(false));
    let absent = try_rule(counting(), true, json!({"kind": "a"}));
    assert_eq!(
        absent.verdict,
        "criterion trigger.count greaterthan 5 does not hold: the path leads nowhere"
    );
    let unclear = try_rule(counting(), true, json!({"kind": "a", "count": "6"}));
    assert_eq!(unclear.criteria[1].holds, None);
    assert!(
        unclear
            .verdict
            .contains("cannot be evaluated: greaterthan needs"),
        "{}",
        unclear.verdict
    );
    let by_when = try_rule(counting(), true, json!({"kind": "b", "count": 6}));
    assert_eq!(by_when.verdict, "when does not hold: trigger.kind == 'a'");
}

#[test]
fn a_rule_that_the_event_does_not_reach_says_why() {
    let matching = json!({"kind": "a", "count": 6});
    assert_eq!(
        try_rule(counting(), false, matching.clone()).verdict,
        "the rule is not enabled"
    );
    let mut elsewhere = counting();
    elsewhere.trigger = "demo.u".parse().unwrap();
    let trial = try_rule(elsewhere, true, matching.clone());
    assert!(!trial.applies && !trial.matched);
    assert_eq!(
        trial.verdict,
        "the rule is on trigger demo.u, and the event is of demo.t"
    );
    let mut wrong = counting();
    wrong.action_parameters = object(json!({"nmae": 1}));
    assert_eq!(
        try_rule(wrong, true, matching).verdict,
        "parameters of demo.greet: there is no parameter 'nmae'; did you mean 'name'?"
    );
}
