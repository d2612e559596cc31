//! The engine from start to stop: ready at once, alone on its data directory, and honest about what
//! it cut off.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Site, await_ended, is_alive, shown};

#[test]
fn ready_soon_and_private() {
    let site = Site::new();
    let began = Instant::now();
    let engine = site.up();
    let took = began.elapsed();
    // The bar is 100 ms on a quiet machine with a release build; here other tests run beside it.
    assert!(took < Duration::from_secs(10), "{took:?}");
    for name in ["token", "api.json"] {
        let mode = fs::metadata(site.data_dir().join(name))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let mode = fs::metadata(site.data_dir())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o077,
        0,
        "nobody else may look into the data directory"
    );
    let wrong = site.http(
        "GET",
        "/api/v1/executions",
        &[("Authorization", "Bearer wrong")],
        b"",
    );
    assert_eq!(wrong.refusal(), (401, "unauthorized".to_owned()));
    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
    assert!(
        !site.data_dir().join("api.json").exists(),
        "nobody is sent to an engine that has stopped"
    );
}

#[test]
fn a_second_engine_is_refused_with_the_pid_of_the_first() {
    let site = Site::new();
    let engine = site.up();
    let second = site.run(["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(6), "{}", shown(&second));
    let error = String::from_utf8_lossy(&second.stderr);
    assert!(
        error.contains(&format!("is in use by process {}", engine.pid())),
        "{error}"
    );
    assert!(error.contains("code: already_running"), "{error}");
    assert_eq!(site.get("/readyz")["ready"], true, "the first one goes on");
}

#[test]
fn the_first_signal_lets_work_end_and_starts_nothing_new() {
    let site = Site::new();
    let gate = site.gate("gate");
    site.shell_action(
        "long",
        &format!("echo begun; read line < {}; echo ended", gate.display()),
        "",
    );
    let mut engine = site.up_with(&["--slots", "1"], &[]);
    let running = site.request(["t.long"]);
    site.wait_for_log(&running, "begun");
    let waiting = site.request(["core.noop"]);
    engine.signal(Signal::TERM);
    let line = engine.wait_for("Draining");
    assert!(line.contains("1 running"), "{line}");
    fs::write(&gate, "go\n").expect("written");
    let (code, log) = engine.ended();
    assert_eq!(code, 0, "{log}");

    let _engine = site.up();
    assert_eq!(
        site.get(&format!("/api/v1/executions/{running}"))["status"],
        "completed"
    );
    assert_eq!(site.ok(["logs", &running]), "begun\nended\n");
    assert_eq!(
        site.ended(&waiting)["status"],
        "completed",
        "what waited is taken up"
    );
}

#[test]
fn the_second_signal_kills_and_what_it_cut_off_is_recorded() {
    let site = Site::new();
    let script = "sleep 1000 & echo $!; wait";
    site.shell_action("once", script, "idempotent: false\n");
    let gate = site.gate("gate");
    let again = format!(
        "if [ \"$CAMSHAFT_EPOCH\" = 1 ]; then echo first; sleep 1000; else read line < {}; echo again; fi",
        gate.display()
    );
    site.shell_action("again", &again, "idempotent: true\n");
    let mut engine = site.up_with(&["--slots", "2"], &[]);
    let once = site.request(["t.once"]);
    let pid: i32 = site
        .wait_for_log(&once, "\n")
        .trim()
        .parse()
        .expect("a pid");
    let again = site.request(["t.again"]);
    site.wait_for_log(&again, "first");
    engine.signal(Signal::INT);
    engine.wait_for("Draining: 2 running");
    let began = Instant::now();
    engine.signal(Signal::INT);
    let (code, log) = engine.ended();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(code, 0, "{log}");
    await_ended(pid);

    let engine = site.up();
    let once = site.ended(&once);
    assert_eq!(once["status"], "abandoned", "{once}");
    assert!(once["error"]["message"].is_string(), "{once}");
    fs::write(&gate, "go\n").expect("written");
    let again = site.ended(&again);
    assert_eq!(again["status"], "completed", "{again}");
    assert_eq!(again["attempt"], 2, "{again}");
    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
    site.ok(["doctor", "--check"]);
}

#[test]
fn drain_has_an_end() {
    let site = Site::new();
    site.shell_action(
        "deaf",
        "trap '' TERM; echo $$; while :; do sleep 1000; done",
        "idempotent: false\n",
    );
    let engine = site.up_with(
        &["--drain", "200ms"],
        &[("CAMSHAFT__WORKER__GRACE", "200ms")],
    );
    let id = site.request(["t.deaf"]);
    let pid: i32 = site.wait_for_log(&id, "\n").trim().parse().expect("a pid");
    let began = Instant::now();
    let (code, log) = engine.stop();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(code, 0, "{log}");
    assert!(!is_alive(pid), "it was killed after its grace");
    let _engine = site.up();
    let ended = site.ended(&id);
    assert_eq!(ended["status"], "abandoned", "{ended}");
}

#[test]
fn a_trial_ends_by_itself_and_says_whether_anything_completed() {
    let site = Site::new();
    let nothing = site.run(["up", "--listen", "127.0.0.1:0", "--for", "200ms"]);
    assert_eq!(nothing.status.code(), Some(1), "{}", shown(&nothing));

    site.shell_action("tick", "echo tick", "");
    site.pack_file(
        "t/rules/often.yaml",
        "ref: t.often\ntrigger: { ref: core.interval, parameters: { every: 100ms } }\naction: { ref: t.tick }\n",
    );
    let packs = site.packs_dir().display().to_string();
    let some = site.run([
        "up",
        "--listen",
        "127.0.0.1:0",
        "--packs",
        packs.as_str(),
        "--for",
        "2s",
    ]);
    assert_eq!(some.status.code(), Some(0), "{}", shown(&some));
    let out = String::from_utf8_lossy(&some.stdout);
    assert!(
        out.contains("event") && out.contains("t.often matched") && out.contains("completed"),
        "{out}"
    );
}

#[test]
fn a_trial_counts_what_was_requested_before_it() {
    let site = Site::new();
    site.shell_action("old", "echo old", "");
    let engine = site.up();
    site.ok(["pause", "action:t.old"]);
    let old = site.request(["t.old"]);
    // Requested after it, and completed before the trial.
    assert_eq!(site.done(["core.noop"])["status"], "completed");
    engine.stop();
    let engine = site.up_with(&["--for", "1h"], &[]);
    site.ok(["resume", "action:t.old"]);
    assert_eq!(site.ended(&old)["status"], "completed");
    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn what_keeps_the_engine_from_coming_up_is_told_before_any_work_is_taken_up() {
    let site = Site::new();
    let gate = site.gate("gate");
    site.shell_action("long", "echo begun; exec sleep 1000", "");
    let script = format!("echo begun; read line < {}; echo ended", gate.display());
    site.shell_action("once", &script, "idempotent: false\n");
    let engine = site.up_with(&["--slots", "1"], &[]);
    let running = site.request(["t.long"]);
    site.wait_for_log(&running, "begun");
    let waiting = site.request(["t.once"]);
    engine.kill();

    let typo = site.run(["up", "--listen", "127.0.0.1:0", "--packs", "typo"]);
    assert_eq!(typo.status.code(), Some(5), "{}", shown(&typo));
    let error = String::from_utf8_lossy(&typo.stderr);
    assert!(error.contains("there is no folder typo"), "{error}");
    let unannounced = site.data_dir().join(".api.json");
    fs::create_dir(&unannounced).expect("in the way");
    let failed = site.run(["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(failed.status.code(), Some(3), "{}", shown(&failed));
    fs::remove_dir(&unannounced).expect("out of the way");

    let _engine = site.up();
    site.wait_for_log(&waiting, "begun");
    fs::write(&gate, "go\n").expect("written");
    let ended = site.ended(&waiting);
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(ended["attempt"], 1, "nothing of it was begun: {ended}");
}

#[test]
fn commands_without_an_engine_say_so() {
    let site = Site::new();
    let output = site.run(["execution", "list"]);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("code: unreachable") && error.contains("camshaft up"),
        "{error}"
    );
}
