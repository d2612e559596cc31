//! What a person does to one run: holding it, letting it go on, answering it, running it again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Answer, PATIENCE, Site, shown};
use crate::screen;

/// A pack with an action that writes down its name and can be told to fail, and with the workflow
/// `t.flow` of these tasks.
pub(crate) fn site(workflow: &str) -> Site {
    let site = Site::new();
    let file = site.path().join("done");
    let script = format!(
        "echo \"$PARAM_NAME\" >> '{}'\n[ ! -e '{}/fail-'\"$PARAM_NAME\" ]",
        file.display(),
        site.path().display()
    );
    site.shell_action(
        "note",
        &script,
        "parameter_delivery: env\nparameters:\n  name: { type: string, required: true }\n",
    );
    site.pack_file("t/workflows/flow.yaml", &format!("ref: t.flow\n{workflow}"));
    site
}

/// What the notes say, in order.
pub(crate) fn notes(site: &Site) -> Vec<String> {
    let text = fs::read_to_string(site.path().join("done")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits for the first line of the event log of a run that is of a type and about a step.
#[track_caller]
fn step(site: &Site, run: &str, kind: &str, step: &str) -> Value {
    let path = format!("/api/v1/executions/{run}/events/stream?type={kind}&step={step}");
    first_of_stream(site, &path)
}

/// Waits for the first event of a stream.
#[track_caller]
pub(crate) fn first_of_stream(site: &Site, path: &str) -> Value {
    let (address, token) = site.api();
    let mut stream = TcpStream::connect(&address).expect("the engine listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let head =
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let data = lines
        .filter_map(|line| Some(line.strip_prefix("data:")?.trim().to_owned()))
        .next()
        .unwrap_or_else(|| panic!("nothing on {path}"));
    serde_json::from_str(&data).expect("JSON")
}

/// Waits until a task of a run asks, and returns the inquiry's id.
#[track_caller]
fn asked(site: &Site, run: &str, task: &str) -> String {
    step(site, run, "task_blocked", task);
    let open = site.json(["inquiry", "list", "--run", run]);
    open["items"][0]["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
fn answer(site: &Site, inquiry: &str, body: &Value) -> Answer {
    site.post(&format!("/api/v1/inquiries/{inquiry}/answer"), body)
}

/// The refusal of a command: its exit code and what it says.
#[track_caller]
pub(crate) fn refused<'a>(
    site: &Site,
    arguments: impl IntoIterator<Item = &'a str>,
) -> (i32, String) {
    let output = site.run(arguments);
    assert!(!output.status.success(), "{}", shown(&output));
    (
        output.status.code().expect("it was not killed"),
        String::from_utf8(output.stderr).expect("UTF-8"),
    )
}

/// The status of each task that is recorded, in the order of their starts.
pub(crate) fn tasks(site: &Site, run: &str) -> Vec<(String, String)> {
    let run = site.get(&format!("/api/v1/executions/{run}/run"));
    let text = |task: &Value, key: &str| task[key].as_str().expect("a text").to_owned();
    let tasks = run["tasks"].as_array().expect("a list");
    tasks
        .iter()
        .map(|task| (text(task, "name"), text(task, "status")))
        .collect()
}

pub(crate) fn pairs(tasks: &[(&str, &str)]) -> Vec<(String, String)> {
    tasks
        .iter()
        .map(|(name, status)| ((*name).to_owned(), (*status).to_owned()))
        .collect()
}

const ASKING: &str = "\
parameters:
  rows: { type: integer, default: 5 }
vars: { total: \"{{ params.rows }}\" }
tasks:
  fetch: { action: t.note, with: { name: fetch } }
  approve:
    needs: [fetch]
    inquiry:
      prompt: \"Load {{ vars.total }} rows?\"
      schema:
        type: object
        required: [note]
        properties: { note: { type: string }, tags: { type: array, items: { type: string } } }
        additionalProperties: false
  load:
    needs: { approve: completed }
    action: t.note
    with: { name: \"load {{ tasks.approve.result.response.note }} by {{ tasks.approve.result.by }}\" }
  cleanup: { finally: true, action: t.note, with: { name: cleanup } }
output: { total: \"{{ vars.total }}\" }
";

#[test]
fn a_run_that_asks_goes_on_with_the_answer() {
    let site = site(ASKING);
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let inquiry = asked(&site, &run, "approve");
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("run_waiting", site.ok(["execution", "show", &run]));
        insta::assert_snapshot!("inquiry_list", site.ok(["inquiry", "list"]));
        let shown = site.run(["inquiry", "show", &inquiry]);
        insta::assert_snapshot!("inquiry_show", String::from_utf8_lossy(&shown.stdout));
        insta::assert_snapshot!("inquiry_show_note", String::from_utf8_lossy(&shown.stderr));
        let note = ["--approve", "--response", "note=all", "--response", "tags:=[\"a\"]"];
        let answered = site.ok(["inquiry", "answer", &inquiry].into_iter().chain(note));
        insta::assert_snapshot!("inquiry_answered", answered);
        assert_eq!(site.ended(&run)["result"], json!({"total": 5}));
        insta::assert_snapshot!("run_completed", site.ok(["execution", "show", &run]));
        assert_eq!(site.ok(["inquiry", "list"]).lines().count(), 1, "only the header");
        insta::assert_snapshot!("inquiry_list_all", site.ok(["inquiry", "list", "--all"]));
    });
    assert_eq!(notes(&site), ["fetch", "load all by admin", "cleanup"]);
}

#[test]
fn a_rejection_fails_the_task_and_so_the_run() {
    let site = site(ASKING);
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let inquiry = asked(&site, &run, "approve");
    site.ok(["inquiry", "answer", &inquiry, "--reject"]);
    let ended = site.ended(&run);
    assert_eq!(ended["status"], "failed", "{ended}");
    let error = ended["error"]["message"].as_str().expect("a reason");
    assert!(error.contains("'approve'"), "the task is named: {error}");
    assert_eq!(notes(&site), ["fetch", "cleanup"]);
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("run_rejected", site.ok(["execution", "show", &run]));
    });
}

#[test]
fn the_first_answer_counts_and_the_same_again_changes_nothing() {
    let site = site(ASKING);
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let inquiry = asked(&site, &run, "approve");
    let yes = json!({"approve": true, "response": {"note": "x"}});
    let first = answer(&site, &inquiry, &yes);
    assert_eq!(first.status, 200, "{}", first.text());
    let again = answer(&site, &inquiry, &yes);
    assert_eq!((again.status, again.text()), (200, first.text()));
    site.ended(&run);
    let later = answer(&site, &inquiry, &yes);
    assert_eq!((later.status, later.text()), (200, first.text()));
    for other in [
        json!({"approve": true, "response": {"note": "y"}}),
        json!({"approve": true}),
        json!({"approve": false}),
    ] {
        let refused = answer(&site, &inquiry, &other);
        assert_eq!(refused.refusal(), (409, "inquiry_closed".to_owned()));
        assert!(
            refused.text().contains("approved by admin"),
            "{}",
            refused.text()
        );
    }
    let (code, text) = refused(&site, ["inquiry", "answer", &inquiry, "--reject"]);
    assert_eq!(code, 6, "{text}");
    assert_eq!(notes(&site), ["fetch", "load x by admin", "cleanup"]);
}

#[test]
fn of_clients_that_answer_at_once_one_is_first() {
    let site = site(ASKING);
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let inquiry = asked(&site, &run, "approve");
    let bodies: Vec<Value> = (0..12)
        .map(|client| match client % 3 {
            0 => json!({"approve": false}),
            side => json!({"approve": true, "response": {"note": side.to_string()}}),
        })
        .collect();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let clients: Vec<_> = bodies
            .iter()
            .map(|body| scope.spawn(|| answer(&site, &inquiry, body)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("it did not panic"))
            .collect()
    });
    let closed = site.get(&format!("/api/v1/inquiries/{inquiry}"));
    for (body, answer) in bodies.iter().zip(&answers) {
        let approved = body["approve"] == json!(true);
        let same =
            (closed["status"] == "approved") == approved && closed["answer"] == body["response"];
        if same {
            assert_eq!((answer.status, &answer.json()), (200, &closed));
        } else {
            assert_eq!(answer.refusal(), (409, "inquiry_closed".to_owned()));
        }
    }
    site.ended(&run);
    let loads = notes(&site)
        .iter()
        .filter(|note| note.starts_with("load"))
        .count();
    assert_eq!(loads, usize::from(closed["status"] == "approved"));
}

#[test]
fn a_response_that_does_not_fit_is_refused_with_its_places_and_the_inquiry_stays_open() {
    let site = site(ASKING);
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let inquiry = asked(&site, &run, "approve");
    let body = json!({"approve": true, "response": {"note": 1, "tags": ["a", 2]}});
    let unfit = answer(&site, &inquiry, &body);
    assert_eq!(unfit.refusal(), (422, "invalid_response".to_owned()));
    let answer_of = ["inquiry", "answer", &inquiry, "--approve"];
    let (code, text) = refused(
        &site,
        answer_of
            .into_iter()
            .chain(["--response", "note=x", "--response", "nota=y"]),
    );
    assert_eq!(code, 2);
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("response_unfit", text);
        let (code, text) = refused(&site, answer_of.into_iter().chain(["--response", "tags=x"]));
        assert_eq!(code, 2);
        insta::assert_snapshot!("response_of_another_type", text);
    });
    for wrong in [
        json!({}),
        json!({"approve": "yes"}),
        json!({"approve": true, "by": "me"}),
        json!([]),
    ] {
        let wrong = answer(&site, &inquiry, &wrong);
        assert_eq!(wrong.refusal(), (400, "invalid_request".to_owned()));
    }
    let open = site.get("/api/v1/inquiries?status=open");
    assert_eq!(open["items"][0]["id"], json!(inquiry), "{open}");
}

#[test]
fn who_answers_must_have_a_role_that_is_asked_for() {
    let site = site(
        "tasks:\n  approve:\n    inquiry: { prompt: Go?, roles: [operator, release] }\n  load: { needs: [approve], action: t.note, with: { name: load } }\n",
    );
    fs::write(
        site.path().join("camshaft.yaml"),
        "api:\n  tokens:\n  - { name: ada, token_env: ADA, roles: [release] }\n  - { name: bob, token_file: bob, roles: [viewer] }\n  - { name: cy, token_env: CY }\n",
    )
    .expect("written");
    fs::write(site.path().join("bob"), "bobs-token-of-24-letters\n").expect("written");
    site.shell_action("hold", "echo \"$CAMSHAFT_TOKEN\"; sleep 1000", "");
    let _engine = site.up_with(
        &[],
        &[
            ("ADA", "adas-token-of-24-letters"),
            ("CY", "cys-token-of-24-letters"),
        ],
    );
    let run = site.request(["t.flow"]);
    let inquiry = asked(&site, &run, "approve");
    let holder = site.request(["t.hold"]);
    let attempt = site.wait_for_log(&holder, "\n");
    let by = |token: &str, approve: bool| {
        let bearer = format!("Bearer {}", token.trim());
        site.http(
            "POST",
            &format!("/api/v1/inquiries/{inquiry}/answer"),
            &[
                ("Authorization", &bearer),
                ("Content-Type", "application/json"),
            ],
            json!({"approve": approve}).to_string().as_bytes(),
        )
    };
    for token in [
        "bobs-token-of-24-letters",
        "cys-token-of-24-letters",
        attempt.as_str(),
    ] {
        assert_eq!(
            by(token, true).refusal(),
            (403, "forbidden".to_owned()),
            "{token}"
        );
    }
    assert_eq!(
        by("nobodys-token-of-24-letters", true).refusal(),
        (401, "unauthorized".to_owned())
    );
    let (code, text) = {
        let output = site
            .command(["inquiry", "answer", &inquiry, "--approve"])
            .env("CAMSHAFT_TOKEN", "bobs-token-of-24-letters")
            .output()
            .expect("runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(code, Some(4));
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("answer_forbidden", text);
    });
    let given = by("adas-token-of-24-letters", true);
    assert_eq!(
        (given.status, &given.json()["answered_by"]),
        (200, &json!("ada"))
    );
    assert_eq!(
        by("bobs-token-of-24-letters", true).refusal(),
        (403, "forbidden".to_owned()),
        "also when it is answered"
    );
    let ended = site.ended(&run);
    assert_eq!(ended["status"], "completed", "{ended}");
    // A named token does everything else that the one of the data directory does.
    let output = site
        .command(["execution", "cancel", &holder])
        .env("CAMSHAFT_TOKEN", "bobs-token-of-24-letters")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", shown(&output));
}

#[test]
fn an_answer_that_comes_too_late_is_refused() {
    let site = site(
        "tasks:\n  approve:\n    inquiry: { prompt: Go?, timeout: 50ms }\n  load: { needs: [approve], action: t.note, with: { name: load } }\n",
    );
    site.pack_file(
        "t/workflows/lenient.yaml",
        "ref: t.lenient\ntasks:\n  approve:\n    inquiry: { prompt: Go?, timeout: 50ms, on_timeout: skip }\n  load: { needs: [approve], action: t.note, with: { name: load } }\n",
    );
    let _engine = site.up();
    let run = site.done(["t.flow"]);
    assert_eq!(run["status"], "failed", "{run}");
    let run = run["id"].as_str().expect("an id");
    assert_eq!(
        tasks(&site, run),
        pairs(&[("approve", "timed_out"), ("load", "skipped")])
    );
    let all = site.json(["inquiry", "list", "--all", "--run", run]);
    assert_eq!(all["items"][0]["status"], "expired", "{all}");
    let inquiry = all["items"][0]["id"].as_str().expect("an id");
    let (code, text) = refused(&site, ["inquiry", "answer", inquiry, "--approve"]);
    assert_eq!(code, 6);
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("answer_too_late", text);
    });
    assert!(notes(&site).is_empty());
    let lenient = site.done(["t.lenient"]);
    assert_eq!(lenient["status"], "completed", "{lenient}");
    assert_eq!(notes(&site), ["load"]);
}

#[test]
fn cancelling_a_run_withdraws_what_it_asks() {
    let site = site(ASKING);
    let _engine = site.up();
    let run = site.request(["t.flow"]);
    let inquiry = asked(&site, &run, "approve");
    site.ok(["execution", "cancel", &run]);
    assert_eq!(site.ended(&run)["status"], "cancelled");
    assert_eq!(notes(&site), ["fetch", "cleanup"]);
    let (code, text) = refused(
        &site,
        [
            "inquiry",
            "answer",
            &inquiry,
            "--approve",
            "--response",
            "{\"note\":\"x\"}",
        ],
    );
    assert_eq!(code, 6);
    insta::with_settings!({filters => screen::filters()}, {
        insta::assert_snapshot!("answer_withdrawn", text);
    });
    let shown = site.get(&format!("/api/v1/inquiries/{inquiry}"));
    assert_eq!(shown["status"], "withdrawn", "{shown}");
}

#[test]
fn what_was_asked_before_a_crash_is_answered_after_it() {
    let site = site(ASKING);
    let engine = site.up();
    let run = site.request(["t.flow"]);
    let inquiry = asked(&site, &run, "approve");
    engine.kill();
    let engine = site.up();
    let before = answer(
        &site,
        &inquiry,
        &json!({"approve": true, "response": {"note": "x"}}),
    );
    assert_eq!(before.status, 200, "{}", before.text());
    // What was answered stays so over a crash right after the answer.
    engine.kill();
    let _engine = site.up();
    assert_eq!(site.ended(&run)["status"], "completed");
    let again = answer(
        &site,
        &inquiry,
        &json!({"approve": true, "response": {"note": "x"}}),
    );
    assert_eq!((again.status, again.text()), (200, before.text()));
    let notes = notes(&site);
    assert_eq!(notes.first().map(String::as_str), Some("fetch"));
    assert_eq!(
        notes.iter().filter(|note| *note == "fetch").count(),
        1,
        "what had completed is not run again: {notes:?}"
    );
    let check = site.run(["doctor", "--check"]);
    assert!(check.status.success(), "{}", shown(&check));
}
