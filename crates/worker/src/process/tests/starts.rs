//! Starting, not starting, and standard input.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn refusal(trial: Trial) -> String {
    let came = trial.run();
    assert_eq!(came.end.started_at, None);
    assert_eq!(came.types(), ["step_finished"]);
    let Cause::NotStarted(reason) = &came.end.cause else {
        panic!("{:?}", came.end.cause)
    };
    assert_eq!(came.reason(), reason);
    reason.clone()
}

#[test]
fn what_cannot_be_started_says_why() {
    assert_eq!(
        refusal(program("no-such-program", &[])),
        "program 'no-such-program' was not found in PATH (/usr/bin:/bin)"
    );
    assert_eq!(
        refusal(program("/no/such/program", &[])),
        "program '/no/such/program' does not exist"
    );
    assert_eq!(refusal(program("", &[])), "no program is named");
    let mut trial = sh("true");
    trial.launch.working_dir = "/no/such/folder".into();
    assert_eq!(
        refusal(trial),
        "the working directory '/no/such/folder' does not exist"
    );
    let mut trial = sh("true");
    trial.launch.args.push("nul\0byte".into());
    assert!(refusal(trial).starts_with("program '/usr/bin/sh' could not be started"));
}

#[test]
fn a_file_that_is_no_program_says_why() {
    let file = |text: &str, mode| {
        let mut trial = program("./script", &[]);
        let path = trial.dir.path().join("script");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        trial.launch.working_dir = trial.dir.path().to_owned();
        trial
    };
    assert!(refusal(file("#!/bin/sh\n", 0o644)).contains("is not executable (chmod +x"));
    assert!(
        refusal(file("#!/no/such/interpreter\n", 0o755))
            .contains("the interpreter that program './script' needs")
    );
    assert!(refusal(file("neither\n", 0o755)).contains("with '#!' in its first line"));
    assert_eq!(
        file("#!/bin/sh\nexit 7\n", 0o755).run().end.cause,
        Cause::Exited(7)
    );
}

#[test]
fn a_secret_in_the_reason_is_redacted() {
    let mut trial = program("/no/such/hunter2", &[]);
    trial.secrets = vec!["hunter2".to_owned()];
    assert_eq!(
        refusal(trial),
        "program '/no/such/[redacted]' does not exist"
    );
}

#[test]
fn the_child_has_the_given_environment_folder_and_group_and_nothing_else_of_ours() {
    keep_descriptors().unwrap();
    let came = sh("env | cut -d= -f1 | sort | tr '\\n' ' '; pwd; ps -o pgid= -p $$ | tr -d ' '; echo $$; ls /proc/self/fd | tr '\\n' ' '").run();
    let text = String::from_utf8(came.kept(OutputStream::Stdout)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0]
            .replace("PWD ", "")
            .replace("_ ", "")
            .replace("OLDPWD ", "")
            .replace("SHLVL ", ""),
        format!(
            "CAMSHAFT_ATTEMPT CAMSHAFT_EPOCH CAMSHAFT_EXECUTION_ID PATH {}",
            came._dir.path().display()
        )
    );
    assert_eq!(lines[1], lines[2], "a group of its own");
    assert_eq!(lines[3].trim(), "0 1 2 3", "3 is the folder that ls reads");
}

#[test]
fn input_small_and_large_arrives_whole() {
    for size in [0, 1, 65_536, 65_537, 3_000_000] {
        let mut trial = sh("wc -c");
        trial.launch.stdin = vec![b'x'; size];
        let came = trial.run();
        assert_eq!(came.end.cause, Cause::Exited(0));
        assert_eq!(
            String::from_utf8(came.kept(OutputStream::Stdout))
                .unwrap()
                .trim(),
            size.to_string()
        );
    }
}

#[test]
fn input_that_is_never_read_is_no_error() {
    for script in ["exit 0", "exec 0<&-; echo x; exit 0"] {
        let mut trial = sh(script);
        trial.launch.stdin = vec![b'x'; 1_000_000];
        assert_eq!(trial.run().end.cause, Cause::Exited(0));
    }
}

#[test]
fn a_short_attempt_tells_everything_at_its_end_and_a_long_one_tells_its_start_at_once() {
    let came = sh("true").run();
    assert_eq!(came.emitted.len() + came.end.events.len(), 2);
    assert_eq!(came.types(), ["step_spawned", "step_finished"]);
    let came = python("import time; time.sleep(0.2)").run();
    assert_eq!(
        (came.emitted.len(), came.types()),
        (1, vec!["step_spawned", "step_finished"])
    );
    let spawned = &came.emitted[0].payload;
    assert_eq!(
        spawned["command"],
        "python3 -c import time; time.sleep(0.2)"
    );
    assert!(spawned["pid_start_time"].as_u64().unwrap() > 0);
    assert_eq!(
        spawned["stdout_path"],
        came.log(OutputStream::Stdout).to_str().unwrap()
    );
}

#[test]
fn arguments_are_not_shown_where_there_are_secrets() {
    let mut trial = sh("true");
    trial.launch.args.push("0xdeadbeef".into());
    trial.secrets = vec!["another form of it".to_owned()];
    assert_eq!(
        trial.run().end.events[0].payload["command"],
        "sh (3 arguments)"
    );
}
