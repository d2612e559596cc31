//! Rules: one answer per rule and event, with the reason, also when it cannot be found.

use std::fs;

use serde_json::json;

use crate::harness::{Site, shown};
use crate::screen;

fn orders(site: &Site) {
    site.shell_action(
        "ship",
        "cat",
        "output: json\nparameters:\n  id: { type: integer }\n  note: { type: string }\n",
    );
    site.pack_file("t/triggers/order.yaml", "ref: t.order\n");
    let rule = |name: &str, condition: &str| {
        let action = "action: { ref: t.ship, parameters: { id: \"{{ trigger.id }}\", note: \"order {{ trigger.id }}\" } }";
        site.pack_file(
            &format!("t/rules/{name}.yaml"),
            &format!("ref: t.{name}\ntrigger: {{ ref: t.order }}\n{condition}\n{action}\n"),
        );
    };
    rule(
        "large",
        "criteria:\n  trigger.amount: { type: greaterthan, pattern: 100 }\n  trigger.country: { type: iequals, pattern: de }\nwhen: trigger.id % 2 == 1",
    );
    rule(
        "broken",
        "criteria:\n  trigger.country: { type: greaterthan, pattern: 17 }",
    );
    rule(
        "small",
        "criteria:\n  trigger.amount: { type: lt, pattern: 10 }",
    );
}

#[test]
fn each_rule_answers_once_and_says_why() {
    let site = Site::new();
    orders(&site);
    let mut engine = site.up();
    let event = site.emit(
        "t.order",
        &json!({"id": 7, "amount": 120.5, "country": "DE"}),
    );
    engine.wait_for("completed");
    let enforcements = site.json(["enforcement", "list"]);
    let mut answers: Vec<(&str, &str)> = enforcements["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|e| Some((e["rule"].as_str()?, e["outcome"].as_str()?)))
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, [("t.broken", "failed"), ("t.large", "requested")]);
    let failed = enforcements["items"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|e| e["outcome"] == "failed")
        .expect("one");
    assert!(
        failed["reason"]
            .as_str()
            .expect("a reason")
            .contains("trigger.country"),
        "{failed}"
    );
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("why_event", site.ok(["why", &event]));
    });
    let list = site.json(["execution", "list", "--rule", "t.large"]);
    assert_eq!(
        list["items"][0]["result"],
        json!({"id": 7, "note": "order 7"}),
        "an integer stays one: {list}"
    );
}

#[test]
fn a_recorded_event_can_be_tried_from_a_file() {
    let site = Site::new();
    orders(&site);
    let mut engine = site.up();
    let payload = json!({"id": 7, "amount": 120.5, "country": "DE"});
    let event = site.emit("t.order", &payload);
    engine.wait_for("completed");
    let file = site.path().join("event.json");
    fs::write(&file, site.ok(["event", "show", &event, "-o", "json"])).expect("written");
    let file = file.display().to_string();
    let trial = site.json(["rule", "test", "t.large", "--event", &file]);
    let recorded = site.json(["rule", "test", "t.large", "--event", &event]);
    assert_eq!(trial, recorded);
}

#[test]
fn the_same_delivery_is_one_event() {
    let site = Site::new();
    orders(&site);
    let mut engine = site.up();
    let body = json!({"trigger": "t.order", "payload": {"id": 7, "amount": 1, "country": "DE"}, "dedup_key": "order-7"});
    let first = site.post("/api/v1/events", &body).json();
    engine.wait_for("completed");
    let second = site.post("/api/v1/events", &body).json();
    assert_eq!(
        (second["event"].as_str(), second["duplicate"].as_bool()),
        (first["event"].as_str(), Some(true))
    );
    assert_eq!(
        site.json(["event", "list"])["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(
        site.json(["enforcement", "list", "--rule", "t.small"])["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(
        site.json(["execution", "list"])["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_rule_is_tested_without_doing_it() {
    let site = Site::new();
    orders(&site);
    let _engine = site.up();
    let file = site.path().join("order.yaml");
    fs::write(&file, "{ id: 8, amount: 120, country: fr }").expect("written");
    let file = file.display().to_string();
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("rule_test", site.ok(["rule", "test", "t.large", "--event", &file]));
    });
    let event = site.emit("t.order", &json!({"id": 7, "amount": 50, "country": "DE"}));
    let said = site.ok(["rule", "test", "t.large", "--event", &event]);
    assert!(
        said.contains("NO  trigger.amount greaterthan 100: the value is 50"),
        "{said}"
    );
    assert_eq!(site.json(["execution", "list"])["items"], json!([]));
}

#[test]
fn unknown_things_are_named_with_the_nearest_one() {
    let site = Site::new();
    orders(&site);
    let _engine = site.up();
    let refused = site.run(["event", "emit", "t.ordr", "{}"]);
    assert!(!refused.status.success());
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        error.contains("t.ordr") && error.contains("t.order"),
        "{error}"
    );
    let refused = site.run(["rule", "show", "t.larg"]);
    assert_eq!(refused.status.code(), Some(5), "{}", shown(&refused));
    let refused = site.run(["why", "exec_00000000000000000000000001"]);
    assert_eq!(refused.status.code(), Some(5), "{}", shown(&refused));
    let refused = site.run(["execution", "list", "--status", "don"]);
    assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused));
}

#[test]
fn a_disabled_rule_is_quiet_also_after_a_restart() {
    let site = Site::new();
    orders(&site);
    let engine = site.up();
    assert!(site.ok(["rule", "disable", "t.small"]).contains("false"));
    engine.stop();
    let mut engine = site.up();
    let event = site.emit("t.order", &json!({"id": 1, "amount": 1, "country": "DE"}));
    let why = site.ok(["why", &event]);
    assert!(
        why.contains("rule t.small does not match, and is disabled\n  the rule is not enabled"),
        "{why}"
    );
    assert_eq!(site.json(["execution", "list"])["items"], json!([]));
    site.ok(["rule", "reset", "t.small"]);
    site.emit("t.order", &json!({"id": 2, "amount": 1, "country": "DE"}));
    engine.wait_for("completed");
}
