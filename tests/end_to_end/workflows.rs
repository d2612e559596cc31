//! Workflows as real processes: by their files, large values, and through a crash.

use std::fs;

use serde_json::json;

use crate::harness::{Site, shown};

const ASK: &str = "\
ref: t.ask
tasks:
  before: { action: t.hi }
  ask: { needs: [before], inquiry: { prompt: 'Go on?' } }
  after: { needs: { ask: completed }, action: core.echo, with: { message: '{{ tasks.ask.result.by }}' } }
output: '{{ tasks.after.result.message }}'
";

fn site() -> Site {
    let site = Site::new();
    site.shell_action("hi", "echo hi", "");
    site
}

#[test]
fn a_workflow_runs_from_its_file_without_an_engine() {
    let site = site();
    let file = site.path().join("nightly.yaml");
    let text = "ref: mine.nightly\nparameters: { n: { type: integer, required: true } }\ntasks:\n  a: { action: core.echo, with: { message: 'n is {{ params.n + 1 }}' } }\noutput: '{{ tasks.a.result.message }}'\n";
    fs::write(&file, text).expect("written");
    let file = file.display().to_string();
    let execution = site.json(["workflow", "run", &file, "n=41"]);
    assert_eq!(execution["result"], "n is 42", "{execution}");
    let wrong = site.run(["workflow", "run", &file, "n=many"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", shown(&wrong));
    fs::write(&file, text.replace("params.n", "params.m")).expect("written");
    let wrong = site.run(["workflow", "run", &file, "n=41"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", shown(&wrong));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("nightly.yaml:4:"));
}

#[test]
fn a_run_goes_on_after_a_crash_with_the_files_that_it_started_with() {
    let site = site();
    let engine = site.up();
    let file = site.path().join("ask.yaml");
    fs::write(&file, ASK).expect("written");
    let id = site.ok(["workflow", "run", &file.display().to_string(), "--detach"]);
    let id = id.trim();
    let inquiry = loop {
        let open = site.json(["inquiry", "list"]);
        if let Some(inquiry) = open["items"][0]["id"].as_str() {
            break inquiry.to_owned();
        }
    };
    engine.kill();
    fs::write(&file, "ref: t.ask\n").expect("written");
    let engine = site.up();
    site.ok(["inquiry", "answer", &inquiry, "--approve"]);
    let ended = site.ended(id);
    assert_eq!(
        (&ended["status"], &ended["result"]),
        (&json!("completed"), &json!("admin"))
    );
    assert_eq!(engine.stop().0, 0);
    site.ok(["doctor", "--check"]);
}

#[test]
fn runs_that_fail_as_they_begin_are_recorded_and_tried_again() {
    let site = site();
    let child = "ref: t.child\nvars: { bag: {} }\ntasks:\n  a: { when: '{{ vars.bag.x.y }}', action: t.hi }\n";
    site.pack_file("t/workflows/child.yaml", child);
    let above = "ref: t.above\ntasks:\n  first: { action: t.hi }\n  sub: { needs: [first], action: t.child, retry: { max_attempts: 3, delay: 1ms } }\n";
    site.pack_file("t/workflows/above.yaml", above);
    let engine = site.up();
    let id = site.ok(["run", "t.above", "--detach"]);
    let ended = site.ended(id.trim());
    assert_eq!(ended["status"], "failed", "{ended}");
    let children = site.json(["execution", "list", "--all", "--action", "t.child"]);
    let [child] = children["items"].as_array().map_or(&[][..], Vec::as_slice) else {
        panic!("{children}")
    };
    assert_eq!(
        (&child["status"], &child["attempt"]),
        (&json!("failed"), &json!(3)),
        "{child}"
    );
    assert_eq!(engine.stop().0, 0);
    site.ok(["doctor", "--check"]);
}

#[test]
fn eight_megabytes_pass_through_three_tasks() {
    let site = site();
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    site.pack_file(
        "t/actions/make.yaml",
        "ref: t.make\nruntime: python\nentry_point: make.py\noutput: json\n",
    );
    site.pack_file(
        "t/actions/make.py",
        "import json\nprint(json.dumps(['x' * 1000] * 8000))\n",
    );
    site.pack_file(
        "t/actions/pass.yaml",
        "ref: t.pass\nruntime: python\nentry_point: pass.py\nparameters: { rows: { type: array } }\noutput: json\n",
    );
    site.pack_file(
        "t/actions/pass.py",
        "import json, sys\nprint(json.dumps(json.load(sys.stdin)['rows']))\n",
    );
    site.pack_file(
        "t/workflows/large.yaml",
        "ref: t.large\ntasks:\n  a: { action: t.make }\n  b: { action: t.pass, with: { rows: '{{ tasks.a.result }}' } }\n  c: { action: t.pass, with: { rows: '{{ tasks.b.result }}' } }\noutput: '{{ tasks.c.result | length }}'\n",
    );
    let engine = site.up();
    let ended = site.done(["t.large"]);
    assert_eq!(
        (&ended["status"], &ended["result"]),
        (&json!("completed"), &json!(8000)),
        "{ended}"
    );
    assert_eq!(engine.stop().0, 0);
}
