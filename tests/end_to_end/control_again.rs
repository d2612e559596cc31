//! Holding a run and letting it go on, and running one again, whole or in part.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::control::{notes, pairs, refused, site, tasks};
use crate::harness::{Site, shown};
use crate::screen;

/// A site whose workflow runs `first`, which waits at a gate, and then `second`.
fn gated() -> (Site, PathBuf) {
    let site = site(
        "tasks:\n  first: { action: t.gate }\n  second: { needs: [first], action: t.note, with: { name: second } }\n  last: { finally: true, action: t.note, with: { name: last } }\n",
    );
    let gate = site.gate("gate");
    let script = format!("echo up; read line < '{}'", gate.display());
    site.shell_action("gate", &script, "");
    (site, gate)
}

/// The children of a run, oldest first.
#[track_caller]
fn children(site: &Site, run: &str) -> Vec<Value> {
    let page = site.get(&format!("/api/v1/executions/{run}/children?limit=1000"));
    page["items"].as_array().expect("a list").clone()
}

fn id(execution: &Value) -> &str {
    execution["id"].as_str().expect("an id")
}

#[test]
fn a_paused_run_starts_no_task_until_it_is_resumed_also_over_a_crash() {
    let (site, gate) = gated();
    let engine = site.up();
    let run = site.request(["t.flow"]);
    let first = id(&children(&site, &run)[0]).to_owned();
    site.wait_for_log(&first, "up");
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("run_paused", site.ok(["execution", "pause", &run]));
    });
    assert_eq!(
        site.post(&format!("/api/v1/executions/{run}/pause"), &json!({}))
            .status,
        200,
        "to pause again changes nothing"
    );
    fs::write(&gate, "go\n").expect("written");
    assert_eq!(
        site.ended(&first)["status"],
        "completed",
        "what runs goes on"
    );
    assert_eq!(tasks(&site, &run), pairs(&[("first", "completed")]));
    engine.kill();
    let _engine = site.up();
    let record = site.get(&format!("/api/v1/executions/{run}/run"));
    assert_eq!(record["run"]["paused"], true, "{record}");
    assert_eq!(tasks(&site, &run), pairs(&[("first", "completed")]));
    site.ok(["execution", "resume", &run]);
    assert_eq!(site.ended(&run)["status"], "completed");
    assert_eq!(notes(&site), ["second", "last"]);
    for verb in ["pause", "resume"] {
        let (code, text) = refused(&site, ["execution", verb, &run]);
        assert_eq!(code, 6, "{text}");
        insta::with_settings!({filters => screen::filters()}, {
            insta::assert_snapshot!("run_has_ended", text);
        });
    }
    let (code, text) = refused(&site, ["execution", "pause", &first]);
    assert!(
        code == 6 && text.contains("t.gate is not a workflow"),
        "{text}"
    );
    let nowhere = "exec_00000000000000000000000000";
    assert_eq!(refused(&site, ["execution", "pause", nowhere]).0, 5);
    let check = site.run(["doctor", "--check"]);
    assert!(check.status.success(), "{}", shown(&check));
}

#[test]
fn what_waits_for_a_slot_is_held_too() {
    let site = site("tasks:\n  only: { action: t.note, with: { name: only } }\n");
    site.shell_action("hold", "echo up; sleep 1000", "");
    let _engine = site.up_with(&["--slots", "1"], &[]);
    let holder = site.request(["t.hold"]);
    site.wait_for_log(&holder, "up");
    let run = site.request(["t.flow"]);
    let child = id(&children(&site, &run)[0]).to_owned();
    site.ok(["execution", "pause", &run]);
    let later = site.request(["t.note", "name=later"]);
    site.ok(["execution", "cancel", &holder]);
    assert_eq!(site.ended(&later)["status"], "completed");
    let held = site.get(&format!("/api/v1/executions/{child}"));
    assert_eq!(
        held["status"], "requested",
        "it was asked for first: {held}"
    );
    let why = site.ok(["why", &child]);
    assert!(why.contains("is paused") && why.contains(&run), "{why}");
    site.ok(["execution", "resume", &run]);
    assert_eq!(site.ended(&run)["status"], "completed");
    assert_eq!(notes(&site), ["later", "only"]);
}

#[test]
fn a_pause_reaches_the_runs_below() {
    let (site, gate) = gated();
    site.pack_file(
        "t/workflows/outer.yaml",
        "ref: t.outer\ntasks:\n  inner: { action: t.flow }\n",
    );
    let _engine = site.up();
    let outer = site.request(["t.outer"]);
    let inner = id(&children(&site, &outer)[0]).to_owned();
    let first = id(&children(&site, &inner)[0]).to_owned();
    site.wait_for_log(&first, "up");
    site.ok(["execution", "pause", &outer]);
    fs::write(&gate, "go\n").expect("written");
    site.ended(&first);
    site.ok(["execution", "resume", &inner]);
    assert_eq!(
        tasks(&site, &inner),
        pairs(&[("first", "completed")]),
        "it is the one above that holds it"
    );
    site.ok(["execution", "resume", &outer]);
    assert_eq!(site.ended(&outer)["status"], "completed");
    assert_eq!(notes(&site), ["second", "last"]);
}

#[test]
fn a_paused_run_can_be_cancelled() {
    let (site, _gate) = gated();
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let first = id(&children(&site, &run)[0]).to_owned();
    site.wait_for_log(&first, "up");
    site.ok(["execution", "pause", &run]);
    site.ok(["execution", "cancel", &run]);
    assert_eq!(site.ended(&run)["status"], "cancelled");
    assert_eq!(site.ended(&first)["status"], "cancelled");
    assert_eq!(
        notes(&site),
        ["last"],
        "what is to run however it ends runs"
    );
    let (code, text) = refused(&site, ["execution", "retry", &run, "--from", "secnd"]);
    assert!(
        code == 5 && text.contains("did you mean 'second'?"),
        "{text}"
    );
}

/// Tasks a, b and c in a row, of which b fails while there is a file `fail-b`.
fn row() -> Site {
    let site = site(
        "tasks:\n  a: { action: t.note, with: { name: a } }\n  b: { needs: [a], action: t.note, with: { name: b } }\n  c: { needs: [b], action: t.note, with: { name: c } }\n",
    );
    fs::write(site.path().join("fail-b"), "").expect("written");
    site
}

#[test]
fn a_retry_may_keep_what_completed() {
    let site = row();
    let _engine = site.up();
    let failed = site.done(["t.flow"]);
    assert_eq!(failed["status"], "failed", "{failed}");
    let run = id(&failed);
    fs::remove_file(site.path().join("fail-b")).expect("removed");
    let retried = site.run(["execution", "retry", run, "--failed-only", "--wait"]);
    assert!(retried.status.success(), "{}", shown(&retried));
    assert_eq!(notes(&site), ["a", "b", "b", "c"]);
    let list = site.json(["execution", "list"]);
    let second = list["items"][0].clone();
    assert_eq!(second["origin"], json!({"kind": "retry", "of": run}));
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("run_retried", site.ok(["execution", "show", id(&second)]));
        let (code, text) = refused(&site, ["execution", "retry", id(&second), "--from", "bb"]);
        assert_eq!(code, 5, "{text}");
        insta::assert_snapshot!("retry_from_unknown", text);
    });
    let third = site.json(["execution", "retry", id(&second), "--from", "c"]);
    assert_eq!(site.ended(id(&third))["status"], "completed");
    assert_eq!(notes(&site), ["a", "b", "b", "c", "c"]);
    let fourth = site.json(["execution", "retry", id(&third)]);
    assert_eq!(site.ended(id(&fourth))["status"], "completed");
    assert_eq!(
        notes(&site)[5..],
        ["a", "b", "c"],
        "without either, all run anew"
    );
}

/// The pack was changed and removed since, and the engine was started again each time.
#[test]
fn a_retry_goes_by_the_definition_of_its_run_and_a_rerun_by_the_current_one() {
    let site = row();
    let engine = site.up();
    let failed = site.done(["t.flow"]);
    let run = id(&failed);
    let file = site.path().join("alone.yaml");
    let text = "ref: mine.alone\ntasks:\n  x: { action: t.note, with: { name: x } }\n";
    fs::write(&file, text).expect("written");
    let alone = site.json(["workflow", "run", &file.display().to_string()]);
    assert_eq!(notes(&site), ["a", "b", "x"], "{alone}");
    engine.kill();

    let other = "ref: t.flow\ntasks:\n  z: { action: t.note, with: { name: z } }\n";
    site.pack_file("t/workflows/flow.yaml", other);
    fs::remove_file(site.path().join("fail-b")).expect("removed");
    let engine = site.up();
    let again = site.json(["execution", "rerun", id(&alone)]);
    assert_eq!(site.ended(id(&again))["status"], "completed");
    let again = site.json(["execution", "rerun", run]);
    assert_eq!(site.ended(id(&again))["status"], "completed");
    let retried = site.json(["execution", "retry", run, "--failed-only"]);
    assert_eq!(site.ended(id(&retried))["status"], "completed");
    assert_eq!(notes(&site)[3..], ["x", "z", "b", "c"]);
    engine.kill();

    fs::remove_dir_all(site.path().join("packs/t")).expect("removed");
    let engine = site.up();
    site.ok(["pack", "remove", "t"]);
    let retried = site.json(["execution", "retry", run, "--from", "c"]);
    assert_eq!(retried["pack_hash"], failed["pack_hash"]);
    engine.kill();
    // It is taken up by that definition too.
    let _engine = site.up();
    assert_eq!(site.ended(id(&retried))["status"], "completed");
    assert_eq!(notes(&site).last().map(String::as_str), Some("c"));
    let (code, text) = refused(
        &site,
        ["execution", "rerun", "exec_00000000000000000000000000"],
    );
    assert_eq!(code, 5, "{text}");
}

#[test]
fn what_cannot_be_retried_is_refused() {
    let (site, _gate) = gated();
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let (code, text) = refused(&site, ["execution", "retry", &run]);
    assert!(code == 6 && text.contains("has not ended"), "{text}");
    let (code, _) = refused(
        &site,
        [
            "execution",
            "retry",
            &run,
            "--from",
            "first",
            "--failed-only",
        ],
    );
    assert_eq!(code, 2);
    let path = format!("/api/v1/executions/{run}/retry");
    let both = site.post(&path, &json!({"from": "first", "failed_only": true}));
    assert_eq!(both.refusal(), (400, "invalid_request".to_owned()));
    let done = site.done(["t.note", "name=x"]);
    let (code, text) = refused(&site, ["execution", "retry", id(&done), "--from", "first"]);
    assert!(code == 6 && text.contains("no run of a workflow"), "{text}");
    let long = site.post(
        &format!("/api/v1/executions/{}/retry", id(&done)),
        &json!({"from": "x".repeat(1 << 20)}),
    );
    assert_eq!(long.status, 409);
}

#[test]
fn one_key_makes_one_retry_and_one_rerun() {
    let site = row();
    let _engine = site.up();
    let first = site.done(["t.flow"]);
    let run = id(&first);
    for (verb, key) in [("retry", "again-1"), ("rerun", "again-2")] {
        let path = format!("/api/v1/executions/{run}/{verb}");
        let ask = || site.http("POST", &path, &[("Idempotency-Key", key)], b"");
        let (one, two) = (ask(), ask());
        assert_eq!((one.status, two.status), (201, 200), "{}", two.text());
        assert_eq!(one.json()["id"], two.json()["id"]);
        let other = site.ended(id(&one.json()));
        assert_ne!(other["id"], first["id"]);
        let path = format!("/api/v1/executions/{}/{verb}", id(&other));
        let reused = site.http("POST", &path, &[("Idempotency-Key", key)], b"");
        assert_eq!(reused.refusal(), (409, "idempotency_key_reused".to_owned()));
    }
    assert_eq!(notes(&site), ["a", "b", "a", "b", "a", "b"]);
}

#[test]
fn a_rerun_asks_for_the_same_while_the_other_still_runs() {
    let (site, gate) = gated();
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let again = site.json(["execution", "rerun", &run]);
    assert_eq!(
        again["parameters"],
        site.get(&format!("/api/v1/executions/{run}"))["parameters"]
    );
    for run in [run.as_str(), id(&again)] {
        site.wait_for_log(id(&children(&site, run)[0]), "up");
    }
    // Whoever reads from the pipe takes a line; there is one for each.
    let mut pipe = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&gate)
        .expect("opened");
    std::io::Write::write_all(&mut pipe, b"go\ngo\n").expect("written");
    for run in [run.as_str(), id(&again)] {
        assert_eq!(site.ended(run)["status"], "completed");
    }
}

#[test]
fn a_run_is_read_with_its_tasks_and_its_children_by_pages() {
    let site = site(
        "parameters: { token: { type: string, secret: true, default: hush-hush } }\nvars: { header: \"Bearer {{ params.token }}\" }\ntasks:\n  many: { items: \"{{ range(25) | list }}\", concurrency: 3, action: t.use, with: { token: \"{{ params.token }}\", n: \"{{ item }}\" } }\n",
    );
    site.shell_action(
        "use",
        "true",
        "parameters:\n  token: { type: string, secret: true }\n  n: { type: integer }\n",
    );
    let _engine = site.up();
    let run = site.done(["t.flow"]);
    assert_eq!(run["status"], "completed", "{run}");
    let path = format!("/api/v1/executions/{}", id(&run));
    let record = site.get(&format!("{path}/run"));
    assert_eq!(
        record["tasks"][0]["item_counts"],
        json!({"completed": 25}),
        "{record}"
    );
    assert_eq!(record["workflow"]["tasks"][0]["items"]["concurrency"], 3);
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("{path}/children?limit=10&cursor={cursor}"));
        let rows = page["items"].as_array().expect("a list");
        assert!(rows.len() <= 10);
        for row in rows {
            assert_eq!(row["parameters"]["token"], "[redacted]", "{row}");
            items.push(row["task"]["item"].as_u64().expect("an item"));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(
        items,
        (0..25).collect::<Vec<u64>>(),
        "in the order of their starts"
    );
    let shown = json!({"header": "Bearer [redacted]"});
    assert_eq!((&record["run"]["vars"], &run["result"]), (&shown, &shown));
    let count = |arguments: &[&str]| {
        let list = site.json(["execution", "list"].iter().chain(arguments).copied());
        list["items"].as_array().expect("a list").len()
    };
    assert_eq!((count(&[]), count(&["--all"])), (1, 26));
    let child = id(&children(&site, id(&run))[0]).to_owned();
    let none = site.http("GET", &format!("/api/v1/executions/{child}/run"), &[], b"");
    assert_eq!(none.refusal(), (404, "not_found".to_owned()));
    assert!(
        none.text().contains("t.use is not a workflow"),
        "{}",
        none.text()
    );
}
