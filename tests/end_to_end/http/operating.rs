//! What an operator does and sees: health, metrics, rules, packs.

use serde_json::{Value, json};

use super::{header, items, problem, text};
use crate::harness::Site;

#[test]
fn the_engine_says_how_it_is() {
    let site = Site::new();
    site.shell_action("say", "echo said", "");
    site.pack_file("t/rules/hook.yaml", "ref: t.hook\ntrigger: { ref: core.webhook, parameters: { path: x } }\naction: { ref: t.say }\n");
    let engine = site.up();
    assert_eq!(site.get("/healthz"), json!({"status": "ok"}));
    let ready = site.get("/readyz");
    assert_eq!(ready["ready"], true, "{ready}");
    let names: Vec<&str> = ready["components"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|part| text(part, "component"))
        .collect();
    assert!(
        names.contains(&"writer") && names.contains(&"worker"),
        "{names:?}"
    );
    let sensors = site.get("/api/v1/sensors");
    assert_eq!(
        (items(&sensors).len(), text(&sensors["items"][0], "trigger")),
        (1, "core.webhook"),
        "{sensors}"
    );
    assert_eq!(sensors["items"][0]["problem"], Value::Null);
    let id = site.request(["t.say"]);
    site.ended(&id);
    let metrics = site.http("GET", "/metrics", &[], b"");
    assert_eq!(
        header(&metrics, "content-type").as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for line in metrics.text().lines().filter(|line| !line.starts_with('#')) {
        let value = line
            .rsplit_once(' ')
            .and_then(|(_, value)| value.parse::<f64>().ok());
        assert!(value.is_some(), "not a sample: {line}");
    }
    let info = site.get("/api/v1/info");
    assert_eq!(
        (info["pid"].as_i64(), text(&info, "data_dir")),
        (
            Some(i64::from(engine.pid())),
            site.data_dir().to_str().expect("UTF-8")
        )
    );
    assert!(
        info["worker"]["runtimes"]
            .as_array()
            .is_some_and(|runtimes| runtimes.contains(&json!("shell"))),
        "{info}"
    );
    assert_eq!(site.get("/api/v1/check"), json!({"violations": []}));
    let head = site.http("HEAD", "/api/v1/info", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn a_rule_is_turned_off_and_on_and_back() {
    let site = Site::new();
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    site.pack_file("t/triggers/go.yaml", "ref: t.go\n");
    site.pack_file("t/rules/on_go.yaml", "ref: t.on_go\ntrigger: { ref: t.go }\ncriteria: { trigger.n: { type: gt, pattern: 1 } }\naction: { ref: core.noop }\n");
    let _engine = site.up();
    let switch = |what: &str| {
        let answer = site.http("POST", &format!("/api/v1/rules/t.on_go/{what}"), &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["enabled"].as_bool().expect("a truth")
    };
    let fired = || {
        let event = site.emit("t.go", &json!({"n": 2}));
        items(&site.get(&format!("/api/v1/enforcements?event={event}"))).len()
    };
    assert_eq!((fired(), switch("disable"), fired()), (1, false, 0));
    assert_eq!(items(&site.get("/api/v1/rules"))[0]["enabled"], false);
    assert_eq!(
        site.get("/api/v1/rules/t.on_go")["enabled_by_definition"],
        true
    );
    assert_eq!(
        (
            switch("enable"),
            fired(),
            switch("disable"),
            switch("reset"),
            fired()
        ),
        (true, 1, false, true, 1)
    );
    for what in ["enable", "disable", "reset"] {
        let answer = site.http("POST", &format!("/api/v1/rules/t.absent/{what}"), &[], b"");
        assert_eq!(problem(&answer, 404), "not_found");
    }
    let trial = site
        .post(
            "/api/v1/rules/t.on_go/test",
            &json!({"event": {"payload": {"n": 1}}}),
        )
        .json();
    assert_eq!(
        (&trial["matched"], &trial["criteria"][0]["holds"]),
        (&json!(false), &json!(false)),
        "{trial}"
    );
    for body in [
        json!({}),
        json!({"event_id": "evt_00000000000000000000000001", "event": {"payload": 1}}),
    ] {
        assert_eq!(
            problem(&site.post("/api/v1/rules/t.on_go/test", &body), 400),
            "invalid_request"
        );
    }
    let absent = site.post(
        "/api/v1/rules/t.on_go/test",
        &json!({"event_id": "evt_00000000000000000000000001"}),
    );
    assert_eq!(problem(&absent, 404), "not_found");
    let list = site.get("/api/v1/triggers");
    assert!(
        items(&list).iter().any(|trigger| trigger["ref"] == "t.go"),
        "{list}"
    );
}

#[test]
fn a_pack_is_planned_applied_and_removed() {
    let site = Site::new();
    let _engine = site.up();
    site.shell_action("say", "echo said", "");
    let body = json!({"dir": site.packs_dir().join("t")});
    let plan = site.post("/api/v1/packs/plan", &body).json();
    assert_eq!(
        (&plan["pack"], &plan["to"]["version"], &plan["problems"]),
        (&json!("t"), &json!("1.0.0"), &json!([])),
        "{plan}"
    );
    assert_eq!(
        problem(&site.http("GET", "/api/v1/packs/t", &[], b""), 404),
        "not_found",
        "a plan changes nothing"
    );
    let mut checked = body.clone();
    checked["check_version"] = json!("0.9.0");
    assert_eq!(
        problem(&site.post("/api/v1/packs/apply", &checked), 409),
        "conflict"
    );
    checked["check_version"] = json!("none");
    let applied = site.post("/api/v1/packs/apply", &checked);
    assert_eq!(
        (applied.status, applied.json()["applied"].as_bool()),
        (200, Some(true)),
        "{}",
        applied.text()
    );
    assert_eq!(
        applied.json()["plan"]["to"],
        plan["to"],
        "{}",
        applied.text()
    );
    let pack = site.get("/api/v1/packs/t");
    assert_eq!(
        (&pack["version"], &pack["counts"]["actions"]),
        (&json!("1.0.0"), &json!(1)),
        "{pack}"
    );
    assert_eq!(site.get("/api/v1/actions/t.say")["runtime"], "shell");
    assert_eq!(
        site.post("/api/v1/executions?wait=60s", &json!({"action": "t.say"}))
            .json()["result"],
        "said"
    );

    site.shell_action("say", "echo said", "tiemout: 3s");
    let refused = site.post("/api/v1/packs/apply", &body);
    assert_eq!(problem(&refused, 422), "invalid_definition");
    let mistakes = refused.json();
    let mistake = &mistakes["problems"][0];
    assert!(
        text(mistake, "message").contains("tiemout")
            && mistake["line"].is_u64()
            && text(mistake, "file").ends_with("say.yaml"),
        "{mistakes}"
    );
    assert!(
        text(&mistakes, "detail").starts_with("1 mistake;"),
        "{mistakes}"
    );
    let planned = site.post("/api/v1/packs/plan", &body);
    assert_eq!(
        (
            planned.status,
            planned.json()["problems"].as_array().map(Vec::len)
        ),
        (200, Some(1)),
        "{}",
        planned.text()
    );

    for dir in ["t", "", "/nowhere/at/all", "/", "/proc/self"] {
        let answer = site.post("/api/v1/packs/apply", &json!({"dir": dir}));
        assert!(
            [400, 404, 422].contains(&answer.status),
            "{dir}: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert_eq!(
        problem(&site.http("DELETE", "/api/v1/packs/core", &[], b""), 409),
        "conflict"
    );
    assert_eq!(site.http("DELETE", "/api/v1/packs/t", &[], b"").status, 204);
    assert_eq!(
        problem(&site.http("DELETE", "/api/v1/packs/t", &[], b""), 404),
        "not_found"
    );
    assert_eq!(
        problem(
            &site.post("/api/v1/executions", &json!({"action": "t.say"})),
            404
        ),
        "not_found"
    );
    let names: Vec<Value> = items(&site.get("/api/v1/packs"))
        .iter()
        .map(|pack| pack["pack"].clone())
        .collect();
    assert_eq!(names, [json!("core")]);
}
