use super::*;
use crate::command::testing::{ended, run_with};

fn folder(examples: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tests")).unwrap();
    for (name, text) in examples {
        fs::write(dir.path().join("tests").join(name), text).unwrap();
    }
    dir
}

/// A pack whose one rule matches positive totals and cannot evaluate their absence.
fn pack() -> OfflinePack {
    let try_rule = |rule: &Ref, payload: Value| {
        let total = payload.get("total").and_then(Value::as_i64);
        Ok(
            json!({"rule": rule, "enabled": true, "matched": total > Some(0), "verdict": "as computed",
            "criteria": [{"path": "trigger.total", "operator": "gt", "pattern": 0, "value": total, "holds": total.map(|n| n > 0)}],
            "parameters": total.filter(|n| *n > 0).map(|n| json!({"n": n}))}),
        )
    };
    OfflinePack {
        pack: "demo".into(),
        version: "1.0.0".into(),
        warnings: Vec::new(),
        catalog: Arc::default(),
        try_rule: Box::new(try_rule),
    }
}

fn test(dir: &tempfile::TempDir) -> (u8, String, String) {
    let test = Test {
        dir: dir.path().to_path_buf(),
    };
    let ended = ended(|context| test.report(context, &pack()));
    (ended.status, ended.stdout, ended.stderr)
}

#[test]
fn examples_that_hold_are_told_and_those_that_do_not_are_explained() {
    let dir = folder(&[
        (
            "a.yaml",
            "rule: demo.x\nevent: {payload: {total: 1}}\nexpect: match\nparameters: {n: 1}\n",
        ),
        (
            "b.yaml",
            "- {rule: demo.x, event: {total: 0}, expect: no_match}\n- {rule: demo.x, event: {}, expect: fail}\n",
        ),
        (
            "c.json",
            r#"{"rule": "demo.x", "event": {"total": 0}, "expect": "match"}"#,
        ),
        ("notes.txt", "not an example"),
    ]);
    let (status, stdout, stderr) = test(&dir);
    assert_eq!(status, 1, "{stderr}");
    insta::assert_snapshot!(stdout, @r"
    pack demo 1.0.0 is valid
    ok    tests/a.yaml  demo.x: match
    ok    tests/b.yaml  demo.x: no_match
    ok    tests/b.yaml  demo.x: fail
    FAIL  tests/c.json  demo.x: no_match
      expected match
      rule demo.x does not match
        as computed
        NO  trigger.total gt 0: the value is 0
    ");
    assert!(
        stderr.starts_with("error: 1 of 4 examples do not hold"),
        "{stderr}"
    );
}

#[test]
fn an_example_with_mistakes_is_named() {
    let dir = folder(&[("a.yaml", "rule: demo.x\nevent: {}\nexpects: match\n")]);
    let (status, _, stderr) = test(&dir);
    assert_eq!(status, 2);
    assert!(
        stderr.contains("tests/a.yaml: unknown field `expects`"),
        "{stderr}"
    );
}

#[test]
fn a_pack_without_examples_is_only_validated() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(test(&dir).0, 0);
}

#[test]
fn a_folder_is_loaded_with_the_engines_checks_and_its_rules_are_tried() {
    let dir = folder(&[(
        "a.yaml",
        "rule: demo.big\nevent: {total: 120}\nexpect: match\nparameters: {text: '120'}\n",
    )]);
    for (path, text) in [
        ("pack.yaml", "ref: demo\nversion: 1.0.0\ndescription: x\n"),
        ("triggers/order.yaml", "ref: demo.order\n"),
        (
            "actions/say.yaml",
            "ref: demo.say\nruntime: shell\nscript: cat\nparameters: {text: {type: string}}\n",
        ),
        (
            "rules/big.yaml",
            "ref: demo.big\ntrigger: {ref: demo.order}\ncriteria: {trigger.total: {type: gt, pattern: 100}}\naction: {ref: demo.say, parameters: {text: '{{ trigger.total | string }}'}}\n",
        ),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let ended = run_with(&["pack", "test", dir.path().to_str().unwrap()]);
    assert_eq!(ended.status, 0, "{}{}", ended.stdout, ended.stderr);
    fs::write(dir.path().join("pack.yaml"), "reff: demo\nversion: 1.0.0\n").unwrap();
    let ended = run_with(&["pack", "test", dir.path().to_str().unwrap()]);
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("pack.yaml:1:1"), "{}", ended.stderr);
}
