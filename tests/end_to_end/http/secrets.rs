//! What a workflow computes may hold a secret. It is in no answer, whichever version of the workflow ran and
//! whatever became of that version since.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::text;
use crate::harness::{Site, shown};

const SECRET: &str = "5ecret-of-the-caller";
const FLOW: &str = "\
ref: mine.flow
parameters: { token: { type: string, secret: true }, rows: { type: integer, default: 3 } }
tasks:
  ask: { inquiry: { prompt: 'Use {{ params.token }} for {{ params.rows }} rows?' } }
  wrong: { needs: [ask], action: core.echo, with: { message: '{{ (params.token ~ tasks.ask.result.by) | fromjson }}' } }
output: { t: '{{ params.token }}', rows: '{{ params.rows }}' }
";

/// Every way in which a run is shown.
fn answers(site: &Site, run: &str) -> Vec<String> {
    let paths = [
        format!("executions/{run}"),
        format!("executions/{run}/wait?timeout=0s"),
        format!("executions/{run}/attempts"),
        format!("executions/{run}/why"),
        format!("executions/{run}/trace"),
        format!("executions/{run}/events"),
        format!("executions/{run}/run"),
        format!("inquiries?run={run}"),
        "executions".to_owned(),
        "events".to_owned(),
        "enforcements".to_owned(),
    ];
    let answers = paths.into_iter().map(|path| {
        let answer = site.http("GET", &format!("/api/v1/{path}"), &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        answer.text()
    });
    answers.collect()
}

#[track_caller]
fn assert_hidden(answers: &[String]) {
    for answer in answers {
        assert!(!answer.contains(SECRET), "{answer}");
    }
}

fn answered(site: &Site, run: &str, answer: &str) {
    let inquiry = loop {
        let open = site.get(&format!("/api/v1/inquiries?run={run}"));
        if let Some(inquiry) = open["items"][0]["id"].as_str() {
            break inquiry.to_owned();
        }
    };
    site.ok(["inquiry", "answer", &inquiry, answer]);
}

#[test]
fn what_a_workflow_computes_from_a_secret_is_shown_nowhere() {
    let site = Site::new();
    site.shell_action(
        "seen",
        "echo \"$PARAM_WHAT\"",
        "parameter_delivery: env\nparameters: { what: { type: object } }\n",
    );
    site.pack_file(
        "t/rules/watch.yaml",
        "ref: t.watch\ntrigger: { ref: core.execution, parameters: { action: 'mine.*' } }\naction: { ref: t.seen, parameters: { what: '{{ trigger }}' } }\n",
    );
    let engine = site.up();
    let file = site.path().join("flow.yaml");
    fs::write(&file, FLOW.replace("  wrong:", "  #")).expect("written");
    let file = file.display().to_string();
    let run = |file: &str| {
        let token = format!("token={SECRET}");
        let run = site.ok(["workflow", "run", file, &token, "--detach"]);
        run.trim().to_owned()
    };

    let good = run(&file);
    let waiting = answers(&site, &good);
    answered(&site, &good, "--approve");
    let ended = site.ended(&good);
    assert_eq!(
        (&ended["status"], &ended["result"]),
        (&json!("completed"), &json!({"t": "[redacted]", "rows": 3})),
        "{ended}"
    );
    assert_eq!(
        ended["parameters"],
        json!({"token": "[redacted]", "rows": 3})
    );
    fs::write(&file, FLOW).expect("written");
    let bad = run(&file);
    answered(&site, &bad, "--approve");
    assert_eq!(site.ended(&bad)["status"], "failed");
    let events = site.get("/api/v1/events?trigger=core.execution");
    let of_run = |run: &str| {
        let events = events["items"].as_array().expect("a list").iter();
        let of_run = |event: &&Value| event["payload"]["execution_id"] == run;
        events.clone().find(of_run).cloned()
    };
    let told = of_run(&good).expect("rules are told of the end");
    assert_eq!(told["payload"]["result"]["t"], "[redacted]", "{told}");
    let prompt = "Use [redacted] for 3 rows?";
    assert!(
        waiting.iter().any(|answer| answer.contains(prompt)),
        "the event log has the prompt"
    );
    assert_hidden(&waiting);
    let now = || [answers(&site, &good), answers(&site, &bad)].concat();
    assert_hidden(&now());
    let (_, printed) = engine.stop();
    assert_hidden(&[printed]);

    // The versions that ran are not the current one, and are not in memory either.
    let versions: Vec<PathBuf> = fs::read_dir(site.data_dir().join("packs"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("/mine-"))
        .collect();
    assert_eq!(versions.len(), 2, "{versions:?}");
    site.pack_file("mine/pack.yaml", "ref: mine\nversion: 2.0.0\n");
    site.pack_file(
        "mine/workflows/flow.yaml",
        &FLOW.replace("secret: true", "secret: false").replace(
            "rows: { type: integer,",
            "rows: { type: integer, secret: true,",
        ),
    );
    let engine = site.up();
    assert_hidden(&now());
    let shown = site.get(&format!("/api/v1/executions/{good}"));
    assert_eq!(shown["result"], json!({"t": "[redacted]", "rows": 3}));
    engine.stop();
    for version in &versions {
        fs::remove_dir_all(version).expect("removed");
    }
    let _engine = site.up();
    assert_hidden(&now());
    let shown = site.get(&format!("/api/v1/executions/{good}"));
    assert_eq!(text(&shown["parameters"], "rows"), "[redacted]", "{shown}");
}

#[test]
fn a_secret_result_is_not_printed_by_who_asked_for_it() {
    let flow = "ref: mine.flow\nparameters: { token: { type: string, secret: true } }\ntasks: { a: { action: core.echo, with: { message: hi } } }\noutput: { t: '{{ params.token }}' }\n";
    let site = Site::new();
    let file = site.path().join("flow.yaml");
    fs::write(&file, flow).expect("written");
    let (file, token) = (file.display().to_string(), format!("token={SECRET}"));
    let run = || {
        let output = shown(&site.run(["workflow", "run", &file, &token]));
        assert!(output.contains("[redacted]"), "{output}");
        assert_hidden(&[output]);
    };
    run();
    site.shell_action("hi", "echo hi", "");
    let _engine = site.up();
    run();
}
