//! `core.process`: a child whose lines are events. It runs as long as the sensor is wanted; when it
//! ends it is started again, later each time, and soon again once it has lived for a while.

use std::process::Stdio;
use std::time::Duration;

use camshaft_model::duration;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::Watch;
use super::lines::{self, Line};

const MAX_LINE_BYTES: usize = 1024 * 1024;
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(2);
const SHOWN_CHARS: usize = 120;

pub(super) async fn run(watch: &Watch) {
    let command = match command_line(watch.spec.parameters.get("command")) {
        Ok(command) => command,
        Err(why) => {
            watch.say(Some(why));
            return watch.stop.cancelled().await;
        }
    };
    let mut backoff = FIRST_BACKOFF;
    loop {
        let started = Instant::now();
        let ended = live(watch, &command).await;
        if watch.stop.is_cancelled() {
            return;
        }
        if started.elapsed() >= LAST_BACKOFF {
            backoff = FIRST_BACKOFF;
        }
        watch.say(Some(format!(
            "{ended}; it is started again in {}",
            duration::display(backoff)
        )));
        if !watch.pause(backoff).await {
            return;
        }
        backoff = (backoff * 2).min(LAST_BACKOFF);
    }
}

/// A list is a program and its arguments; a string is for the shell.
fn command_line(parameter: Option<&Value>) -> Result<Vec<String>, String> {
    let words = match parameter {
        Some(Value::String(script)) if !script.trim().is_empty() => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), script.clone()]
        }
        Some(Value::Array(words)) => words
            .iter()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    let given = parameter
        .and_then(Value::as_array)
        .map_or(words.len(), Vec::len);
    if words.is_empty() || words.len() != given && parameter.is_some_and(Value::is_array) {
        return Err(
            "parameter 'command' must be a list of strings, or a line for the shell".to_owned(),
        );
    }
    Ok(words)
}

/// One life of the child; says how it ended.
async fn live(watch: &Watch, command: &[String]) -> String {
    let shown = command.join(" ");
    let mut child = match spawn(watch, command) {
        Ok(child) => child,
        Err(error) => return format!("'{shown}' cannot be started: {error}"),
    };
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    watch.say(None);
    let reading = async {
        tokio::join!(events(watch, stdout), log(watch, stderr));
    };
    let mut reading = std::pin::pin!(reading);
    let (status, all_read) = tokio::select! {
        () = watch.stop.cancelled() => (None, false),
        status = child.wait() => (Some(status), false),
        // The end of its output is usually seen just before its own end. A child that goes on
        // without output tells nothing any more.
        () = &mut reading => (tokio::time::timeout(STOP_GRACE, child.wait()).await.ok(), true),
    };
    let Some(status) = status else {
        end(&mut child, group).await;
        return format!("'{shown}' closed its output");
    };
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    if !all_read {
        // What it wrote before it ended is still in the pipe. A process that left the group and holds
        // the pipe goes on being the source.
        tokio::select! {
            () = watch.stop.cancelled() => {}
            () = reading => {}
        }
    }
    match status {
        Ok(status) => format!("'{shown}' ended with {status}"),
        Err(error) => format!("'{shown}' is lost: {error}"),
    }
}

fn spawn(watch: &Watch, command: &[String]) -> std::io::Result<Child> {
    let (program, args) = command
        .split_first()
        .ok_or(std::io::ErrorKind::InvalidInput)?;
    // The child's own PATH decides, not that of this process.
    let path = watch.environment.get("PATH").map_or("", String::as_str);
    let program =
        crate::runtime::find_program(program, path).ok_or(std::io::ErrorKind::NotFound)?;
    Command::new(program)
        .args(args)
        .env_clear()
        .envs(&watch.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// TERM to the group, grace, KILL to whatever is left of it.
async fn end(child: &mut Child, group: Option<Pid>) {
    let signal = |signal| {
        if let Some(group) = group {
            let _ = kill_process_group(group, signal);
        }
    };
    signal(Signal::TERM);
    if tokio::time::timeout(STOP_GRACE, child.wait())
        .await
        .is_err()
    {
        signal(Signal::KILL);
        let _ = child.wait().await;
    }
    signal(Signal::KILL);
}

async fn events(watch: &Watch, stream: Option<impl AsyncRead + Unpin>) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut bad_lines: u64 = 0;
    while let Ok(Some(line)) = lines::next(&mut stream, MAX_LINE_BYTES).await {
        let read = match &line {
            Line::Whole(line) if line.trim_ascii().is_empty() => continue,
            Line::Whole(line) => serde_json::from_slice::<Value>(line)
                .ok()
                .filter(Value::is_object),
            Line::TooLong(_) => None,
        };
        if let Some(payload) = read {
            watch.say(None);
            watch.emit(payload, None, Some(watch.clock.now())).await;
        } else {
            bad_lines += 1;
            watch.say(Some(complaint(&line, bad_lines)));
        }
    }
}

fn complaint(line: &Line, count: u64) -> String {
    let (line, what) = match line {
        Line::Whole(line) => (line, "is not a JSON object"),
        Line::TooLong(line) => (line, "is longer than 1 MiB"),
    };
    let text = String::from_utf8_lossy(&line[..line.len().min(4 * SHOWN_CHARS)]);
    let head: String = text.chars().take(SHOWN_CHARS).collect();
    format!("the last line of the command {what} ({count} such lines so far): {head:?}")
}

async fn log(watch: &Watch, stream: Option<impl AsyncRead + Unpin>) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream);
    while let Ok(Some(Line::Whole(line) | Line::TooLong(line))) =
        lines::next(&mut stream, 64 * 1024).await
    {
        tracing::info!(sensor = %watch.spec.key, "{}", String::from_utf8_lossy(&line));
    }
}
