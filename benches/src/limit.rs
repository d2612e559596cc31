//! What the machine gives, without us: processes and durable commits.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::time::Instant;

use crate::Failure;
use crate::report::median;

/// Rows that share a commit: so many writers wait for each.
const WRITERS: usize = 256;
const ROWS: usize = 200_000;
const COMMITS: usize = 200;
const SPAWNS: usize = 200;

/// Milliseconds, with fractions.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// How many `sh -c script` a second end with their output captured, `at_once` at a time.
pub(crate) fn spawn_rate(script: &str, runs: usize, at_once: usize) -> Result<f64, Failure> {
    let left = AtomicUsize::new(runs);
    let began = Instant::now();
    thread::scope(|scope| {
        let one = || -> Result<(), Failure> {
            let take = |left: usize| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                if !shell(script).output()?.status.success() {
                    return Err(format!("'{script}' failed").into());
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok(runs as f64 / began.elapsed().as_secs_f64())
}

/// How many `true` a second `xargs` runs, `at_once` at a time.
pub(crate) fn xargs_rate(runs: usize, at_once: u32) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut xargs = Command::new("xargs")
        .args(["-n1", &format!("-P{at_once}"), "true"])
        .stdin(Stdio::piped())
        .spawn()?;
    let lines: String = (0..runs).map(|run| format!("{run}\n")).collect();
    xargs
        .stdin
        .take()
        .ok_or("no standard input")?
        .write_all(lines.as_bytes())?;
    if !xargs.wait()?.success() {
        return Err("xargs failed".into());
    }
    Ok(runs as f64 / began.elapsed().as_secs_f64())
}

/// One process at a time, in milliseconds at the median.
pub(crate) struct Spawn {
    /// Until it is started.
    pub(crate) started: f64,
    /// Until its end and its output are known.
    pub(crate) ended: f64,
}

/// Starts `sh -c script` with captured output, one after another.
pub(crate) fn spawn_latency(script: &str) -> Result<Spawn, Failure> {
    let (mut started, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..SPAWNS {
        let mut command = shell(script);
        command.stdin(std::process::Stdio::null());
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let began = Instant::now();
        let child = command.spawn()?;
        started.push(millis(began.elapsed()));
        child.wait_with_output()?;
        ended.push(millis(began.elapsed()));
    }
    Ok(Spawn {
        started: median(&started),
        ended: median(&ended),
    })
}

fn database(dir: &Path) -> Result<(tempfile::TempDir, Connection), Failure> {
    let dir = tempfile::tempdir_in(dir)?;
    let connection = Connection::open(dir.path().join("bare.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE line (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")?;
    Ok((dir, connection))
}

const INSERT: &str = "INSERT INTO line (a, b) VALUES (?1, ?2)";

/// How long one durable commit of one row takes, in milliseconds at the median.
pub(crate) fn commit_latency(dir: &Path) -> Result<f64, Failure> {
    let (_dir, connection) = database(dir)?;
    let mut insert = connection.prepare(INSERT)?;
    let mut took = Vec::with_capacity(COMMITS);
    for number in 0..COMMITS {
        let began = Instant::now();
        insert.execute(params![number, "a small row"])?;
        took.push(millis(began.elapsed()));
    }
    Ok(median(&took))
}

/// How many small unindexed rows a second are made durable where [`WRITERS`] share each commit.
pub(crate) fn group_commit_rate(dir: &Path) -> Result<f64, Failure> {
    let (_dir, connection) = database(dir)?;
    let began = Instant::now();
    for batch in 0..ROWS / WRITERS {
        let transaction = connection.unchecked_transaction()?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for _ in 0..WRITERS {
            insert.execute(params![batch, "a small row"])?;
        }
        drop(insert);
        transaction.commit()?;
    }
    let rows = ROWS / WRITERS * WRITERS;
    Ok(rows as f64 / began.elapsed().as_secs_f64())
}
