use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::definition::{Backoff, EntryPoint, OutputMode, ParameterDelivery, TriggerKind};
use crate::{Ref, Status};

/// Accepts everything but the text `BAD`, and knows one parameter of each trigger.
struct Lenient;

impl Checks for Lenient {
    fn criterion(&self, criterion: Criterion) -> Result<Criterion, String> {
        if criterion.operator == "BAD" {
            Err("no such operator".to_owned())
        } else {
            Ok(criterion)
        }
    }

    fn expression(&self, text: &str) -> Result<Names, String> {
        if text.contains("BAD") {
            Err("not an expression".to_owned())
        } else {
            Ok(names(text))
        }
    }

    fn template(&self, text: &str) -> Result<Names, String> {
        if text.contains("BAD") {
            Err("not a template".to_owned())
        } else if text.contains("{{") {
            Ok(names(text))
        } else {
            Ok(Names::default())
        }
    }

    fn schema(&self, schema: &Value) -> Result<(), String> {
        if schema["type"] == "BAD" {
            Err("not a JSON Schema".to_owned())
        } else {
            Ok(())
        }
    }

    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        if schema["type"] == "string" && !value.is_string() {
            Err("not a string".to_owned())
        } else {
            Ok(())
        }
    }

    fn trigger_parameters(
        &self,
        _: &Trigger,
        parameters: Object,
    ) -> Result<Object, Vec<ParameterProblem>> {
        match parameters.get("every") {
            Some(value) if value == "BAD" => Err(vec![ParameterProblem {
                name: "every".to_owned(),
                message: "not a duration".to_owned(),
            }]),
            _ => Ok(parameters),
        }
    }
}

/// Every word with a dot in it.
fn names(text: &str) -> Names {
    let path = |word: &str| word.split('.').map(str::to_owned).collect();
    Names {
        paths: text
            .split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.' | '-'))
            .filter(|word| word.contains('.'))
            .map(path)
            .collect(),
        form: Form::Value,
    }
}

fn files(list: &[(&str, &str)]) -> PackFiles {
    list.iter()
        .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()))
        .collect()
}

fn world() -> Catalog {
    let core = files(&[
        ("pack.yaml", "ref: core\nversion: 1.0.0\n"),
        (
            "triggers/interval.yaml",
            "ref: core.interval\nkind: interval\nparameters: { every: { required: true } }\n",
        ),
        (
            "actions/echo.yaml",
            "ref: core.echo\nruntime: native\nentry_point: echo\nparameters: { message: {} }\n",
        ),
    ]);
    let core = load_pack(
        &core,
        PathBuf::new(),
        "c".to_owned(),
        &Catalog::default(),
        &Lenient,
    )
    .unwrap();
    assert_eq!(
        core.pack.triggers["core.interval"].kind,
        TriggerKind::Interval
    );
    Catalog {
        packs: [("core".to_owned(), Arc::new(core.pack))].into(),
    }
}

pub(super) fn load(list: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load_pack(
        &files(list),
        PathBuf::from("/packs/demo"),
        "h".to_owned(),
        &world(),
        &Lenient,
    )
}

pub(super) fn problems(list: &[(&str, &str)]) -> String {
    load(list).map_or_else(
        |problems| problems.to_string(),
        |loaded| format!("loaded {:?}", loaded.warnings),
    )
}

pub(super) const MANIFEST: (&str, &str) = ("pack.yaml", "ref: demo\nversion: 1.0.0\n");

#[test]
fn every_key_arrives() {
    let loaded = load(&[
        ("pack.yaml", "ref: demo\nversion: 1.2.0\ndescription: d\npython: { requirements: requirements.txt }\n"),
        ("requirements.txt", ""),
        ("lib/x.py", ""),
        (
            "actions/a.yaml",
            "ref: demo.a\ndescription: what\nruntime: python\nentry_point: ../lib/x.py\nparameters:\n  \
             name: { type: string, required: true, default: x }\n  token: { type: string, secret: true }\n\
             parameter_delivery: args\noutput: jsonl\noutput_schema: { type: array }\ntimeout: 30s\nstall_timeout: 5\n\
             retry: { max_attempts: 3, delay: 2s, backoff: exponential, max_delay: 1m, jitter: true, on: [timed_out, failed] }\n\
             idempotent: false\nresources: { gpu: 1, none: 0 }\nenvironment: { A_B: c }\n",
        ),
        ("actions/s.yaml", "ref: demo.s\nruntime: shell\nscript: echo\n"),
        ("runtimes/ruby.yaml", "ref: demo.ruby\ncommand: [ruby, -w]\nextensions: [.rb]\n"),
        ("actions/r.rb", ""),
        ("actions/r.yaml", "ref: demo.r\nruntime: ruby\nentry_point: r.rb\n"),
        ("triggers/t.yaml", "ref: demo.t\npayload_schema: { type: object }\n"),
        (
            "rules/r.yaml",
            "ref: demo.rule\nenabled: false\ntrigger: { ref: core.interval, parameters: { every: 10s } }\n\
             criteria:\n  - { path: trigger.a, type: eq, pattern: null }\n  - { path: trigger.a, type: exists }\n\
             when: trigger.a\naction: { ref: demo.a, parameters: { name: '{{ trigger.a }}' } }\npriority: 7\n",
        ),
        ("rules/short.yaml", "ref: demo.short\ntrigger: demo.t\naction: demo.s\n"),
    ])
    .unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty());
    let pack = loaded.pack;
    assert_eq!(
        pack.origin.python.as_ref().unwrap().requirements,
        "requirements.txt"
    );
    let action = &pack.actions["demo.a"];
    assert_eq!(action.entry_point, EntryPoint::File("lib/x.py".into()));
    assert_eq!(
        action.parameters.schema,
        json!({
            "type": "object",
            "properties": { "name": { "type": "string", "default": "x" }, "token": { "type": "string" } },
            "required": ["name"],
            "additionalProperties": false
        })
    );
    assert_eq!(
        (
            action.parameters.defaults["name"].as_str(),
            &action.parameters.secret[..]
        ),
        (Some("x"), &["token".to_owned()][..])
    );
    assert_eq!(
        (action.parameter_delivery, action.output),
        (ParameterDelivery::Args, OutputMode::Jsonl)
    );
    assert_eq!(
        (action.timeout, action.stall_timeout),
        (Some(Duration::from_secs(30)), Some(Duration::from_secs(5)))
    );
    let retry = &action.retry;
    assert_eq!(
        (
            retry.max_attempts,
            retry.delay.as_secs(),
            retry.backoff,
            retry.max_delay.as_secs(),
            retry.jitter
        ),
        (3, 2, Backoff::Exponential, 60, true)
    );
    assert_eq!(retry.on, [Status::Failed, Status::TimedOut]);
    assert!(!action.idempotent && action.resources.len() == 1 && action.environment["A_B"] == "c");
    let plain = &pack.actions["demo.s"];
    assert_eq!(plain.entry_point, EntryPoint::Script("echo".to_owned()));
    assert!(plain.idempotent && plain.retry.max_attempts == 1 && plain.retry.on.len() == 3);
    let runtime = pack.actions["demo.r"].runtime_definition.as_ref().unwrap();
    assert_eq!(
        (runtime.command.len(), &runtime.extensions[..]),
        (2, &["rb".to_owned()][..])
    );
    let rule = &pack.rules["demo.rule"];
    assert!(!rule.enabled && rule.criteria.len() == 2 && rule.priority == 7);
    assert_eq!(pack.rules["demo.short"].trigger.as_str(), "demo.t");
    assert_eq!(pack.triggers["demo.t"].kind, TriggerKind::Posted);
}

#[test]
fn a_page_of_mistakes() {
    let page = problems(&[
        (
            "pack.yaml",
            "ref: demo\nverison: 1.0.0\npython: { requirements: reqs.txt }\n",
        ),
        (
            "actions/a.yaml",
            "ref: other.a\nruntime: python\nentry_point: gret.py\ntiemout: 3s\nretry: { max_attempts: 0, on: [fialed] }\n",
        ),
        (
            "actions/b.yaml",
            "ref: demo.b\nruntime: shell\nentry_point: ../../etc/x\nscript: echo\nsandbox: {}\n",
        ),
        (
            "actions/c.yaml",
            "ref: demo.c\nruntime: workflow\nparameters: { p: { type: BAD }, q: { type: string, default: 1, required: maybe } }\n",
        ),
        (
            "actions/d.yaml",
            "ref: demo.b\nruntime: http\nentry_point: x\ntimeout: 0\nenvironment: { CAMSHAFT_X: a, 1A: b }\n",
        ),
        ("actions/e.yaml", "- a\n"),
        ("actions/f.yaml", "ref: demo.f\nref: demo.g\n"),
        ("actions/greet.py", ""),
        ("actions/n.yaml", "ref: demo.n\nruntime: node\n"),
        (
            "rules/a.yaml",
            "ref: demo.r\ntrigger: { ref: core.mqtt }\naction: { ref: core.ehco }\n",
        ),
        (
            "rules/b.yaml",
            "ref: demo.s\ntrigger: { ref: core.interval, parameters: { every: BAD } }\ncriteria: { trigger.a: { type: BAD } }\nwhen: BAD\naction: { ref: core.echo, parameters: { mesage: [BAD] } }\n",
        ),
        (
            "rules/c.yaml",
            "ref: demo.u\ntrigger: core.echo\naction: demo.b\npriority: 101\n",
        ),
        ("runtimes/python.yaml", "ref: demo.python\ncommand: []\n"),
        ("triggers/t.yaml", "ref: demo.t\nkind: interval\n"),
        ("workflows/w.yaml", "ref: demo.w\nruntime: workflow\n"),
    ]);
    insta::assert_snapshot!(page);
}

#[test]
fn a_folder_without_a_manifest_and_the_ref_core_are_refused() {
    assert!(problems(&[]).starts_with("pack.yaml:1:1: a pack needs a file pack.yaml"));
    let core = problems(&[("pack.yaml", "ref: core\nversion: 1.0.0\n")]);
    assert!(
        core.contains("the ref 'core' belongs to the pack in the binary"),
        "{core}"
    );
}

#[test]
fn a_runtime_that_nobody_defines_and_a_misspelt_folder_are_warned_of() {
    let text = problems(&[
        MANIFEST,
        (
            "actions/a.yaml",
            "ref: demo.a\nruntime: pyhton\nentry_point: a.py\n",
        ),
        ("actions/a.py", ""),
        ("rule/r.yaml", "ref: demo.r\n"),
    ]);
    assert!(text.contains("no pack defines the runtime 'pyhton', so executions wait until a worker has it; did you mean 'python'?"), "{text}");
    assert!(
        text.contains("the folder 'rule' is not read; did you mean 'rules'?"),
        "{text}"
    );
}

#[test]
fn naming_a_definition_that_has_mistakes_is_no_second_mistake() {
    let text = problems(&[
        MANIFEST,
        ("actions/a.yaml", "ref: demo.a\nruntime: shell\n"),
        (
            "rules/r.yaml",
            "ref: demo.r\ntrigger: core.interval\naction: demo.a\n",
        ),
    ]);
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn packs_that_name_each_other_load_together_and_not_alone() {
    let source = |pack: &str, other: &str| PackSource {
        label: pack.to_owned(),
        files: files(&[
            ("pack.yaml", &format!("ref: {pack}\nversion: 1.0.0\n")),
            ("triggers/t.yaml", &format!("ref: {pack}.t\n")),
            (
                "rules/r.yaml",
                &format!("ref: {pack}.r\ntrigger: {other}.t\naction: core.echo\n"),
            ),
        ]),
        dir: PathBuf::from(pack),
        hash: pack.to_owned(),
    };
    let both = [source("aa", "bb"), source("bb", "aa")];
    assert_eq!(load_packs(&both, &world(), &Lenient).unwrap().len(), 2);
    let alone = load_packs(&both[..1], &world(), &Lenient)
        .unwrap_err()
        .to_string();
    assert_eq!(
        alone,
        "aa/rules/r.yaml:2:10: trigger: unknown trigger 'bb.t'"
    );
    let twice = load_packs(
        &[source("aa", "aa"), source("aa", "aa")],
        &world(),
        &Lenient,
    )
    .unwrap_err();
    assert!(
        twice.to_string().contains("is also in aa/pack.yaml"),
        "{twice}"
    );
}

#[test]
fn a_version_that_takes_something_from_another_pack_is_refused() {
    let mut world = world();
    let with = load(&[MANIFEST, ("triggers/t.yaml", "ref: demo.t\n")]).unwrap();
    world.packs.insert("demo".to_owned(), Arc::new(with.pack));
    let user = files(&[
        ("pack.yaml", "ref: user\nversion: 1.0.0\n"),
        (
            "rules/r.yaml",
            "ref: user.r\ntrigger: demo.t\naction: core.echo\n",
        ),
    ]);
    let user = load_pack(&user, "u".into(), "u".to_owned(), &world, &Lenient).unwrap();
    world.packs.insert("user".to_owned(), Arc::new(user.pack));
    let error = load_pack(
        &files(&[MANIFEST]),
        "d".into(),
        "d".to_owned(),
        &world,
        &Lenient,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "pack.yaml:1:1: 'demo.t' is gone, but the rule user.r of another pack uses it"
    );
    assert!(world.rule(&"user.r".parse::<Ref>().unwrap()).is_some());
}

proptest! {
    #[test]
    fn any_bytes_in_any_file_are_loaded_or_refused(
        folder in "(actions|triggers|rules|runtimes|workflows|x)",
        text in r"((ref|runtime|script|trigger|action|criteria|command|parameters|retry|when)(: |:\n  )[ a-z0-9.\[\]{}:,\n]{0,12}\n){0,6}",
        bytes: Vec<u8>,
    ) {
        let list = [
            (PathBuf::from("pack.yaml"), b"ref: demo\nversion: 1.0.0\n".to_vec()),
            (PathBuf::from(&folder).join("a.yaml"), text.into_bytes()),
            (PathBuf::from(&folder).join("b.yaml"), bytes.clone()),
        ];
        let _ = load_pack(&list.into(), "d".into(), "h".to_owned(), &world(), &Lenient);
        let manifest = [(PathBuf::from("pack.yaml"), bytes)];
        let _ = load_pack(&manifest.into(), "d".into(), "h".to_owned(), &world(), &Lenient);
    }
}
