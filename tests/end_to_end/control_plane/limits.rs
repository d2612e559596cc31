//! Limits, set, raised, lowered and cleared while work waits on them.

use super::*;

fn limit(site: &Site, count: &str) {
    site.ok(["set-limit", "--scope", "task:gate", "--concurrency", count]);
}

#[test]
fn the_limit_zero_holds_and_fails_nothing() {
    let site = site();
    let _engine = site.up();
    limit(&site, "0");
    let id = request_gated(&site, "a");
    nothing_else_starts(&site);
    assert_eq!(held_by(&site, &id), "concurrency on task:gate");
    limit(&site, "1");
    began(&site, &id);
    open_gate(&site, "a");
    assert_eq!(site.ended(&id)["status"], "completed");
}

#[test]
fn raising_clearing_and_lowering_a_limit_reach_what_waits() {
    let site = site();
    let _engine = site.up_with(&["--slots", "16"], &[]);
    limit(&site, "1");
    let names = ["a", "b", "c", "d", "e", "f"];
    let ids = names.map(|name| request_gated(&site, name));
    began(&site, &ids[0]);
    nothing_else_starts(&site);
    assert_eq!(in_use(&site, "task:gate", "concurrency"), (1, 5));
    limit(&site, "4");
    ids[1..4].iter().for_each(|id| began(&site, id));
    assert_eq!(in_use(&site, "task:gate", "concurrency"), (4, 2));
    limit(&site, "2");
    open_gate(&site, "a");
    open_gate(&site, "b");
    site.ended(&ids[0]);
    site.ended(&ids[1]);
    nothing_else_starts(&site);
    assert_eq!(in_use(&site, "task:gate", "concurrency"), (2, 2));
    open_gate(&site, "c");
    site.ended(&ids[2]);
    began(&site, &ids[4]);
    assert_eq!(in_use(&site, "task:gate", "concurrency"), (2, 1));
    site.ok(["constraint", "clear", "task:gate", "concurrency"]);
    began(&site, &ids[5]);
    names[3..].iter().for_each(|name| open_gate(&site, name));
    for id in &ids[3..] {
        assert_eq!(site.ended(id)["status"], "completed");
    }
}

#[test]
fn two_constraints_on_one_scope_both_hold() {
    let site = site();
    let _engine = site.up();
    let set = site.json([
        "set-limit",
        "--scope",
        "task:gate",
        "--concurrency",
        "1",
        "--rate",
        "1/d",
        "--burst",
        "2",
    ]);
    assert_eq!(set["items"].as_array().expect("a list").len(), 2);
    let ids = ["a", "b", "c"].map(|name| request_gated(&site, name));
    began(&site, &ids[0]);
    assert_eq!(held_by(&site, &ids[1]), "concurrency on task:gate");
    open_gate(&site, "a");
    began(&site, &ids[1]);
    open_gate(&site, "b");
    site.ended(&ids[1]);
    nothing_else_starts(&site);
    assert_eq!(held_by(&site, &ids[2]), "rate_limit on task:gate");
    let next = site.get("/api/v1/constraints/task:gate/rate_limit");
    assert!(next["use"]["next_at"].is_string(), "{next}");
    site.ok(["constraint", "clear", "task:gate", "rate_limit"]);
    began(&site, &ids[2]);
    open_gate(&site, "c");
    site.ended(&ids[2]);
}

#[test]
fn starts_come_at_the_rate_and_no_faster() {
    let site = site();
    let _engine = site.up();
    site.ok(["pause", "task:say"]);
    site.ok([
        "set-limit",
        "--scope",
        "task:say",
        "--rate",
        "20/s",
        "--burst",
        "1",
    ]);
    // All of them wait, so that only the rate keeps them apart.
    let ids: Vec<String> = (0..9).map(|_| site.request(["t.say"])).collect();
    site.ok(["resume", "task:say"]);
    let started: Vec<camshaft_model::Timestamp> = ids
        .iter()
        .map(|id| {
            site.ended(id)["scheduled_at"]
                .as_str()
                .expect("a time")
                .parse()
                .expect("a time")
        })
        .collect();
    let apart: Vec<_> = started
        .windows(2)
        .map(|pair| pair[1].since(pair[0]))
        .collect();
    let closest = apart.iter().min().expect("several starts");
    assert!(
        *closest >= std::time::Duration::from_millis(50),
        "{apart:?} apart: {started:?}"
    );
    // A machine that is slow or stalls delays some of them, and a rate that is too slow all of them.
    assert!(
        *closest < std::time::Duration::from_millis(200),
        "{apart:?} apart: {started:?}"
    );
}
