//! Watching a run of a workflow: its events as lines, the output of all its steps, where its time
//! went, and what the console of the engine says of it.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Engine, Site, shown};

/// A workflow with items, a task that is tried twice, a run below, a skip and a question.
fn site() -> (Site, Engine) {
    let site = Site::new();
    site.shell_action(
        "row",
        "echo row $PARAM_N; echo end $PARAM_N >&2",
        "parameters: { n: { type: integer } }\nparameter_delivery: env\n",
    );
    site.shell_action(
        "flaky",
        r#"echo try $CAMSHAFT_ATTEMPT; test "$CAMSHAFT_ATTEMPT" -ge 2"#,
        "",
    );
    site.shell_action("work", "printf worked", "");
    site.pack_file(
        "t/workflows/inner.yaml",
        "ref: t.inner\ntasks:\n  deep: { action: t.work }\n",
    );
    site.pack_file(
        "t/workflows/etl.yaml",
        r#"ref: t.etl
tasks:
  fetch: { action: t.row, items: "{{ [1, 2] }}", concurrency: 1, with: { n: "{{ item }}" } }
  flaky: { action: t.flaky, retry: { max_attempts: 2, delay: 10ms } }
  below: { needs: [fetch, flaky], action: t.inner }
  quiet: { needs: [below], when: "false", action: t.work }
  ask: { needs: [below], inquiry: { prompt: "Go on?" } }
  last: { needs: [ask], action: t.work }
"#,
    );
    let engine = site.up();
    (site, engine)
}

/// Answers what a run asks as soon as the engine's console says that it does.
#[track_caller]
fn approve(site: &Site, engine: &mut Engine) {
    let line = engine.wait_for("camshaft inquiry answer ");
    let inquiry = line
        .split_whitespace()
        .find(|word| word.starts_with("inq_"))
        .expect("the line names the inquiry");
    site.ok(["inquiry", "answer", inquiry, "--approve"]);
}

/// A run of the workflow that has ended.
#[track_caller]
fn run(site: &Site, engine: &mut Engine) -> String {
    let id = site.request(["t.etl"]);
    approve(site, engine);
    let ended = site.ended(&id);
    assert_eq!(ended["status"], "completed", "{ended}");
    id
}

#[test]
fn a_pipe_gets_one_line_per_event_until_the_run_ends() {
    let (site, mut engine) = site();
    let id = site.request(["t.etl"]);
    let watcher = site
        .command(["watch", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    approve(&site, &mut engine);
    let output = watcher.wait_with_output().expect("it ends with the run");
    assert!(output.status.success(), "{}", shown(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let short = &id[id.len() - 6..];
    for line in text.lines() {
        let mut words = line.split("  ");
        let time = words.next().expect("a time");
        assert_eq!((time.len(), words.next()), (12, Some(short)), "{line}");
    }
    for expected in [
        "fetch[0]  started",
        "fetch[1]  started",
        "flaky  failed, retrying (attempt 1/2)",
        "flaky  started, attempt 2",
        "below/deep  started",
        "quiet  skipped",
        "ask  asks: Go on?",
        "last  completed",
    ] {
        assert!(text.contains(expected), "no '{expected}' in:\n{text}");
    }
}

#[test]
fn watching_survives_a_restart_of_the_engine_and_ends_as_the_run_does() {
    let (site, mut engine) = site();
    let id = site.request(["t.etl"]);
    let mut watcher = site
        .command(["watch", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(watcher.stdout.take().expect("piped"));
    let mut text = String::new();
    while !text.contains("ask  asks") {
        assert!(lines.read_line(&mut text).expect("read") > 0, "{text}");
    }
    let line = engine.seen_or_wait("camshaft inquiry answer ");
    let inquiry = line
        .split_whitespace()
        .find(|word| word.starts_with("inq_"))
        .expect("named")
        .to_owned();
    engine.kill();
    let _engine = site.up();
    site.ok(["inquiry", "answer", &inquiry, "--reject"]);
    lines.read_to_string(&mut text).expect("read");
    let output = watcher.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}\n{told}");
    assert!(told.contains("Waiting up to 2m to read on"), "{told}");
    assert!(told.contains("failed"), "{told}");
    assert_eq!(
        text.matches("ask  asks").count(),
        1,
        "nothing twice:\n{text}"
    );
}

#[test]
fn logs_of_a_run_are_those_of_all_its_steps_with_their_names() {
    let (site, mut engine) = site();
    let id = site.request(["t.etl"]);
    let follower = site
        .command(["logs", "-f", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    approve(&site, &mut engine);
    let followed = follower.wait_with_output().expect("it ends with the run");
    let printed = site.run(["logs", &id]);
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let expected = [
        "below/deep | worked",
        "fetch[0] | row 1",
        "fetch[1] | row 2",
        "flaky (attempt 2) | try 2",
        "flaky | try 1",
        "last | worked",
    ];
    assert_eq!(sorted(&followed.stdout), expected, "{}", shown(&followed));
    assert_eq!(
        sorted(&followed.stderr),
        ["fetch[0] | end 1", "fetch[1] | end 2"]
    );
    assert_eq!(sorted(&printed.stdout), expected, "{}", shown(&printed));
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    let place = |line: &str| text.find(line).expect("there");
    assert!(place("fetch[0] |") < place("fetch[1] |"), "{text}");
    assert!(place("below/deep |") < place("last |"), "{text}");
    let single = site.json(["execution", "list", "--all", "--action", "t.work"]);
    let single = single["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(site.ok(["logs", &single]), "worked", "byte for byte");
    let refused = site.run(["logs", &id, "--attempt", "1"]);
    assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused));
}

#[test]
fn a_trace_says_where_the_time_went() {
    let (site, mut engine) = site();
    let id = run(&site, &mut engine);
    let trace = site.json(["trace", &id]);
    let parts = trace["parts_us"].as_object().expect("parts");
    let sum: u64 = parts.values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(sum), trace["duration_us"].as_u64(), "{trace}");
    let ended = site.ended(&id);
    let instant = |key: &str| {
        let text = ended[key].as_str().expect("an instant");
        text.parse::<jiff::Timestamp>()
            .expect("RFC 3339")
            .as_microsecond()
    };
    let took = instant("ended_at") - instant("requested_at");
    assert_eq!(trace["duration_us"].as_i64(), Some(took), "{trace}");
    assert!(
        parts["person"].as_u64() > Some(0),
        "somebody had to answer: {trace}"
    );
    let steps: Vec<&str> = trace["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    for step in [
        "fetch",
        "fetch[1]",
        "flaky",
        "below",
        "below/deep",
        "ask",
        "quiet",
        "last",
    ] {
        assert!(steps.contains(&step), "{step}: {steps:?}");
    }
    let shown = site.ok(["trace", &id]);
    for part in [
        "Critical path",
        "Where the time went",
        "retried",
        "skipped",
        "person",
    ] {
        assert!(shown.contains(part), "no '{part}' in:\n{shown}");
    }
    let single = site.request(["t.work"]);
    site.ended(&single);
    let trace = site.json(["trace", &single]);
    assert_eq!(trace["steps"][0]["step"], "work", "{trace}");
}

#[test]
fn a_run_that_has_not_ended_is_traced_too() {
    let (site, mut engine) = site();
    let id = site.request(["t.etl"]);
    engine.wait_for("camshaft inquiry answer ");
    let trace = site.json(["trace", &id]);
    assert_eq!(
        (&trace["status"], &trace["ended_at"]),
        (&"waiting".into(), &Value::Null)
    );
    let last = trace["critical_path"]
        .as_array()
        .and_then(|path| path.last())
        .expect("a path");
    assert_eq!(
        (&last["step"], &last["part"]),
        (&"ask".into(), &"person".into()),
        "{trace}"
    );
}

#[test]
fn a_misspelt_type_or_step_gets_the_nearest_name() {
    let (site, mut engine) = site();
    let id = run(&site, &mut engine);
    let output = site.run(["events", &id, "--type", "step_finishd"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("did you mean 'step_finished'?"), "{told}");
    let output = site.run(["events", &id, "--step", "fecth"]);
    assert_eq!(output.status.code(), Some(5), "{}", shown(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("did you mean 'fetch'?"), "{told}");
    let events = site.json(["events", &id, "--step", "deep", "--type", "step_started"]);
    assert_eq!(
        events["items"].as_array().map(Vec::len),
        Some(1),
        "{events}"
    );
}

#[test]
fn the_console_names_tasks_by_their_run_and_tells_a_retry_once() {
    let (site, mut engine) = site();
    run(&site, &mut engine);
    engine.seen_or_wait("t.etl completed");
    let (_, text) = engine.stop();
    for expected in [
        "t.etl started",
        "t.etl/fetch[0] started",
        "t.etl/below/deep completed",
        "t.etl/quiet skipped",
        "t.etl/ask asks: Go on?",
    ] {
        assert!(text.contains(expected), "no '{expected}' in:\n{text}");
    }
    let retries = text.lines().filter(|line| {
        line.contains("t.etl/flaky") && (line.contains("retrying") || line.contains("next attempt"))
    });
    assert_eq!(retries.count(), 1, "{text}");
}
