//! Logs: every byte, both streams, live and afterwards; what is missing is said, and secrets are in
//! none of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use crate::harness::{Site, shown};

#[test]
fn every_byte_of_both_streams() {
    let site = Site::new();
    site.shell_action(
        "raw",
        r"printf 'a\377\000b\r\n\033[31m'; printf '\200err' >&2",
        "",
    );
    let _engine = site.up();
    let id = site.request(["t.raw"]);
    site.ended(&id);
    let output = site.run(["logs", &id]);
    assert_eq!(
        output.stdout,
        b"a\xff\x00b\r\n\x1b[31m",
        "{}",
        shown(&output)
    );
    assert_eq!(output.stderr, b"\x80err");
    let out = site.run(["logs", &id, "--stream", "stdout"]);
    assert_eq!(
        (&*out.stdout, &*out.stderr),
        (&b"a\xff\x00b\r\n\x1b[31m"[..], &b""[..])
    );
    let live = site.run(["run", "t.raw"]);
    assert_eq!(
        (&*live.stdout, &*live.stderr),
        (&b"a\xff\x00b\r\n\x1b[31m"[..], &b"\x80err"[..])
    );
}

#[test]
fn a_reader_resumes_where_it_stopped() {
    let site = Site::new();
    site.shell_action("count", "seq 1 200000", "");
    let _engine = site.up();
    let id = site.request(["t.count"]);
    site.ended(&id);
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(
        site.ok(["logs", &id]) == expected,
        "seq's output is not what was logged"
    );
    let part = site.http(
        "GET",
        &format!("/api/v1/executions/{id}/logs/stdout?offset=1000&limit=50"),
        &[],
        b"",
    );
    assert_eq!(part.text(), expected[1000..1050]);
}

#[test]
fn follow_shows_lines_as_they_come_and_ends() {
    let site = Site::new();
    let gate = site.gate("gate");
    site.shell_action(
        "two",
        &format!("echo one; read line < {}; echo two", gate.display()),
        "",
    );
    let _engine = site.up();
    let id = site.request(["t.two"]);
    let mut follower = site
        .command(["logs", "-f", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("read");
    assert_eq!(first, "one\n", "shown while it runs");
    fs::write(&gate, "go\n").expect("written");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "two\n");
    assert!(
        follower
            .wait()
            .expect("it ends with the execution")
            .success()
    );
}

#[test]
fn empty_and_truncated_are_said() {
    let site = Site::new();
    site.shell_action("quiet", "true", "");
    site.shell_action("chatty", "head -c 5000 /dev/zero", "");
    let _engine = site.up_with(&[], &[("CAMSHAFT__WORKER__OUTPUT_LIMIT_BYTES", "1000")]);
    let quiet = site.request(["t.quiet"]);
    site.ended(&quiet);
    let output = site.run(["logs", &quiet]);
    assert!(output.stdout.is_empty());
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(
        notes.contains("stdout is empty") && notes.contains("stderr is empty"),
        "{notes}"
    );

    let chatty = site.request(["t.chatty"]);
    let done = site.ended(&chatty);
    assert_eq!(done["status"], "completed", "{done}");
    let output = site.run(["logs", &chatty, "--stream", "stdout"]);
    assert_eq!(output.stdout.len(), 1000);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("stdout is truncated"),
        "{}",
        shown(&output)
    );
    let attempts = site.get(&format!("/api/v1/executions/{chatty}/attempts"));
    assert_eq!(attempts["items"][0]["stdout"]["bytes"], 5000, "{attempts}");
}

#[test]
fn a_log_file_that_vanished_is_lost_and_not_blank() {
    let site = Site::new();
    // Short output is kept in the database.
    site.shell_action("say", "seq 1 200000", "");
    let _engine = site.up();
    let id = site.request(["t.say"]);
    site.ended(&id);
    let steps = site.steps(&id);
    let (_, spawned) = steps
        .iter()
        .find(|(kind, _)| kind == "step_spawned")
        .expect("spawned");
    fs::remove_file(spawned["stdout_path"].as_str().expect("a path")).expect("removed");
    let output = site.run(["logs", &id]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("stdout is lost because"),
        "{}",
        shown(&output)
    );
}

/// Every file below a folder whose bytes contain a text, except those that may.
fn holders(folder: &Path, text: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            holders(&path, text, found);
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text))
        {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn secrets_are_in_no_log_no_event_and_no_answer() {
    const CONFIGURED: &str = "s3cret-Value+of/the~Engine";
    const GIVEN: &str = "another-5ecret-Given-By-Hand";
    let site = Site::new();
    fs::write(
        site.path().join("camshaft.yaml"),
        "secrets: { api: { env: MY_API_KEY } }\n",
    )
    .expect("written");
    // More than is kept in the database, so that there are files; the first secret comes in two writes.
    let script = "seq 1 50000; printf '%.9s' \"$PARAM_KEY\"; printf '%s\\n' \"${PARAM_KEY#?????????}\"\n\
                  printf '%s' \"$PARAM_KEY\" | base64\nseq 1 50000 >&2; echo \"$PARAM_GIVEN\" >&2\nexit 1";
    let parameters = "parameter_delivery: env\nparameters:\n  key: { type: string, secret: true }\n  given: { type: string, secret: true }\n";
    site.shell_action("leak", script, parameters);
    site.pack_file("t/triggers/gone.yaml", "ref: t.gone\n");
    site.pack_file(
        "t/rules/go.yaml",
        &format!("ref: t.go\ntrigger: {{ ref: t.gone }}\naction: {{ ref: t.leak, parameters: {{ key: \"{{{{ secrets.api }}}}\", given: {GIVEN} }} }}\n"),
    );
    let mut engine = site.up_with(&[], &[("MY_API_KEY", CONFIGURED)]);
    let event = site.emit("t.gone", &serde_json::json!({}));
    let line = engine.wait_for("failed");
    assert!(!line.contains("5ecret"), "{line}");
    let list = site.ok(["execution", "list", "-o", "json"]);
    let id = serde_json::from_str::<serde_json::Value>(&list).expect("JSON")["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let logs = site.run(["logs", &id]);
    assert!(
        logs.stdout.len() > 200_000 && logs.stderr.len() > 200_000,
        "{} {}",
        logs.stdout.len(),
        logs.stderr.len()
    );
    let notes = String::from_utf8_lossy(&logs.stderr);
    assert!(
        notes.contains("stdout is redacted") && notes.contains("stderr is redacted"),
        "{notes}"
    );

    let mut answers = vec![list, shown(&logs), line];
    for path in [
        format!("/api/v1/executions/{id}"),
        format!("/api/v1/executions/{id}/attempts"),
        format!("/api/v1/executions/{id}/events"),
        format!("/api/v1/executions/{id}/why"),
        format!("/api/v1/events/{event}"),
        format!("/api/v1/events/{event}/why"),
        "/api/v1/rules/t.go".to_owned(),
        "/api/v1/packs/t".to_owned(),
        "/api/v1/enforcements".to_owned(),
        "/api/v1/sensors".to_owned(),
        "/metrics".to_owned(),
    ] {
        let answer = site.http("GET", &path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        answers.push(answer.text());
    }
    let (_, printed) = engine.stop();
    answers.push(printed);
    for secret in [CONFIGURED, GIVEN, "czNjcmV0LVZhbHVlK29mL3RoZX5FbmdpbmU"] {
        for answer in &answers {
            assert!(!answer.contains(secret), "{secret} is in {answer}");
        }
        let mut found = Vec::new();
        holders(&site.data_dir().join("logs"), secret.as_bytes(), &mut found);
        assert!(found.is_empty(), "{secret} is in {found:?}");
    }
}
