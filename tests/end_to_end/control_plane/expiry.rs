//! What expires lets go what it held, and nobody has to ask for it.

use super::*;

#[test]
fn an_expiry_wakes_what_waits_for_it() {
    let site = site();
    let mut engine = site.up();
    let set = site.json(["pause", "task:say", "--ttl", "1.5"]);
    let until: camshaft_model::Timestamp = time(&set["items"][0]["constraint"]["expires_at"]);
    let id = site.request(["t.say"]);
    let held = blocked(&site, &id);
    assert_eq!(held["payload"]["constraint"], "pause-task:say");
    engine.wait_for("task:say: pause expired");
    let ended = site.ended(&id);
    assert_eq!(ended["status"], "completed");
    let late = time(&ended["scheduled_at"]).since(until);
    assert!(
        time(&ended["scheduled_at"]) >= until,
        "it started before {until}: {ended}"
    );
    assert!(
        late < std::time::Duration::from_secs(1),
        "it started {late:?} late"
    );
    assert_eq!(site.json(["constraint", "list"])["items"], json!([]));
}

#[test]
fn what_expires_while_nothing_runs_is_gone_at_the_next_start() {
    let site = site();
    let engine = site.up();
    site.ok(["pause", "--ttl", "1h"]);
    let set = site.json(["pause", "task:say", "--ttl", "0.2"]);
    let until = time(&set["items"][0]["constraint"]["expires_at"]);
    engine.kill();
    let mut engine = site.up();
    // The engine's own answers tell the time, so that no clock of the test is asked.
    let left = loop {
        let set = site.json(["set-limit", "--scope", "task:clock", "--concurrency", "1"]);
        let now = time(&set["items"][0]["constraint"]["set_at"]);
        site.ok(["resume", "task:clock", "--all"]);
        if now >= until {
            break site.json(["constraint", "list"]);
        }
    };
    let items = left["items"].as_array().expect("a list");
    assert_eq!(
        items.iter().map(|item| &item["scope"]).collect::<Vec<_>>(),
        [&json!("global")]
    );
    site.ok(["resume"]);
    engine.wait_for("global: pause cleared");
}

fn time(value: &Value) -> camshaft_model::Timestamp {
    value.as_str().expect("a time").parse().expect("a time")
}
