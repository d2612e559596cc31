//! The configuration: file, variables, flags; nothing that is not known is accepted.

use std::fs;

use crate::harness::{Site, shown};

fn refused(site: &Site, variables: &[(&str, &str)]) -> String {
    let output = site
        .command(["up", "--listen", "127.0.0.1:0"])
        .envs(variables.iter().copied())
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn every_mistake_is_named_with_its_place_and_the_nearest_key() {
    let site = Site::new();
    fs::write(
        site.path().join("camshaft.yaml"),
        "worker:\n  slotz: 3\n  grace: soon\nlogs: {}\n",
    )
    .expect("written");
    let error = refused(&site, &[("CAMSHAFT__WORKER__SLOT", "3")]);
    insta::assert_snapshot!("config_mistakes", error);
}

#[test]
fn a_variable_that_is_no_text_is_told_if_it_is_ours_and_passed_over_if_not() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let site = Site::new();
    let bytes = OsStr::from_bytes(b"\xff");
    let ours = site
        .command(["up", "--listen", "127.0.0.1:0"])
        .env("CAMSHAFT__WORKER__ID", bytes)
        .output()
        .expect("runs");
    assert_eq!(ours.status.code(), Some(2), "{}", shown(&ours));
    let error = String::from_utf8_lossy(&ours.stderr);
    assert!(error.contains("CAMSHAFT__WORKER__ID"), "{error}");
    let other = site
        .command(["run", "core.noop"])
        .env("FOO", bytes)
        .output();
    let other = other.expect("runs");
    assert!(other.status.success(), "{}", shown(&other));
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let site = Site::new();
    fs::write(
        site.path().join("camshaft.yaml"),
        "worker: { slots: 3, id: from-file, environment: { GREETING: hello } }\n",
    )
    .expect("written");
    site.shell_action("greet", "echo $GREETING $OTHER", "");
    let engine = site.up_with(
        &["--slots", "7"],
        &[
            ("CAMSHAFT__WORKER__SLOTS", "5"),
            ("CAMSHAFT__WORKER__ENVIRONMENT__OTHER", "world"),
        ],
    );
    let worker = site.get("/api/v1/info")["worker"].clone();
    assert_eq!(
        (worker["slots"].as_u64(), worker["id"].as_str()),
        (Some(7), Some("from-file"))
    );
    assert_eq!(site.ok(["run", "t.greet"]), "hello world\n");
    engine.stop();
    let _engine = site.up_with(&[], &[("CAMSHAFT__WORKER__SLOTS", "5")]);
    assert_eq!(site.get("/api/v1/info")["worker"]["slots"], 5);
}

#[test]
fn expressions_see_the_variables_that_are_allowed_and_processes_see_none_of_them() {
    let site = Site::new();
    fs::write(
        site.path().join("camshaft.yaml"),
        "env_allow: [SITE_NAME]\n",
    )
    .expect("written");
    site.shell_action(
        "tell",
        "echo $PARAM_WHERE; echo ${SITE_NAME-none} ${HIDDEN-none}",
        "parameter_delivery: env\nparameters: { where: { type: string } }",
    );
    site.pack_file("t/triggers/poked.yaml", "ref: t.poked\n");
    for (rule, name) in [("allowed", "SITE_NAME"), ("hidden", "HIDDEN")] {
        let text = format!(
            "ref: t.{rule}\ntrigger: t.poked\naction: {{ ref: t.tell, parameters: {{ where: \"{{{{ env.{name} }}}}\" }} }}\n"
        );
        site.pack_file(&format!("t/rules/{rule}.yaml"), &text);
    }
    let _engine = site.up_with(&[], &[("SITE_NAME", "north"), ("HIDDEN", "s3cret")]);
    let event = site.emit("t.poked", &serde_json::json!({}));
    let enforcements = site.json(["enforcement", "list", "--event", &event]);
    let of = |rule: &str| {
        let items = enforcements["items"].as_array().expect("a list").iter();
        let mut of_rule = items.filter(|one| one["rule"] == rule);
        of_rule.next().expect("an enforcement").clone()
    };
    let reason = of("t.hidden").to_string();
    assert!(
        reason.contains("'env.HIDDEN' is undefined") && !reason.contains("s3cret"),
        "{reason}"
    );
    let execution = of("t.allowed")["execution"]
        .as_str()
        .expect("one")
        .to_owned();
    let done = site.ended(&execution);
    assert_eq!(done["result"], "north\nnone none", "{done}");
}

#[test]
fn a_secret_that_is_not_there_is_named_at_start() {
    let site = Site::new();
    fs::write(
        site.path().join("camshaft.yaml"),
        "secrets: { key: { env: NO_SUCH_SECRET } }\n",
    )
    .expect("written");
    let error = refused(&site, &[]);
    assert!(
        error.contains("NO_SUCH_SECRET is not set") && error.contains("secrets.key"),
        "{error}"
    );
}
