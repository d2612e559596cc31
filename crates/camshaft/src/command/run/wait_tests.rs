use super::*;
use crate::command::testing::{Answer, FakeEngine};
use serde_json::json;

const ID: &str = "exec_00000000000000000000000001";

/// An execution with both streams, one attempt and an end.
fn answers(status: &str, error: Value) -> Vec<Answer> {
    let execution = json!({
        "id": ID, "root": ID, "parent": null, "action": "demo.greet", "pack_hash": null, "adhoc": null, "parameters": {},
        "priority": 0, "requested_at": "2026-11-21T01:28:29Z", "origin": {"kind": "api"}, "idempotency_key": null,
        "depth": 0, "trace_parent": null, "status": status, "attempt": 1, "epoch": 1, "not_before": null,
        "blocked_by": null, "worker": null, "lease_expires_at": null, "scheduled_at": null, "started_at": null,
        "ended_at": null, "result": null, "error": error, "exit_code": null, "signal": null
    });
    let page = |stream: &str, body: &[u8]| {
        let next = body.len().to_string();
        let headers = [
            ("camshaft-attempt", "1"),
            ("camshaft-next-offset", next.as_str()),
            ("camshaft-ended", "true"),
            ("camshaft-status", status),
        ];
        Answer::new(
            &format!("GET /api/v1/executions/{ID}/logs/{stream}"),
            "200 OK",
            &headers,
            body,
        )
    };
    vec![
        no_run(),
        page("stdout", b"out\x00"),
        page("stderr", b"err\n"),
        Answer::json(&format!("GET /api/v1/executions/{ID} "), &execution),
        Answer::json(&format!("GET /api/v1/executions/{ID} "), &execution),
        Answer::json(
            &format!("GET /api/v1/executions/{ID}/wait?timeout=30s"),
            &execution,
        ),
    ]
}

fn no_run() -> Answer {
    let problem = json!({"code": "not_found", "title": "It is no run", "status": 404}).to_string();
    let headers = [("content-type", "application/problem+json")];
    Answer::new(
        &format!("GET /api/v1/executions/{ID}/run "),
        "404 Not Found",
        &headers,
        problem.as_bytes(),
    )
}

async fn stay_with(
    engine: &FakeEngine,
    format: Format,
) -> (Result<ExitCode, CliError>, Vec<u8>, String) {
    let (context, out, err) = engine.context(format);
    let never = std::future::pending;
    let ended = stay_until(
        &context,
        ID.parse().unwrap(),
        never(),
        never(),
        (Duration::ZERO, Whose::Theirs),
    )
    .await;
    (ended, out.bytes(), err.text())
}

#[tokio::test]
async fn output_is_copied_byte_for_byte_and_completed_is_0() {
    let engine = FakeEngine::start(answers("completed", Value::Null)).await;
    let (ended, out, err) = stay_with(&engine, Format::Table).await;
    assert_eq!(ended, Ok(ExitCode::SUCCESS));
    assert_eq!((out.as_slice(), err.as_str()), (&b"out\0"[..], "err\n"));
}

#[tokio::test]
async fn anything_but_completed_is_1_with_the_reason() {
    let error = json!({"kind": "exit", "message": "exit status 3"});
    let engine = FakeEngine::start(answers("failed", error)).await;
    let (ended, _, _) = stay_with(&engine, Format::Table).await;
    let error = ended.unwrap_err();
    assert_eq!(error.code.exit_code(), 1);
    insta::assert_snapshot!(error.render(false), @r"
    error: execution exec_00000000000000000000000001 failed: exit status 3
      hint: see what led to it with: camshaft why exec_00000000000000000000000001
      code: execution_failed (docs/errors/execution_failed.md)
    ");
}

#[tokio::test]
async fn programs_get_the_execution_instead_of_its_output() {
    let engine = FakeEngine::start(answers("completed", Value::Null)).await;
    let (ended, out, err) = stay_with(&engine, Format::Json).await;
    assert_eq!((ended, err.as_str()), (Ok(ExitCode::SUCCESS), ""));
    let shown: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(shown["status"], "completed");
}

#[tokio::test]
async fn an_interrupt_leaves_the_execution_running_and_says_how_to_cancel_it() {
    let engine = FakeEngine::start(Vec::new()).await;
    let (context, _, err) = engine.context(Format::Table);
    let id = ID.parse().unwrap();
    let ended = stay_until(
        &context,
        id,
        std::future::ready(()),
        std::future::pending(),
        (Duration::ZERO, Whose::Theirs),
    )
    .await;
    assert_eq!(ended, Ok(ExitCode::from(130)));
    assert_eq!(
        err.text(),
        format!("The execution goes on; cancel it with: camshaft execution cancel {ID}\n")
    );
}

#[tokio::test]
async fn what_outlasts_the_limit_goes_on_only_with_an_engine_that_stays() {
    let engine = FakeEngine::start(Vec::new()).await;
    let (context, _, _) = engine.context(Format::Json);
    let after = |whose| {
        let (never, over) = (std::future::pending(), std::future::ready(()));
        let second = Duration::from_secs(1);
        stay_until(&context, ID.parse().unwrap(), never, over, (second, whose))
    };
    let theirs = after(Whose::Theirs).await.unwrap_err();
    assert!(theirs.message.ends_with("after 1s; it goes on"), "{theirs}");
    let own = after(Whose::Own).await.unwrap_err();
    assert_eq!(
        own.message,
        format!(
            "execution {ID} has not ended after 1s; its engine stops with this command. \
             It is taken up by the next engine on /nowhere, if it may run again"
        )
    );
}
