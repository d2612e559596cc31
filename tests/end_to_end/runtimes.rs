//! Runtimes: what a process gets, what its output becomes, and that its end is its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Site, is_alive, shown};

#[test]
fn the_whole_environment_is_what_was_allowed() {
    let site = Site::new();
    site.shell_action("env", "cat /proc/$$/environ", "environment: { MINE: 'yes' }\nparameter_delivery: env\nparameters:\n  count: { type: integer }\n");
    let _engine = site.up_with(
        &[],
        &[
            ("CAMSHAFT__WORKER__ENVIRONMENT__LANG", "C.UTF-8"),
            ("CAMSHAFT__LOG__LEVEL", "info"),
            ("SECRET_OF_THE_ENGINE", "x"),
        ],
    );
    let id = site.request(["t.env", "count=3"]);
    assert_eq!(site.ended(&id)["status"], "completed");
    let path = format!("/api/v1/executions/{id}/logs/stdout");
    let text = site.http("GET", &path, &[], b"").text();
    let variables: BTreeMap<&str, &str> = text
        .split('\0')
        .filter_map(|line| line.split_once('='))
        .collect();
    let names: Vec<&str> = variables.keys().copied().collect();
    assert_eq!(
        names,
        [
            "CAMSHAFT_API_URL",
            "CAMSHAFT_ATTEMPT",
            "CAMSHAFT_EPOCH",
            "CAMSHAFT_EXECUTION_ID",
            "CAMSHAFT_IDEMPOTENCY_KEY",
            "CAMSHAFT_INSTANCE",
            "CAMSHAFT_RUN_ID",
            "CAMSHAFT_TOKEN",
            "LANG",
            "MINE",
            "PARAM_COUNT",
            "PATH",
            "TRACEPARENT",
        ]
    );
    assert_eq!((variables["PARAM_COUNT"], variables["MINE"]), ("3", "yes"));
    assert_eq!(variables["CAMSHAFT_EXECUTION_ID"], id);
}

#[test]
fn the_token_of_an_attempt_reaches_what_is_its_own_and_dies_with_it() {
    let site = Site::new();
    let file = site.path().join("token");
    let gate = site.gate("gate");
    site.shell_action(
        "token",
        &format!(
            "printf %s $CAMSHAFT_TOKEN > {}; echo written; read line < {}",
            file.display(),
            gate.display()
        ),
        "",
    );
    let _engine = site.up();
    let id = site.request(["t.token"]);
    site.wait_for_log(&id, "written");
    let bearer = format!("Bearer {}", std::fs::read_to_string(&file).expect("there"));
    let with = |path: &str| {
        site.http("GET", path, &[("Authorization", &bearer)], b"")
            .status
    };
    let own = format!("/api/v1/executions/{id}");
    assert_eq!(with(&own), 200);
    assert_eq!(with("/api/v1/executions"), 403);
    std::fs::write(&gate, "go\n").expect("written");
    site.ended(&id);
    assert_eq!(with(&own), 401, "it is dead when the attempt has ended");
}

#[test]
fn parameters_arrive_four_ways() {
    let site = Site::new();
    let parameters = "parameters:\n  name: { type: string }\n  list: { type: array }\n";
    site.shell_action("by_stdin", "cat", &format!("output: json\n{parameters}"));
    site.shell_action(
        "by_env",
        "printf '%s|%s' \"$PARAM_NAME\" \"$PARAM_LIST\"",
        &format!("parameter_delivery: env\n{parameters}"),
    );
    site.shell_action(
        "by_args",
        "for a in \"$@\"; do echo \"$a\"; done",
        &format!("parameter_delivery: args\n{parameters}"),
    );
    site.shell_action(
        "by_file",
        "cat \"$CAMSHAFT_PARAMETERS\"",
        &format!("parameter_delivery: file\noutput: json\n{parameters}"),
    );
    let _engine = site.up();
    let name = "name=$(id) \"quoted\"; 'x'";
    let done = |action: &str| site.done([action, name, "list:=[1,\"b\"]"])["result"].clone();
    let text = "$(id) \"quoted\"; 'x'";
    let whole = json!({"name": text, "list": [1, "b"]});
    assert_eq!(done("t.by_stdin"), whole);
    assert_eq!(done("t.by_file"), whole);
    assert_eq!(done("t.by_env"), format!("{text}|[1,\"b\"]"));
    let args = done("t.by_args");
    let mut lines: Vec<&str> = args.as_str().expect("text").lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [text, "--list", "--name", "[1,\"b\"]"]
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn output_becomes_a_result() {
    let site = Site::new();
    site.shell_action("text", "echo 'two lines'; echo here", "");
    site.shell_action("json", "echo loading; echo '{\"n\": 1}'", "output: json\n");
    site.shell_action("jsonl", "echo '{\"n\": 1}'; echo 2", "output: jsonl\n");
    site.shell_action("none", "echo nothing", "output: json\n");
    site.shell_action(
        "wrong",
        "echo '{\"n\": \"x\"}'",
        "output: json\noutput_schema: { type: object, properties: { n: { type: integer } } }\n",
    );
    let _engine = site.up();
    let done = |action: &str| site.done([action]);
    assert_eq!(done("t.text")["result"], "two lines\nhere");
    assert_eq!(done("t.json")["result"], json!({"n": 1}));
    assert_eq!(done("t.jsonl")["result"], json!([{"n": 1}, 2]));
    for (action, why) in [("t.none", "no JSON value"), ("t.wrong", "output_schema")] {
        let failed = done(action);
        assert_eq!(
            (failed["status"].as_str(), failed["error"]["kind"].as_str()),
            (Some("failed"), Some("output")),
            "{failed}"
        );
        assert!(
            failed["error"]["message"]
                .as_str()
                .expect("a message")
                .contains(why),
            "{failed}"
        );
    }
}

#[test]
fn a_child_that_never_reads_a_large_input_is_no_failure() {
    let site = Site::new();
    site.shell_action(
        "deaf",
        "echo done",
        "parameters:\n  text: { type: string }\n",
    );
    let _engine = site.up();
    let text = "x".repeat(1 << 20);
    let answer = site.post(
        "/api/v1/executions?wait=60s",
        &json!({"action": "t.deaf", "parameters": {"text": text}}),
    );
    let done = answer.json();
    assert_eq!(
        (done["status"].as_str(), done["result"].as_str()),
        (Some("completed"), Some("done")),
        "{}",
        done["error"]
    );
}

#[test]
fn an_end_is_the_end_of_the_process_and_not_of_its_pipes() {
    let site = Site::new();
    site.shell_action("leaver", "sleep 100 & echo $!", "");
    let _engine = site.up();
    let began = Instant::now();
    let id = site.request(["t.leaver"]);
    let done = site.ended(&id);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(done["status"], "completed", "{done}");
    let pid: i32 = done["result"]
        .as_str()
        .expect("text")
        .parse()
        .expect("a pid");
    assert!(!is_alive(pid), "what is left of the group is killed");
    let steps = site.steps(&id);
    let (_, finished) = steps
        .iter()
        .find(|(kind, _)| kind == "step_finished")
        .expect("finished");
    assert!(
        finished.to_string().contains("left"),
        "and that is said: {finished}"
    );
}

#[test]
fn python_node_local_and_http_run_what_is_named() {
    let site = Site::new();
    site.shell_action("sh", "echo sh", "");
    site.pack_file("t/actions/py.yaml", "ref: t.py\nruntime: python\nentry_point: py.txt\noutput: json\nparameters:\n  name: { type: string }\n");
    site.pack_file(
        "t/actions/py.txt",
        "import json, sys\nprint(json.dumps({'hi': json.load(sys.stdin)['name']}))\n",
    );
    site.pack_file(
        "t/actions/local.yaml",
        "ref: t.local\nruntime: local\nentry_point: tool.py\n",
    );
    site.pack_file(
        "t/actions/tool.py",
        "#!/bin/sh\necho shell, whatever the name says\n",
    );
    let _engine = site.up();
    assert_eq!(
        site.done(["t.py", "name=Ada"])["result"],
        json!({"hi": "Ada"})
    );
    assert_eq!(
        site.done(["t.local"])["result"],
        "shell, whatever the name says"
    );
    let (address, _) = site.api();
    let url = format!("url=http://{address}/healthz");
    let done = site.done(["core.http", &url]);
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["result"]["status"], 200, "{done}");
    let refused = site.done(["core.http", &format!("url=http://{address}/nothing")]);
    assert_eq!(
        (
            refused["status"].as_str(),
            refused["error"]["kind"].as_str()
        ),
        (Some("failed"), Some("http")),
        "{refused}"
    );
    if site.runtimes().iter().any(|runtime| runtime == "node")
        && std::process::Command::new("node")
            .arg("-v")
            .output()
            .is_ok()
    {
        site.pack_file(
            "t/actions/js.yaml",
            "ref: t.js\nruntime: node\nentry_point: js.js\n",
        );
        site.pack_file(
            "t/actions/js.js",
            "console.log('js ' + process.argv.length)\n",
        );
        site.run([
            "pack",
            "apply",
            &site.packs_dir().join("t").display().to_string(),
        ]);
        assert_eq!(site.done(["t.js"])["result"], "js 2");
    }
}

#[test]
fn a_runtime_that_no_worker_has_is_waited_for_and_why_says_so() {
    let site = Site::new();
    site.shell_action("sh", "echo sh", "");
    site.pack_file(
        "t/actions/odd.yaml",
        "ref: t.odd\nruntime: cobol\nentry_point: odd.yaml\n",
    );
    let _engine = site.up();
    let id = site.request(["t.odd"]);
    let runtimes = site.runtimes().join(", ");
    let expected = format!("Runtime 'cobol' not found (available: {runtimes})");
    let why = site.ok(["why", &id]);
    assert!(why.contains(&expected), "{why}");
    let execution = site.get(&format!("/api/v1/executions/{id}"));
    assert_eq!(execution["status"], "requested");
    assert_eq!(execution["blocked_by"]["kind"], "runtime", "{execution}");
    assert_eq!(
        site.done(["t.sh"])["status"],
        "completed",
        "others go past it"
    );
}

#[test]
fn a_pack_defines_a_runtime_of_its_own() {
    let site = Site::new();
    site.shell_action("sh", "echo sh", "");
    site.pack_file(
        "t/runtimes/reader.yaml",
        "ref: t.reader\ncommand: [cat]\nextensions: [txt]\n",
    );
    site.pack_file(
        "t/actions/read.yaml",
        "ref: t.read\nruntime: reader\nentry_point: words.txt\n",
    );
    site.pack_file("t/actions/words.txt", "words\n");
    let _engine = site.up();
    let done = site.done(["t.read"]);
    assert_eq!(done["result"], "words", "{done}");
}

#[test]
fn what_cannot_be_started_says_why() {
    let site = Site::new();
    site.shell_action("sh", "echo sh", "");
    site.pack_file(
        "t/actions/plain.yaml",
        "ref: t.plain\nruntime: local\nentry_point: plain.txt\n",
    );
    site.pack_file("t/actions/plain.txt", "words\n");
    let _engine = site.up();
    let failed = site.done(["t.plain"]);
    assert_eq!(failed["status"], "failed");
    assert!(
        failed["error"]["message"]
            .as_str()
            .expect("a message")
            .contains("chmod +x"),
        "{failed}"
    );
    let output = site.run(["run", "t.plain"]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
}

impl Site {
    fn runtimes(&self) -> Vec<String> {
        let info: Value = self.get("/api/v1/info");
        let runtimes = info["worker"]["runtimes"].as_array().expect("a list");
        runtimes
            .iter()
            .filter_map(|runtime| Some(runtime.as_str()?.to_owned()))
            .collect()
    }
}

#[test]
fn a_pack_has_one_python_environment_of_its_own() {
    let site = Site::new();
    site.pack_file(
        "t/pack.yaml",
        "ref: t\nversion: 1.0.0\npython: { requirements: requirements.txt }\n",
    );
    site.pack_file("t/requirements.txt", "# nothing yet\n");
    site.pack_file(
        "t/actions/where.yaml",
        "ref: t.where\nruntime: python\nentry_point: where.py\n",
    );
    site.pack_file("t/actions/where.py", "import sys\nprint(sys.prefix)\n");
    let _engine = site.up_with(&["--slots", "2"], &[]);
    let both = [site.request(["t.where"]), site.request(["t.where"])].map(|id| site.ended(&id));
    for done in &both {
        assert_eq!(done["status"], "completed", "{done}");
    }
    assert_eq!(both[0]["result"], both[1]["result"], "two makers make one");
    let environments = site
        .data_dir()
        .canonicalize()
        .expect("there")
        .join("environments");
    let prefix = both[0]["result"].as_str().expect("a path");
    assert!(
        std::path::Path::new(prefix).starts_with(&environments),
        "{prefix}"
    );
}

#[test]
fn packages_of_a_folder_are_installed_once_although_two_need_them() {
    let site = Site::new();
    let shelf = site.path().join("shelf");
    std::fs::create_dir(&shelf).expect("made");
    // A wheel is a ZIP file: nothing is built and nothing is asked of the network.
    let make = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1] + '/tiny_cam-1.0-py3-none-any.whl', 'w') as wheel:\n\
        \u{20}   wheel.writestr('tiny_cam.py', 'SAYS = \"installed\"\\n')\n\
        \u{20}   info = 'tiny_cam-1.0.dist-info/'\n\
        \u{20}   wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: tiny-cam\\nVersion: 1.0\\n')\n\
        \u{20}   wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        \u{20}   wheel.writestr(info + 'RECORD', '')\n";
    let made = std::process::Command::new("python3")
        .args(["-c", make])
        .arg(&shelf)
        .output()
        .expect("python runs");
    assert!(made.status.success(), "{}", shown(&made));
    site.pack_file(
        "t/pack.yaml",
        "ref: t\nversion: 1.0.0\npython: { requirements: requirements.txt }\n",
    );
    let requirements = format!(
        "--no-index\n--find-links {}\ntiny-cam==1.0\n",
        shelf.display()
    );
    site.pack_file("t/requirements.txt", &requirements);
    site.pack_file(
        "t/actions/use.yaml",
        "ref: t.use\nruntime: python\nentry_point: use.py\noutput: json\n",
    );
    // One that was made a second time would have another file, or the same at another time.
    site.pack_file(
        "t/actions/use.py",
        "import json, os, sys, tiny_cam\nmade = os.stat(sys.prefix + '/.complete')\n\
         print(json.dumps([tiny_cam.SAYS, made.st_ino, made.st_mtime_ns]))\n",
    );
    let _engine = site.up_with(&["--slots", "2"], &[]);
    let both = [site.request(["t.use"]), site.request(["t.use"])].map(|id| site.ended(&id));
    for done in &both {
        assert_eq!(done["result"][0], "installed", "{done}");
    }
    assert_eq!(both[0]["result"], both[1]["result"], "two makers make one");
}

#[test]
fn a_file_without_a_definition_goes_to_the_runtime_that_knows_it() {
    let site = Site::new();
    site.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
    site.pack_file(
        "t/runtimes/reader.yaml",
        "ref: t.reader\ncommand: [cat]\nextensions: [txt]\n",
    );
    site.pack_file("t/x.py", "import sys\nprint('python', sys.argv[1:])\n");
    site.pack_file("t/x.sh", "echo shell \"$@\"\n");
    site.pack_file("t/x.txt", "words\n");
    site.pack_file("t/x.unknown", "what is this\n");
    let _engine = site.up();
    let run = |file: &str| {
        site.command(["run", "--", file, "a b"])
            .current_dir(site.packs_dir().join("t"))
            .output()
            .expect("runs")
    };
    for (file, expected) in [("x.py", "python ['a b']\n"), ("x.sh", "shell a b\n")] {
        let output = run(file);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{}",
            shown(&output)
        );
    }
    let output = run("x.unknown");
    assert!(!output.status.success(), "{}", shown(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("x.unknown"),
        "{}",
        shown(&output)
    );
}
