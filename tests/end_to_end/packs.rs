//! Packs: all or nothing, with every mistake at once, and the last good version while one is broken.

use std::fs;

use crate::harness::{Site, shown};
use crate::screen;

fn pack(site: &Site) -> String {
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    site.pack_file(
        "t/actions/greet.yaml",
        "ref: t.greet\nruntime: shell\nscript: echo one\n",
    );
    site.packs_dir().join("t").display().to_string()
}

/// An engine that knows nothing of the folder.
fn up(site: &Site) -> crate::harness::Engine {
    let packs = site.packs_dir();
    let hidden = site.path().join("hidden");
    fs::rename(&packs, &hidden).expect("moved");
    let engine = site.up();
    fs::rename(&hidden, &packs).expect("moved back");
    engine
}

#[test]
fn plan_and_apply_say_what_changes() {
    let site = Site::new();
    let dir = pack(&site);
    let _engine = up(&site);
    let plan = site.run(["pack", "plan", &dir]);
    assert_eq!(plan.status.code(), Some(1), "{}", shown(&plan));
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("pack_plan", String::from_utf8_lossy(&plan.stdout));
    });
    let absent = site.run(["run", "t.greet"]);
    assert_eq!(
        absent.status.code(),
        Some(5),
        "a plan changes nothing: {}",
        shown(&absent)
    );
    site.ok(["pack", "apply", &dir, "--check-version", "none"]);
    assert_eq!(site.ok(["run", "t.greet"]), "one\n");
    assert_eq!(
        site.run(["pack", "plan", &dir]).status.code(),
        Some(0),
        "nothing is left to change"
    );

    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.1.0\n");
    let moved = site.run(["pack", "apply", &dir, "--check-version", "0.9.0"]);
    assert_eq!(moved.status.code(), Some(6), "{}", shown(&moved));
    assert!(
        String::from_utf8_lossy(&moved.stderr).contains("1.0.0"),
        "{}",
        shown(&moved)
    );
    site.ok(["pack", "apply", &dir, "--check-version", "1.0.0"]);
    assert_eq!(site.get("/api/v1/packs/t")["version"], "1.1.0");
    assert!(site.ok(["pack", "list"]).contains("1.1.0"));
    assert!(site.ok(["pack", "show", "t"]).contains("t.greet"));
    site.ok(["pack", "remove", "t"]);
    assert_eq!(site.run(["run", "t.greet"]).status.code(), Some(5));
    assert_eq!(site.run(["pack", "remove", "core"]).status.code(), Some(6));
}

#[test]
fn every_mistake_is_named_at_once() {
    let site = Site::new();
    let dir = pack(&site);
    site.pack_file(
        "t/actions/bad.yaml",
        "ref: t.bad\nruntime: shell\nscript: x\ntimeot: 3s\nretry: { max_atempts: 2 }\n",
    );
    site.pack_file(
        "t/actions/deep.yaml",
        "ref: t.deep\nruntime: shell\nscript: x\ntimeout: soon\n",
    );
    site.pack_file(
        "t/rules/bad.yaml",
        "ref: t.bad\ntrigger: { ref: core.intervall, parameters: { every: 1s } }\ncriteria:\n  trigger.count: { type: greatr, pattern: 1 }\nwhen: trigger.count ==\naction: { ref: t.gret }\n",
    );
    let _engine = up(&site);
    let plan = site.run(["pack", "plan", &dir]);
    assert_eq!(plan.status.code(), Some(2), "{}", shown(&plan));
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("pack_mistakes", String::from_utf8_lossy(&plan.stderr));
    });
    let apply = site.run(["pack", "apply", &dir]);
    assert_eq!(apply.status.code(), Some(2), "{}", shown(&apply));
    assert_eq!(
        site.run(["run", "t.greet"]).status.code(),
        Some(5),
        "all or nothing"
    );
}

#[test]
fn a_watched_folder_is_reloaded_and_a_broken_edit_keeps_the_last_good_version() {
    let site = Site::new();
    pack(&site);
    let mut engine = site.up();
    assert_eq!(site.ok(["run", "t.greet"]), "one\n");
    site.pack_file(
        "t/actions/greet.yaml",
        "ref: t.greet\nruntime: shell\nscript: echo two\n",
    );
    engine.wait_for("Applied t");
    assert_eq!(site.ok(["run", "t.greet"]), "two\n");
    site.pack_file(
        "t/actions/greet.yaml",
        "ref: t.greet\nruntme: shell\nscript: echo three\n",
    );
    let line = engine.wait_for("runtme");
    assert!(
        line.contains("greet.yaml:2:1") && line.contains("'runtime'"),
        "{line}"
    );
    assert_eq!(site.ok(["run", "t.greet"]), "two\n");
    site.pack_file(
        "t/actions/greet.yaml",
        "ref: t.greet\nruntime: shell\nscript: echo four\n",
    );
    engine.wait_for("Applied t");
    assert_eq!(site.ok(["run", "t.greet"]), "four\n");
}

#[test]
fn a_broken_folder_is_named_at_start_and_taken_once_it_is_mended() {
    let site = Site::new();
    pack(&site);
    site.pack_file("t/actions/bad.yaml", "ref: t.bad\nruntme: shell\n");
    let mut engine = site.up();
    let line = engine.seen_or_wait("bad.yaml:2:1");
    assert!(line.contains("'runtime'"), "{line}");
    assert_eq!(
        site.run(["run", "t.greet"]).status.code(),
        Some(5),
        "all or nothing"
    );
    site.pack_file(
        "t/actions/bad.yaml",
        "ref: t.bad\nruntime: shell\nscript: echo mended\n",
    );
    engine.wait_for("Applied t");
    assert_eq!(site.ok(["run", "t.bad"]), "mended\n");

    let missing = site.path().join("nowhere").display().to_string();
    let other = Site::new();
    let output = other.run(["up", "--listen", "127.0.0.1:0", "--packs", missing.as_str()]);
    assert_eq!(output.status.code(), Some(5), "{}", shown(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("nowhere"),
        "{}",
        shown(&output)
    );
}

#[test]
fn applied_packs_are_there_after_a_restart() {
    let site = Site::new();
    let dir = pack(&site);
    let engine = up(&site);
    site.ok(["pack", "apply", &dir]);
    engine.stop();
    fs::remove_dir_all(site.packs_dir()).expect("removed");
    let _engine = site.up();
    assert_eq!(
        site.ok(["run", "t.greet"]),
        "one\n",
        "the data directory has its own copy"
    );
}

#[test]
fn a_run_goes_on_with_the_version_it_started_with() {
    let site = Site::new();
    pack(&site);
    site.pack_file(
        "t/actions/greet.yaml",
        "ref: t.greet\nruntime: shell\nscript: echo one\n",
    );
    let mut engine = site.up();
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let id = site.request(["t.greet", "--not-before", &at.to_string()]);
    site.pack_file(
        "t/actions/greet.yaml",
        "ref: t.greet\nruntime: shell\nscript: echo two\n",
    );
    engine.wait_for("Applied t");
    assert_eq!(site.ended(&id)["result"], "one");
    assert_eq!(site.ok(["run", "t.greet"]), "two\n");
}

#[test]
fn what_runs_by_a_version_that_is_lost_says_so() {
    let site = Site::new();
    let action = "t/actions/greet.yaml";
    pack(&site);
    site.pack_file(action, "ref: t.greet\nruntime: shell\nscript: echo one\n");
    let engine = site.up();
    let far = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let id = site.request(["t.greet", "--not-before", &far.to_string()]);
    engine.stop();
    fs::remove_dir_all(site.data_dir().join("packs")).expect("removed");
    site.pack_file(action, "ref: t.greet\nruntime: shell\nscript: echo two\n");
    let _engine = site.up();
    let refused = site.run(["execution", "cancel", &id]);
    assert_eq!(refused.status.code(), Some(6), "{}", shown(&refused));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("definition") && said.contains("apply"),
        "{said}"
    );
    assert_eq!(site.ok(["run", "t.greet"]), "two\n");
}

#[test]
fn the_demo_pack_is_sound() {
    let site = Site::new();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/packs");
    let mut engine = site.up_with(&["--packs", demo], &[]);
    engine.wait_for("demo.greet completed");
    site.done(["demo.flaky"]);
    engine.wait_for("demo.on_failure matched");
    let body = br#"{"name": "Ada"}"#;
    let answer = site.http(
        "POST",
        "/api/v1/hooks/greet",
        &[("Content-Type", "application/json")],
        body,
    );
    assert_eq!(answer.status, 202, "{}", answer.text());
    engine.wait_for("demo.on_hook matched");
}

#[test]
fn examples_of_rules_are_run_without_an_engine() {
    let site = Site::new();
    let dir = pack(&site);
    site.pack_file("t/triggers/placed.yaml", "ref: t.placed\n");
    site.pack_file("t/rules/large.yaml", "ref: t.large\ntrigger: { ref: t.placed }\ncriteria:\n  trigger.total: { type: gt, pattern: 100 }\naction: { ref: t.greet }\n");
    site.pack_file("t/tests/large.yaml", "- { rule: t.large, event: { payload: { total: 120 } }, expect: match }\n- { rule: t.large, event: { payload: { total: x } }, expect: fail }\n");
    site.ok(["pack", "test", &dir]);
    site.pack_file(
        "t/tests/wrong.yaml",
        "{ rule: t.large, event: { payload: { total: 1 } }, expect: match }\n",
    );
    let wrong = site.run(["pack", "test", &dir]);
    assert_eq!(wrong.status.code(), Some(1), "{}", shown(&wrong));
    assert!(
        String::from_utf8_lossy(&wrong.stdout).contains("wrong.yaml"),
        "{}",
        shown(&wrong)
    );
    site.pack_file("t/rules/large.yaml", "ref: t.large\n");
    assert_eq!(site.run(["pack", "test", &dir]).status.code(), Some(2));
}
