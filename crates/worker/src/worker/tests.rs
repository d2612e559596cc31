//! Attempts through real children, native functions and stops.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use camshaft_model::definition::{
    self, Action, EntryPoint, OutputMode, PackOrigin, ParameterDelivery, PythonEnvironment,
};
use camshaft_model::port::clock::Entropy;
use camshaft_model::port::dispatch::AttemptEnd;
use camshaft_model::{ExecutionId, Object, Status, StepEventDraft, StepEventType, Timestamp};
use camshaft_testkit::{ManualClock, SeededEntropy};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::NativeContext;

const WAIT: Duration = Duration::from_secs(60);

struct Channel(UnboundedSender<Report>);

impl Reports for Channel {
    fn report(&self, report: Report) {
        let _ = self.0.send(report);
    }
}

struct Bench {
    dir: TempDir,
    worker: Arc<Worker>,
    reports: UnboundedReceiver<Report>,
    entropy: SeededEntropy,
}

impl Bench {
    fn new() -> Self {
        Self::with(NativeRegistry::new(), Limits::default())
    }

    fn with(native: NativeRegistry, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, reports) = unbounded_channel();
        let config = WorkerConfig {
            id: "w1".into(),
            slots: 4,
            resources: BTreeMap::new(),
            data_dir: dir.path().join("data"),
            instance: "inst".into(),
            api_url: "http://127.0.0.1:7410".into(),
            native,
            limits,
            environment: BTreeMap::from([
                ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
                ("HOME".to_owned(), "/home/me".to_owned()),
                ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ]),
            packs_environment: BTreeMap::new(),
        };
        fs::create_dir(dir.path().join("data")).unwrap();
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z"));
        let tokio = tokio::runtime::Handle::current();
        let worker = Worker::new(config, Arc::new(Channel(sender)), clock, tokio).unwrap();
        Self {
            dir,
            worker,
            reports,
            entropy: SeededEntropy::new(1),
        }
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn pack(&self) -> PackOrigin {
        PackOrigin {
            pack: "demo".into(),
            hash: "h1".into(),
            dir: self.dir.path().to_owned(),
            python: None,
        }
    }

    fn action(&self, runtime: &str, entry_point: EntryPoint) -> Action {
        Action {
            origin: Some(self.pack()),
            ..Action::new("demo.act".parse().unwrap(), runtime, entry_point)
        }
    }

    fn shell(&self, script: &str) -> Action {
        self.action("shell", EntryPoint::Script(script.into()))
    }

    fn job(&self, action: Action, parameters: Value) -> Job {
        let id = ExecutionId::new(self.entropy.uuid(Timestamp::default()));
        Job {
            step: "step".to_owned(),
            step_scope: None,
            key: AttemptKey {
                execution: id,
                attempt: 1,
                epoch: 7,
            },
            root: id,
            action: Arc::new(action),
            args: Vec::new(),
            working_dir: None,
            parameters: Arc::new(parameters.as_object().unwrap().clone()),
            secrets: Vec::new(),
            timeout: None,
            token: "token".into(),
            trace_parent: "00-trace".into(),
            idempotency_key: "idem".into(),
        }
    }

    /// The next last report.
    async fn end(&mut self) -> (AttemptKey, Vec<StepEventDraft>, AttemptEnd) {
        let mut events = Vec::new();
        loop {
            let report = tokio::time::timeout(WAIT, self.reports.recv())
                .await
                .expect("a report in time")
                .unwrap();
            events.extend(report.events);
            if let Some(end) = report.end {
                return (report.key, events, *end);
            }
        }
    }

    async fn run(&mut self, job: Job) -> AttemptEnd {
        let key = job.key;
        self.worker.start(job);
        let (ended, _, end) = self.end().await;
        assert_eq!(ended, key);
        end
    }

    async fn result(&mut self, action: Action, parameters: Value) -> Value {
        let end = self.run(self.job(action, parameters)).await;
        assert_eq!(end.error, None);
        end.result.unwrap()
    }

    async fn failure(&mut self, action: Action) -> (Status, FailureKind, String) {
        let end = self.run(self.job(action, json!({}))).await;
        let error = end.error.unwrap();
        (end.status, error.kind, error.message)
    }
}

fn file(name: &str) -> EntryPoint {
    EntryPoint::File(name.into())
}

#[rstest]
#[case::shell("shell", "a.sh", "cat", 0o644)]
#[case::python("python", "a.py", "import sys; print(sys.stdin.read(), end='')", 0o644)]
#[case::node("node", "a.js", "process.stdin.pipe(process.stdout)", 0o644)]
#[case::local("local", "a", "#!/bin/sh\nexec cat", 0o755)]
#[tokio::test]
async fn a_file_runs_on_the_runtime_that_is_named(
    #[case] runtime: &str,
    #[case] name: &str,
    #[case] text: &str,
    #[case] mode: u32,
) {
    let mut bench = Bench::new();
    bench.file(name, text, mode);
    let mut action = bench.action(runtime, file(name));
    action.output = OutputMode::Json;
    let parameters = json!({"name": "Ada", "n": [1, null]});
    assert_eq!(bench.result(action, parameters.clone()).await, parameters);
}

#[tokio::test]
async fn a_runtime_of_a_pack_is_its_command_and_the_entry_point() {
    let mut bench = Bench::new();
    bench.file("a.up", "word", 0o644);
    let mut action = bench.action("upper", file("a.up"));
    action.parameter_delivery = ParameterDelivery::Args;
    action.runtime_definition = Some(Arc::new(definition::Runtime {
        name: "upper".into(),
        reference: "demo.upper".parse().unwrap(),
        description: String::new(),
        command: vec![
            "sh".into(),
            "-c".into(),
            "tr a-z A-Z <\"$0\"; echo \" $*\"".into(),
        ],
        extensions: vec!["up".into()],
    }));
    assert_eq!(bench.result(action, json!({"a": 1})).await, "WORD --a 1");
}

#[tokio::test]
async fn parameters_arrive_as_they_were_whatever_they_hold() {
    let mut bench = Bench::new();
    let hostile = "'; $(touch /tmp/x) `id` \"\n\\ é";
    let parameters = json!({"text": hostile, "flag": true, "list": [1, "a"]});
    let script = r#"import json, os, sys
print(json.dumps({"args": sys.argv[1:], "stdin": sys.stdin.read(),
  "env": {k: v for k, v in os.environ.items() if k.startswith("PARAM_")},
  "file": open(os.environ["CAMSHAFT_PARAMETERS"]).read() if "CAMSHAFT_PARAMETERS" in os.environ else None,
  "mode": oct(os.stat(os.environ["CAMSHAFT_PARAMETERS"]).st_mode & 0o777) if "CAMSHAFT_PARAMETERS" in os.environ else None}))"#;
    bench.file("a.py", script, 0o644);
    let mut seen = BTreeMap::new();
    for delivery in [
        ParameterDelivery::Stdin,
        ParameterDelivery::Env,
        ParameterDelivery::Args,
        ParameterDelivery::File,
    ] {
        let mut action = bench.action("python", file("a.py"));
        action.output = OutputMode::Json;
        action.parameter_delivery = delivery;
        let value = bench.result(action, parameters.clone()).await;
        seen.insert(serde_json::to_string(&delivery).unwrap(), value);
    }
    let object = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
    assert_eq!(object(&seen["\"stdin\""]["stdin"]), parameters);
    assert_eq!(
        seen["\"env\""]["env"],
        json!({"PARAM_TEXT": hostile, "PARAM_FLAG": "true", "PARAM_LIST": "[1,\"a\"]"})
    );
    assert_eq!(
        seen["\"args\""]["args"],
        json!(["--text", hostile, "--flag", "true", "--list", "[1,\"a\"]"])
    );
    assert_eq!(seen["\"args\""]["stdin"], "");
    assert_eq!(object(&seen["\"file\""]["file"]), parameters);
    assert_eq!(seen["\"file\""]["mode"], "0o600");
    let left = fs::read_dir(bench.dir.path().join("data/tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "the file with parameters is removed");
}

#[tokio::test]
async fn the_environment_is_exactly_what_is_promised() {
    let mut bench = Bench::new();
    let mut action = bench.shell("tr '\\0' '\\n' < /proc/$$/environ | sort");
    action.environment.insert("MINE".into(), "1".into());
    action
        .environment
        .insert("CAMSHAFT_TOKEN".into(), "forged".into());
    action.parameter_delivery = ParameterDelivery::Env;
    let job = bench.job(action, json!({"who": "me"}));
    let id = job.key.execution;
    let end = bench.run(job).await;
    let expected = format!(
        "CAMSHAFT_API_URL=http://127.0.0.1:7410\nCAMSHAFT_ATTEMPT=1\nCAMSHAFT_EPOCH=7\nCAMSHAFT_EXECUTION_ID={id}\n\
         CAMSHAFT_IDEMPOTENCY_KEY=idem\nCAMSHAFT_INSTANCE=inst\nCAMSHAFT_RUN_ID={id}\nCAMSHAFT_TOKEN=token\nHOME=/home/me\n\
         LANG=C.UTF-8\nMINE=1\nPARAM_WHO=me\nPATH=/usr/local/bin:/usr/bin:/bin\n"
    );
    assert_eq!(
        end.result,
        Some(json!(format!("{expected}TRACEPARENT=00-trace")))
    );
}

#[tokio::test]
async fn an_adhoc_file_gets_its_arguments_its_folder_and_an_empty_input() {
    let mut bench = Bench::new();
    let path = bench.file("a.sh", "cat; pwd; echo \"$1|$2\"", 0o644);
    let mut action = bench.action("shell", EntryPoint::File(path));
    action.origin = None;
    action.reference = "adhoc.a-sh".parse().unwrap();
    let mut job = bench.job(action, json!({}));
    job.args = vec!["x y".into(), "--z".into()];
    job.working_dir = Some("/usr".into());
    assert_eq!(bench.run(job).await.result, Some(json!("/usr\nx y|--z")));
}

#[tokio::test]
async fn failures_say_what_happened() {
    let mut bench = Bench::new();
    bench.file("plain", "x", 0o644);
    let exit = bench.shell("echo one >&2; echo two >&2; exit 3");
    assert_eq!(
        bench.failure(exit).await,
        (
            Status::Failed,
            FailureKind::Exit,
            "exit status 3: two".into()
        )
    );
    let signal = bench.shell("kill -9 $$");
    let (status, kind, message) = bench.failure(signal).await;
    assert_eq!(
        (status, kind),
        (Status::Failed, FailureKind::Signal),
        "{message}"
    );
    assert!(message.contains("9 (KILL)"), "{message}");
    let mut slow = bench.shell("sleep 60");
    slow.stall_timeout = Some(Duration::from_millis(100));
    let (status, kind, message) = bench.failure(slow).await;
    assert_eq!(
        (status, kind),
        (Status::TimedOut, FailureKind::Stalled),
        "{message}"
    );
    for (runtime, entry, part) in [
        ("local", file("plain"), "chmod +x"),
        ("shell", file("missing.sh"), "missing.sh does not exist"),
        ("node", EntryPoint::Script("1".into()), "entry_point"),
        (
            "perl",
            file("plain"),
            "Runtime 'perl' not found (available: http, local, native",
        ),
        (
            "native",
            EntryPoint::Native("nope".into()),
            "native function 'nope' not found (available: echo, noop)",
        ),
    ] {
        let action = bench.action(runtime, entry);
        let (status, kind, message) = bench.failure(action).await;
        assert_eq!(
            (status, kind),
            (Status::Failed, FailureKind::Runtime),
            "{message}"
        );
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_timeout_ends_a_process_and_a_task() {
    let hang = NativeRegistry::new().register("hang", |_, _: Object| {
        std::future::pending::<Result<(), String>>()
    });
    let mut bench = Bench::with(hang, Limits::default());
    for action in [
        bench.shell("sleep 60"),
        bench.action("native", EntryPoint::Native("hang".into())),
    ] {
        let mut job = bench.job(action, json!({}));
        job.timeout = Some(Duration::from_millis(100));
        let end = bench.run(job).await;
        assert_eq!(
            (end.status, end.error.unwrap().kind),
            (Status::TimedOut, FailureKind::Timeout)
        );
    }
}

#[tokio::test]
async fn results_are_checked_and_the_step_says_the_same() {
    let mut bench = Bench::new();
    let mut action = bench.shell("echo '{\"n\": \"x\"}'");
    action.output = OutputMode::Json;
    action.output_schema = Some(json!({"properties": {"n": {"type": "integer"}}}));
    let job = bench.job(action, json!({}));
    bench.worker.start(job);
    let (_, events, end) = bench.end().await;
    let error = end.error.unwrap();
    assert_eq!((end.exit_code, error.kind), (Some(0), FailureKind::Output));
    assert!(error.message.contains("/n"), "{}", error.message);
    let step = events.last().unwrap();
    assert_eq!(
        (&step.event_type, &step.payload["success"]),
        (&StepEventType::StepFinished, &json!(false))
    );
    assert_eq!(step.payload["reason"], json!(error.message));
}

#[tokio::test]
async fn a_step_says_why_it_failed_how_certain_that_is_and_where_its_output_is() {
    let mut bench = Bench::new();
    let quiet = bench.shell("exit 3");
    let job = bench.job(quiet, json!({}));
    bench.worker.start(job);
    let (_, events, _) = bench.end().await;
    let step = &events.last().unwrap().payload;
    assert_eq!(step["reason"], "exit status 3");
    assert_eq!(step["confidence"], "certain");
    let large = bench.shell("seq 1 2000; seq 1 2 >&2");
    let job = bench.job(large, json!({}));
    bench.worker.start(job);
    let (_, events, _) = bench.end().await;
    let mark = json!(true);
    for event in &events {
        let place = |key| event.payload.get(key);
        let expected = match event.event_type {
            StepEventType::StepFinished => Some(&mark),
            // One that is told of while it runs does not know where its output will be.
            StepEventType::StepSpawned => place("stderr_inline").and(Some(&mark)),
            _ => continue,
        };
        assert_eq!(place("stdout_inline"), None, "{event:?}");
        assert_eq!(place("stderr_inline"), expected, "{event:?}");
    }
    let finished = &events.last().unwrap().payload;
    assert_eq!(
        finished.get("reason"),
        None,
        "a success needs none: {finished:?}"
    );
}

#[tokio::test]
async fn a_result_that_was_cut_says_so_and_where() {
    let mut bench = Bench::new();
    for (bytes, cut) in [(300_000, Some(262_144)), (3, None)] {
        let action = bench.shell(&format!("head -c {bytes} /dev/zero"));
        let job = bench.job(action, json!({}));
        bench.worker.start(job);
        let (_, events, end) = bench.end().await;
        assert_eq!(end.status, Status::Completed, "{:?}", end.error);
        let step = &events.last().unwrap().payload;
        assert_eq!(
            step.get("result_truncated"),
            cut.map(|_| json!(true)).as_ref()
        );
        assert_eq!(
            step.get("result_limit_bytes"),
            cut.map(|limit: u64| json!(limit)).as_ref()
        );
    }
}

#[tokio::test]
async fn secrets_reach_neither_results_nor_messages() {
    let native = NativeRegistry::new().register(
        "tell",
        |context: NativeContext, parameters: Object| async move {
            context.log("it is hunter2");
            Err::<(), _>(format!("bad {}", parameters["p"]))
        },
    );
    let mut bench = Bench::with(native, Limits::default());
    let mut shell = bench.job(
        bench.shell("cat; cat >&2; echo hunter2 >&2; exit 1"),
        json!({}),
    );
    let mut tell = bench.job(
        bench.action("native", EntryPoint::Native("tell".into())),
        json!({"p": "hunter2"}),
    );
    let mut echo = bench.job(
        bench.action("native", EntryPoint::Native("echo".into())),
        json!({"p": ["hunter2!"]}),
    );
    for job in [&mut shell, &mut tell, &mut echo] {
        job.secrets = vec!["hunter2".into()];
    }
    assert_eq!(
        bench.run(shell).await.error.unwrap().message,
        "exit status 1: [redacted]"
    );
    let end = bench.run(tell).await;
    assert_eq!(end.error.unwrap().message, "bad \"[redacted]\"");
    assert_eq!(
        end.stdout.inline.as_deref(),
        Some(&b"it is [redacted]\n"[..])
    );
    assert_eq!(
        bench.run(echo).await.result,
        Some(json!({"p": ["[redacted]!"]}))
    );
}

#[tokio::test]
async fn native_functions_are_typed_and_a_panic_is_a_failure() {
    #[derive(serde::Deserialize)]
    struct Sum {
        a: i64,
        b: i64,
    }
    let native = NativeRegistry::new()
        .register("sum", |_, sum: Sum| async move {
            Ok::<_, String>(sum.a + sum.b)
        })
        .register("boom", |_, _: Object| async move {
            assert_eq!(1, 2, "arithmetic is broken");
            Ok::<_, String>(())
        });
    let mut bench = Bench::with(native, Limits::default());
    let action =
        |bench: &Bench, name: &str| bench.action("native", EntryPoint::Native(name.into()));
    let sum = action(&bench, "sum");
    assert_eq!(bench.result(sum.clone(), json!({"a": 2, "b": 3})).await, 5);
    let (_, kind, message) = bench.failure(sum).await;
    assert!(
        kind == FailureKind::Parameters && message.contains("missing field `a`"),
        "{message}"
    );
    let boom = action(&bench, "boom");
    let (status, kind, message) = bench.failure(boom).await;
    assert_eq!((status, kind), (Status::Failed, FailureKind::Native));
    assert!(message.contains("arithmetic is broken"), "{message}");
    let noop = action(&bench, "noop");
    let job = bench.job(noop, json!({}));
    bench.worker.start(job);
    let (_, events, end) = bench.end().await;
    assert_eq!(
        (end.status, end.result),
        (Status::Completed, Some(Value::Null))
    );
    assert_eq!(
        events
            .iter()
            .map(|e| e.event_type.as_str())
            .collect::<Vec<_>>(),
        ["step_finished"]
    );
}

#[tokio::test]
async fn cancel_ends_processes_and_tasks_once_and_strangers_are_ignored() {
    let hang = NativeRegistry::new().register("hang", |_, _: Object| {
        std::future::pending::<Result<(), String>>()
    });
    let mut bench = Bench::with(hang, Limits::default());
    for action in [
        bench.shell("sleep 60"),
        bench.action("native", EntryPoint::Native("hang".into())),
    ] {
        let job = bench.job(action, json!({}));
        let key = job.key;
        bench.worker.start(job.clone());
        bench.worker.start(job);
        bench
            .worker
            .cancel(AttemptKey { attempt: 2, ..key }, Duration::ZERO);
        bench.worker.cancel(key, Duration::from_millis(10));
        let (ended, _, end) = bench.end().await;
        assert_eq!(
            (ended, end.status, end.error.unwrap().kind),
            (key, Status::Cancelled, FailureKind::Cancelled)
        );
    }
    assert!(bench.reports.try_recv().is_err(), "each attempt ends once");
}

#[tokio::test]
async fn a_shutdown_interrupts_what_runs_and_starts_nothing() {
    let mut bench = Bench::new();
    let running = bench.job(bench.shell("sleep 60"), json!({}));
    let unwanted = bench.job(bench.shell("sleep 60"), json!({}));
    let late = bench.job(bench.shell("true"), json!({}));
    let cancelled = unwanted.key;
    bench.worker.start(running);
    bench.worker.start(unwanted);
    bench.worker.cancel(cancelled, Duration::from_millis(10));
    bench.worker.shutdown(Duration::from_millis(10)).await;
    bench.worker.start(late);
    for _ in 0..3 {
        let (key, _, end) = bench.end().await;
        let expected = if key == cancelled {
            (Status::Cancelled, FailureKind::Cancelled)
        } else {
            (Status::Failed, FailureKind::Interrupted)
        };
        assert_eq!((end.status, end.error.unwrap().kind), expected);
    }
    assert!(bench.worker.health().unwrap().contains("shutting down"));
}

fn python_action(bench: &Bench, requirements: &str) -> Action {
    bench.file("requirements.txt", requirements, 0o644);
    bench.file("a.py", "import sys; print(sys.prefix)", 0o644);
    let mut action = bench.action("python", file("a.py"));
    let python = Some(PythonEnvironment {
        requirements: "requirements.txt".into(),
    });
    action.origin = Some(PackOrigin {
        python,
        ..bench.pack()
    });
    action
}

#[tokio::test]
async fn an_environment_is_made_once_by_two_that_need_it() {
    let mut bench = Bench::new();
    let action = python_action(&bench, "# nothing\n\n");
    for _ in 0..2 {
        bench.worker.start(bench.job(action.clone(), json!({})));
    }
    let (_, _, first) = bench.end().await;
    let (_, _, second) = bench.end().await;
    assert_eq!((&first.error, &first.result), (&None, &second.result));
    let home = first.result.unwrap();
    let folder = Path::new(home.as_str().unwrap());
    let made = || {
        fs::metadata(folder.join(".complete"))
            .unwrap()
            .modified()
            .unwrap()
    };
    assert!(
        folder.starts_with(bench.dir.path().join("data/environments/python")),
        "{home}"
    );
    let before = made();
    bench.result(action, json!({})).await;
    assert_eq!(made(), before);
}

#[tokio::test]
async fn an_environment_that_cannot_be_made_says_why_and_is_not_kept() {
    let mut bench = Bench::new();
    let action = python_action(&bench, "./no-such-folder\n");
    let (status, kind, message) = bench.failure(action).await;
    assert_eq!(
        (status, kind),
        (Status::Failed, FailureKind::Runtime),
        "{message}"
    );
    assert!(
        message.contains("pack 'demo'") && message.contains("no-such-folder"),
        "{message}"
    );
    let left = fs::read_dir(bench.dir.path().join("data/environments/python")).unwrap();
    let left: Vec<_> = left
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[tokio::test]
async fn capacity_names_what_is_there() {
    let bench = Bench::new();
    let capacity = bench.worker.capacity();
    assert_eq!((capacity.worker.as_str(), capacity.slots), ("w1", 4));
    assert_eq!(
        capacity.runtimes,
        ["http", "local", "native", "node", "python", "shell"]
    );
    assert_eq!(bench.worker.health(), None);
}
