//! Pauses: what they hold, what they leave alone, and that they last.

use super::*;

#[test]
fn a_pause_holds_what_comes_and_leaves_alone_what_runs() {
    let site = site();
    let mut engine = site.up();
    let running = request_gated(&site, "a");
    began(&site, &running);
    let answer = site.json(["pause", "--reason", "an audit"]);
    assert_eq!(answer["items"][0]["preview"]["running"], 1);
    assert!(
        engine
            .wait_for("constraint")
            .contains("global: pause, set by")
    );
    let held = site.request(["t.say"]);
    assert_eq!(held_by(&site, &held), "pause on global");
    assert_eq!(status(&site, &held), "requested");
    let blocked = site.json(["execution", "list", "--status", "blocked"]);
    let ids: Vec<&Value> = blocked["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| &item["id"])
        .collect();
    assert_eq!(ids, [&json!(held)]);
    open_gate(&site, "a");
    assert_eq!(site.ended(&running)["status"], "completed");
    assert_eq!(status(&site, &held), "requested");
    assert_eq!(site.ok(["resume"]), "cleared pause on global\n");
    assert_eq!(site.ended(&held)["status"], "completed");
    engine.wait_for("global: pause cleared");
    assert_eq!(site.json(["resume"])["cleared"], json!([]));
    assert_eq!(site.json(["constraint", "list"])["items"], json!([]));
}

#[test]
fn a_pause_also_holds_what_waits_for_a_limit() {
    let site = site();
    let _engine = site.up();
    site.ok([
        "set-limit",
        "--scope",
        "action:t.gate",
        "--concurrency",
        "1",
    ]);
    let [first, second, third] = ["a", "b", "c"].map(|name| request_gated(&site, name));
    began(&site, &first);
    assert_eq!(held_by(&site, &second), "concurrency on action:t.gate");
    site.ok(["pause", "task:gate"]);
    open_gate(&site, "a");
    site.ended(&first);
    site.ok([
        "set-limit",
        "--scope",
        "action:t.gate",
        "--concurrency",
        "4",
    ]);
    nothing_else_starts(&site);
    assert_eq!(in_use(&site, "task:gate", "pause"), (0, 2));
    assert_eq!(held_by(&site, &second), "pause on task:gate");
    site.ok(["resume", "task:gate"]);
    for (id, gate) in [(&second, "b"), (&third, "c")] {
        began(&site, id);
        open_gate(&site, gate);
        assert_eq!(site.ended(id)["status"], "completed");
    }
}

#[test]
fn a_pause_survives_a_crash() {
    let site = site();
    let engine = site.up();
    site.ok(["pause", "--reason", "an audit"]);
    let before = site.request(["t.say"]);
    engine.kill();
    let _engine = site.up();
    let after = site.request(["t.say"]);
    for id in [&before, &after] {
        assert_eq!(held_by(&site, id), "pause on global");
    }
    site.ok(["resume"]);
    for id in [&before, &after] {
        assert_eq!(site.ended(id)["status"], "completed");
    }
}

#[test]
fn to_pause_again_replaces_the_pause() {
    let site = site();
    let _engine = site.up();
    site.ok(["pause", "--ttl", "1h"]);
    site.ok(["pause", "--reason", "for good"]);
    let all = site.json(["constraint", "list"]);
    let items = all["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1);
    assert_eq!(
        (&items[0]["reason"], &items[0]["expires_at"]),
        (&json!("for good"), &Value::Null)
    );
}

#[test]
fn resume_ends_the_pause_and_leaves_the_limits() {
    let site = site();
    let _engine = site.up();
    for _ in 0..2 {
        site.ok(["pause", "task:say"]);
        site.ok([
            "set-limit",
            "--scope",
            "task:say",
            "--concurrency",
            "2",
            "--rate",
            "5/s",
        ]);
        site.ok(["set-limit", "--scope", "task:other", "--concurrency", "2"]);
        let cleared = site.json(["resume", "task:say"]);
        assert_eq!(
            cleared["cleared"],
            json!([{"scope": "task:say", "type": "pause"}])
        );
    }
    let cleared = site.json(["resume", "task:say", "--all"]);
    assert_eq!(cleared["cleared"].as_array().expect("a list").len(), 2);
    let left = site.json(["constraint", "list"]);
    assert_eq!(left["items"][0]["scope"], "task:other");
    site.ok(["constraint", "clear", "task:other", "concurrency"]);
    assert_eq!(site.json(["constraint", "list"])["items"], json!([]));
}
