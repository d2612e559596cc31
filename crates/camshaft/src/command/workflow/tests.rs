use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use super::Workflow;
use crate::command::testing::{Answer, Ended, FakeEngine, run_with};
use crate::render::Format;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder of packs with one pack, whose only workflow is the text.
fn pack(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("pack.yaml", "ref: demo\nversion: 1.0.0\n"),
        (
            "triggers/done.yaml",
            "ref: demo.done\nparameters: { kind: { type: string } }\n",
        ),
        (
            "actions/load.yaml",
            "ref: demo.load\nruntime: shell\nscript: cat\noutput: json\noutput_schema: { type: object, properties: { rows: { type: integer }, names: { type: array, items: { type: string } } } }\n\
             parameters: { rows: { type: integer, required: true }, tags: { type: array }, name: { type: string }, mode: { enum: [fast, slow] } }\n",
        ),
        ("workflows/w.yaml", text),
    ];
    for (path, text) in files {
        let path = dir.path().join("demo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let file = dir.path().join("demo/workflows/w.yaml");
    (dir, file.display().to_string())
}

fn validate(arguments: &[&str]) -> Ended {
    // No engine runs on a folder that is not there.
    let line = [
        &["--data-dir", "/nowhere", "workflow", "validate"],
        arguments,
    ]
    .concat();
    run_with(&line)
}

/// What is wrong with a workflow, without the name of its file.
fn mistakes(text: &str) -> String {
    let (_dir, file) = pack(text);
    let ended = validate(&[&file]);
    assert_eq!(ended.status, 2, "{}{}", ended.stdout, ended.stderr);
    ended.stderr.replace(&file, "w.yaml")
}

#[test]
fn a_file_a_pack_and_a_folder_of_packs_are_found_to_be_in_order() {
    let (dir, file) = pack(
        "ref: demo.w\ntasks:\n  a: { action: demo.load, with: { rows: 1 } }\n  b: { needs: [a], inquiry: { prompt: Go? } }\n  c: { finally: true }\n",
    );
    let line = "demo.w is valid: 3 tasks, 1 action, 1 inquiry, 1 in the end\n";
    let demo = dir.path().join("demo");
    for target in [Path::new(&file), &demo, dir.path()] {
        let ended = validate(&[target.to_str().unwrap()]);
        assert_eq!(
            (ended.status, ended.stdout.as_str()),
            (0, line),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.stderr, "");
    }
    let json = run_with(&["-o", "json", "workflow", "validate", &file]);
    let answer: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(answer["workflows"][0]["tasks"], 3);
}

#[test]
fn a_file_alone_is_checked_beside_the_packs_that_are_named() {
    let (dir, file) = pack("ref: demo.w\ntasks: { a: { action: demo.load, with: { rows: 1 } } }\n");
    let alone = dir.path().join("alone.yaml");
    let alone = alone.to_str().unwrap();
    // It takes the place of the pack's own definition, and may use what the pack has.
    fs::copy(&file, alone).unwrap();
    let packs = dir.path().to_str().unwrap();
    let ended = validate(&[alone, "--packs", packs]);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let ended = validate(&[alone]);
    assert_eq!(ended.status, 2);
    assert!(
        ended
            .stderr
            .contains(&format!("{alone}:2:23: unknown action 'demo.load'")),
        "{}",
        ended.stderr
    );
    let ended = validate(&["/nowhere/at/all.yaml"]);
    assert_eq!(ended.status, 2);
    assert!(
        ended.stderr.contains("cannot read /nowhere/at/all.yaml"),
        "{}",
        ended.stderr
    );
}

#[test]
fn values_that_cannot_be_of_the_type_of_a_parameter_are_named() {
    insta::assert_snapshot!(mistakes(
        "ref: demo.w\nparameters: { name: { type: string }, ids: { type: array, items: { type: integer } } }\ntasks:\n  \
         literal: { action: demo.load, with: { rows: many, mode: medium, nmae: x } }\n  \
         missing: { action: demo.load, with: { tags: [] } }\n  \
         text: { action: demo.load, with: { rows: 'about {{ params.name }}', tags: { a: '{{ params.name }}' } } }\n  \
         of_param: { action: demo.load, with: { rows: '{{ params.name }}', name: '{{ params.ids }}' } }\n  \
         of_result: { action: demo.load, with: { rows: '{{ tasks.fine.result.names }}', name: '{{ tasks.fine.result }}', tags: '{{ tasks.each.result }}' } }\n  \
         fine: { action: demo.load, with: { rows: '{{ params.name | length }}', mode: '{{ params.name }}', tags: '{{ tasks.each.result }}' } }\n  \
         each: { action: demo.load, items: '{{ params.ids }}', with: { rows: '{{ item }}', name: '{{ item }}' } }\n",
    ));
}

#[test]
fn what_expressions_name_is_looked_up_with_the_engines_grammar() {
    insta::assert_snapshot!(mistakes(
        "ref: demo.w\nvars: { a: 1, b: '{{ vars.a + vars.c }}', c: 2 }\ntasks:\n  \
         first: { when: \"tasks['no-such'].result == tasks[vars.a].result\" }\n  \
         grammar: { when: vars.a ==, publish: { x: '{{ result.' } }\n  \
         wait: { wait_for: { trigger: demo.done, parameters: { knd: '{{ vars.a }}' }, criteria: { trigger.x: { type: eqals, pattern: '{{ vars.q }}' } }, when: trigger.x == vars.zz } }\n  \
         loops: { items: '{% for x in vars.a %}{{ x }}{{ y }}{% endfor %}', action: core.noop }\n\
         loop: { mode: until, condition: vars.done }\n",
    ));
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let (_dir, file) = pack(
        "ref: demo.w\ntasks:\n  a: { action: core.noop }\n  b: { when: tasks.a.status == 'failed', action: core.noop }\n  again: { action: demo.w }\n  \
         guarded: { when: tasks.a.result, action: demo.w }\n",
    );
    let ended = validate(&[&file]);
    assert_eq!(ended.status, 0);
    insta::assert_snapshot!(
        ended
            .stderr
            .replace(&file, "w.yaml")
            .lines()
            .map(|line| {
                line.split_once("workflows/w.yaml")
                    .map_or(line.to_owned(), |(_, rest)| format!("w.yaml{rest}"))
            })
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn every_example_of_the_documentation_is_in_order() {
    let text = fs::read_to_string(root().join("docs/workflows.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for block in text.split("```yaml\n").skip(1) {
        let example = block.split("```").next().unwrap();
        let file = dir.path().join(format!("{}.yaml", files.len()));
        fs::write(&file, example).unwrap();
        files.push(file.display().to_string());
    }
    assert!(files.len() >= 6, "the examples are no longer found");
    let packs = root().join("examples/packs");
    let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    arguments.extend(["--packs", packs.to_str().unwrap()]);
    let ended = validate(&arguments);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.stdout.lines().count(), files.len());
    let drawn = run_with(&[
        "workflow",
        "graph",
        &files[0],
        "--packs",
        packs.to_str().unwrap(),
    ]);
    assert!(
        text.contains(&drawn.stdout),
        "{}{}",
        drawn.stdout,
        drawn.stderr
    );
}

#[tokio::test]
async fn a_workflow_that_the_engine_has_is_drawn() {
    let packs = root().join("examples/packs");
    let world = crate::pack::core_pack().unwrap();
    let world = camshaft_model::definition::Catalog {
        packs: [("core".to_owned(), world)].into(),
    };
    let loaded = crate::pack::load_folder(&packs, Path::new(""), &world).unwrap();
    let action = &loaded[0].pack.actions["demo.greet_everyone"];
    let engine = FakeEngine::start(vec![
        Answer::json("GET /api/v1/actions/demo.greet_everyone ", &json!(action)),
        Answer::json(
            "GET /api/v1/actions/demo.greet ",
            &json!(loaded[0].pack.actions["demo.greet"]),
        ),
    ])
    .await;
    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        verb: Workflow,
    }
    let (context, out, _) = engine.context(Format::Table);
    let verb = Line::parse_from(["x", "graph", "demo.greet_everyone"]).verb;
    assert_eq!(verb.run(&context).await.unwrap(), ExitCode::SUCCESS);
    insta::assert_snapshot!(out.text());
    let verb = Line::parse_from(["x", "validate", "demo.greet"]).verb;
    let error = verb.run(&context).await.unwrap_err();
    assert_eq!(error.message, "demo.greet is an action and no workflow");
}
