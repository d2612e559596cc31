//! Stopping: by hand, by the deadline, for silence.

use super::*;

const STUBBORN: &str = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.write(1, b'ready')\ntime.sleep(100)";
/// Leaves the group and its session, forgets its parent and holds no pipe.
const ESCAPE: &str = "import os, time, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(1); os.close(2)
        open('tmp', 'w').write(str(os.getpid()))
        os.rename('tmp', 'pid')
        time.sleep(100)
    os._exit(0)
time.sleep(100)";

#[test]
fn an_attempt_that_was_stopped_before_its_start_does_not_start() {
    let trial = sh("touch started");
    trial.stop.stop(Duration::ZERO);
    let came = trial.run();
    assert_eq!(
        (came.end.cause.clone(), came.end.started_at),
        (Cause::Stopped, None)
    );
    assert_eq!(
        (came.types(), came.reason()),
        (vec!["step_finished"], "stopped")
    );
    assert!(!came._dir.path().join("started").exists());
}

#[test]
fn stopping_lets_a_process_end_in_its_grace() {
    let trial = python("import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(9))\nprint('ready', flush=True)\ntime.sleep(100)")
        .limits(|limits| limits.heartbeat = Duration::from_millis(20));
    let came = trial.run_with(&|event, stop| {
        if event
            .payload
            .get("stdout_bytes")
            .is_some_and(|bytes| *bytes == 6)
        {
            stop.stop(Duration::from_secs(60));
        }
    });
    assert_eq!(
        (came.end.cause.clone(), came.end.exit_code, came.end.signal),
        (Cause::Stopped, Some(9), None)
    );
    assert!(came.took < Duration::from_secs(30));
}

#[test]
fn a_process_that_ignores_term_is_killed_after_the_grace_which_can_be_shortened() {
    let trial = python(STUBBORN).limits(|limits| limits.heartbeat = Duration::from_millis(20));
    let asked = std::sync::atomic::AtomicU32::new(0);
    let came = trial.run_with(&|event, stop| {
        if event
            .payload
            .get("stdout_bytes")
            .is_some_and(|bytes| *bytes == 5)
        {
            match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => stop.stop(Duration::from_secs(60)),
                3 => stop.stop(Duration::from_millis(30)),
                _ => {}
            }
        }
    });
    assert_eq!(
        (came.end.cause.clone(), came.end.signal),
        (Cause::Stopped, Some(9))
    );
    assert!(came.took < Duration::from_secs(30));
}

#[test]
fn a_stopped_attempt_is_over_when_its_whole_group_is() {
    let script = "(trap '' TERM; echo x; while :; do sleep 1; done) & echo $! >pid; wait";
    let trial = sh(script).limits(|limits| limits.heartbeat = Duration::from_millis(20));
    let came = trial.run_with(&|event, stop| {
        if event
            .payload
            .get("stdout_bytes")
            .is_some_and(|bytes| *bytes == 2)
        {
            stop.stop(Duration::from_millis(300));
        }
    });
    assert_eq!(came.end.cause, Cause::Stopped);
    assert!(!is_alive(pid_in(&came._dir.path().join("pid"))));
}

#[test]
fn a_deadline_holds_within_a_second_whatever_the_child_does() {
    let came = python(STUBBORN)
        .limits(|limits| limits.timeout = Some(Duration::from_millis(700)))
        .run();
    assert_eq!(
        (came.end.cause.clone(), came.end.signal),
        (Cause::TimedOut, Some(9))
    );
    assert!(
        came.took >= Duration::from_millis(700) && came.took < Duration::from_millis(1700),
        "{:?}",
        came.took
    );
    assert_eq!(
        came.types(),
        ["step_spawned", "step_timeout", "step_finished"]
    );
    let timeout = &came.end.events[0].payload;
    assert_eq!(
        (&timeout["timeout_secs"], &timeout["reason"]),
        (&0.7.into(), &"timeout".into())
    );
    assert_eq!(came.reason(), "its time of 700ms was up");
}

#[test]
fn what_left_the_group_is_found_when_time_is_up() {
    let came = python(ESCAPE)
        .limits(|limits| limits.timeout = Some(Duration::from_millis(900)))
        .run();
    assert_eq!(came.end.cause, Cause::TimedOut);
    assert!(came.took < Duration::from_millis(1900), "{:?}", came.took);
    assert!(!is_alive(pid_in(&came._dir.path().join("pid"))));
}

#[test]
fn silence_is_ended_at_its_time_and_bytes_without_a_newline_are_no_silence() {
    let script = "import os, time\nfor i in range(8):\n  os.write(1, b'.'); time.sleep(0.1)\ntime.sleep(100)";
    let trial =
        python(script).limits(|limits| limits.stall_timeout = Some(Duration::from_millis(600)));
    let came = trial.run();
    assert_eq!(
        (came.end.cause.clone(), came.end.stdout.bytes),
        (Cause::Stalled, 8)
    );
    let (least, most) = (
        Duration::from_millis(700 + 600),
        Duration::from_millis(700 + 600 + 1000),
    );
    assert!(came.took >= least && came.took < most, "{:?}", came.took);
    assert_eq!(came.end.events[0].payload["reason"], "stalled");
}

#[test]
fn silence_from_the_start_counts_from_the_start() {
    let came = sh("exec sleep 100")
        .limits(|limits| limits.stall_timeout = Some(Duration::from_millis(300)))
        .run();
    assert_eq!(came.end.cause, Cause::Stalled);
    assert!(
        came.took >= Duration::from_millis(300) && came.took < Duration::from_millis(900),
        "{:?}",
        came.took
    );
}

#[test]
fn a_process_that_is_suspended_can_be_stopped() {
    let came = sh("kill -STOP $$")
        .limits(|limits| limits.timeout = Some(Duration::from_millis(200)))
        .run();
    assert_eq!(
        (came.end.cause.clone(), came.end.signal),
        (Cause::TimedOut, Some(15))
    );
}

#[test]
fn input_that_is_not_read_is_inside_the_deadline() {
    let mut trial =
        sh("exec sleep 100").limits(|limits| limits.timeout = Some(Duration::from_millis(200)));
    trial.launch.stdin = vec![b'x'; 1_000_000];
    let came = trial.run();
    assert_eq!(came.end.cause, Cause::TimedOut);
    assert!(came.took < Duration::from_millis(1200));
}
