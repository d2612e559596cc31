//! Executions: how they are asked for, how they end, and what is said of them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Site, await_ended, is_alive, shown};
use crate::screen;

#[test]
fn run_shows_output_and_ends_with_the_executions_success() {
    let site = Site::new();
    site.shell_action(
        "both",
        "echo out; echo err >&2; exit $PARAM_STATUS",
        "parameter_delivery: env\nparameters:\n  status: { type: integer, default: 0 }\n",
    );
    let _engine = site.up();
    let good = site.run(["run", "t.both", "--wait"]);
    assert_eq!(
        (good.status.code(), &*good.stdout, &*good.stderr),
        (Some(0), &b"out\n"[..], &b"err\n"[..]),
        "{}",
        shown(&good)
    );
    let bad = site.run(["run", "t.both", "status=3"]);
    assert_eq!(
        (bad.status.code(), &*bad.stdout),
        (Some(1), &b"out\n"[..]),
        "{}",
        shown(&bad)
    );
    let error = String::from_utf8_lossy(&bad.stderr);
    assert!(
        error.contains("exit status 3") && error.contains("camshaft why"),
        "{error}"
    );
    let refused = site.run(["run", "t.both", "status=many"]);
    assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused));
    let unknown = site.run(["run", "t.bot"]);
    assert_eq!(unknown.status.code(), Some(5), "{}", shown(&unknown));
    let error = String::from_utf8_lossy(&unknown.stderr);
    assert!(error.contains("t.both"), "the nearest is named: {error}");
}

#[test]
fn parameters_keep_the_types_of_the_schema() {
    let site = Site::new();
    site.shell_action(
        "typed",
        "cat",
        "output: json\nparameters:\n  n: { type: integer, required: true }\n  yes: { type: boolean }\n  list: { type: array }\n  text: { type: string, default: d }\n",
    );
    let _engine = site.up();
    let done = site.done(["t.typed", "n=7", "yes=true", "list:=[1, \"2\"]"]);
    assert_eq!(
        done["result"],
        json!({"n": 7, "yes": true, "list": [1, "2"], "text": "d"})
    );
    for (arguments, named) in [
        (&["t.typed"][..], "n"),
        (&["t.typed", "n=1", "txet=x"], "txet"),
        (&["t.typed", "n:=\"1\""], "n"),
    ] {
        let refused = site.run(["run"].iter().chain(arguments));
        assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused));
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(
            error.contains("code: invalid_parameters") && error.contains(named),
            "{error}"
        );
    }
}

#[test]
fn a_file_runs_as_it_is() {
    let site = Site::new();
    site.pack_file("script.sh", "#!/bin/sh\necho \"$1+$2 in $(pwd)\"\nexit 4\n");
    let _engine = site.up();
    let output = site
        .command(["run", "--", "./script.sh", "a b", "--c"])
        .current_dir(site.packs_dir())
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let here = site.packs_dir().canonicalize().expect("there");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("a b+--c in {}\n", here.display())
    );
    let missing = site.run(["run", "--", "./nothing.sh"]);
    assert!(!missing.status.success(), "{}", shown(&missing));
    assert!(
        String::from_utf8_lossy(&missing.stderr).contains("nothing.sh"),
        "{}",
        shown(&missing)
    );
}

#[test]
fn a_failure_is_tried_again_with_growing_delays() {
    let site = Site::new();
    site.shell_action(
        "flaky",
        "echo try $CAMSHAFT_ATTEMPT; [ $CAMSHAFT_ATTEMPT = 3 ]",
        "retry: { max_attempts: 4, delay: 50ms, backoff: exponential, max_delay: 80ms }\n",
    );
    let _engine = site.up();
    let output = site.run(["run", "t.flaky"]);
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(0), &b"try 1\ntry 2\ntry 3\n"[..]),
        "{}",
        shown(&output)
    );
    let list = site.json(["execution", "list"]);
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    let retries: Vec<Value> = site
        .steps(&id)
        .into_iter()
        .filter(|(kind, _)| kind == "step_retrying")
        .map(|(_, payload)| payload)
        .collect();
    let fields: Vec<_> = retries
        .iter()
        .map(|p| {
            (
                p["attempt"].as_u64(),
                p["max_attempts"].as_u64(),
                p["delay_ms"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        fields,
        [(Some(1), Some(4), Some(50)), (Some(2), Some(4), Some(80))],
        "{retries:?}"
    );
    let attempts = site.get(&format!("/api/v1/executions/{id}/attempts"));
    let ended: Vec<&str> = attempts["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|a| a["status"].as_str())
        .collect();
    assert_eq!(ended, ["failed", "failed", "completed"]);
    assert_eq!(site.ok(["logs", &id, "--attempt", "1"]), "try 1\n");
}

#[test]
fn max_attempts_counts_the_first_try() {
    let site = Site::new();
    site.shell_action(
        "never",
        "exit 9",
        "retry: { max_attempts: 2, delay: 10ms }\n",
    );
    let _engine = site.up();
    let done = site.done(["t.never"]);
    assert_eq!(
        (
            done["status"].as_str(),
            done["attempt"].as_u64(),
            done["exit_code"].as_i64()
        ),
        (Some("failed"), Some(2), Some(9))
    );
}

#[test]
fn a_deadline_ends_the_whole_group() {
    let site = Site::new();
    site.shell_action("slow", "sleep 1000 & echo $!; wait", "timeout: 300ms\n");
    let _engine = site.up();
    let began = Instant::now();
    let id = site.request(["t.slow"]);
    let done = site.ended(&id);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(done["status"], "timed_out", "{done}");
    let pid: i32 = site.ok(["logs", &id]).trim().parse().expect("a pid");
    assert!(
        !is_alive(pid),
        "the grandchild is gone when the execution is terminal"
    );
    let steps = site.steps(&id);
    let (_, timeout) = steps
        .iter()
        .find(|(kind, _)| kind == "step_timeout")
        .expect("a step_timeout");
    assert!(
        (timeout["timeout_secs"].as_f64().expect("a number") - 0.3).abs() < 1e-9,
        "{timeout}"
    );
}

#[test]
fn a_silent_child_is_stopped_at_its_stall_timeout() {
    let site = Site::new();
    site.shell_action(
        "silent",
        "printf 'no newline'; sleep 1000",
        "stall_timeout: 300ms\ntimeout: 30s\n",
    );
    let _engine = site.up();
    let began = Instant::now();
    let done = site.done(["t.silent"]);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(done["error"]["kind"], "stalled", "{done}");
}

#[test]
fn cancel_ends_the_whole_group() {
    let site = Site::new();
    site.shell_action("tree", "sh -c 'sleep 1000 & echo $!; wait' & wait", "");
    let _engine = site.up();
    let id = site.request(["t.tree"]);
    let pid: i32 = site.wait_for_log(&id, "\n").trim().parse().expect("a pid");
    site.ok(["execution", "cancel", &id]);
    assert_eq!(site.ended(&id)["status"], "cancelled");
    assert!(!is_alive(pid), "terminal only when the group is gone");
    await_ended(pid);
    let again = site.ok(["execution", "cancel", &id]);
    assert!(
        again.contains("cancelled"),
        "to cancel again changes nothing: {again}"
    );
}

#[test]
fn what_waits_is_explained_and_can_be_cancelled() {
    let site = Site::new();
    site.shell_action("sleep", "echo up; sleep 1000", "");
    let _engine = site.up_with(&["--slots", "1"], &[]);
    let holder = site.request(["t.sleep"]);
    site.wait_for_log(&holder, "up");
    let later = site.request(["core.noop", "--not-before", "2999-01-01T00:00:00Z"]);
    let waiting = site.request(["core.noop"]);
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("why_no_slot", site.ok(["why", &waiting]));
        insta::assert_snapshot!("why_not_before", site.ok(["why", &later]));
    });
    site.ok(["execution", "cancel", &later]);
    assert_eq!(site.ended(&later)["status"], "cancelled");
    let retried = site.run(["execution", "retry", &holder]);
    assert_eq!(
        retried.status.code(),
        Some(6),
        "one that runs cannot be retried: {}",
        shown(&retried)
    );
    site.ok(["execution", "cancel", &holder]);
    assert_eq!(
        site.ended(&waiting)["status"],
        "completed",
        "the slot is free again"
    );
    let retried = site.json(["execution", "retry", &later]);
    assert_eq!(
        site.ended(retried["id"].as_str().expect("an id"))["status"],
        "completed"
    );
}

#[test]
fn higher_priority_goes_first() {
    let site = Site::new();
    site.shell_action("note", "echo $PARAM_NAME >> $PARAM_FILE", "parameter_delivery: env\nparameters:\n  name: { type: string }\n  file: { type: string }\n");
    let fifo = site.gate("gate");
    site.shell_action(
        "gate",
        &format!("echo up; read line < {}", fifo.display()),
        "",
    );
    let _engine = site.up_with(&["--slots", "1"], &[]);
    let gate = site.request(["t.gate"]);
    site.wait_for_log(&gate, "up");
    let order = site.path().join("order");
    let file = format!("file={}", order.display());
    let ids: Vec<String> = [("low", "-5"), ("a", "0"), ("b", "0"), ("high", "5")]
        .map(|(name, priority)| {
            site.request([
                "t.note",
                &format!("name={name}"),
                &file,
                "--priority",
                priority,
            ])
        })
        .into();
    std::fs::write(&fifo, "go\n").expect("written");
    for id in &ids {
        assert_eq!(site.ended(id)["status"], "completed");
    }
    assert_eq!(
        std::fs::read_to_string(order).expect("there"),
        "high\na\nb\nlow\n"
    );
}

#[test]
fn one_key_makes_one_execution() {
    let site = Site::new();
    let _engine = site.up();
    let body = json!({"action": "core.echo", "parameters": {"message": "hi"}}).to_string();
    let headers = [
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "order-7"),
    ];
    let first = site.http("POST", "/api/v1/executions", &headers, body.as_bytes());
    let second = site.http("POST", "/api/v1/executions", &headers, body.as_bytes());
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!(
        site.json(["execution", "list"])["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let key = ["--detach", "--idempotency-key", "order-7"];
    let by_command = site.json(["run", "core.echo", "message=hi"].into_iter().chain(key));
    assert_eq!(by_command["id"], first.json()["id"]);
}

#[test]
fn a_key_of_one_request_is_refused_for_another() {
    let site = Site::new();
    let _engine = site.up();
    let ask = |body: Value| {
        let headers = [
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "order-8"),
        ];
        let body = body.to_string();
        site.http("POST", "/api/v1/executions", &headers, body.as_bytes())
    };
    let hi = json!({"action": "core.echo", "parameters": {"message": "hi"}});
    let first = ask(hi.clone()).json();
    for other in [
        json!({"action": "core.echo", "parameters": {"message": "ho"}}),
        json!({"action": "core.noop"}),
    ] {
        let answer = ask(other);
        assert_eq!(
            answer.refusal(),
            (409, "idempotency_key_reused".to_owned()),
            "{}",
            answer.text()
        );
        assert!(
            answer.text().contains(first["id"].as_str().expect("an id")),
            "the first execution is named: {}",
            answer.text()
        );
    }
    assert_eq!(ask(hi).json()["id"], first["id"]);
    let all = site.json(["execution", "list"]);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "{all}");
    let refused = site.run(["run", "core.noop", "--idempotency-key", "order-8"]);
    assert_eq!(refused.status.code(), Some(6), "{}", shown(&refused));
}

#[test]
fn staying_with_an_execution_shows_the_output_of_every_attempt() {
    let site = Site::new();
    site.shell_action(
        "flaky",
        "echo out $CAMSHAFT_ATTEMPT\necho err $CAMSHAFT_ATTEMPT >&2\n[ $CAMSHAFT_ATTEMPT -ge 3 ]",
        "retry: { max_attempts: 3, delay: 1ms }\n",
    );
    let _engine = site.up();
    let output = site.run(["run", "t.flaky"]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "out 1\nout 2\nout 3\n"
    );
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert_eq!((lines[0], lines[2], lines[4]), ("err 1", "err 2", "err 3"));
    for (line, attempt) in [(lines[1], 1), (lines[3], 2)] {
        let begins =
            format!("attempt {attempt} failed: exit status 1: err {attempt}; another one follows");
        assert!(line.starts_with(&begins), "{text}");
    }
}

#[test]
fn not_before_is_kept() {
    let site = Site::new();
    let _engine = site.up();
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(700);
    let done = site.done(["core.noop", "--not-before", &at.to_string()]);
    let started: jiff::Timestamp = done["started_at"]
        .as_str()
        .expect("started")
        .parse()
        .expect("an instant");
    assert!(started >= at, "{started} is before {at}");
    assert!(
        started < at + jiff::SignedDuration::from_secs(5),
        "{started} is long after {at}"
    );
}

#[test]
fn the_step_events_have_their_keys() {
    let site = Site::new();
    site.shell_action("beat", "sleep 0.5; echo done; exit 3", "");
    let _engine = site.up_with(&[], &[("CAMSHAFT__WORKER__HEARTBEAT", "200ms")]);
    let id = site.request(["t.beat"]);
    site.ended(&id);
    let steps = site.steps(&id);
    let payload = |kind: &str| {
        &steps
            .iter()
            .find(|(name, _)| name == kind)
            .unwrap_or_else(|| panic!("no {kind} in {steps:?}"))
            .1
    };
    let has = |kind: &str, keys: &[&str]| {
        for key in keys {
            assert!(
                !payload(kind)[*key].is_null(),
                "{kind} has no {key}: {}",
                payload(kind)
            );
        }
    };
    has(
        "step_spawned",
        &[
            "step",
            "attempt",
            "pid",
            "stdout_path",
            "stderr_path",
            "command",
        ],
    );
    has("step_started", &["step", "agent_id", "attempt"]);
    has(
        "step_heartbeat",
        &[
            "elapsed_secs",
            "stdout_bytes",
            "stderr_bytes",
            "stdout_delta_bytes",
            "stderr_delta_bytes",
            "stagnant_heartbeats",
            "pid",
            "pid_alive",
            "output_state",
        ],
    );
    has(
        "step_finished",
        &[
            "success",
            "exit_code",
            "duration_ms",
            "stdout_bytes",
            "stdout_stored",
            "stderr_bytes",
            "stderr_stored",
        ],
    );
    assert_eq!(payload("step_finished")["success"], false);
    assert_eq!(payload("step_finished")["exit_code"], 3);
    let of_one_kind = site.get(&format!(
        "/api/v1/executions/{id}/events?type=step_finished"
    ));
    assert_eq!(of_one_kind["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_signal_and_its_name_are_recorded() {
    let site = Site::new();
    site.shell_action("shot", "kill -9 $$", "");
    let _engine = site.up();
    let done = site.done(["t.shot"]);
    assert_eq!(
        (done["status"].as_str(), done["signal"].as_i64()),
        (Some("failed"), Some(9)),
        "{done}"
    );
    assert!(
        done["error"]["message"]
            .as_str()
            .expect("a message")
            .contains("(KILL)"),
        "{done}"
    );
    let steps = site.steps(done["id"].as_str().expect("an id"));
    let (_, finished) = steps
        .iter()
        .find(|(kind, _)| kind == "step_finished")
        .expect("finished");
    assert_eq!(
        (finished["signal"].as_i64(), finished["success"].as_bool()),
        (Some(9), Some(false)),
        "{finished}"
    );
    assert!(
        finished["reason"]
            .as_str()
            .expect("a reason")
            .contains("signal 9"),
        "{finished}"
    );
}

#[test]
fn the_main_screens() {
    let site = Site::new();
    site.shell_action("greet", "echo \"Hello $PARAM_NAME\"", "parameter_delivery: env\nparameters:\n  name: { type: string, required: true }\n  token: { type: string, secret: true }\n");
    site.shell_action("fails", "echo 'no such order' >&2; exit 3", "");
    let _engine = site.up_with(&[], &[("CAMSHAFT__WORKER__ID", "desk")]);
    let greeted = site.request(["t.greet", "name=Ada", "token=abcdef123456"]);
    site.ended(&greeted);
    let failed = site.request(["t.fails"]);
    site.ended(&failed);
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("execution_list", site.ok(["execution", "list"]));
        insta::assert_snapshot!("execution_show", site.ok(["execution", "show", &greeted]));
        insta::assert_snapshot!("execution_show_failed", site.ok(["execution", "show", &failed]));
        insta::assert_snapshot!("why_failed", site.ok(["why", &failed]));
        insta::assert_snapshot!("events", site.ok(["events", &greeted]));
    });
    let yaml = site.ok(["execution", "show", &failed, "-o", "yaml"]);
    assert!(yaml.contains("status: failed"), "{yaml}");
}

#[test]
fn a_retry_that_waits_for_its_time_can_be_cancelled_and_holds_no_slot() {
    let site = Site::new();
    site.shell_action("later", "exit 1", "retry: { max_attempts: 2, delay: 1h }\n");
    let mut engine = site.up_with(&["--slots", "1"], &[]);
    let id = site.request(["t.later"]);
    engine.wait_for("retr");
    assert_eq!(
        site.done(["core.noop"])["status"],
        "completed",
        "the slot is free"
    );
    let why = site.ok(["why", &id]);
    assert!(
        why.contains("Not before") && why.contains("attempt 1 failed: exit status 1"),
        "{why}"
    );
    site.ok(["execution", "cancel", &id]);
    assert_eq!(site.ended(&id)["status"], "cancelled");
}

#[test]
fn leaving_a_run_leaves_it_running() {
    let site = Site::new();
    site.shell_action("stay", "echo here; sleep 1000", "");
    let _engine = site.up();
    let mut run = site
        .command(["run", "t.stay"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    BufReader::new(run.stdout.as_mut().expect("piped"))
        .read_line(&mut line)
        .expect("read");
    assert_eq!(line, "here\n");
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("there");
    let left = run.wait_with_output().expect("it ends");
    assert_eq!(left.status.code(), Some(130), "{}", shown(&left));
    assert!(
        String::from_utf8_lossy(&left.stderr).contains("camshaft execution cancel exec_"),
        "{}",
        shown(&left)
    );
    let list = site.json(["execution", "list", "--status", "running"]);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let timed = site.run(["run", "t.stay", "--timeout", "300ms"]);
    assert_eq!(timed.status.code(), Some(1), "{}", shown(&timed));
    assert!(
        String::from_utf8_lossy(&timed.stderr).contains("it goes on"),
        "{}",
        shown(&timed)
    );
}

#[test]
fn a_scarce_resource_is_waited_for() {
    let site = Site::new();
    site.shell_action("gpu", "echo up; sleep 1000", "resources: { gpu: 1 }\n");
    site.shell_action("tpu", "true", "resources: { tpu: 1 }\n");
    std::fs::write(
        site.path().join("camshaft.yaml"),
        "worker: { slots: 4, resources: { gpu: 1 } }\n",
    )
    .expect("written");
    let _engine = site.up();
    let first = site.request(["t.gpu"]);
    site.wait_for_log(&first, "up");
    let second = site.request(["t.gpu"]);
    let never = site.request(["t.tpu"]);
    let why = site.ok(["why", &second]);
    assert!(
        why.contains("Not enough of the resource 'gpu' is free (1 needed, 1 in all)")
            && why.contains(&first),
        "{why}"
    );
    assert!(
        site.ok(["why", &never])
            .contains("No worker offers the resource 'tpu'")
    );
    assert_eq!(
        site.done(["core.noop"])["status"],
        "completed",
        "others go past them"
    );
    site.ok(["execution", "cancel", &first]);
    site.wait_for_log(&second, "up");
}
