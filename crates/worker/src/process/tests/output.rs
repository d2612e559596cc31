//! What a process writes, and what is kept of it.

use super::*;

#[test]
fn the_streams_are_kept_apart_and_exact() {
    let script = "import os\nfor i in range(300):\n  os.write(1, bytes([i % 256]) * 700)\n  os.write(2, bytes([255 - i % 256]) * 300)";
    let came = python(script).run();
    let expected = |count: usize, byte: &dyn Fn(usize) -> u8| -> Vec<u8> {
        (0..300).flat_map(|i| vec![byte(i); count]).collect()
    };
    assert_eq!(
        came.kept(OutputStream::Stdout),
        expected(700, &|i| (i % 256) as u8)
    );
    assert_eq!(
        came.kept(OutputStream::Stderr),
        expected(300, &|i| (255 - i % 256) as u8)
    );
    assert_eq!(
        (
            came.end.stdout.bytes,
            came.end.stdout.stored,
            came.end.stdout.truncated
        ),
        (210_000, 210_000, false)
    );
    assert_eq!(came.end.captured, came.kept(OutputStream::Stdout));
    assert_eq!(
        came.end.stderr_tail,
        came.kept(OutputStream::Stderr)[90_000 - 2048..]
    );
}

#[test]
fn little_output_of_a_short_attempt_needs_no_file() {
    let came = sh("echo hi; printf '\\377\\000' >&2").run();
    assert_eq!(came.end.stdout.inline.as_deref(), Some(b"hi\n".as_slice()));
    assert_eq!(
        came.end.stderr.inline.as_deref(),
        Some(b"\xff\x00".as_slice())
    );
    assert!(!came.logs.exists());
    assert_eq!(
        sh("true").run().end.stdout,
        Output {
            inline: Some(Vec::new()),
            ..Output::default()
        }
    );
}

#[test]
fn output_of_a_process_that_runs_on_is_in_the_file_for_followers() {
    let trial = python("import os, time\nos.write(1, b'10%')\ntime.sleep(30)")
        .limits(|limits| limits.heartbeat = Duration::from_millis(20));
    let log = trial.logs.join(OutputStream::Stdout.log_file(&trial.key));
    let came = trial.run_with(&|_, stop| {
        if std::fs::read(&log).is_ok_and(|bytes| bytes == b"10%") {
            stop.stop(Duration::ZERO);
        }
    });
    assert!(came.took < Duration::from_secs(20));
    assert_eq!(
        (came.end.cause.clone(), came.end.stdout.inline.clone()),
        (Cause::Stopped, None)
    );
    assert_eq!(came.kept(OutputStream::Stdout), b"10%");
}

#[test]
fn a_flood_is_counted_whole_and_kept_up_to_the_limit() {
    let trial = sh("head -c 200000000 /dev/zero").limits(|limits| {
        limits.output_bytes = 1 << 20;
        limits.capture_bytes = 1000;
    });
    let before = peak_memory();
    let came = trial.run();
    let grown = peak_memory() - before;
    assert!(grown < 100 << 20, "{grown} bytes more");
    assert_eq!(
        (
            came.end.stdout.bytes,
            came.end.stdout.stored,
            came.end.stdout.truncated
        ),
        (200_000_000, 1 << 20, true)
    );
    assert_eq!(
        std::fs::metadata(came.log(OutputStream::Stdout))
            .unwrap()
            .len(),
        1 << 20
    );
    assert_eq!(
        (came.end.captured.len(), came.end.capture_truncated),
        (1000, true)
    );
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn secrets_are_replaced_across_writes_and_in_files() {
    let script = "import os, time\nos.write(1, b'a hun'); time.sleep(0.15); os.write(1, b'ter2 b'); os.write(2, b'hunter2')";
    let mut trial = python(script);
    trial.secrets = vec!["hunter2".to_owned()];
    let came = trial.run();
    assert_eq!(came.kept(OutputStream::Stdout), b"a [redacted] b");
    assert_eq!(came.kept(OutputStream::Stderr), b"[redacted]");
    assert_eq!(
        (
            came.end.captured.as_slice(),
            came.end.stderr_tail.as_slice()
        ),
        (b"a [redacted] b".as_slice(), b"[redacted]".as_slice())
    );
    assert!(came.end.stdout.redacted && came.end.stderr.redacted);
    assert_eq!((came.end.stdout.bytes, came.end.stdout.stored), (11, 14));
}

#[test]
fn output_that_cannot_be_written_is_said_to_be_lost_and_the_process_runs_on() {
    let mut trial = sh("head -c 100000 /dev/zero; exit 6");
    let file = trial.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    trial.logs = file.join("logs");
    let came = trial.run();
    assert_eq!(came.end.cause, Cause::Exited(6));
    assert!(
        came.end
            .output_lost
            .as_deref()
            .unwrap()
            .starts_with("writing '"),
        "{:?}",
        came.end.output_lost
    );
    assert_eq!(
        (
            came.end.stdout.bytes,
            came.end.stdout.stored,
            came.end.stdout.inline
        ),
        (100_000, 0, None)
    );
}

#[test]
fn a_full_disk_loses_output_and_not_the_attempt() {
    let trial = sh("head -c 1000000 /dev/zero; echo fine >&2");
    let log = trial.logs.join(OutputStream::Stdout.log_file(&trial.key));
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let came = trial.run();
    assert_eq!(came.end.cause, Cause::Exited(0));
    assert!(
        came.end
            .output_lost
            .as_deref()
            .unwrap()
            .contains("No space left on device"),
        "{:?}",
        came.end.output_lost
    );
    assert_eq!(
        (came.end.stdout.bytes, came.end.stdout.stored),
        (1_000_000, 0)
    );
    assert_eq!(came.kept(OutputStream::Stderr), b"fine\n");
}

#[test]
fn bytes_that_are_no_text_and_have_no_end_of_line_are_kept_as_they_are() {
    let came = python("import os\nos.write(1, b'\\xff\\xfe\\r50%\\r\\x00')").run();
    assert_eq!(came.kept(OutputStream::Stdout), b"\xff\xfe\r50%\r\x00");
}
