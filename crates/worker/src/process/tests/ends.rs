//! How attempts end by themselves.

use super::*;

#[test]
fn statuses_and_signals_are_told_apart() {
    let came = sh("exit 3").run();
    assert_eq!(
        (came.end.cause.clone(), came.end.exit_code, came.end.signal),
        (Cause::Exited(3), Some(3), None)
    );
    assert_eq!(
        (&came.finished()["success"], came.reason()),
        (&false.into(), "exit status 3")
    );
    assert_eq!(came.finished()["confidence"], "certain");
    let came = sh("kill -SEGV $$").run();
    assert_eq!(
        (came.end.cause.clone(), came.end.exit_code, came.end.signal),
        (Cause::Signaled(11), None, Some(11))
    );
    assert_eq!(came.reason(), "killed by signal 11");
    assert_eq!(sh("kill -KILL $$").run().end.cause, Cause::Signaled(9));
    assert_eq!(sh("true").run().finished()["success"], true);
}

#[test]
fn a_background_child_delays_no_end_and_does_not_survive_it() {
    let came = sh("sleep 100 & echo $! >pid; echo done").run();
    assert_eq!(
        (came.end.cause.clone(), came.end.leftover),
        (Cause::Exited(0), true)
    );
    assert!(came.took < Duration::from_secs(5), "{:?}", came.took);
    assert_eq!(came.kept(OutputStream::Stdout), b"done\n");
    assert!(!is_alive(pid_in(&came._dir.path().join("pid"))));
    assert_eq!(came.reason(), "processes that it left behind were killed");
}

#[test]
fn a_silent_background_child_does_not_survive_either() {
    let came = sh("sleep 100 >/dev/null 2>&1 & echo $! >pid").run();
    assert_eq!(came.end.cause, Cause::Exited(0));
    assert!(!is_alive(pid_in(&came._dir.path().join("pid"))));
}

#[test]
fn a_flooding_background_child_delays_no_end() {
    let came = sh("yes & echo done >&2; exit 4")
        .limits(|limits| limits.output_bytes = 1000)
        .run();
    assert_eq!(
        (came.end.cause.clone(), came.end.leftover),
        (Cause::Exited(4), true)
    );
    assert!(came.took < Duration::from_secs(5), "{:?}", came.took);
}

#[test]
fn nothing_left_behind_is_not_reported() {
    for _ in 0..20 {
        let came = sh("sleep 0.01 & wait; echo x | cat").run();
        assert!(!came.end.leftover);
    }
}

#[test]
fn closing_both_streams_is_no_end() {
    let came =
        python("import os, time\nos.close(1); os.close(2); time.sleep(0.3); os._exit(5)").run();
    assert_eq!(came.end.cause, Cause::Exited(5));
    assert!(came.took >= Duration::from_millis(300));
}

#[test]
fn heartbeats_tell_what_was_written_and_when_it_is_little() {
    let script = "import sys, time\nprint('x' * 100, flush=True)\ntime.sleep(0.6)";
    let came = python(script)
        .limits(|limits| limits.heartbeat = Duration::from_millis(100))
        .run();
    let beats: Vec<_> = came
        .emitted
        .iter()
        .filter(|e| e.event_type == StepEventType::StepHeartbeat)
        .map(|e| &e.payload)
        .collect();
    let states: Vec<_> = beats
        .iter()
        .map(|beat| beat["output_state"].as_str().unwrap())
        .collect();
    let active = states.iter().position(|state| *state == "active").unwrap();
    assert_eq!(
        states[active..active + 4],
        ["active", "quiet", "quiet", "low_output"],
        "{states:?}"
    );
    let keys: Vec<_> = beats[active].keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "elapsed_secs",
            "stdout_bytes",
            "stderr_bytes",
            "stdout_delta_bytes",
            "stderr_delta_bytes",
            "stagnant_heartbeats",
            "pid",
            "pid_alive",
            "output_state"
        ]
    );
    assert_eq!(
        (
            &beats[active]["stdout_delta_bytes"],
            &beats[active + 1]["stdout_delta_bytes"]
        ),
        (&101.into(), &0.into())
    );
}

#[test]
fn times_come_from_the_clock() {
    let end = sh("true").run().end;
    let instant: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    assert_eq!((end.started_at, end.ended_at), (Some(instant), instant));
}
