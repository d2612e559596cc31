//! Executions: requested once, waited for, listed without gaps, shown without secrets.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::{JSON, items, problem, text};
use crate::harness::Site;

#[test]
fn a_key_makes_one_execution_also_when_many_ask_at_once() {
    let site = Site::new();
    site.shell_action("say", "echo said", "");
    let _engine = site.up();
    let ask = |key: &str| {
        site.http(
            "POST",
            "/api/v1/executions",
            &[JSON, ("Idempotency-Key", key)],
            br#"{"action": "t.say"}"#,
        )
    };
    let (first, second) = (ask("one"), ask("one"));
    assert_eq!(
        (first.status, second.status),
        (201, 200),
        "{} {}",
        first.text(),
        second.text()
    );
    assert_eq!(text(&first.json(), "id"), text(&second.json(), "id"));

    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| ask("many"))).collect();
        let answers = asking
            .into_iter()
            .map(|thread| thread.join().expect("an answer"));
        answers
            .map(|answer| (answer.status, text(&answer.json(), "id").to_owned()))
            .collect()
    });
    let ids: BTreeSet<&str> = answers.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert_eq!(
        answers.iter().filter(|(status, _)| *status == 201).count(),
        1,
        "{answers:?}"
    );
    assert!(
        answers
            .iter()
            .all(|(status, _)| [200, 201].contains(status)),
        "{answers:?}"
    );
    assert_eq!(items(&site.get("/api/v1/executions")).len(), 2);

    let long = "k".repeat(201);
    for key in ["", long.as_str(), "\u{e9}\u{e9}"] {
        assert_eq!(problem(&ask(key), 400), "invalid_request", "{key}");
    }
}

#[test]
fn each_of_a_batch_is_answered_for_itself() {
    let site = Site::new();
    site.shell_action(
        "say",
        "echo $PARAM_N",
        "parameter_delivery: env\nparameters: { n: { type: integer, required: true } }",
    );
    let _engine = site.up();
    let one = |n: Value, key: &str| json!({"action": "t.say", "parameters": {"n": n}, "idempotency_key": key});
    let body = json!({"executions": [one(json!(1), "a"), one(json!("no"), "b"), {"action": "t.sya"}, one(json!(1), "a"), {"action": "core.noop"}]});
    let answer = site.post("/api/v1/executions/batch", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let results = answer["results"].as_array().expect("a list");
    let codes: Vec<&Value> = results
        .iter()
        .map(|result| &result["problem"]["code"])
        .collect();
    assert_eq!(
        codes,
        [
            &Value::Null,
            &json!("invalid_parameters"),
            &json!("not_found"),
            &Value::Null,
            &Value::Null
        ],
        "{answer}"
    );
    assert_eq!(results[0]["execution"]["id"], results[3]["execution"]["id"]);
    assert!(
        text(&results[2]["problem"], "detail").contains("t.sya"),
        "{answer}"
    );
    for index in [0, 4] {
        assert_eq!(
            site.ended(text(&results[index]["execution"], "id"))["status"],
            "completed"
        );
    }
    let many: Vec<Value> = vec![json!({"action": "core.noop"}); 1_001];
    assert_eq!(
        problem(
            &site.post("/api/v1/executions/batch", &json!({"executions": many})),
            400
        ),
        "invalid_request"
    );
    let again = site.http(
        "POST",
        "/api/v1/executions/batch",
        &[JSON, ("Idempotency-Key", "whole")],
        br#"{"executions": [{"action": "core.noop"}]}"#,
    );
    let once_more = site.http(
        "POST",
        "/api/v1/executions/batch",
        &[JSON, ("Idempotency-Key", "whole")],
        br#"{"executions": [{"action": "core.noop"}]}"#,
    );
    assert_eq!(
        again.json()["results"][0]["execution"]["id"],
        once_more.json()["results"][0]["execution"]["id"],
        "a batch sent again is the same"
    );
    assert_eq!(items(&site.get("/api/v1/executions")).len(), 3);
}

#[test]
fn a_request_waits_as_long_as_it_says() {
    let site = Site::new();
    let gate = site.gate("gate");
    site.shell_action("hold", &format!("read line < {}", gate.display()), "");
    site.shell_action("say", "echo said", "");
    let _engine = site.up();
    let done = site.post("/api/v1/executions?wait=1000h", &json!({"action": "t.say"}));
    assert_eq!(
        (
            done.status,
            done.json()["status"].as_str(),
            done.json()["result"].as_str()
        ),
        (201, Some("completed"), Some("said"))
    );
    let held = site.post("/api/v1/executions?wait=20ms", &json!({"action": "t.hold"}));
    assert_eq!(held.status, 201, "{}", held.text());
    let id = text(&held.json(), "id").to_owned();
    assert_eq!(held.json()["ended_at"], Value::Null);
    let still = site.get(&format!("/api/v1/executions/{id}/wait?timeout=0s"));
    assert_eq!(still["ended_at"], Value::Null, "{still}");
    let ended = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.ended(&id));
        fs::write(&gate, "go\n").expect("written");
        waiting.join().expect("an answer")
    });
    assert_eq!(ended["status"], "completed");
    assert_eq!(
        problem(
            &site.post("/api/v1/executions?wait=soon", &json!({"action": "t.say"})),
            400
        ),
        "invalid_request"
    );
    assert_eq!(
        items(&site.get("/api/v1/executions")).len(),
        2,
        "what is refused is not requested"
    );
}

/// Every page of a list, of which each has `limit` rows but the last.
#[track_caller]
fn pages(site: &Site, path: &str, limit: usize, mut between: impl FnMut()) -> Vec<Value> {
    let (mut all, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    loop {
        let after = cursor
            .as_ref()
            .map(|cursor| format!("&cursor={cursor}"))
            .unwrap_or_default();
        let page = site.get(&format!("{path}limit={limit}{after}"));
        let rows = items(&page);
        assert!(
            rows.len() <= limit && !rows.is_empty(),
            "{path}: {} rows",
            rows.len()
        );
        all.extend(rows.iter().cloned());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return all;
        }
        assert_eq!(
            rows.len(),
            limit,
            "a page that is followed by another is full"
        );
        between();
    }
}

#[test]
fn pages_have_no_gaps_and_no_repeats_while_the_list_grows() {
    let site = Site::new();
    site.pack_file("t/triggers/go.yaml", "ref: t.go\n");
    site.shell_action("say", "echo said", "");
    site.pack_file(
        "t/rules/on_go.yaml",
        "ref: t.on_go\ntrigger: { ref: t.go }\naction: { ref: core.noop }\n",
    );
    let _engine = site.up();
    let events: Vec<Value> = (0..25)
        .map(|n| json!({"trigger": "t.go", "payload": {"n": n}}))
        .collect();
    let answer = site.post("/api/v1/events", &json!(events)).json();
    let results = answer["results"].as_array().expect("results");
    let list = |field: fn(&Value) -> &Value| -> Vec<String> {
        results
            .iter()
            .map(|result| field(result).as_str().expect("an id").to_owned())
            .rev()
            .collect()
    };
    let executions = list(|result| &result["executions"][0]);
    let events = list(|result| &result["event"]);
    let more = || {
        site.emit("t.go", &json!({}));
    };
    for limit in [7, 24, 25, 26] {
        let ids = |rows: Vec<Value>, field: &str| -> Vec<String> {
            rows.iter().map(|row| text(row, field).to_owned()).collect()
        };
        let seen = ids(
            pages(&site, "/api/v1/executions?action=core.noop&", limit, more),
            "id",
        );
        let newest = seen.len() - 25;
        assert_eq!(seen[newest..], executions, "limit {limit}");
        assert_eq!(
            seen.iter().collect::<BTreeSet<_>>().len(),
            seen.len(),
            "limit {limit}"
        );
        let seen = ids(pages(&site, "/api/v1/events?", limit, more), "id");
        assert_eq!(seen[seen.len() - 25..], events, "limit {limit}");
        let seen = ids(
            pages(&site, "/api/v1/enforcements?rule=t.on_go&", limit, more),
            "event",
        );
        assert_eq!(seen[seen.len() - 25..], events, "limit {limit}");
    }
    assert_eq!(
        site.get("/api/v1/executions?action=t.say"),
        json!({"items": [], "next_cursor": null})
    );
    for id in &executions {
        site.ended(id);
    }
    assert_eq!(
        items(&site.get("/api/v1/executions?status=failed,timed_out")).len(),
        0
    );
    assert_eq!(
        items(&site.get("/api/v1/executions?status=completed,failed&rule=t.on_go&limit=20")).len(),
        20
    );
    let one = site.get(&format!("/api/v1/enforcements?event={}", events[3]));
    assert_eq!(items(&one).len(), 1);
    assert_eq!(
        (
            one["items"][0]["outcome"].as_str(),
            one["items"][0]["execution"].as_str()
        ),
        (Some("requested"), Some(executions[3].as_str()))
    );
}

#[test]
fn secrets_are_in_no_answer() {
    const SECRET: &str = "5ecret-of-the-caller";
    const DEFAULT: &str = "5ecret-by-default";
    let site = Site::new();
    let gate = site.gate("gate");
    site.shell_action(
        "hold",
        &format!("read line < {}", gate.display()),
        &format!("parameters:\n  key: {{ type: string, secret: true, default: {DEFAULT} }}\n  open: {{ type: string }}\n"),
    );
    site.pack_file("t/triggers/go.yaml", "ref: t.go\n");
    site.pack_file("t/rules/on_go.yaml", &format!("ref: t.on_go\ntrigger: {{ ref: t.go }}\naction: {{ ref: t.hold, parameters: {{ key: {SECRET} }} }}\n"));
    let _engine = site.up();
    let body = json!({"action": "t.hold", "parameters": {"key": SECRET, "open": "shown"}});
    let requested = site.post("/api/v1/executions", &body);
    assert_eq!(
        requested.json()["parameters"],
        json!({"key": "[redacted]", "open": "shown"}),
        "{}",
        requested.text()
    );
    let id = text(&requested.json(), "id").to_owned();
    let by_default = site.post("/api/v1/executions", &json!({"action": "t.hold"}));
    let batch = site.post(
        "/api/v1/executions/batch",
        &json!({"executions": [body, {"action": "t.hold", "parameters": {"key": [SECRET]}}]}),
    );
    assert_eq!(
        batch.json()["results"][1]["problem"]["code"],
        "invalid_parameters",
        "{}",
        batch.text()
    );
    let trial = site.post(
        "/api/v1/rules/t.on_go/test",
        &json!({"event": {"payload": {}}}),
    );
    assert_eq!(
        trial.json()["parameters"]["key"],
        "[redacted]",
        "{}",
        trial.text()
    );
    let mut answers = vec![requested, by_default, batch, trial];
    for path in ["", "/attempts", "/events", "/why", "/wait?timeout=0s"] {
        answers.push(site.http("GET", &format!("/api/v1/executions/{id}{path}"), &[], b""));
    }
    for path in [
        "executions",
        "actions",
        "actions/t.hold",
        "rules",
        "rules/t.on_go",
        "packs",
        "packs/t",
        "sensors",
        "info",
        "check",
    ] {
        answers.push(site.http("GET", &format!("/api/v1/{path}"), &[], b""));
    }
    let folder = site.packs_dir().join("t");
    answers.push(site.post("/api/v1/packs/plan", &json!({"dir": folder})));
    answers.push(site.post(&format!("/api/v1/executions/{id}/cancel"), &json!({})));
    assert_eq!(site.ended(&id)["status"], "cancelled");
    let retried = site.http("POST", &format!("/api/v1/executions/{id}/retry"), &[], b"");
    assert_eq!(retried.status, 201, "{}", retried.text());
    answers.push(retried);
    for answer in &answers {
        assert!(answer.status < 300, "{}\n{}", answer.head, answer.text());
        assert!(
            !answer.text().contains(SECRET) && !answer.text().contains(DEFAULT),
            "{}\n{}",
            answer.head,
            answer.text()
        );
    }
}

#[test]
fn an_execution_is_cancelled_once_and_retried_when_it_has_ended() {
    let site = Site::new();
    let gate = site.gate("gate");
    site.shell_action(
        "hold",
        &format!("echo ready; read line < {}; exit 3", gate.display()),
        "",
    );
    let _engine = site.up();
    let post = |path: &str| site.http("POST", &format!("/api/v1/executions/{path}"), &[], b"");
    let id = site.request(["t.hold"]);
    site.wait_for_log(&id, "ready");
    assert_eq!(
        problem(&post(&format!("{id}/retry")), 409),
        "conflict",
        "it has not ended"
    );
    fs::write(&gate, "go\n").expect("written");
    let ended = site.ended(&id);
    assert_eq!(
        (text(&ended, "status"), &ended["exit_code"]),
        ("failed", &json!(3))
    );
    assert_eq!(
        problem(&post(&format!("{id}/cancel")), 409),
        "conflict",
        "what has ended stays as it is"
    );

    let again = post(&format!("{id}/retry"));
    assert_eq!(again.status, 201, "{}", again.text());
    let second = text(&again.json(), "id").to_owned();
    assert_ne!(second, id);
    site.wait_for_log(&second, "ready");
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let cancelling: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| post(&format!("{second}/cancel")).status))
            .collect();
        cancelling
            .into_iter()
            .map(|thread| thread.join().expect("an answer"))
            .collect()
    });
    assert_eq!(answers, [200; 5]);
    assert_eq!(site.ended(&second)["status"], "cancelled");
    let attempts = site.get(&format!("/api/v1/executions/{second}/attempts"));
    assert_eq!(
        (items(&attempts).len(), &attempts["items"][0]["status"]),
        (1, &json!("cancelled")),
        "{attempts}"
    );
    assert_eq!(
        site.get(&format!("/api/v1/executions/{id}")),
        ended,
        "the first one is history"
    );
    for path in ["cancel", "retry"] {
        assert_eq!(
            problem(
                &post(&format!("exec_00000000000000000000000001/{path}")),
                404
            ),
            "not_found"
        );
    }
}

#[test]
fn numbers_and_times_at_their_ends_are_taken_or_refused() {
    let site = Site::new();
    let _engine = site.up();
    let submit = |body: Value| site.post("/api/v1/executions?wait=60s", &body);
    let endless = submit(
        json!({"adhoc": {"path": "/bin/true", "working_dir": "/", "runtime": "local", "timeout_ms": u64::MAX}}),
    );
    assert_eq!(
        (endless.status, endless.json()["status"].as_str()),
        (201, Some("completed")),
        "{}",
        endless.text()
    );
    let hurried = submit(
        json!({"adhoc": {"path": "/bin/sleep", "args": ["1000"], "working_dir": "/", "runtime": "local", "timeout_ms": 0}}),
    );
    let outcome = (
        hurried.status,
        hurried.json()["status"].as_str().map(str::to_owned),
    );
    assert!(
        outcome == (201, Some("timed_out".to_owned())) || outcome.0 == 400,
        "{}",
        hurried.text()
    );
    for (priority, status) in [(-101, 400), (-100, 201), (100, 201), (101, 400)] {
        assert_eq!(
            submit(json!({"action": "core.noop", "priority": priority})).status,
            status,
            "{priority}"
        );
    }
    assert_eq!(
        submit(json!({"action": "core.noop", "not_before": "0001-01-01T00:00:00Z"})).json()["status"],
        "completed"
    );
    let far = site.post(
        "/api/v1/executions",
        &json!({"action": "core.noop", "not_before": "9999-12-30T00:00:00Z"}),
    );
    assert_eq!(
        (far.status, far.json()["status"].as_str()),
        (201, Some("requested")),
        "{}",
        far.text()
    );
    let cancelled = site.http(
        "POST",
        &format!("/api/v1/executions/{}/cancel", text(&far.json(), "id")),
        &[],
        b"",
    );
    assert_eq!(
        cancelled.json()["status"],
        "cancelled",
        "{}",
        cancelled.text()
    );
    assert_eq!(site.get("/readyz")["ready"], true);
}
