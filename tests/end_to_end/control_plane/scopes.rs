//! Every kind of scope, on everything that starts: tasks, items, retries, child runs, what rules request.

use super::*;

const OUTER: &str = "ref: t.outer\ntasks:\n  load: { action: t.inner }\n";
const INNER: &str =
    "ref: t.inner\ntasks:\n  each: { items: \"{{ range(3) | list }}\", action: t.say }\n";

/// A rule that starts a workflow, whose task is a workflow, whose task has items.
fn nested() -> Site {
    let site = site();
    site.pack_file("t/workflows/outer.yaml", OUTER);
    site.pack_file("t/workflows/inner.yaml", INNER);
    site.pack_file("t/triggers/go.yaml", "ref: t.go\n");
    site.pack_file(
        "t/rules/on_go.yaml",
        "ref: t.on_go\ntrigger: { ref: t.go }\naction: { ref: t.outer }\n",
    );
    site
}

#[test]
fn each_scope_holds_what_a_rule_started_down_to_its_last_item() {
    let site = nested();
    let mut engine = site.up();
    for scope in [
        "global",
        "project:default",
        "pack:t",
        "rule:t.on_go",
        "action:t.say",
        "action:t.outer",
        "workflow:t.outer",
        "workflow:t.inner",
        "task:each",
        "task:load",
        "task:outer",
        "task:e[a-c]c?",
        "action:t.*",
        "runtime:shell",
        "worker:*",
    ] {
        site.ok(["pause", scope]);
        engine.skip_lines();
        let event = site.emit("t.go", &json!({}));
        let run = run_of(&site, &event);
        let held = blocked(&site, &run);
        assert_eq!(held["payload"]["scope"], scope);
        let shown = site.json(["execution", "show", &run]);
        assert_eq!(
            shown["blocked_by"]["scope"], scope,
            "the run is held wholly: {shown}"
        );
        let preview = site.json(["constraint", "preview", scope]);
        assert_eq!(
            preview["by_action"],
            json!({"t.say": 3}),
            "{scope}: {preview}"
        );
        site.ok(["resume", scope]);
        assert_eq!(site.ended(&run)["status"], "completed", "{scope}");
    }
}

#[test]
fn other_scopes_leave_it_alone() {
    let site = nested();
    let _engine = site.up();
    for scope in [
        "project:other",
        "pack:core",
        "rule:t.on",
        "action:t.sa",
        "workflow:t.say",
        "task:load_more",
        "task:e?",
        "runtime:python",
        "worker:elsewhere",
        "pod:a",
    ] {
        let answer = site.json(["pause", scope]);
        assert_eq!(answer["items"][0]["preview"]["held"], 0, "{scope}");
    }
    let run = run_of(&site, &site.emit("t.go", &json!({})));
    assert_eq!(site.ended(&run)["status"], "completed");
}

#[track_caller]
fn run_of(site: &Site, event: &str) -> String {
    let page = site.get(&format!("/api/v1/enforcements?event={event}"));
    page["items"][0]["execution"]
        .as_str()
        .expect("a run")
        .to_owned()
}

#[test]
fn a_limit_holds_items_one_by_one() {
    let site = site();
    site.pack_file(
        "t/workflows/fan.yaml",
        "ref: t.fan\ntasks:\n  each: { items: \"{{ ['a', 'b', 'c'] }}\", action: t.gate, with: { name: \"{{ item }}\" } }\n",
    );
    let _engine = site.up();
    site.ok(["set-limit", "--scope", "task:each", "--concurrency", "1"]);
    for name in ["a", "b", "c"] {
        make_gate(&site, name);
    }
    let run = site.request(["t.fan"]);
    blocked(&site, &run);
    let children = site.get(&format!("/api/v1/executions/{run}/children"));
    let ids: Vec<String> = children["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|child| child["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    for (at, name) in ["a", "b", "c"].iter().enumerate() {
        site.wait_for_log(&ids[at], "began");
        assert_eq!(
            in_use(&site, "task:each", "concurrency"),
            (1, 2 - at as u64)
        );
        open_gate(&site, name);
    }
    assert_eq!(site.ended(&run)["status"], "completed");
}

#[test]
fn the_next_attempt_is_held_as_well() {
    let site = site();
    let script = format!(
        "[ \"$CAMSHAFT_ATTEMPT\" = 2 ] || {{ cat '{}/flaky'; exit 1; }}",
        site.path().display()
    );
    site.shell_action(
        "flaky",
        &script,
        "retry: { max_attempts: 2, delay: 10ms }\n",
    );
    make_gate(&site, "flaky");
    let _engine = site.up();
    let id = site.request(["t.flaky"]);
    control::first_of_stream(
        &site,
        &format!("/api/v1/executions/{id}/events/stream?type=step_started"),
    );
    site.ok(["pause", "task:flaky"]);
    open_gate(&site, "flaky");
    blocked(&site, &id);
    assert_eq!(held_by(&site, &id), "pause on task:flaky");
    assert_eq!(in_use(&site, "task:flaky", "pause"), (0, 1));
    site.ok(["resume", "task:flaky"]);
    let ended = site.ended(&id);
    assert_eq!(
        (&ended["status"], &ended["attempt"]),
        (&json!("completed"), &json!(2))
    );
}
