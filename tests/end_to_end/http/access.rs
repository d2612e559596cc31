//! Who may call what: nobody without a token, the operator everything, an attempt its own things and
//! only while it lives.

use std::fs;

use serde_json::json;

use super::{JSON, Live, header, operations, problem, text, with_token};
use crate::harness::Site;

/// What an attempt may do with its own token.
const OF_AN_ATTEMPT: [&str; 6] = [
    "post_events",
    "show_execution",
    "list_attempts",
    "list_step_events",
    "stream_step_events",
    "read_log",
];

#[test]
fn nothing_but_health_and_hooks_is_answered_without_the_token() {
    let site = Site::new();
    site.shell_action("say", "echo said", "");
    let _engine = site.up();
    let id = site.request(["t.say"]);
    site.ended(&id);
    let open: Vec<String> = operations(&site)
        .iter()
        .filter(|operation| operation.open)
        .map(|o| o.path.clone())
        .collect();
    assert!(
        open.iter().all(
            |path| ["/healthz", "/readyz", "/metrics", "/api/v1/hooks/{path}"]
                .contains(&path.as_str())
        ),
        "{open:?}"
    );
    for operation in operations(&site) {
        let line = format!(
            "{} {} HTTP/1.0\r\nHost: engine\r\n",
            operation.method,
            operation.at(&id)
        );
        for credentials in [
            "",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer cam_wrong\r\n",
            "Authorization: Basic Y2FtOnNoYWZ0\r\n",
        ] {
            let live = Live::send(&site, &format!("{line}{credentials}\r\n"), b"");
            if operation.open {
                let expected = if operation.path.starts_with("/api") {
                    404
                } else {
                    200
                };
                assert_eq!(live.status, expected, "{line}{}", live.head);
            } else {
                let answer = live.answer();
                assert_eq!(problem(&answer, 401), "unauthorized", "{line}");
                assert_eq!(
                    header(&answer, "www-authenticate").as_deref(),
                    Some("Bearer"),
                    "{line}"
                );
            }
        }
    }
    assert_eq!(
        site.get(&format!("/api/v1/executions/{id}"))["status"],
        "completed",
        "nobody deleted or cancelled anything"
    );
}

#[test]
fn an_attempt_may_do_little_and_only_while_it_lives() {
    let site = Site::new();
    let (proof, gate) = (site.path().join("proof"), site.gate("gate"));
    let script = format!(
        "printf '%s' \"$CAMSHAFT_TOKEN\" > {}; echo ready; read line < {}",
        proof.display(),
        gate.display()
    );
    site.shell_action("hold", &script, "");
    site.shell_action("say", "echo said", "");
    site.pack_file("t/triggers/go.yaml", "ref: t.go\n");
    let _engine = site.up();
    let other = site.request(["t.say"]);
    site.ended(&other);
    let id = site.request(["t.hold"]);
    site.wait_for_log(&id, "ready");
    let token = fs::read_to_string(&proof).expect("the process has a token");
    assert_ne!(token, site.api().1, "the operator's token is nobody else's");

    for operation in operations(&site).iter().filter(|operation| !operation.open) {
        let status = |execution: &str| {
            let head = with_token(&operation.method, &operation.at(execution), &token, &[]);
            let live = Live::send(&site, &head, b"");
            if live.status == 403 {
                assert_eq!(problem(&live.answer(), 403), "forbidden");
                return 403;
            }
            live.status
        };
        let own = status(&id);
        if OF_AN_ATTEMPT.contains(&operation.id.as_str()) {
            // An event without a body is refused for that, and not for its sender.
            assert_eq!(
                own,
                if operation.takes_body { 400 } else { 200 },
                "{}",
                operation.id
            );
        } else {
            assert_eq!(own, 403, "{}", operation.id);
        }
        if operation.path.contains("{id}") {
            assert_eq!(status(&other), 403, "{} of another execution", operation.id);
            assert_eq!(status("nonsense"), 403, "{} of nothing", operation.id);
        }
    }

    let bearer = format!("Bearer {token}");
    let as_attempt = [JSON, ("Authorization", bearer.as_str())];
    let body = json!({"trigger": "t.go", "payload": {"n": 1}}).to_string();
    let answer = site.http("POST", "/api/v1/events", &as_attempt, body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    let event = site.get(&format!("/api/v1/events/{}", text(&answer.json(), "event")));
    assert_eq!(
        event["source"],
        json!({"kind": "api", "name": id}),
        "who sent it is known: {event}"
    );

    fs::write(&gate, "go\n").expect("written");
    assert_eq!(site.ended(&id)["status"], "completed");
    let late = site.http("POST", "/api/v1/events", &as_attempt, body.as_bytes());
    assert_eq!(problem(&late, 401), "unauthorized");
    let late = site.http(
        "GET",
        &format!("/api/v1/executions/{id}"),
        &as_attempt[1..],
        b"",
    );
    assert_eq!(problem(&late, 401), "unauthorized");
}
