use camshaft_model::port::clock::Entropy;
use camshaft_model::{EventDraft, EventId, EventSource};
use camshaft_testkit::SeededEntropy;
use serde_json::json;

use super::*;

pub(in crate::rule) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub(in crate::rule) fn object(value: Value) -> Object {
    value.as_object().cloned().unwrap()
}

pub(in crate::rule) fn event(trigger: &str, payload: Value) -> Event {
    Event {
        id: EventId::new(SeededEntropy::new(1).uuid(now())),
        received_at: now(),
        draft: EventDraft {
            trigger: trigger.parse().unwrap(),
            payload,
            source: EventSource {
                kind: "api".to_owned(),
                name: None,
            },
            dedup_key: None,
            occurred_at: None,
            sensor: None,
            depth: 0,
            trace_parent: None,
        },
    }
}

pub(in crate::rule) fn rule(trigger: &str, criteria: &[(&str, &str, Value)]) -> Rule {
    Rule {
        reference: "demo.rule".parse().unwrap(),
        description: String::new(),
        enabled: true,
        trigger: trigger.parse().unwrap(),
        trigger_parameters: Object::new(),
        criteria: criteria
            .iter()
            .map(|(path, operator, pattern)| Criterion {
                path: (*path).to_owned(),
                operator: (*operator).to_owned(),
                pattern: pattern.clone(),
            })
            .collect(),
        when: None,
        action: "demo.greet".parse().unwrap(),
        action_parameters: Object::new(),
        priority: 0,
        origin: None,
    }
}

fn decide(rule: Rule, payload: Value) -> Verdict {
    let event = event(rule.trigger.clone().as_str(), payload);
    let (secrets, env) = (
        BTreeMap::from([("token".to_owned(), "s3cret".to_owned())]),
        BTreeMap::from([("SITE".to_owned(), "north".to_owned())]),
    );
    let surroundings = Surroundings {
        secrets: &secrets,
        env: &env,
    };
    CompiledRule::new(Arc::new(rule)).decide(&event, &surroundings, now())
}

fn reason(verdict: Verdict) -> String {
    match verdict {
        Verdict::Failed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_match_renders_parameters_with_their_types() {
    let mut rule = rule("demo.t", &[("trigger.count", "greaterthan", json!(0))]);
    rule.when = Some("trigger.count % 2 == 0".to_owned());
    rule.action_parameters = object(json!({
        "n": "{{ trigger.count }}", "text": "n={{ trigger.count }} {{ env.SITE }}", "t": "{{ secrets.token }}",
        "by": "{{ rule.ref }}", "from": "{{ event.source.kind }}", "same": [1, {"x": null}],
    }));
    let parameters = object(json!({
        "n": 4, "text": "n=4 north", "t": "s3cret", "by": "demo.rule", "from": "api", "same": [1, {"x": null}],
    }));
    assert_eq!(
        decide(rule.clone(), json!({"count": 4})),
        Verdict::Matched { parameters }
    );
    assert_eq!(decide(rule.clone(), json!({"count": 3})), Verdict::NoMatch);
    assert_eq!(decide(rule, json!({})), Verdict::NoMatch);
}

#[test]
fn one_that_does_not_hold_decides_before_one_that_cannot_be_evaluated() {
    let unknown = ("trigger.a", "greaterthan", json!(1));
    let fails = ("trigger.b", "equals", json!(1));
    let payload = json!({"a": "text", "b": 2});
    assert_eq!(
        decide(rule("demo.t", &[unknown.clone(), fails]), payload.clone()),
        Verdict::NoMatch
    );
    let mut with_when = rule("demo.t", std::slice::from_ref(&unknown));
    with_when.when = Some("trigger.b == 1".to_owned());
    assert_eq!(decide(with_when, payload.clone()), Verdict::NoMatch);
    assert_eq!(
        reason(decide(rule("demo.t", &[unknown]), payload)),
        "criterion trigger.a greaterthan 1 cannot be evaluated: greaterthan needs two numbers or two strings: \
         the value is a string and the pattern a number"
    );
}

#[test]
fn what_cannot_be_evaluated_fails_with_its_place() {
    let with_when = |when: &str| {
        let mut rule = rule("demo.t", &[]);
        rule.when = Some(when.to_owned());
        reason(decide(rule, json!({"n": 1})))
    };
    assert_eq!(
        with_when("trigger.x.y > 1"),
        "when cannot be evaluated: 'trigger.x.y' is undefined"
    );
    assert_eq!(
        with_when("trigger.n"),
        "when cannot be evaluated: its value must be true or false, and is a number"
    );
    assert!(with_when("trigger.n >").starts_with("when cannot be evaluated: line 1, column "));
    let mut with_parameters = rule("demo.t", &[]);
    with_parameters.action_parameters = object(json!({"name": "x {{ trigger.who }}"}));
    assert_eq!(
        reason(decide(with_parameters, json!({}))),
        "parameters.name: 'trigger.who' is undefined"
    );
    let broken = rule("demo.t", &[("trigger.a", "regex", json!("("))]);
    assert!(reason(decide(broken, json!({}))).contains("does not compile"));
}

#[test]
fn criteria_see_the_event_itself() {
    let by_source = |kind: &str| rule("demo.t", &[("event.source.kind", "equals", json!(kind))]);
    assert!(matches!(
        decide(by_source("api"), json!({})),
        Verdict::Matched { .. }
    ));
    assert_eq!(decide(by_source("timer"), json!({})), Verdict::NoMatch);
}

#[test]
fn parameters_of_core_execution_filter_its_events() {
    let decide_with = |parameters: Value, action: &str, status: &str| {
        let mut rule = rule("core.execution", &[]);
        rule.trigger_parameters = object(parameters);
        matches!(
            decide(rule, json!({"action": action, "status": status})),
            Verdict::Matched { .. }
        )
    };
    let filter = json!({"action": "demo.*", "status": ["failed", "timed_out"]});
    assert!(decide_with(filter.clone(), "demo.greet", "failed"));
    assert!(!decide_with(filter.clone(), "demo.greet", "completed"));
    assert!(!decide_with(filter, "other.greet", "failed"));
    assert!(decide_with(
        json!({"status": "failed"}),
        "any.action",
        "failed"
    ));
    assert!(!decide_with(
        json!({"status": "failed"}),
        "any.action",
        "completed"
    ));
    assert!(decide_with(
        json!({"action": null}),
        "any.action",
        "completed"
    ));
}

#[test]
fn a_name_that_is_missing_is_an_error_in_comparisons_too_unless_it_is_asked_for() {
    let with_when = |when: &str| {
        let mut rule = rule("demo.t", &[]);
        rule.when = Some(when.to_owned());
        decide(rule, json!({"no": false}))
    };
    for when in [
        "trigger.x == 1",
        "trigger.x != 1",
        "trigger.x == none",
        "trigger.x > 1",
        "trigger.x in [1]",
        "not trigger.x",
        "trigger.x",
    ] {
        assert_eq!(
            reason(with_when(when)),
            "when cannot be evaluated: 'trigger.x' is undefined",
            "{when}"
        );
    }
    for when in [
        "trigger.x is defined and trigger.x == 1",
        "trigger.x | default(2) == 1",
        "trigger.no and trigger.x == 1",
    ] {
        assert_eq!(with_when(when), Verdict::NoMatch, "{when}");
    }
}
