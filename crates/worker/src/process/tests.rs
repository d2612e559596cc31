//! Attempts with real children: everything a process may do to whoever watches it.

mod ends;
mod output;
mod starts;
mod stops;
mod sweeps;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use camshaft_model::{AttemptKey, ExecutionId, StepEventDraft, StepEventType, Timestamp};
use camshaft_testkit::ManualClock;

use super::*;

/// An attempt to be, and what it needs around it.
struct Trial {
    dir: tempfile::TempDir,
    key: AttemptKey,
    launch: Launch,
    limits: Limits,
    secrets: Vec<String>,
    logs: PathBuf,
    stop: StopHandle,
}

/// What came of it.
struct Came {
    end: End,
    emitted: Vec<StepEventDraft>,
    took: Duration,
    logs: PathBuf,
    key: AttemptKey,
    _dir: tempfile::TempDir,
}

fn key() -> AttemptKey {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&u64::from(std::process::id()).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    AttemptKey {
        execution: ExecutionId::from_bytes(bytes),
        attempt: 1,
        epoch: 1,
    }
}

fn program(program: &str, args: &[&str]) -> Trial {
    let dir = tempfile::tempdir().unwrap();
    let key = key();
    let env = [
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("CAMSHAFT_EXECUTION_ID", key.execution.to_string()),
        ("CAMSHAFT_ATTEMPT", key.attempt.to_string()),
        ("CAMSHAFT_EPOCH", key.epoch.to_string()),
    ];
    Trial {
        launch: Launch {
            program: program.into(),
            args: args.iter().map(OsString::from).collect(),
            env: env
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            working_dir: dir.path().to_owned(),
            stdin: Vec::new(),
        },
        limits: Limits::default(),
        secrets: Vec::new(),
        logs: dir.path().join("logs"),
        stop: StopHandle::new().unwrap(),
        key,
        dir,
    }
}

fn sh(script: &str) -> Trial {
    program("sh", &["-c", script])
}

fn python(script: &str) -> Trial {
    program("python3", &["-c", script])
}

impl Trial {
    fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    fn run(self) -> Came {
        self.run_with(&|_, _| {})
    }

    /// Runs it and shows each emitted event to `watch`, which may stop the attempt.
    fn run_with(self, watch: &dyn Fn(&StepEventDraft, &StopHandle)) -> Came {
        let clock = ManualClock::at("2026-01-02T03:04:05Z");
        let journal = Journal::open(self.dir.path()).unwrap();
        let emitted = Mutex::new(Vec::new());
        let emit = |events: Vec<StepEventDraft>| {
            events.iter().for_each(|event| watch(event, &self.stop));
            emitted.lock().unwrap().extend(events);
        };
        let began = now();
        let end = run(Attempt {
            key: self.key,
            root: self.key.execution,
            step: "trial",
            step_scope: None,
            agent: "worker-1",
            launch: self.launch,
            limits: self.limits,
            secrets: &self.secrets,
            logs: &self.logs,
            stop: &self.stop,
            clock: &clock,
            journal: &journal,
            emit: &emit,
        });
        let took = began.elapsed();
        assert_eq!(
            journal::left_behind(self.dir.path()).unwrap(),
            [],
            "the journal is empty again"
        );
        Came {
            end,
            emitted: emitted.into_inner().unwrap(),
            took,
            logs: self.logs,
            key: self.key,
            _dir: self.dir,
        }
    }
}

impl Came {
    fn log(&self, stream: OutputStream) -> PathBuf {
        self.logs.join(stream.log_file(&self.key))
    }

    /// The kept bytes of a stream, wherever they are.
    fn kept(&self, stream: OutputStream) -> Vec<u8> {
        let output = match stream {
            OutputStream::Stdout => &self.end.stdout,
            OutputStream::Stderr => &self.end.stderr,
        };
        match &output.inline {
            Some(inline) => {
                assert!(!self.log(stream).exists(), "inline and in a file");
                inline.clone()
            }
            None => std::fs::read(self.log(stream)).unwrap(),
        }
    }

    fn finished(&self) -> &camshaft_model::Object {
        let last = self.end.events.last().unwrap();
        assert_eq!(last.event_type, StepEventType::StepFinished);
        &last.payload
    }

    fn reason(&self) -> &str {
        self.finished()["reason"].as_str().unwrap()
    }

    /// Every event in the order in which it happened.
    fn types(&self) -> Vec<&str> {
        self.emitted
            .iter()
            .chain(&self.end.events)
            .map(|event| event.event_type.as_str())
            .collect()
    }
}

use camshaft_model::port::dispatch::OutputStream;

#[expect(
    clippy::disallowed_methods,
    reason = "these tests measure how long real processes take"
)]
fn now() -> Instant {
    Instant::now()
}

/// Whether a process is there and more than a zombie.
fn is_alive(pid: i32) -> bool {
    procfs::stat(pid).is_some_and(|stat| stat.is_alive())
}

/// The number that a child wrote to a file.
fn pid_in(file: &Path) -> i32 {
    std::fs::read_to_string(file)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}
