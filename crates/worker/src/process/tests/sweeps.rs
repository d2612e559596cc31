//! The next life of a worker that was killed.

use super::*;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const LIFE: &str = "CAMSHAFT_TEST_LIFE";

/// The earlier life: this test binary again, running one attempt that never ends.
#[test]
fn the_earlier_life() {
    let Ok(dir) = std::env::var(LIFE) else { return };
    let dir = PathBuf::from(dir);
    let mut trial = python(&format!(
        "import os, time\nif os.fork() == 0:\n  os.environ.clear(); os.execv('/usr/bin/sleep', ['sleep', '100'])\n{}",
        ESCAPED
    ));
    trial
        .launch
        .env
        .push(("CAMSHAFT_INSTANCE".into(), dir.file_name().unwrap().into()));
    trial.launch.working_dir.clone_from(&dir);
    let clock = ManualClock::at("2026-01-02T03:04:05Z");
    let journal = Journal::open(&dir).unwrap();
    std::fs::write(dir.join("key"), trial.key.execution.to_string()).unwrap();
    run(Attempt {
        key: trial.key,
        root: trial.key.execution,
        step: "trial",
        step_scope: None,
        agent: "worker-1",
        launch: trial.launch,
        limits: trial.limits,
        secrets: &[],
        logs: &trial.logs,
        stop: &trial.stop,
        clock: &clock,
        journal: &journal,
        emit: &|_| {},
    });
}

const ESCAPED: &str = "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open('escaping', 'w').write(str(os.getpid()))
        os.rename('escaping', 'escaped')
        time.sleep(100)
    os._exit(0)
os.wait()
open('leading', 'w').write(str(os.getpid()))
os.rename('leading', 'leader')
time.sleep(100)";

/// A child that does not outlive a failed test.
struct Mortal(std::process::Child);

impl Mortal {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.kill();
    }
}

fn wait_for(file: &Path) {
    let until = now() + Duration::from_secs(20);
    while !file.exists() {
        assert!(now() < until, "{} did not come", file.display());
        std::thread::yield_now();
    }
}

#[test]
fn what_a_killed_worker_left_is_ended_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let instance = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
    let life = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            &format!(
                "{}::the_earlier_life",
                module_path!().split_once("::").unwrap().1
            ),
        ])
        .env(LIFE, dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut life = Mortal(life);
    wait_for(&dir.path().join("leader"));
    wait_for(&dir.path().join("escaped"));
    life.kill();
    let (leader, escaped) = (
        pid_in(&dir.path().join("leader")),
        pid_in(&dir.path().join("escaped")),
    );
    assert!(is_alive(leader) && is_alive(escaped));

    let survivors = sweep::sweep(dir.path(), &instance).unwrap();

    let key = std::fs::read_to_string(dir.path().join("key"))
        .unwrap()
        .parse()
        .unwrap();
    let expected = AttemptKey {
        execution: key,
        attempt: 1,
        epoch: 1,
    };
    assert_eq!(
        survivors
            .iter()
            .map(|s| (s.key, s.gone))
            .collect::<Vec<_>>(),
        [(expected, true)]
    );
    assert!(
        !procfs::all().any(|stat| stat.is_alive() && (stat.group == leader || stat.pid == escaped))
    );
    assert_eq!(sweep::sweep(dir.path(), &instance).unwrap(), []);
}

#[test]
fn processes_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let stranger = Command::new("sleep")
        .arg("100")
        .env("CAMSHAFT_INSTANCE", "another")
        .process_group(0)
        .spawn()
        .unwrap();
    let stranger = Mortal(stranger);
    let pid = i32::try_from(stranger.0.id()).unwrap();
    // A record whose pid has since been given to somebody else.
    Journal::open(dir.path())
        .unwrap()
        .put(key(), pid, 1)
        .unwrap();
    assert_eq!(sweep::sweep(dir.path(), "mine").unwrap(), []);
    assert_eq!(sweep::sweep(dir.path(), "").unwrap(), []);
    assert!(is_alive(pid));
}
