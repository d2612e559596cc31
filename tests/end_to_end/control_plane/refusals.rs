//! What is no constraint changes nothing, and says what to write instead.

use super::*;
use crate::control::refused;

#[test]
fn what_makes_no_sense_ends_with_two() {
    let site = site();
    let _engine = site.up();
    let cases: &[(&[&str], &str)] = &[
        (&["pause", "tsk:a"], "'tsk:a' is not a scope: write global"),
        (&["pause", "task:"], "has no name"),
        (&["pause", "task:[a"], "is not a pattern"),
        (&["pause", "--ttl", "0"], "'0' is not a time to live"),
        (&["pause", "--ttl", "-5"], "'-5' is not a time to live"),
        (&["pause", "--ttl", "soon"], "'soon' is not a time to live"),
        (&["resume", "everything"], "is not a scope"),
        (
            &["set-limit", "--scope", "task:a"],
            "there is no limit to set",
        ),
        (&["set-limit", "--concurrency", "1"], "--scope"),
        (
            &["set-limit", "--scope", "task:a", "--concurrency", "-1"],
            "'-1' is not a whole number from 0 to 1000000: write one such as 3",
        ),
        (
            &["set-limit", "--scope", "task:a", "--concurrency", "1.5"],
            "'1.5' is not a whole number from 0 to 1000000",
        ),
        (
            &["set-limit", "--scope", "task:a", "--rate", "0/s"],
            "'0/s' is not a rate",
        ),
        (
            &["set-limit", "--scope", "task:a", "--rate", "10/w"],
            "'10/w' is not a rate",
        ),
        (
            &["set-limit", "--scope", "task:a", "--rate", "-1/s"],
            "'-1/s' is not a rate",
        ),
        (
            &["set-limit", "--scope", "task:a", "--burst", "2"],
            "--rate",
        ),
        (
            &[
                "set-limit",
                "--scope",
                "task:a",
                "--rate",
                "1/s",
                "--burst",
                "0",
            ],
            "'0' is not a whole number from 1 to",
        ),
        (&["constraint", "clear", "task:a"], "required"),
        (
            &["constraint", "clear", "task:a", "paus"],
            "'paus' is not a type of constraint",
        ),
        (
            &[
                "constraint",
                "preview",
                "--concurrency",
                "1",
                "--rate",
                "1/s",
            ],
            "two constraints",
        ),
        (
            &["pause", "--reason", "a\u{7}b"],
            "the reason is longer than 1024 bytes or has a control character",
        ),
        (
            &["pause", "task:a", "--events"],
            "events cannot be paused on 'task:a'",
        ),
        (
            &["pause", "task:a", "--starts", "--events"],
            "events cannot be paused on 'task:a'",
        ),
        (
            &["pause", "task:a", "--starts", "--events", "--via", "mqtt"],
            "events cannot be paused on 'task:a'",
        ),
        (&["pause", "--drop"], "--events"),
        (&["resume", "--all", "--events"], "cannot be used with"),
        (&["pause", "--host", "broker"], "add --via mqtt"),
    ];
    for (arguments, says) in cases {
        let (code, text) = refused(&site, arguments.iter().copied());
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
    let (code, _) = refused(&site, ["constraint", "show", "task:a", "pause"]);
    assert_eq!(code, 5);
    assert_eq!(site.json(["constraint", "list"])["items"], json!([]));
}

#[test]
fn an_engine_or_a_broker_that_is_not_there_ends_with_three() {
    let site = site();
    let verbs: [&[&str]; 4] = [
        &["pause"],
        &["resume"],
        &["set-limit", "--scope", "task:a", "--rate", "1/s"],
        &["constraint", "clear", "task:a", "--all"],
    ];
    // A port that nobody can listen on.
    let nowhere = ["--via", "mqtt", "--host", "127.0.0.1", "--port", "1"];
    for verb in verbs {
        let (code, text) = refused(&site, verb.iter().copied());
        assert_eq!(
            (code, text.contains("code: unreachable")),
            (3, true),
            "{verb:?}: {text}"
        );
        let (code, text) = refused(&site, verb.iter().chain(&nowhere).copied());
        assert_eq!(code, 3, "{verb:?}: {text}");
        assert!(
            text.contains("the broker at 127.0.0.1:1 cannot be reached"),
            "{text}"
        );
    }
}

#[test]
fn the_api_refuses_the_same_and_names_the_code() {
    let site = site();
    let _engine = site.up();
    let put = |path: &str, body: &str| {
        site.http(
            "PUT",
            &format!("/api/v1/constraints/{path}"),
            &[],
            body.as_bytes(),
        )
    };
    let cases = [
        ("tsk:a/pause", "{}", 422, "invalid_constraint"),
        ("global/paus", "{}", 422, "invalid_constraint"),
        ("global/pause", r#"{"ttl": 0}"#, 422, "invalid_constraint"),
        ("global/pause", r#"{"ttl": -1}"#, 422, "invalid_constraint"),
        (
            "global/pause",
            r#"{"ttl": "5 fortnights"}"#,
            422,
            "invalid_constraint",
        ),
        (
            "global/pause",
            r#"{"expires_at": "2020-01-01T00:00:00Z"}"#,
            422,
            "invalid_constraint",
        ),
        (
            "global/pause",
            r#"{"expires_at": 1577836800}"#,
            422,
            "invalid_constraint",
        ),
        (
            "global/pause",
            r#"{"expires_at": "2100-01-01T00:00:00Z", "ttl": 5}"#,
            422,
            "invalid_constraint",
        ),
        (
            "global/pause",
            r#"{"params": {"limit": 3}}"#,
            422,
            "invalid_constraint",
        ),
        ("global/concurrency", "{}", 422, "invalid_constraint"),
        (
            "global/concurrency",
            r#"{"params": {"limit": -1}}"#,
            422,
            "invalid_constraint",
        ),
        (
            "global/rate_limit",
            r#"{"params": {"rate": "fast"}}"#,
            422,
            "invalid_constraint",
        ),
        (
            "global/pause",
            r#"{"until": "tomorrow"}"#,
            400,
            "invalid_request",
        ),
        ("global/pause", "[", 400, "invalid_request"),
        ("global", "{}", 405, "method_not_allowed"),
    ];
    for (path, body, status, code) in cases {
        assert_eq!(
            put(path, body).refusal(),
            (status, code.to_owned()),
            "{path} {body}"
        );
    }
    let of_events = br#"{"scope": "task:a", "type": "event_pause"}"#;
    let tried = site.http("POST", "/api/v1/constraints/preview", &[], of_events);
    assert_eq!(tried.refusal(), (422, "invalid_constraint".to_owned()));
    let delete = |path: &str| site.http("DELETE", &format!("/api/v1/constraints/{path}"), &[], b"");
    assert_eq!(delete("global").refusal().0, 400);
    assert_eq!(
        delete("tsk:a?all").refusal(),
        (422, "invalid_constraint".to_owned())
    );
    assert_eq!(site.json(["constraint", "list"])["items"], json!([]));
}

#[test]
fn a_scope_with_any_character_goes_through_a_path() {
    let site = site();
    let _engine = site.up();
    for scope in ["task:a/b", "task:50% of [x-z]?*", "task:ä{b}", "pod:a:b"] {
        site.ok(["pause", scope]);
        assert_eq!(
            site.json(["constraint", "show", scope, "pause"])["scope"],
            scope
        );
        assert_eq!(site.json(["resume", scope])["cleared"][0]["scope"], scope);
    }
    // What is as it was asked for is stored once, and an empty body is a plain pause.
    let answer = site.http("PUT", "/api/v1/constraints/global/pause", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["constraint"]["owner"], "admin");
    assert_eq!(
        site.http("DELETE", "/api/v1/constraints/global?all", &[], b"")
            .status,
        200
    );
}

#[test]
fn what_nothing_falls_under_and_what_was_not_there_to_end_is_said() {
    let site = site();
    let _engine = site.up();
    let said = |arguments: &[&str]| {
        let output = site.run(arguments.iter().copied());
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let text = said(&["pause", "action:say"]);
    assert!(
        text.contains("Nothing falls under action:say") && text.contains("action:billing.say"),
        "{text}"
    );
    assert_eq!(said(&["pause", "action:t.say"]), "");
    assert_eq!(said(&["pause", "action:s*"]), "");
    said(&["pause", "--events"]);
    let text = said(&["resume"]);
    assert!(
        text.contains("No pause was in force on global, only event_pause"),
        "{text}"
    );
    said(&["resume", "--events"]);
    let text = said(&["resume"]);
    assert!(
        text.contains("camshaft constraint list shows what is"),
        "{text}"
    );
}
