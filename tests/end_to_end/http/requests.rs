//! What is wrong with a request is said in one way, whatever is wrong.

use serde_json::{Value, json};

use super::{JSON, Live, header, operations, problem};
use crate::harness::Site;

#[test]
fn a_body_that_is_wrong_is_refused_with_the_place() {
    let site = Site::new();
    site.shell_action("say", "echo said", "");
    let _engine = site.up();
    let post = |path: &str, body: &str| site.http("POST", path, &[JSON], body.as_bytes());

    let answer = post(
        "/api/v1/executions",
        "{\"action\": \"t.say\",\n \"priority\": }",
    );
    assert_eq!(problem(&answer, 400), "invalid_request");
    assert_eq!(
        (
            &answer.json()["problems"][0]["line"],
            &answer.json()["problems"][0]["column"]
        ),
        (&json!(2), &json!(14))
    );

    let answer = post("/api/v1/executions", r#"{"action": "t.say", "prio": 1}"#);
    problem(&answer, 400);
    assert!(
        answer.text().contains("prio") && answer.text().contains("priority"),
        "{}",
        answer.text()
    );

    let answer = post(
        "/api/v1/executions/batch",
        r#"{"executions": [{"action": "t.say"}, {"action": "t.say", "priority": "high"}]}"#,
    );
    problem(&answer, 400);
    assert_eq!(
        answer.json()["problems"][0]["path"],
        "executions[1].priority"
    );

    for body in [
        "",
        "[]",
        "null",
        "{} {}",
        "{\"action\": \"t.say\"",
        "\u{0}",
        "{\"action\": \"t.say\", \"parameters\": []}",
        "{\"action\": \"\\ud800\"}",
    ] {
        assert_eq!(
            problem(&post("/api/v1/executions", body), 400),
            "invalid_request",
            "{body}"
        );
    }
    let answer = site.http(
        "POST",
        "/api/v1/executions",
        &[JSON],
        b"{\"action\": \"\xff\"}",
    );
    assert_eq!(problem(&answer, 400), "invalid_request");
    let answer = site.http(
        "POST",
        "/api/v1/executions",
        &[("Content-Type", "text/plain")],
        br#"{"action": "t.say"}"#,
    );
    assert_eq!(problem(&answer, 400), "invalid_request");
    let nested = format!(
        "{{\"action\": \"t.say\", \"parameters\": {{\"p\": {}{}}}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    assert_eq!(
        problem(&post("/api/v1/executions", &nested), 400),
        "invalid_request"
    );
    assert_eq!(
        site.get("/api/v1/executions")["items"],
        json!([]),
        "nothing was requested"
    );
}

#[test]
fn what_is_not_there_is_said_by_name() {
    let site = Site::new();
    let _engine = site.up();
    for (path, name) in [
        ("/api/v1/nothing", "/api/v1/nothing"),
        ("/", "'/'"),
        ("/api/v1/executions/", "/api/v1/executions/"),
        (
            "/api/v1/executions/exec_00000000000000000000000001",
            "exec_00000000000000000000000001",
        ),
        (
            "/api/v1/executions/exec_00000000000000000000000001/wait",
            "exec_00000000000000000000000001",
        ),
        (
            "/api/v1/executions/exec_00000000000000000000000001/events/stream",
            "exec_00000000000000000000000001",
        ),
        (
            "/api/v1/executions/exec_00000000000000000000000001/logs/stdout",
            "exec_00000000000000000000000001",
        ),
        (
            "/api/v1/events/evt_00000000000000000000000001",
            "evt_00000000000000000000000001",
        ),
        ("/api/v1/actions/t.absent", "t.absent"),
        ("/api/v1/rules/t.absent", "t.absent"),
        ("/api/v1/packs/absent", "absent"),
        ("/api/v1/hooks/absent", "absent"),
    ] {
        let answer = site.http("GET", path, &[], b"");
        assert_eq!(problem(&answer, 404), "not_found", "{path}");
        assert!(
            answer.json()["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains(name)),
            "{path}: {}",
            answer.text()
        );
    }
    for path in [
        "/api/v1/executions/nonsense",
        "/api/v1/executions/evt_00000000000000000000000001",
        "/api/v1/actions/nonsense",
    ] {
        assert_eq!(
            problem(&site.http("GET", path, &[], b""), 400),
            "invalid_request",
            "{path}"
        );
    }
}

#[test]
fn a_path_that_is_no_text_is_refused_as_everything_else() {
    let site = Site::new();
    let _engine = site.up();
    for operation in operations(&site)
        .iter()
        .filter(|operation| operation.path.contains('{'))
    {
        let path = operation
            .path
            .replace("{id}", "%FF")
            .replace("{ref}", "%FF")
            .replace("{path}", "%FF")
            .replace("{scope}", "%FF")
            .replace("{type}", "pause");
        let answer = site.http(&operation.method, &path, &[JSON], b"{}");
        assert_eq!(
            problem(&answer, 400),
            "invalid_request",
            "{} {path}",
            operation.method
        );
    }
}

#[test]
fn query_parameters_that_are_unknown_or_wrong_are_refused() {
    let site = Site::new();
    site.shell_action("say", "echo said", "");
    let _engine = site.up();
    let id = site.request(["t.say"]);
    site.ended(&id);
    for operation in operations(&site)
        .iter()
        .filter(|operation| !operation.path.contains("/hooks/"))
    {
        let path = format!("{}?surprise=1", operation.at(&id));
        let answer = site.http(&operation.method, &path, &[JSON], b"{}");
        assert_eq!(problem(&answer, 400), "invalid_request", "{}", operation.id);
        assert!(answer.text().contains("surprise"), "{}", answer.text());
    }
    for query in [
        "executions?limit=0",
        "executions?limit=1001",
        "executions?limit=-1",
        "executions?limit=1&limit=2",
        "executions?limit=many",
        "executions?cursor=nonsense",
        "executions?cursor=evt_00000000000000000000000001",
        "executions?status=done",
        "executions?action=say",
        "events?trigger=go",
        "events?cursor=1",
        "enforcements?event=1",
        "enforcements?rule=x",
        "enforcements?cursor=1",
        "events/stream?after=x",
    ] {
        assert_eq!(
            problem(
                &site.http("GET", &format!("/api/v1/{query}"), &[], b""),
                400
            ),
            "invalid_request",
            "{query}"
        );
    }
    for query in [
        "wait?timeout=soon",
        "wait?timeout=-1s",
        "logs/stdout?offset=-1",
        "logs/stdout?limit=0",
        "logs/stdout?limit=99999999",
        "logs/stdout?wait=x",
        "events?after=x",
    ] {
        let answer = site.http("GET", &format!("/api/v1/executions/{id}/{query}"), &[], b"");
        assert_eq!(problem(&answer, 400), "invalid_request", "{query}");
    }
    for query in [
        "logs/stdout?attempt=2",
        "logs/stdout?attempt=0",
        "logs/stdin",
    ] {
        assert_eq!(
            problem(
                &site.http("GET", &format!("/api/v1/executions/{id}/{query}"), &[], b""),
                404
            ),
            "not_found",
            "{query}"
        );
    }
    let far = site.http(
        "GET",
        &format!("/api/v1/executions/{id}/logs/stdout?offset={}", u64::MAX),
        &[],
        b"",
    );
    assert_eq!(
        (far.status, far.body.len()),
        (200, 0),
        "past the end there is nothing"
    );
}

#[test]
fn a_method_that_is_not_taken_is_refused_with_those_that_are() {
    let site = Site::new();
    let _engine = site.up();
    let operations = operations(&site);
    for operation in operations
        .iter()
        .filter(|operation| !operation.path.contains("/hooks/"))
    {
        let taken: Vec<&str> = operations
            .iter()
            .filter(|other| other.path == operation.path)
            .map(|other| other.method.as_str())
            .collect();
        let others = ["PATCH", "PUT", "OPTIONS", "BREW"];
        for method in others.iter().filter(|method| !taken.contains(method)) {
            let answer = site.http(
                method,
                &operation.at("exec_00000000000000000000000001"),
                &[],
                b"",
            );
            assert_eq!(
                problem(&answer, 405),
                "method_not_allowed",
                "{method} {}",
                operation.path
            );
            let allow = header(&answer, "allow").unwrap_or_default();
            let allowed: Vec<&str> = allow.split(',').map(str::trim).collect();
            assert!(
                allowed.contains(&operation.method.as_str()),
                "{}: {allow}",
                operation.path
            );
        }
    }
}

#[test]
fn a_body_above_the_limit_is_refused_declared_or_not() {
    let site = Site::new();
    site.shell_action("say", "echo said", "");
    let _engine = site.up_with(&[], &[("CAMSHAFT__API__MAX_BODY_BYTES", "1000")]);
    let body = json!({"action": "t.say", "parameters": {"p": "x".repeat(2_000)}}).to_string();
    let head = |more: &str| {
        let token = site.api().1;
        format!(
            "POST /api/v1/executions HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{more}\r\n"
        )
    };
    let declared = Live::send(
        &site,
        &head(&format!("Content-Length: {}\r\n", body.len())),
        body.as_bytes(),
    )
    .answer();
    assert_eq!(problem(&declared, 413), "too_large");
    let claimed = Live::send(
        &site,
        &head("Content-Length: 10000000000\r\n"),
        body.as_bytes(),
    );
    assert_eq!(
        problem(&claimed.answer(), 413),
        "too_large",
        "it is not waited for"
    );
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let undeclared = Live::send(
        &site,
        &head("Transfer-Encoding: chunked\r\n"),
        chunk.as_bytes(),
    )
    .answer();
    assert_eq!(problem(&undeclared, 413), "too_large");
    assert!(undeclared.text().contains("1000"), "{}", undeclared.text());
    assert_eq!(
        site.get("/api/v1/executions")["items"],
        Value::Array(Vec::new())
    );
}
