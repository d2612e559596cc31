//! Whoever asks why something does not start is told of the constraint, wherever they ask.

use super::*;
use crate::screen;

/// `HOME`-like variables differ between machines; who types is said here.
fn pause_as_ada(site: &Site, arguments: &[&str]) {
    let output = site
        .command(arguments)
        .env("USER", "ada")
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn why_names_the_constraint_who_set_it_and_who_holds_its_slots() {
    let site = site();
    let _engine = site.up();
    pause_as_ada(
        &site,
        &[
            "set-limit",
            "--scope",
            "task:gate",
            "--concurrency",
            "1",
            "--reason",
            "one licence",
            "--ttl",
            "1h",
        ],
    );
    let [first, second, third] = ["a", "b", "c"].map(|name| request_gated(&site, name));
    began(&site, &first);
    let why = site.json(["why", &third]);
    assert_eq!(
        (&why["ahead"], &why["blockers"][0]["holders"]),
        (&json!(1), &json!([first]))
    );
    let screens = [
        site.ok(["why", &third]),
        site.ok(["execution", "show", &second]),
        site.ok(["execution", "list", "--status", "blocked"]),
        site.ok(["constraint", "list"]),
        site.ok(["constraint", "show", "task:gate", "concurrency"]),
        site.ok(["constraint", "preview", "task:gate", "--concurrency", "2"]),
        site.ok(["trace", &second]),
    ];
    let mut filters = screen::filters();
    filters.push((r"\b59m\d+s\b|\b1h\b", "[left]"));
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(screens.join("\n----\n"));
    });
    site.ok(["constraint", "clear", "task:gate", "--all"]);
    for (id, gate) in [(&first, "a"), (&second, "b"), (&third, "c")] {
        began(&site, id);
        open_gate(&site, gate);
        site.ended(id);
    }
}

#[test]
fn a_run_that_is_held_wholly_is_blocked_and_one_that_is_not_is_not() {
    let site = site();
    site.pack_file(
        "t/workflows/flow.yaml",
        "ref: t.flow\ntasks:\n  first: { action: t.gate, with: { name: a } }\n  held: { action: t.say }\n",
    );
    make_gate(&site, "a");
    let _engine = site.up();
    pause_as_ada(&site, &["pause", "task:held"]);
    let run = site.request(["t.flow"]);
    let held = blocked(&site, &run);
    let shown = site.json(["execution", "show", &run]);
    assert_eq!(shown["blocked_by"], Value::Null, "one of its tasks runs");
    let child = held["item_id"].as_str().expect("a task has an execution");
    assert_eq!(held_by(&site, child), "pause on task:held");
    let first = site.get(&format!("/api/v1/executions/{run}/run"))["tasks"][0]["execution"].clone();
    let first = first.as_str().expect("an id");
    site.wait_for_log(first, "began");
    open_gate(&site, "a");
    site.ended(first);
    let screens = [site.ok(["execution", "show", &run]), site.ok(["why", &run])];
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!(screens.join("\n----\n"));
    });
    site.ok(["resume", "task:held"]);
    assert_eq!(site.ended(&run)["status"], "completed");
}

#[test]
fn status_doctor_and_console_tell_of_a_pause_that_was_forgotten() {
    let site = site();
    let mut engine = site.up();
    pause_as_ada(&site, &["pause", "--reason", "an audit"]);
    let line = engine.wait_for("constraint");
    assert!(
        line.contains("global: pause, set by ada (an audit)"),
        "{line}"
    );
    let said = "global: pause, set by ada (an audit), until it is cleared";
    for verb in ["status", "doctor"] {
        let text = site.ok([verb]);
        assert!(text.contains(said), "{verb}: {text}");
    }
    let id = site.request(["t.say"]);
    let line = engine.wait_for("step");
    assert!(
        line.contains("say is blocked: Constraint 'pause-global' on global holds it: pause"),
        "{line}"
    );
    site.ok(["resume"]);
    site.ended(&id);
    assert!(!site.ok(["status"]).contains("global"));
}
