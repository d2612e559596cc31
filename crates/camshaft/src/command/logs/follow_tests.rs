use super::*;
use crate::command::testing::{Answer, FakeEngine};
use crate::render::Format;

const ID: &str = "exec_00000000000000000000000001";

fn logs(query: &str) -> String {
    format!("GET /api/v1/executions/{ID}/logs/stdout?{query}")
}

fn headers<'a>(
    attempt: &'a str,
    next: &'a str,
    ended: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let base = [
        ("camshaft-attempt", attempt),
        ("camshaft-next-offset", next),
        ("camshaft-ended", ended),
    ];
    base.into_iter().chain(more.iter().copied()).collect()
}

fn execution(status: &str, attempt: u32) -> serde_json::Value {
    serde_json::json!({
        "id": ID, "root": ID, "parent": null, "action": "demo.greet", "pack_hash": null, "adhoc": null, "parameters": {},
        "priority": 0, "requested_at": "2026-11-21T01:28:29Z", "origin": {"kind": "api"}, "idempotency_key": null,
        "depth": 0, "trace_parent": null, "status": status, "attempt": attempt, "epoch": 1, "not_before": null,
        "blocked_by": null, "worker": null, "lease_expires_at": null, "scheduled_at": null, "started_at": null,
        "ended_at": null, "result": null, "error": null, "exit_code": null, "signal": null
    })
}

async fn follow(engine: &FakeEngine, until: Until) -> (Result<(), CliError>, Vec<u8>, String) {
    let (context, out, err) = engine.context(Format::Table);
    let id = ID.parse().unwrap();
    let ended = Follower::new(&context, id, OutputStream::Stdout, until)
        .say_empty()
        .run()
        .await;
    (ended, out.bytes(), err.text())
}

#[tokio::test]
async fn a_broken_page_is_read_on_from_the_byte_that_arrived_last() {
    let bytes = b"first \xff\x00 half";
    let engine = FakeEngine::start(vec![
        // Promises more than it sends: the connection breaks in the middle of the page.
        Answer::cut(
            &logs("offset=0"),
            "200 OK",
            &headers("1", "100", "false", &[]),
            bytes,
            100,
        ),
        Answer::new(
            &logs("attempt=1&offset=13"),
            "200 OK",
            &headers("1", "17", "false", &[]),
            b"rest",
        ),
        Answer::new(
            &logs("attempt=1&offset=17"),
            "200 OK",
            &headers(
                "1",
                "17",
                "true",
                &[
                    ("camshaft-notes", "truncated,redacted"),
                    ("camshaft-status", "completed"),
                ],
            ),
            b"",
        ),
    ])
    .await;
    let (ended, out, err) = follow(&engine, Until::AttemptEnds).await;
    ended.unwrap();
    assert_eq!(out, [&bytes[..], b"rest"].concat());
    assert!(
        err.contains("Waiting up to 2m to read on in stdout"),
        "{err}"
    );
    assert!(
        err.contains("note: stdout is truncated") && err.contains("note: stdout is redacted"),
        "{err}"
    );
    assert!(engine.requests()[0].contains("authorization: Bearer cam_test"));
}

#[tokio::test]
async fn following_goes_on_with_the_next_attempt_and_ends_with_the_execution() {
    let ended = |n: &'static str, status| headers(n, "1", "true", status);
    let engine = FakeEngine::start(vec![
        Answer::new(
            &logs("offset=0"),
            "200 OK",
            &ended("1", &[("camshaft-status", "requested")]),
            b"a",
        ),
        Answer::json(
            &format!("GET /api/v1/executions/{ID}/wait?timeout=1s"),
            &execution("requested", 1),
        ),
        Answer::json(
            &format!("GET /api/v1/executions/{ID}/wait?timeout=1s"),
            &execution("running", 2),
        ),
        Answer::new(
            &logs("attempt=2&offset=0"),
            "200 OK",
            &ended("2", &[("camshaft-status", "failed")]),
            b"b",
        ),
        Answer::json(
            &format!("GET /api/v1/executions/{ID} "),
            &execution("failed", 2),
        ),
    ])
    .await;
    let (ended, out, _) = follow(&engine, Until::ExecutionEnds).await;
    ended.unwrap();
    assert_eq!(out, b"ab");
}

#[tokio::test]
async fn without_following_the_end_of_what_there_is_is_the_end() {
    let engine = FakeEngine::start(vec![
        Answer::new(
            &logs("offset=0"),
            "200 OK",
            &headers("1", "3", "false", &[]),
            b"abc",
        ),
        Answer::new(
            &logs("attempt=1&offset=3"),
            "200 OK",
            &headers("1", "3", "false", &[]),
            b"",
        ),
    ])
    .await;
    let (ended, out, err) = follow(&engine, Until::Now).await;
    ended.unwrap();
    assert_eq!((out.as_slice(), err.as_str()), (&b"abc"[..], ""));
}

#[tokio::test]
async fn a_log_that_is_not_there_says_why() {
    let lost = [
        ("camshaft-notes", "lost"),
        ("camshaft-lost-reason", "the disk was full"),
    ];
    let engine = FakeEngine::start(vec![Answer::new(
        &logs(""),
        "200 OK",
        &headers("1", "0", "true", &lost),
        b"",
    )])
    .await;
    let (ended, _, err) = follow(&engine, Until::Now).await;
    ended.unwrap();
    assert_eq!(err, "note: stdout is lost because the disk was full\n");
}

#[tokio::test]
async fn an_execution_that_never_had_an_attempt_is_not_waited_for() {
    let engine = FakeEngine::start(vec![
        Answer::new(
            &logs(""),
            "200 OK",
            &headers("0", "0", "false", &[("camshaft-status", "cancelled")]),
            b"",
        ),
        Answer::json(
            &format!("GET /api/v1/executions/{ID} "),
            &execution("cancelled", 0),
        ),
    ])
    .await;
    let (ended, out, _) = follow(&engine, Until::ExecutionEnds).await;
    ended.unwrap();
    assert!(out.is_empty());
}

#[tokio::test]
async fn an_execution_that_is_not_there_is_an_error_at_once() {
    let problem = br#"{"status":404,"code":"not_found","detail":"there is no execution exec_1","hint":"camshaft execution list"}"#;
    let engine =
        FakeEngine::start(vec![Answer::new(&logs(""), "404 Not Found", &[], problem)]).await;
    let (ended, _, _) = follow(&engine, Until::ExecutionEnds).await;
    let error = ended.unwrap_err();
    assert_eq!(
        (error.code, error.code.exit_code()),
        (camshaft_model::ErrorCode::NotFound, 5)
    );
    assert_eq!(error.hint.as_deref(), Some("camshaft execution list"));
}
