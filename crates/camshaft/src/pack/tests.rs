use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camshaft_model::Timestamp;
use camshaft_model::definition::{Catalog, EntryPoint, TriggerKind};
use camshaft_model::port::store::PackRecord;

use super::*;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/packs/demo")
}

fn world() -> Catalog {
    let core = core_pack().unwrap_or_else(|problems| panic!("{problems}"));
    Catalog {
        packs: [("core".to_owned(), core)].into(),
    }
}

/// A copy of the demo pack that a test may edit, and a data directory.
fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (packs, data) = (dir.path().join("packs"), dir.path().join("data"));
    let content = read(&demo()).unwrap();
    for (path, bytes) in &content.files {
        let path = packs.join("demo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    (dir, packs, data)
}

fn applied(plan: PackPlan, data: &Path, world: &mut Catalog) -> PathBuf {
    let candidate = plan
        .candidate
        .unwrap_or_else(|| panic!("{:#?}", plan.problems));
    let dir = install(&candidate.folder, &plan.pack, data).unwrap();
    assert_eq!(candidate.pack.origin.dir, dir);
    world.packs.insert(plan.pack, candidate.pack);
    dir
}

fn lines(plan: &PackPlan) -> Vec<String> {
    let line = |change: &Change| {
        format!(
            "{:?} {} {} {}",
            change.kind,
            change.what,
            change.reference,
            change.fields.join(",")
        )
    };
    plan.changes
        .iter()
        .map(|change| line(change).trim_end().to_owned())
        .collect()
}

#[test]
fn the_core_pack_has_every_trigger_and_action() {
    let core = core_pack().unwrap_or_else(|problems| panic!("{problems}"));
    let kind = |name: &str| core.triggers[name].kind;
    assert_eq!(kind("core.interval"), TriggerKind::Interval);
    assert_eq!(kind("core.cron"), TriggerKind::Cron);
    assert_eq!(kind("core.date"), TriggerKind::Date);
    assert_eq!(kind("core.rrule"), TriggerKind::Rrule);
    assert_eq!(kind("core.webhook"), TriggerKind::Webhook);
    assert_eq!(kind("core.file"), TriggerKind::File);
    assert_eq!(kind("core.process"), TriggerKind::Process);
    assert_eq!(kind("core.mqtt"), TriggerKind::Mqtt);
    assert_eq!(kind("core.execution"), TriggerKind::Execution);
    assert_eq!(
        core.actions["core.echo"].entry_point,
        EntryPoint::Native("echo".to_owned())
    );
    assert_eq!(
        core.actions["core.noop"].entry_point,
        EntryPoint::Native("noop".to_owned())
    );
    assert_eq!(core.actions["core.http"].entry_point, EntryPoint::None);
    let embedded =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/core/triggers"))
            .unwrap();
    assert_eq!(
        embedded.count(),
        core.triggers.len(),
        "a file is missing in the list of embedded ones"
    );
}

#[test]
fn the_demo_pack_loads_without_a_warning() {
    let data = tempfile::tempdir().unwrap();
    let plan = plan(&demo(), data.path(), &world()).unwrap();
    assert!(
        plan.problems.is_empty() && plan.warnings.is_empty(),
        "{plan:#?}"
    );
    let pack = plan.candidate.unwrap().pack;
    assert_eq!(
        pack.actions["demo.greet"].entry_point,
        EntryPoint::File("actions/greet.py".into())
    );
    assert_eq!(
        pack.rules["demo.every_two_seconds"].trigger_parameters["catchup"],
        "once"
    );
    assert!(
        pack.actions["demo.greet"]
            .origin
            .as_ref()
            .unwrap()
            .dir
            .starts_with(data.path())
    );
}

#[test]
fn a_plan_shows_what_is_added_changed_and_removed() {
    let (_dir, packs, data) = scene();
    let demo = packs.join("demo");
    let mut world = world();
    let first = plan(&demo, &data, &world).unwrap();
    assert!(
        first.starts_from("none")
            && first
                .changes
                .iter()
                .all(|change| change.kind == ChangeKind::Added)
    );
    applied(first, &data, &mut world);

    let same = plan(&demo, &data, &world).unwrap();
    assert!(same.changes.is_empty() && same.starts_from("1.0.0") && !same.starts_from("1.0"));

    fs::remove_file(demo.join("rules/on_hook.yaml")).unwrap();
    fs::write(demo.join("actions/greet.py"), "print(1)").unwrap();
    let tick = fs::read_to_string(demo.join("actions/tick.yaml")).unwrap();
    fs::write(
        demo.join("actions/tick.yaml"),
        tick.replace("timeout: 10s", "timeout: 11s"),
    )
    .unwrap();
    fs::write(demo.join("runtimes.txt"), "").unwrap();
    let next = plan(&demo, &data, &world).unwrap();
    assert_eq!(
        lines(&next),
        [
            "Changed action demo.tick timeout",
            "Removed rule demo.on_hook",
            "Changed file actions/greet.py content",
            "Added file runtimes.txt",
        ]
    );
}

#[test]
fn installing_is_idempotent_and_survives_a_crash_in_the_middle() {
    let (_dir, packs, data) = scene();
    let content = read(&packs.join("demo")).unwrap();
    let leftover = data
        .join("packs")
        .join(format!(".incoming-demo-{}", content.hash()));
    fs::create_dir_all(&leftover).unwrap();
    fs::write(leftover.join("pack.yaml"), "ref: ha").unwrap();

    let dir = install(&content, "demo", &data).unwrap();
    assert!(!leftover.exists());
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&dir);
    assert_eq!(install(&content, "demo", &data).unwrap(), dir);
    assert_eq!(inode(&dir), before, "it was not written again");
    assert_eq!(read(&dir).unwrap(), content);

    fs::write(dir.join("pack.yaml"), "ref: edited").unwrap();
    assert_eq!(
        read(&install(&content, "demo", &data).unwrap()).unwrap(),
        content
    );
}

#[test]
fn an_executable_file_stays_one() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, packs, data) = scene();
    let file = packs.join("demo/actions/greet.py");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
    let content = read(&packs.join("demo")).unwrap();
    let dir = install(&content, "demo", &data).unwrap();
    let mode = fs::metadata(dir.join("actions/greet.py"))
        .unwrap()
        .permissions()
        .mode();
    assert_ne!(mode & 0o100, 0);
    assert_eq!(read(&dir).unwrap().hash(), content.hash());
}

#[test]
fn an_installed_pack_loads_again_until_somebody_edits_it() {
    let (_dir, packs, data) = scene();
    let mut world = world();
    let plan = plan(&packs.join("demo"), &data, &world).unwrap();
    let to = plan.to.clone().unwrap();
    let dir = applied(plan, &data, &mut world);
    let record = PackRecord {
        pack: "demo".to_owned(),
        version: to.version,
        hash: to.hash,
        dir: dir.display().to_string(),
        applied_at: Timestamp::default(),
    };
    let again = load_installed(std::slice::from_ref(&record), &world).unwrap();
    assert_eq!(&again[0].pack, world.packs["demo"].as_ref());
    let pinned = load_pinned(&record, &Catalog::default()).unwrap();
    assert_eq!(pinned.actions, world.packs["demo"].actions);
    assert!(pinned.rules.is_empty());
    fs::write(dir.join("actions/greet.py"), "").unwrap();
    let error = load_installed(&[record], &world).unwrap_err().to_string();
    assert!(error.contains("were edited"), "{error}");
}

#[test]
fn packs_of_a_folder_may_name_each_other_and_load_all_or_none() {
    let (_dir, packs, data) = scene();
    let other = packs.join("other");
    fs::create_dir_all(other.join("rules")).unwrap();
    fs::create_dir_all(packs.join("no_pack")).unwrap();
    fs::write(other.join("pack.yaml"), "ref: other\nversion: 1.0.0\n").unwrap();
    let rule =
        "ref: other.r\ntrigger: core.noop\naction: { ref: demo.greet, parameters: { name: x } }\n";
    fs::write(other.join("rules/r.yaml"), rule).unwrap();
    let error = load_folder(&packs, &data, &world())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("rules/r.yaml:2:10: trigger: unknown trigger 'core.noop'"),
        "{error}"
    );

    let rule = rule.replace(
        "core.noop",
        "{ ref: core.execution, parameters: { status: failed } }",
    );
    fs::write(other.join("rules/r.yaml"), rule).unwrap();
    let loaded = load_folder(&packs, &data, &world()).unwrap();
    let names: Vec<&str> = loaded
        .iter()
        .map(|one| one.pack.origin.pack.as_str())
        .collect();
    assert_eq!(names, ["demo", "other"]);

    let mut world = world();
    world.packs.extend(
        loaded
            .iter()
            .map(|one| (one.pack.origin.pack.clone(), Arc::clone(&one.pack))),
    );
    let uses: Vec<String> = used_by_others("demo", &world)
        .iter()
        .map(|one| format!("{} {}", one.user, one.needs))
        .collect();
    assert_eq!(uses, ["other.r demo.greet"]);
    fs::remove_file(packs.join("demo/actions/greet.yaml")).unwrap();
    let broken = plan(&packs.join("demo"), &data, &world).unwrap();
    assert!(
        broken
            .problems
            .iter()
            .any(|problem| problem.message.contains("other.r of another pack uses it"))
    );
}

#[test]
fn a_file_that_cannot_be_executed_is_warned_of() {
    let (_dir, packs, data) = scene();
    let action = packs.join("demo/actions/greet.yaml");
    let text = fs::read_to_string(&action)
        .unwrap()
        .replace("runtime: python", "runtime: local");
    fs::write(&action, text).unwrap();
    let plan = plan(&packs.join("demo"), &data, &world()).unwrap();
    assert!(plan.warnings[0].message.contains("chmod +x"), "{plan:#?}");
}

#[tokio::test]
async fn an_edit_is_noticed_once_and_reading_is_not_an_edit() {
    let (_dir, packs, _data) = scene();
    let mut watched = watch(&packs).unwrap();
    read(&packs.join("demo")).unwrap();
    fs::create_dir(packs.join("demo/__pycache__")).unwrap();
    let limit = std::time::Duration::from_secs(20);
    let quiet =
        tokio::time::timeout(std::time::Duration::from_millis(300), watched.changed()).await;
    assert!(quiet.is_err(), "nothing was edited");
    for round in 0..5 {
        fs::write(
            packs.join("demo/pack.yaml"),
            format!("ref: demo\nversion: 1.0.{round}\n"),
        )
        .unwrap();
    }
    assert!(
        tokio::time::timeout(limit, watched.changed())
            .await
            .unwrap()
    );
}

#[test]
fn what_the_engine_would_refuse_is_refused_at_load() {
    let (_dir, packs, data) = scene();
    let demo = packs.join("demo");
    let rule = |name: &str, text: &str| fs::write(demo.join("rules").join(name), text).unwrap();
    let head = |name: &str| format!("ref: demo.{name}\n");
    rule(
        "a.yaml",
        &(head("a")
            + "trigger: { ref: core.interval, parameters: { every: soon } }\naction: core.noop\n"),
    );
    rule(
        "b.yaml",
        &(head("b")
            + "trigger: { ref: core.cron, parameters: { expresion: '* * * * *' } }\naction: core.noop\n"),
    );
    rule(
        "c.yaml",
        &(head("c")
            + "trigger: { ref: core.cron, parameters: { expression: '0 0 30 2 *' } }\naction: core.noop\n"),
    );
    rule(
        "d.yaml",
        &(head("d")
            + "trigger: core.execution\ncriteria: { trigger.a: { type: greatherthan, pattern: 1 } }\n\
               when: trigger.a ==\naction: { ref: core.echo, parameters: { message: ['{{ trigger.a'] } }\n"),
    );
    rule(
        "e.yaml",
        &(head("e")
            + "trigger: { ref: core.mqtt, parameters: { topic: x/#/y } }\naction: core.noop\n"),
    );
    rule(
        "f.yaml",
        &(head("f") + "trigger: { ref: core.dat, parameters: { topic: x } }\naction: core.noop\n"),
    );
    fs::write(
        demo.join("actions/x.yaml"),
        "ref: demo.x\nruntime: shell\nscript: 'true'\nparameters: { n: { type: integer, default: a }, m: { type: intger } }\n",
    )
    .unwrap();
    let plan = plan(&demo, &data, &world()).unwrap();
    let prefix = format!("{}/", demo.display());
    let page: Vec<String> = plan
        .problems
        .iter()
        .map(|problem| problem.to_string().replace(&prefix, ""))
        .collect();
    insta::assert_snapshot!(page.join("\n"), @r#"
    actions/x.yaml:4:18: parameters.n: the default does not fit: "a" is not of type "integer"
    actions/x.yaml:4:52: parameters.m: the schema is not a JSON Schema: "intger" is not valid under any of the schemas listed in the 'anyOf' keyword
    rules/a.yaml:2:46: trigger.parameters.every: 'every' is "soon": 'soon' is not a duration: write a number and a unit, such as 250ms, 30s, 5m, 4h, 1d or 1h30m
    rules/b.yaml:2:40: trigger.parameters: "expression" is required
    rules/b.yaml:2:40: trigger.parameters: there is no parameter 'expresion'; did you mean 'expression'?
    rules/c.yaml:2:42: trigger.parameters.expression: 'expression' is "0 0 30 2 *": it never comes to pass; look at the day of the month and the month
    rules/d.yaml:3:24: criteria.trigger.a: there is no operator 'greatherthan'; did you mean 'greaterthan'?
    rules/d.yaml:4:7: when: line 1, column 11: unexpected end of input, expected expression
    rules/d.yaml:5:51: action.parameters.message[0]: line 1, column 12: unexpected end of input, expected end of variable block
    rules/e.yaml:2:42: trigger.parameters.topic: this is no filter of topics: + and # stand alone in their level, and # is the last one
    rules/f.yaml:2:17: trigger.ref: unknown trigger 'core.dat'; did you mean 'core.date'?
    "#);
}
