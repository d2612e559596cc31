//! Commands that bring an engine along where none runs.

use std::io::Read;
use std::process::Stdio;

use crate::harness::{Site, shown};

fn site() -> Site {
    let site = Site::new();
    site.shell_action("hi", "echo hi", "");
    site.shell_action("nap", "echo started; exec sleep 60", "idempotent: true");
    site
}

fn with_packs<'a>(site: &'a Site, arguments: &[&'a str]) -> Vec<String> {
    let packs = site.packs_dir().display().to_string();
    let arguments = arguments.iter().map(|text| (*text).to_owned());
    arguments.chain(["--packs".to_owned(), packs]).collect()
}

#[test]
fn an_action_runs_without_an_engine_and_is_recorded_like_any_other() {
    let site = site();
    assert_eq!(site.ok(with_packs(&site, &["run", "t.hi"])), "hi\n");
    let engine = site.up();
    let page = site.json(["execution", "list"]);
    assert_eq!(page["items"][0]["status"], "completed", "{page}");
    let refused = site.run(with_packs(&site, &["run", "t.hi"]));
    assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused));
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn a_process_with_the_id_of_an_engine_that_is_gone_is_not_taken_for_it() {
    let site = site();
    let packs = with_packs(&site, &["run", "t.hi"]);
    let engine = site.up();
    let announced = site.data_dir().join("api.json");
    let text = std::fs::read_to_string(&announced).expect("announced");
    engine.kill();
    // As after a restart of the machine or of a container: that id is somebody else's by now.
    let mut api: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    api["pid"] = std::process::id().into();
    std::fs::write(&announced, api.to_string()).expect("written");
    std::fs::write(site.data_dir().join("lock"), std::process::id().to_string()).expect("written");
    assert_eq!(site.ok(packs), "hi\n");
}

#[test]
fn nobody_is_left_with_what_nobody_would_run() {
    let site = site();
    let output = site.run(with_packs(&site, &["run", "t.hi", "--detach"]));
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--detach"));
}

#[test]
fn what_else_waits_is_left_to_the_next_engine() {
    let site = site();
    let engine = site.up_with(&["--slots", "1"], &[]);
    let running = site.request(["t.nap"]);
    let waiting = site.request(["t.hi"]);
    engine.kill();
    assert_eq!(site.ok(["run", "t.hi"]), "hi\n");
    let engine = site.up();
    let own = &site.json(["execution", "list"])["items"][0];
    let other = site.ended(&waiting);
    assert!(
        other["started_at"].as_str() > own["ended_at"].as_str(),
        "{other} was started beside {own}"
    );
    site.ok(["execution", "cancel", &running]);
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn what_outlasts_the_patience_of_its_own_engine_is_not_said_to_go_on() {
    let site = site();
    let output = site.run(with_packs(&site, &["run", "t.nap", "--timeout", "1s"]));
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("its engine stops with this command"),
        "{error}"
    );
    let mut engine = site.up();
    engine.seen_or_wait("t.nap started");
    let page = site.json(["execution", "list"]);
    let id = page["items"][0]["id"].as_str().expect("an id").to_owned();
    site.ok(["execution", "cancel", &id]);
    assert_eq!(engine.stop().0, 0);
}

#[test]
fn what_ctrl_c_cuts_off_is_taken_up_by_the_next_engine() {
    let site = site();
    let mut child = site
        .command(with_packs(&site, &["run", "t.nap"]))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = [0; 8];
    let mut output = child.stdout.take().expect("piped");
    output.read_exact(&mut line).expect("it is running");
    assert_eq!(&line, b"started\n");
    let pid = i32::try_from(child.id()).expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("sent");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let mut engine = site.up();
    engine.seen_or_wait("t.nap started");
    let page = site.json(["execution", "list"]);
    let id = page["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(page["items"][0]["attempt"], 2, "{page}");
    site.ok(["execution", "cancel", &id]);
    assert_eq!(engine.stop().0, 0);
}
