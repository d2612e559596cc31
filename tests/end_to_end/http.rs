//! The HTTP interface through requests of programs that we did not write.

mod access;
mod events;
mod executions;
mod fuzz;
mod hooks;
mod operating;
mod requests;
mod secrets;
mod streams;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{Answer, PATIENCE, Site};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The value of a header of an answer.
fn header(answer: &Answer, name: &str) -> Option<String> {
    let fields = answer
        .head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'));
    fields
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .next()
}

/// A refusal is a problem document, whatever it is about. Returns its code.
#[track_caller]
fn problem(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}\n{}", answer.head, answer.text());
    assert_eq!(
        header(answer, "content-type").as_deref(),
        Some("application/problem+json"),
        "{}\n{}",
        answer.head,
        answer.text()
    );
    let document = answer.json();
    assert_eq!(document["status"], status, "{document}");
    let code = document["code"].as_str().expect("a code").to_owned();
    assert_eq!(document["type"], format!("urn:camshaft:error:{code}"));
    for field in ["title", "detail"] {
        assert!(
            document[field]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{field}: {document}"
        );
    }
    code
}

/// A list of an answer.
#[track_caller]
fn items(answer: &Value) -> &Vec<Value> {
    answer["items"]
        .as_array()
        .unwrap_or_else(|| panic!("no list: {answer}"))
}

/// The text of a field.
#[track_caller]
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text '{field}' in {value}"))
}

/// A connection whose answer is read as it comes.
struct Live {
    status: u16,
    head: String,
    lines: BufReader<TcpStream>,
}

impl Live {
    /// Sends a head exactly as it is, without a token, and then the body.
    #[track_caller]
    fn send(site: &Site, head: &str, body: &[u8]) -> Self {
        let (address, _) = site.api();
        let mut stream = TcpStream::connect(address).expect("the engine listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(head.as_bytes()).expect("sent");
        // An engine that refuses a body by its declared size need not read it.
        let _ = stream.write_all(body);
        let mut live = Self {
            status: 0,
            head: String::new(),
            lines: BufReader::new(stream),
        };
        while live.lines.read_line(&mut live.head).expect("a head") > 2 {}
        live.status = live
            .head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        live
    }

    /// `GET` of a stream.
    #[track_caller]
    fn get(site: &Site, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::send(site, &with_token("GET", path, &site.api().1, headers), b"")
    }

    /// The next line of the event log; `None` when the stream has ended.
    #[track_caller]
    fn next(&mut self) -> Option<Value> {
        let mut id = String::new();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("a line") == 0 {
                return None;
            }
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.trim().to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(text).expect("JSON");
                assert_eq!(
                    event["id"].to_string(),
                    id,
                    "the id of the message is the id of the line"
                );
                return Some(event);
            }
        }
    }

    /// Everything up to the end of the stream.
    fn rest(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The answer, of which the engine has said how long it is.
    #[track_caller]
    fn answer(mut self) -> Answer {
        let mut answer = Answer {
            status: self.status,
            head: self.head,
            body: Vec::new(),
        };
        let length = header(&answer, "content-length")
            .expect("a length")
            .parse()
            .expect("a number");
        answer.body.resize(length, 0);
        self.lines.read_exact(&mut answer.body).expect("a body");
        answer
    }
}

/// A head without a body.
fn with_token(method: &str, path: &str, token: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "{method} {path} HTTP/1.0\r\nHost: engine\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
    )
}

/// One operation of the interface, as it describes itself.
struct Operation {
    method: String,
    path: String,
    id: String,
    open: bool,
    query: Vec<String>,
    takes_body: bool,
}

/// Every operation that the running engine says it has.
#[track_caller]
fn operations(site: &Site) -> Vec<Operation> {
    let document = site.get("/api/v1/openapi.json");
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                id: text(operation, "operationId").to_owned(),
                open: operation["security"] == serde_json::json!([]),
                query: parameters
                    .filter(|p| p["in"] == "query")
                    .map(|p| text(p, "name").to_owned())
                    .collect(),
                takes_body: operation["requestBody"].is_object(),
            });
        }
    }
    assert!(operations.len() > 40, "{}", operations.len());
    operations
}

impl Operation {
    /// Its path with something in the place of each variable.
    fn at(&self, id: &str) -> String {
        let replaced = self
            .path
            .replace("{id}", id)
            .replace("{ref}", "t.say")
            .replace("{stream}", "stdout");
        replaced.replace("{path}", "nowhere")
    }
}
