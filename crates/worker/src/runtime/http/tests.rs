//! Requests against a small server that answers what the test wrote.

use super::*;
use std::sync::Arc;

use camshaft_model::definition::{Action, EntryPoint};
use camshaft_model::{AttemptKey, ExecutionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Serves one answer per connection, in order; returns its address and, at the end, the requests.
async fn serve(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests.push(read_request(&mut stream).await);
            // A client that has seen enough closes before the end.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        requests
    });
    (address, served)
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")
                    .map(str::to_owned)
            });
            if read == 0 || body.len() >= length.map_or(0, |l| l.parse().unwrap()) {
                return text.to_lowercase();
            }
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

async fn ask(parameters: Value) -> Result<Value, Failure> {
    let id = ExecutionId::from_bytes([7; 16]);
    let action = Action::new("core.http".parse().unwrap(), "http", EntryPoint::None);
    let job = Job {
        step: "step".to_owned(),
        step_scope: None,
        key: AttemptKey {
            execution: id,
            attempt: 1,
            epoch: 1,
        },
        root: id,
        action: Arc::new(action),
        args: Vec::new(),
        working_dir: None,
        parameters: Arc::new(parameters.as_object().unwrap().clone()),
        secrets: vec!["s3cret".into()],
        timeout: None,
        token: String::new(),
        trace_parent: "00-trace".into(),
        idempotency_key: "idem-1".into(),
    };
    Http::default().run(&job).await
}

#[tokio::test]
async fn json_goes_out_and_comes_back() {
    let (url, served) = serve(vec![answer(
        "201 Created",
        "content-type: application/json; charset=utf-8\r\n",
        "{\"id\":5}",
    )])
    .await;
    let result = ask(json!({"url": format!("{url}/new"), "method": "POST", "body": {"a": 1}, "headers": {"x-mine": 2}})).await.unwrap();
    assert_eq!(
        (&result["status"], &result["body"]),
        (&json!(201), &json!({"id": 5}))
    );
    assert_eq!(result["url"], format!("{url}/new"));
    let request = &served.await.unwrap()[0];
    for part in [
        "post /new http/1.1",
        "idempotency-key: idem-1",
        "traceparent: 00-trace",
        "x-mine: 2",
        "content-type: application/json",
        "{\"a\":1}",
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }
}

#[tokio::test]
async fn an_unexpected_status_is_a_failure_without_the_credentials_of_the_url() {
    let (url, _served) = serve(vec![answer("503 Service Unavailable", "", "try later")]).await;
    let with_password = url.replace("http://", "http://ada:pw@");
    let error = ask(json!({"url": with_password})).await.unwrap_err();
    let expected =
        format!("GET {url}/ answered 503 Service Unavailable (expected 200-299): try later");
    assert_eq!((error.kind, error.message), (FailureKind::Http, expected));
    let (url, _served) = serve(vec![answer("404 Not Found", "", "")]).await;
    assert_eq!(
        ask(json!({"url": url, "expected_status": ["2xx", 404]}))
            .await
            .unwrap()["status"],
        404
    );
}

#[tokio::test]
async fn redirects_are_followed_to_their_limit_and_drop_credentials() {
    let (other, other_served) = serve(vec![answer("200 OK", "", "there")]).await;
    let (url, served) = serve(vec![
        answer("302 Found", "location: /two\r\n", ""),
        answer(
            "307 Temporary Redirect",
            &format!("location: {other}/three\r\n"),
            "",
        ),
    ])
    .await;
    let headers = json!({"authorization": "Bearer x", "x-key": "s3cret", "x-plain": "y"});
    let result = ask(json!({"url": url, "method": "POST", "body": "raw", "headers": headers}))
        .await
        .unwrap();
    assert_eq!(
        (&result["body"], &result["url"]),
        (&json!("there"), &json!(format!("{other}/three")))
    );
    let requests = served.await.unwrap();
    assert!(
        requests[0].ends_with("raw")
            && requests[1].starts_with("get /two")
            && requests[1].contains("bearer x")
    );
    let last = &other_served.await.unwrap()[0];
    assert!(
        !last.contains("bearer") && !last.contains("s3cret") && last.contains("x-plain: y"),
        "{last}"
    );
}

#[tokio::test]
async fn redirects_can_be_limited_or_refused() {
    let hop = || answer("302 Found", "location: /again\r\n", "");
    let (url, _served) = serve(vec![hop(), hop(), hop()]).await;
    let error = ask(json!({"url": url, "follow_redirects": 2}))
        .await
        .unwrap_err();
    assert!(
        error.message.contains("redirected more than 2 times"),
        "{}",
        error.message
    );
    let (url, _served) = serve(vec![hop()]).await;
    let result = ask(json!({"url": url, "follow_redirects": false, "expected_status": 302}))
        .await
        .unwrap();
    assert_eq!(result["headers"]["location"], "/again");
    let (url, _served) = serve(vec![answer(
        "302 Found",
        "location: file:///etc/passwd\r\n",
        "",
    )])
    .await;
    assert!(
        ask(json!({"url": url}))
            .await
            .unwrap_err()
            .message
            .contains("not an http")
    );
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_never_comes_is_a_failure() {
    let (url, _served) = serve(vec![answer("200 OK", "", &"x".repeat(100_000))]).await;
    let error = ask(json!({"url": url, "max_bytes": 1000}))
        .await
        .unwrap_err();
    assert!(
        error.message.contains("more than max_bytes (1000)"),
        "{}",
        error.message
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let error = ask(json!({"url": url, "timeout": "50ms"}))
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        format!("GET {url}/ gave no answer within 50ms")
    );
    drop(silent);
    let error = ask(json!({"url": url})).await.unwrap_err();
    assert!(error.message.contains("refused"), "{}", error.message);
}
