//! Webhooks: taken from whoever signs as the rule demands, and from nobody else.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{JSON, Live, header, items, problem, text};
use crate::harness::{Answer, Site};

const SECRET: &str = "key of the hook";

fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length will do");
    mac.update(body);
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256={digest}")
}

fn hook(site: &Site, name: &str, parameters: &str) {
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    let trigger =
        format!("trigger: {{ ref: core.webhook, parameters: {{ path: {name}, {parameters} }} }}");
    site.pack_file(
        &format!("t/rules/{name}.yaml"),
        &format!("ref: t.{name}\n{trigger}\naction: {{ ref: core.noop }}\n"),
    );
}

/// Requests without the engine's token: a stranger has none.
fn send(site: &Site, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head = format!(
        "{method} /api/v1/hooks/{path} HTTP/1.1\r\nHost: engine\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    Live::send(site, &head, body).answer()
}

fn recorded(site: &Site) -> Vec<Value> {
    items(&site.get("/api/v1/events?trigger=core.webhook")).clone()
}

#[test]
fn a_signature_must_be_there_and_right() {
    let site = Site::new();
    hook(&site, "signed", &format!("secret: {SECRET}"));
    let _engine = site.up();
    let body = br#"{"n": 1}"#;
    let good = signature(body);
    let flipped = if good.ends_with('0') {
        format!("{}1", &good[..good.len() - 1])
    } else {
        format!("{}0", &good[..good.len() - 1])
    };
    let bare = good.trim_start_matches("sha256=").to_owned();
    let other = signature(b"{}");
    for wrong in [
        flipped.as_str(),
        bare.as_str(),
        other.as_str(),
        "sha256=",
        "",
        "sha256=\u{fc}",
        "sha1=00",
    ] {
        let answer = send(
            &site,
            "POST",
            "signed",
            &[JSON, ("X-Hub-Signature-256", wrong)],
            body,
        );
        assert_eq!(problem(&answer, 401), "unauthorized", "{wrong}");
        assert!(!answer.text().contains(SECRET));
    }
    assert_eq!(
        problem(&send(&site, "POST", "signed", &[JSON], body), 401),
        "unauthorized"
    );
    let (_, token) = site.api();
    let operator = send(
        &site,
        "POST",
        "signed",
        &[JSON, ("Authorization", &format!("Bearer {token}"))],
        body,
    );
    assert_eq!(
        problem(&operator, 401),
        "unauthorized",
        "a token is no signature"
    );
    assert_eq!(recorded(&site), Vec::<Value>::new());
    for name in ["X-Hub-Signature-256", "x-camshaft-signature"] {
        let answer = send(
            &site,
            "POST",
            "signed?a=1&a=2&b=%20",
            &[JSON, (name, &good), ("Cookie", "c"), ("X-Kind", "push")],
            body,
        );
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(
            answer.json()["executions"].as_array().map(Vec::len),
            Some(1),
            "{}",
            answer.text()
        );
    }
    let events = recorded(&site);
    assert_eq!(events.len(), 2, "without a delivery's id each is another");
    let payload = &events[0]["payload"];
    assert_eq!(
        (&payload["method"], &payload["path"], &payload["body"]),
        (&json!("POST"), &json!("/signed"), &json!({"n": 1}))
    );
    assert_eq!(payload["query"], json!({"a": ["1", "2"], "b": " "}));
    assert_eq!(
        (&payload["headers"]["x-kind"], &payload["headers"]["cookie"]),
        (&json!("push"), &Value::Null)
    );
    let shown = json!(events).to_string();
    assert!(!shown.contains(SECRET) && !shown.contains(&good), "{shown}");
}

#[test]
fn what_a_hook_does_not_take_is_refused() {
    let site = Site::new();
    hook(&site, "small", "methods: [PUT, POST], max_bytes: 10");
    hook(&site, "free", "max_bytes: 100000");
    let _engine = site.up();
    for method in ["GET", "DELETE", "BREW"] {
        let answer = send(&site, method, "small", &[], b"");
        assert_eq!(problem(&answer, 405), "method_not_allowed", "{method}");
        assert_eq!(header(&answer, "allow").as_deref(), Some("POST, PUT"));
    }
    assert_eq!(
        problem(&send(&site, "POST", "small", &[], b"12345678901"), 413),
        "too_large"
    );
    let chunked =
        "POST /api/v1/hooks/small HTTP/1.1\r\nHost: engine\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        problem(
            &Live::send(&site, chunked, b"b\r\n12345678901\r\n0\r\n\r\n").answer(),
            413
        ),
        "too_large"
    );
    assert_eq!(send(&site, "PUT", "small", &[], b"1234567890").status, 202);
    assert_eq!(
        send(&site, "POST", "/small/", &[], b"").status,
        202,
        "slashes at the ends do not matter"
    );
    for wrong in ["{", "{} {}", "\u{1}"] {
        assert_eq!(
            problem(&send(&site, "POST", "free", &[JSON], wrong.as_bytes()), 400),
            "invalid_request",
            "{wrong}"
        );
    }
    assert_eq!(
        problem(&send(&site, "POST", "other", &[], b""), 404),
        "not_found"
    );
    assert_eq!(recorded(&site).len(), 2);
    assert_eq!(
        send(
            &site,
            "POST",
            "free",
            &[("Content-Type", "text/plain")],
            b"{"
        )
        .status,
        202
    );
    assert_eq!(send(&site, "POST", "free", &[], b"\xff").status, 202);
    let events = recorded(&site);
    assert_eq!(
        (&events[1]["payload"]["body"], &events[0]["payload"]["body"]),
        (&json!("{"), &json!("/w=="))
    );
    assert_eq!(events[0]["payload"]["body_encoding"], "base64");

    site.ok(["rule", "disable", "t.free"]);
    assert_eq!(
        problem(&send(&site, "POST", "free", &[], b""), 404),
        "not_found",
        "a hook is there while a rule wants it"
    );
}

#[test]
fn a_delivery_that_is_sent_again_is_known() {
    let site = Site::new();
    hook(&site, "push", "method: POST");
    let _engine = site.up();
    let delivery = ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958");
    let first = send(&site, "POST", "push", &[JSON, delivery], b"{}").json();
    let again = send(&site, "POST", "push", &[JSON, delivery], b"{}").json();
    assert_eq!(
        (&again["event"], &again["duplicate"]),
        (&json!(text(&first, "event")), &json!(true)),
        "{again}"
    );
    assert_eq!(recorded(&site).len(), 1);
}

#[test]
fn a_body_is_recorded_as_it_came_however_deep_it_is() {
    let site = Site::new();
    hook(&site, "deep", "method: POST");
    let _engine = site.up();
    for levels in 95..135 {
        let body = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let answer = send(&site, "POST", "deep", &[JSON], body.as_bytes());
        if answer.status != 202 {
            assert!(levels > 100, "{levels}: {}", answer.text());
            assert_eq!(problem(&answer, 400), "invalid_request");
            continue;
        }
        let event = site.get(&format!("/api/v1/events/{}", text(&answer.json(), "event")));
        assert_eq!(
            event["payload"]["body"].to_string(),
            body,
            "{levels} levels"
        );
    }
}
