//! Nothing that a stranger sends breaks the engine. The seed is printed and can be given again in
//! `TEST_SEED`.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::{Live, Operation, operations, problem, with_token};
use crate::harness::Site;

const REQUESTS: usize = 2_000;

struct Fuzz<'a> {
    chance: StdRng,
    site: &'a Site,
    token: String,
    names: Vec<String>,
}

impl Fuzz<'_> {
    fn one_of(&mut self, choices: &[&str]) -> String {
        (*choices.choose(&mut self.chance).expect("a choice")).to_owned()
    }

    fn text(&mut self) -> String {
        let odd = [
            "",
            "%00",
            "%FF",
            "..",
            "%2e%2e%2f",
            "\u{130}",
            "null",
            "-1",
            "9223372036854775808",
            "t.say",
            "t.go",
            "core.noop",
            "{{ 1 }}",
            "a b",
            "'",
            "\u{0}",
            "*",
        ];
        match self.chance.random_range(0..4) {
            0 => "x".repeat(self.chance.random_range(0..400)),
            1 => (0..8).map(|_| self.chance.random::<char>()).collect(),
            _ => self.one_of(&odd),
        }
    }

    /// Something for the place of a name or an id.
    fn name(&mut self) -> String {
        if self.chance.random_bool(0.6) {
            self.names.choose(&mut self.chance).expect("a name").clone()
        } else {
            self.text()
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.chance.random_range(0..if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.chance.random::<bool>()),
            2 => json!(self.chance.random::<i64>()),
            3 => json!(self.chance.random::<f64>() * 1e300),
            4 => json!(u64::MAX),
            5 => json!(self.name()),
            6 => (0..3).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let key = self.name();
                json!({key: self.value(depth - 1)})
            }
        }
    }

    /// A body that is nearly right, so that it comes far.
    fn body(&mut self, operation: &Operation) -> Vec<u8> {
        let known = match operation.id.as_str() {
            "submit_execution" => vec![
                json!({"action": "t.say", "parameters": {"p": "x"}, "priority": 1, "not_before": "2000-01-01T00:00:00Z", "idempotency_key": "k"}),
                json!({"adhoc": {"path": "/bin/true", "args": ["a"], "working_dir": "/", "runtime": "local", "timeout_ms": 1_000}}),
            ],
            "submit_executions" => {
                vec![json!({"executions": [{"action": "t.say"}, {"action": "core.noop"}]})]
            }
            "plan_pack" | "apply_pack" => vec![json!({"dir": "/nowhere", "check_version": "none"})],
            "set_constraint" => vec![
                json!({"ttl": "5m", "reason": "r", "owner": "o", "id": "i"}),
                json!({"params": {"limit": 1}, "expires_at": 4_000_000_000.5_f64}),
                json!({"params": {"rate": "10/m", "burst": 2}, "ttl": 0.5}),
            ],
            "preview_constraint" => {
                vec![json!({"scope": "global", "type": "concurrency", "params": {"limit": 0}})]
            }
            "test_rule" => vec![json!({"event": {"payload": {"n": 1}, "trigger": "t.go"}})],
            _ => vec![
                json!({"trigger": "t.go", "payload": {"n": 1}, "dedup_key": "k", "occurred_at": "2026-01-01T00:00:00Z"}),
                json!([{"trigger": "t.go", "payload": 1}]),
                json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t.go", "time": "2026-01-01T00:00:00Z", "data_base64": "AAA="}),
            ],
        };
        let mut body = known.choose(&mut self.chance).expect("one").clone();
        if self.chance.random_bool(0.7) {
            self.spoil(&mut body);
        }
        let mut bytes = body.to_string().into_bytes();
        if self.chance.random_bool(0.2) {
            let at = self.chance.random_range(0..bytes.len());
            match self.chance.random_range(0..3) {
                0 => bytes.truncate(at),
                1 => bytes[at] = self.chance.random(),
                _ => bytes.insert(at, self.chance.random()),
            }
        }
        bytes
    }

    /// Puts something else in the place of one of the values.
    fn spoil(&mut self, value: &mut Value) {
        let count = value.as_object().map_or_else(
            || value.as_array().map_or(0, Vec::len),
            serde_json::Map::len,
        );
        if count == 0 || self.chance.random_bool(0.2) {
            *value = self.value(4);
            return;
        }
        let at = self.chance.random_range(0..count);
        let place = match value {
            Value::Object(fields) => fields.values_mut().nth(at),
            Value::Array(list) => list.get_mut(at),
            _ => None,
        };
        if let Some(place) = place {
            self.spoil(place);
        }
    }

    /// One request to an operation: its method, path and query, and its headers.
    fn request(&mut self, operation: &Operation) -> (String, String, Vec<(String, String)>) {
        let mut path = operation.path.clone();
        // No constraint that is taken may hold the work of this test.
        let scopes = [
            "task:nobody",
            "pod:%2F*",
            "runtime:[x",
            "global:x",
            "nothing",
        ];
        let types = ["pause", "concurrency", "rate_limit", "paus"];
        for variable in ["{id}", "{ref}", "{stream}", "{path}", "{scope}", "{type}"] {
            if path.contains(variable) {
                let name = match variable {
                    "{stream}" => self.one_of(&["stdout", "stderr", "%FF"]),
                    "{scope}" => self.one_of(&scopes),
                    "{type}" => self.one_of(&types),
                    _ => self.name(),
                };
                path = path.replace(variable, &encoded(&name));
            }
        }
        let mut query = Vec::new();
        for name in &operation.query {
            if self.chance.random_bool(0.3) {
                // Nothing that is understood makes a request wait for long.
                let value = if ["wait", "timeout"].contains(&name.as_str()) {
                    self.one_of(&["0s", "1ms", "-1s", "x", ""])
                } else {
                    self.name()
                };
                query.push(format!("{name}={}", encoded(&value)));
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let mut headers = Vec::new();
        let content_types = [
            "application/json",
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
            "text/plain",
            ";;",
            "application/json; charset=\u{fc}",
        ];
        headers.push(("Content-Type".to_owned(), self.one_of(&content_types)));
        for name in [
            "Idempotency-Key",
            "Last-Event-ID",
            "traceparent",
            "ce-specversion",
            "ce-id",
            "X-Hub-Signature-256",
        ] {
            if self.chance.random_bool(0.15) {
                let value = self.name();
                headers.push((name.to_owned(), value.replace(|c: char| c.is_control(), "")));
            }
        }
        let methods = ["GET", "POST", "PUT", "DELETE", "HEAD"];
        let method = if self.chance.random_bool(0.9) {
            operation.method.clone()
        } else {
            self.one_of(&methods)
        };
        (method, path, headers)
    }

    /// Sends one request and returns the status of the answer.
    fn send(&mut self, operation: &Operation) -> u16 {
        let (method, path, headers) = self.request(operation);
        let body = self.body(operation);
        let length = body.len().to_string();
        let mut all: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        all.push(("Content-Length", &length));
        let live = Live::send(
            self.site,
            &with_token(&method, &path, &self.token, &all),
            &body,
        );
        let request = || format!("{method} {path} {all:?} {}", String::from_utf8_lossy(&body));
        assert!(live.status < 500, "{}{}", live.head, request());
        let status = live.status;
        if status >= 400 && method != "HEAD" {
            assert!(
                live.head.contains("application/problem+json"),
                "{}{}",
                live.head,
                request()
            );
            problem(&live.answer(), status);
        }
        status
    }
}

/// Any operation, and half of the time one that takes a body.
fn pick<'a>(operations: &'a [Operation], chance: &mut StdRng) -> &'a Operation {
    if chance.random_bool(0.5) {
        return operations.choose(chance).expect("one");
    }
    let taking: Vec<&Operation> = operations
        .iter()
        .filter(|operation| operation.takes_body)
        .collect();
    taking.choose(chance).expect("one")
}

/// Percent-encoding of what would end the request's first line; what is encoded already stays.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[test]
fn requests_that_are_nearly_right_break_nothing() {
    let seed = std::env::var("TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    eprintln!("TEST_SEED={seed}");
    let site = Site::new();
    site.shell_action("say", "echo said", "parameters: { p: { type: string } }");
    site.pack_file("t/triggers/go.yaml", "ref: t.go\n");
    site.pack_file("t/rules/on_go.yaml", "ref: t.on_go\ntrigger: { ref: t.go }\ncriteria: { trigger.n: { type: gt, pattern: 0 } }\naction: { ref: t.say, parameters: { p: \"{{ trigger.n }}\" } }\n");
    site.pack_file("t/rules/hook.yaml", "ref: t.hook\ntrigger: { ref: core.webhook, parameters: { path: hook } }\naction: { ref: core.noop }\n");
    let mut engine = site.up();
    let id = site.request(["t.say"]);
    site.ended(&id);
    let event = site.emit("t.go", &json!({"n": 1}));
    let token = site.api().1;
    let names = vec![
        id,
        event,
        "t.say".to_owned(),
        "t.on_go".to_owned(),
        "t.go".to_owned(),
        "hook".to_owned(),
        "core".to_owned(),
        "1".to_owned(),
    ];
    let mut fuzz = Fuzz {
        chance: StdRng::seed_from_u64(seed),
        site: &site,
        token,
        names,
    };
    let operations = operations(&site);
    let mut taken = 0;
    for _ in 0..REQUESTS {
        let operation = pick(&operations, &mut fuzz.chance);
        taken += usize::from(fuzz.send(operation) < 300);
    }
    assert!(
        taken > REQUESTS / 10 && taken < REQUESTS,
        "{taken} were taken: what is refused at the door tries nothing"
    );
    assert_eq!(site.get("/readyz")["ready"], true);
    assert_eq!(site.get("/api/v1/check"), json!({"violations": []}));
    engine.signal(rustix::process::Signal::TERM);
    let (code, log) = engine.ended();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
