use super::*;

fn read(text: &str) -> (Config, String) {
    let mut config = Config::default();
    let problems = apply_file("camshaft.yaml", text.as_bytes(), &mut config);
    (
        config,
        Problems::check(problems).map_or_else(|problems| problems.to_string(), |()| String::new()),
    )
}

fn doc() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_key_is_read() {
    let (config, problems) = read(
        "data_dir: d\npacks_dir: p\n\
         api: { listen: '[::1]:1', max_body_bytes: 3MiB, tokens: [{ name: ada, token_env: ADA, roles: [operator] }] }\n\
         worker: { id: w, slots: 3, resources: { gpu: 2 }, grace: 1s, output_limit_bytes: 5, heartbeat: 2s, environment: { TZ: UTC } }\n\
         engine: { max_depth: 4, run_memory_bytes: 7MiB, drain: 6s }\n\
         secrets: { a: { env: A }, b: { file: /b } }\n\
         env_allow: [HOME]\n\
         mqtt: { flush: 9s }\n\
         log: { level: debug, format: json }\n\
         metrics: { enabled: false, actions: 7 }\n\
         otlp: { endpoint: 'http://c', headers: { X-Key: { env: K } }, timeout: 1s, interval: 2s, batch_spans: 3, queue_spans: 4, resource: { a.b: c }, flush: 5s }\n",
    );
    assert_eq!(problems, "");
    assert_eq!(
        (config.data_dir, config.packs_dir),
        ("d".into(), Some("p".into()))
    );
    assert_eq!(
        (
            config.api.listen.to_string().as_str(),
            config.api.max_body_bytes
        ),
        ("[::1]:1", 3 << 20)
    );
    let ada = TokenSource {
        name: "ada".to_owned(),
        source: SecretSource::Env("ADA".to_owned()),
        roles: vec!["operator".to_owned()],
    };
    assert_eq!(config.api.tokens, [ada]);
    let worker = config.worker;
    assert_eq!(
        (worker.id.as_str(), worker.slots, worker.output_limit_bytes),
        ("w", 3, 5)
    );
    assert_eq!((worker.grace.as_secs(), worker.heartbeat.as_secs()), (1, 2));
    assert_eq!(
        (worker.resources["gpu"], worker.environment["TZ"].as_str()),
        (2, "UTC")
    );
    assert!(worker.environment.contains_key("PATH"), "defaults stay");
    assert_eq!(
        (config.engine.max_depth, config.engine.drain.as_secs()),
        (4, 6)
    );
    assert_eq!(config.engine.run_memory_bytes, 7 << 20);
    assert_eq!(config.secrets["a"], SecretSource::Env("A".to_owned()));
    assert_eq!(config.secrets["b"], SecretSource::File("/b".into()));
    assert_eq!(config.env_allow, ["HOME"]);
    assert_eq!(
        (config.log.level, config.log.format),
        (LogLevel::Debug, LogFormat::Json)
    );
    assert_eq!(config.mqtt.flush.as_secs(), 9);
    let metrics = config.metrics;
    assert_eq!((metrics.enabled, metrics.actions), (false, 7));
    let otlp = Otlp {
        endpoint: Some("http://c".to_owned()),
        headers: [("x-key".to_owned(), SecretSource::Env("K".to_owned()))].into(),
        timeout: Some(Duration::from_secs(1)),
        interval: Some(Duration::from_secs(2)),
        batch_spans: Some(3),
        queue_spans: Some(4),
        resource: [("a.b".to_owned(), "c".to_owned())].into(),
        flush: Duration::from_secs(5),
    };
    assert_eq!(config.otlp, otlp);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = "dat_dir: x\napi:\n  listen: 7410\n  max_body_bytes: lots\nworker:\n  slots: 0\n  grac: 5s\nsecrets:\n  a: {}\nlog: { level: inf }\n";
    insta::assert_snapshot!(read(text).1, @r"
    camshaft.yaml:1:1: unknown key 'dat_dir'; did you mean 'data_dir'?
    camshaft.yaml:3:11: api.listen: expected text, found number 7410: put it in quotes
    camshaft.yaml:4:19: api.max_body_bytes: expected a number of bytes, such as 10485760 or 10MiB, found 'lots'
    camshaft.yaml:6:10: worker.slots: expected a whole number from 1 to 4096, found number 0
    camshaft.yaml:7:3: worker: unknown key 'grac'; did you mean 'grace'?
    camshaft.yaml:9:6: secrets.a: a secret comes from one place; write { env: VARIABLE } or { file: /path }
    camshaft.yaml:10:15: log.level: expected one of trace, debug, info, warn, error, found 'inf'; did you mean 'info'?
    ");
}

#[test]
fn layers_override_each_other_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    std::fs::write(
        &file,
        "worker: { slots: 2, id: from-file }\ndata_dir: /file\n",
    )
    .unwrap();
    let variables = [
        ("CAMSHAFT__WORKER__SLOTS", "3"),
        ("CAMSHAFT__WORKER__ID", "77"),
        ("CAMSHAFT__WORKER__ENVIRONMENT__MY__Var", "x"),
        ("CAMSHAFT__WORKER__RESOURCES__GPU", "1"),
        ("CAMSHAFT__ENV_ALLOW", "[HOME, USER]"),
        ("CAMSHAFT__DATA_DIR", "/variable"),
        ("OTHER", "x"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let flags = Overrides {
        data_dir: Some("/flag".into()),
        ..Overrides::default()
    };
    let config = load(Some(&file), variables, flags).unwrap();
    assert_eq!((config.worker.slots, config.worker.id.as_str()), (3, "77"));
    assert_eq!(config.worker.environment["MY__Var"], "x");
    assert_eq!(config.worker.resources["gpu"], 1);
    assert_eq!(config.env_allow, ["HOME", "USER"]);
    assert_eq!(config.data_dir, Path::new("/flag"));
}

#[test]
fn a_wrong_variable_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    std::fs::write(&file, "# nothing\n").unwrap();
    let variables = [
        ("CAMSHAFT__WORKER__SLOTZ", "3"),
        ("CAMSHAFT__ENGINE__DRAIN", "soon"),
        ("CAMSHAFT__A__B__C__D__E", ""),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    insta::assert_snapshot!(load(Some(&file), variables, Overrides::default()).unwrap_err(), @r"
    CAMSHAFT__A__B__C__D__E:1:1: no key of the configuration is so deep
    CAMSHAFT__ENGINE__DRAIN:1:1: engine.drain: 'soon' is not a duration: write a number and a unit, such as 250ms, 30s, 5m, 4h, 1d or 1h30m
    CAMSHAFT__WORKER__SLOTZ:1:1: worker: unknown key 'slotz'; did you mean 'slots'?
    ");
}

#[test]
fn a_variable_of_ours_is_text_and_others_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = OsStr::from_bytes;
    let variables = [
        (bytes(b"FOO"), bytes(b"\xff")),
        (bytes(b"\xff"), bytes(b"bar")),
        (bytes(b"CAMSHAFT__WORKER__ID"), bytes(b"w\xff")),
        (bytes(b"CAMSHAFT__\xff"), bytes(b"1")),
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    std::fs::write(&file, "").unwrap();
    let error = load(Some(&file), variables, Overrides::default()).unwrap_err();
    insta::assert_snapshot!(error, @r"
    CAMSHAFT__WORKER__ID:1:1: a variable of the configuration is UTF-8, and this one is not
    CAMSHAFT__�:1:1: a variable of the configuration is UTF-8, and this one is not
    ");
    let config = load(
        Some(&file),
        variables[..2].iter().copied(),
        Overrides::default(),
    )
    .unwrap();
    assert_eq!(config.worker.id, Config::default().worker.id);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let error =
        load::<&str>(Some(Path::new("/nowhere.yaml")), [], Overrides::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere.yaml:1:1: the configuration cannot be read")
    );
}

#[test]
fn secrets_are_read_from_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s");
    std::fs::write(&file, "value\r\n").unwrap();
    let (mut config, _) = read("secrets: { a: { env: A } }");
    config
        .secrets
        .insert("b".to_owned(), SecretSource::File(file));
    let values = config
        .read_secrets(|name| (name == "A").then(|| "x".to_owned()))
        .unwrap();
    assert_eq!((values["a"].as_str(), values["b"].as_str()), ("x", "value"));
    let error = config.read_secrets(|_| None).unwrap_err().to_string();
    assert!(
        error.contains("secrets.a: the variable A is not set"),
        "{error}"
    );
}

#[test]
fn every_key_is_known_and_in_the_document() {
    let doc = doc();
    for key in KEYS {
        let parts: Vec<&str> = key
            .split('.')
            .map(|part| if part == "*" { "name" } else { part })
            .collect();
        let text = parts.iter().rev().fold("[[]]".to_owned(), |inner, part| {
            format!("{{ {part}: {inner} }}")
        });
        let problems = read(&text).1;
        assert!(
            !problems.is_empty() && !problems.contains("unknown key"),
            "{key}: {problems}"
        );
        assert!(
            doc.contains(&format!("`{key}`")),
            "{key} is not in docs/configuration.md"
        );
        let variable = format!(
            "`CAMSHAFT__{}`",
            key.replace('.', "__").replace('*', "NAME").to_uppercase()
        );
        assert!(
            doc.contains(&variable),
            "{variable} is not in docs/configuration.md"
        );
    }
}

#[test]
fn the_example_in_the_document_is_valid() {
    let doc = doc();
    let example = doc
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert_eq!(read(example).1, "");
}

#[test]
fn tokens_have_names_of_their_own_and_come_from_one_place() {
    let text = "api:\n  tokens:\n  - { name: admin, token_env: A }\n  - { name: ada, token_env: B, role: x }\n  - { name: ada, token_file: /b, roles: [] }\n  - { token_env: C, token_file: /c }\n  - { name: bob, token_env: D, roles: [1] }\n";
    insta::assert_snapshot!(read(text).1, @r"
    camshaft.yaml:3:13: api.tokens[0].name: 'admin' is whoever has the token of the data directory; take another name
    camshaft.yaml:4:32: api.tokens[1]: unknown key 'role'; did you mean 'roles'?
    camshaft.yaml:5:13: api.tokens[2].name: there are two tokens of 'ada'
    camshaft.yaml:6:5: api.tokens[3]: the key 'name' is missing; write, for example, name: ada
    camshaft.yaml:6:5: api.tokens[3]: a token comes from one place; write token_env: VARIABLE or token_file: /path
    camshaft.yaml:7:40: api.tokens[4].roles[0]: expected text, found number 1: put it in quotes
    ");
}

#[test]
fn a_token_is_read_once_and_must_be_one() {
    let (config, problems) = read(
        "api: { tokens: [{ name: ada, token_env: ADA, roles: [a, b] }, { name: bob, token_env: BOB }, \
         { name: cy, token_env: CY }, { name: di, token_env: DI }, { name: eve, token_env: EVE }] }\n",
    );
    assert_eq!(problems, "");
    let value = |name: &str| match name {
        "ADA" | "BOB" => Some("0123456789abcdef".to_owned()),
        "CY" => Some("0123456789abcde".to_owned()),
        "DI" => Some("0123456789 abcdef".to_owned()),
        _ => None,
    };
    insta::assert_snapshot!(config.read_tokens(value).err().unwrap(), @r"
    configuration:1:1: api.tokens[1]: the token of 'bob': it is the same token as that of 'ada'
    configuration:1:1: api.tokens[2]: the token of 'cy': it has fewer than 16 characters; make one with: openssl rand -hex 24
    configuration:1:1: api.tokens[3]: the token of 'di': it has characters other than letters, digits and signs
    configuration:1:1: api.tokens[4]: the token of 'eve': the variable EVE is not set
    ");
    let (config, _) = read("api: { tokens: [{ name: ada, token_env: ADA, roles: [a, b] }] }\n");
    let tokens = config.read_tokens(value).unwrap();
    assert_eq!(
        (tokens[0].name.as_str(), tokens[0].token.as_str()),
        ("ada", "0123456789abcdef")
    );
    assert_eq!(tokens[0].roles, ["a", "b"]);
}
