//! The engine is killed at every named point between an accepted event and its terminal state, and
//! started again: nothing that was accepted is lost, nothing is done twice that must not be, nothing
//! is said to be done that was not, and no process of the first life is left.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use camshaft_model::crash::POINTS;
use serde_json::Value;

use crate::harness::{Engine, Site, shown};

/// What a process that was killed ends with.
const KILLED: i32 = 137;
const RULE: &str = "t.on_poke";
const VARIABLE: &str = "CAMSHAFT_CRASH_AT";

/// A rule that maps `t.poked` to an action that writes down its execution and attempt.
fn site(idempotent: bool) -> Site {
    let site = Site::new();
    let file = site.path().join("started");
    // The first so many attempts would go on for longer than the test.
    let script = format!(
        "echo \"$CAMSHAFT_EXECUTION_ID $CAMSHAFT_ATTEMPT\" >> '{}'\n\
         if [ \"$CAMSHAFT_ATTEMPT\" -le \"$PARAM_LONG\" ]; then\n  echo running\n  sleep 1000\nfi",
        file.display()
    );
    let extra = format!(
        "parameter_delivery: env\nparameters:\n  long: {{ type: integer, required: true }}\nidempotent: {idempotent}"
    );
    site.shell_action("mark", &script, &extra);
    site.pack_file("t/triggers/poked.yaml", "ref: t.poked\n");
    site.pack_file(
        "t/rules/on_poke.yaml",
        &format!("ref: {RULE}\ntrigger: {{ ref: t.poked }}\naction: {{ ref: t.mark, parameters: {{ long: \"{{{{ trigger.long }}}}\" }} }}\n"),
    );
    site
}

/// How often each attempt was started.
fn starts(site: &Site) -> BTreeMap<(String, u64), usize> {
    let text = fs::read_to_string(site.path().join("started")).unwrap_or_default();
    let mut starts = BTreeMap::new();
    for line in text.lines() {
        let (execution, attempt) = line.split_once(' ').expect("an execution and an attempt");
        *starts
            .entry((execution.to_owned(), attempt.parse().expect("a number")))
            .or_default() += 1;
    }
    starts
}

/// The processes that carry the name of this data directory.
fn processes(site: &Site) -> Vec<String> {
    let instance =
        fs::read_to_string(site.data_dir().join("instance")).expect("the directory has a name");
    let wanted = format!("CAMSHAFT_INSTANCE={}", instance.trim());
    let has = |process: &Path| {
        let environ = fs::read(process.join("environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    };
    let all = fs::read_dir("/proc").expect("there is a /proc");
    all.filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| has(path))
        .map(|path| path.display().to_string())
        .collect()
}

fn items(page: &Value) -> &[Value] {
    page["items"].as_array().expect("a list")
}

/// Hands in the one event; its id, if the engine lived long enough to say that it accepted it.
fn poke(site: &Site, long: u32) -> Option<String> {
    let payload = format!("{{\"long\": {long}}}");
    let output = site.run([
        "event",
        "emit",
        "t.poked",
        &payload,
        "--dedup-key",
        "the-one",
        "-o",
        "json",
    ]);
    if !output.status.success() {
        return None;
    }
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    Some(answer["event"].as_str().expect("an id").to_owned())
}

/// How many attempts run long, so that the engine dies before its process in `lives` lives.
fn long(point: &str, lives: u32) -> u32 {
    if matches!(point, "attempt.after_spawn" | "attempt.running") {
        lives
    } else {
        0
    }
}

fn dies(engine: &mut Engine, point: &str) {
    let (code, log) = engine.ended();
    assert_eq!(code, KILLED, "{point}: {log}");
}

fn crash_at(point: &str, idempotent: bool) {
    let site = site(idempotent);
    let long = long(point, 1);
    let mut first = site.up_with(&[], &[(VARIABLE, point)]);
    let accepted = poke(&site, long);
    dies(&mut first, point);
    let engine = site.up();
    // A sender that got no answer sends again.
    let again = poke(&site, long).expect("the second life accepts it");
    if let Some(event) = accepted {
        assert_eq!(event, again, "{point}: an event that was accepted is there");
    }

    let events = site.json(["event", "list", "--trigger", "t.poked"]);
    assert_eq!(items(&events).len(), 1, "{point}: {events}");
    let enforcements = site.json(["enforcement", "list", "--event", &again]);
    let [enforcement] = items(&enforcements) else {
        panic!("{point}: {enforcements}")
    };
    assert_eq!(
        (
            enforcement["rule"].as_str(),
            enforcement["outcome"].as_str()
        ),
        (Some(RULE), Some("requested"))
    );
    let execution = enforcement["execution"]
        .as_str()
        .expect("an execution")
        .to_owned();
    // Follows the event log, which ends with the execution.
    site.ok(["events", &execution, "--follow"]);
    let executions = site.json(["execution", "list"]);
    let [execution] = items(&executions) else {
        panic!("{point}: {executions}")
    };

    let (status, attempt) = (
        execution["status"].as_str().expect("a status"),
        execution["attempt"].as_u64().expect("a number"),
    );
    let id = execution["id"].as_str().expect("an id").to_owned();
    let starts = starts(&site);
    assert!(
        starts.values().all(|count| *count == 1),
        "{point}: an attempt was started twice: {starts:?}"
    );
    assert!(
        starts.keys().all(|(of, _)| *of == id),
        "{point}: {starts:?}"
    );
    if idempotent {
        assert_eq!(status, "completed", "{point}: {execution}");
    } else {
        assert!(starts.len() <= 1, "{point}: {starts:?}");
        assert_eq!(attempt, 1, "{point}: {execution}");
        let expected = if matches!(point, "event.before_commit" | "report.after_commit") {
            "completed"
        } else {
            "abandoned"
        };
        assert_eq!(status, expected, "{point}: {execution}");
    }
    if status == "completed" {
        assert!(
            starts.contains_key(&(id, attempt)),
            "{point}: reported completed, but it never ran: {starts:?}"
        );
    }
    assert_eq!(
        processes(&site),
        Vec::<String>::new(),
        "{point}: processes are left"
    );

    let (code, log) = engine.stop();
    assert_eq!(code, 0, "{point}: {log}");
    let check = site.run(["doctor", "--check"]);
    assert!(check.status.success(), "{point}: {}", shown(&check));
}

#[test]
fn an_action_that_may_run_again_completes_wherever_the_engine_dies() {
    for point in POINTS {
        crash_at(point, true);
    }
}

#[test]
fn an_action_that_may_not_run_again_is_started_once_wherever_the_engine_dies() {
    for point in POINTS {
        crash_at(point, false);
    }
}

#[test]
fn an_engine_that_dies_again_while_it_takes_up_what_it_left_doubles_nothing() {
    for point in POINTS
        .iter()
        .copied()
        .filter(|point| point.starts_with("attempt.") || point.starts_with("report.before"))
    {
        let site = site(true);
        let long = long(point, 3);
        let mut first = site.up_with(&[], &[(VARIABLE, point)]);
        let accepted = poke(&site, long);
        dies(&mut first, point);
        for _ in 0..2 {
            dies(&mut site.starting(&[], &[(VARIABLE, point)]), point);
        }
        let engine = site.up();
        let event = poke(&site, long).expect("accepted");
        assert!(accepted.is_none_or(|before| before == event), "{point}");
        let enforcements = site.json(["enforcement", "list", "--event", &event]);
        let execution = enforcements["items"][0]["execution"]
            .as_str()
            .expect("an execution")
            .to_owned();
        site.ok(["events", &execution, "--follow"]);
        let execution = site.json(["execution", "show", &execution]);
        assert_eq!(
            (execution["status"].as_str(), execution["attempt"].as_u64()),
            (Some("completed"), Some(4)),
            "{point}: {execution}"
        );
        let starts = starts(&site);
        assert!(
            starts.values().all(|count| *count == 1),
            "{point}: an attempt was started twice: {starts:?}"
        );
        assert!(
            starts.keys().any(|(_, attempt)| *attempt == 4),
            "{point}: {starts:?}"
        );
        let (code, log) = engine.stop();
        assert_eq!(code, 0, "{point}: {log}");
        let check = site.run(["doctor", "--check"]);
        assert!(check.status.success(), "{point}: {}", shown(&check));
    }
}
