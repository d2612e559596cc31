//! An engine of the test's own: the real binary on a data directory and a port of its own.
//!
//! Nothing here sleeps. A test waits for a line that the engine prints, for a request that the engine
//! holds open until something has happened, or for a process to end.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything takes that works, also on a machine that does something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a data directory and packs, kept if the test fails.
pub(crate) struct Site {
    folder: Option<TempDir>,
}

/// The engine, as a child process.
pub(crate) struct Engine {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            folder: Some(tempfile::tempdir().expect("a temporary folder")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder
            .as_ref()
            .expect("there until it is dropped")
            .path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn packs_dir(&self) -> PathBuf {
        self.path().join("packs")
    }

    /// Writes a file below the folder of packs; one with `#!` becomes executable.
    pub(crate) fn pack_file(&self, path: &str, text: &str) -> &Self {
        use std::os::unix::fs::PermissionsExt;
        let file = self.packs_dir().join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(&file, text).expect("written");
        if text.starts_with("#!") {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("made executable");
        }
        self
    }

    /// A pack `t` with a shell action `t.<name>` for each script, with `extra` lines in its definition.
    pub(crate) fn shell_action(&self, name: &str, script: &str, extra: &str) -> &Self {
        self.pack_file("t/pack.yaml", "ref: t\nversion: 1.0.0\n");
        let script: String = script.lines().map(|line| format!("  {line}\n")).collect();
        let text = format!("ref: t.{name}\nruntime: shell\nscript: |\n{script}{extra}\n");
        self.pack_file(&format!("t/actions/{name}.yaml"), &text)
    }

    /// A pipe with a name: who reads from it waits until the test writes a line to it.
    pub(crate) fn gate(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
        path
    }

    /// The command line on this site's data directory, with none of the test's own variables.
    pub(crate) fn command<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_camshaft"));
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(arguments)
            .current_dir(self.path())
            .env_remove("CAMSHAFT_API_URL")
            .env_remove("CAMSHAFT_TOKEN")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// Runs a command that must succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn ok<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", shown(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The same for a command that prints JSON.
    #[track_caller]
    pub(crate) fn json<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Value {
        let text = self.ok(arguments.into_iter().chain(["-o", "json"]));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Requests an execution and leaves; returns its id.
    #[track_caller]
    pub(crate) fn request<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        self.ok(["run", "--detach"].into_iter().chain(arguments))
            .trim()
            .to_owned()
    }

    /// An execution once it has ended.
    #[track_caller]
    pub(crate) fn ended(&self, id: &str) -> Value {
        let execution = self.get(&format!("/api/v1/executions/{id}/wait?timeout=60s"));
        assert!(
            execution["ended_at"].is_string(),
            "it has not ended: {execution}"
        );
        execution
    }

    /// Requests an execution and waits for its end, whatever it is.
    #[track_caller]
    pub(crate) fn done<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Value {
        let id = self.request(arguments);
        self.ended(&id)
    }

    /// The event log of a run, as (type, payload).
    #[track_caller]
    pub(crate) fn steps(&self, id: &str) -> Vec<(String, Value)> {
        let page = self.json(["events", id]);
        let items = page["items"].as_array().expect("a list");
        items
            .iter()
            .map(|item| {
                (
                    item["event_type"].as_str().expect("a type").to_owned(),
                    item["payload"].clone(),
                )
            })
            .collect()
    }

    /// Waits until the first attempt has written `text` to standard output, and returns all of it.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, id: &str, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let path = format!(
                "/api/v1/executions/{id}/logs/stdout?offset={}&wait=30s",
                seen.len()
            );
            let answer = self.http("GET", &path, &[], b"");
            assert_eq!(answer.status, 200, "{}", answer.text());
            seen.extend_from_slice(&answer.body);
            let all = String::from_utf8_lossy(&seen).into_owned();
            if all.contains(text) {
                return all;
            }
            assert!(
                !answer.body.is_empty(),
                "no '{text}' in: {all}\n{}",
                answer.head
            );
        }
    }

    /// Address and token of the API, as the command line finds them.
    #[track_caller]
    pub(crate) fn api(&self) -> (String, String) {
        let text = fs::read_to_string(self.data_dir().join("api.json"))
            .expect("the engine announces itself");
        let api: Value = serde_json::from_str(&text).expect("JSON");
        let url = api["url"]
            .as_str()
            .expect("an address")
            .trim_start_matches("http://")
            .to_owned();
        (url, api["token"].as_str().expect("a token").to_owned())
    }

    /// An HTTP request, with the token unless the headers carry another `Authorization`.
    #[track_caller]
    pub(crate) fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let (address, token) = self.api();
        let mut head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n",
            body.len()
        );
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(address).expect("the engine listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(head.as_bytes()).expect("sent");
        // An engine that refuses a body by its declared size need not read it.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        Answer::read(&answer)
    }

    /// `GET` of something that is there.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.http("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// `POST` of JSON.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.http(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    /// Records an event and returns its id.
    #[track_caller]
    pub(crate) fn emit(&self, trigger: &str, payload: &Value) -> String {
        let answer = self.post(
            "/api/v1/events",
            &json!({ "trigger": trigger, "payload": payload }),
        );
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["event"].as_str().expect("an id").to_owned()
    }

    /// Starts the engine on this site's packs and waits until it is ready.
    #[track_caller]
    pub(crate) fn up(&self) -> Engine {
        self.up_with(&[], &[])
    }

    /// The same with more flags and variables.
    #[track_caller]
    pub(crate) fn up_with(&self, flags: &[&str], variables: &[(&str, &str)]) -> Engine {
        let mut engine = self.starting(flags, variables);
        engine.wait_for("Camshaft is ready");
        engine
    }

    /// Starts the engine and does not wait.
    #[track_caller]
    pub(crate) fn starting(&self, flags: &[&str], variables: &[(&str, &str)]) -> Engine {
        let mut command = self.command(["up", "--listen", "127.0.0.1:0"]);
        if self.packs_dir().is_dir() {
            command.arg("--packs").arg(self.packs_dir());
        }
        let mut child = command
            .args(flags)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (sender, lines) = channel();
        let (out, err) = (
            child.stdout.take().expect("piped"),
            child.stderr.take().expect("piped"),
        );
        for stream in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Engine {
            child,
            lines,
            seen: Vec::new(),
        }
    }
}

/// The answer to an HTTP request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        Self {
            status,
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Status and stable code of a refusal.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        (
            self.status,
            self.json()["code"].as_str().expect("a code").to_owned(),
        )
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("kept: {}", folder.keep().display());
        }
    }
}

impl Engine {
    /// Waits for a line that contains `text`, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no '{text}' in:\n{}", self.seen.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without '{text}':\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Takes every line that is there, so that the next one to be waited for is yet to come.
    pub(crate) fn skip_lines(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    /// The same, content with a line that was there before.
    #[track_caller]
    pub(crate) fn seen_or_wait(&mut self, text: &str) -> String {
        match self.seen.iter().find(|line| line.contains(text)) {
            Some(line) => line.clone(),
            None => self.wait_for(text),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid");
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// As if the machine's memory ran out: no chance to say anything.
    pub(crate) fn kill(mut self) {
        self.signal(rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }

    /// Asks it to stop and waits until it has. Returns its exit code and everything it printed.
    #[track_caller]
    pub(crate) fn stop(mut self) -> (i32, String) {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> (i32, String) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end:\n{}", self.seen.join("\n"))
                }
            }
        }
        let status = self.child.wait().expect("reaped");
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        (code, self.seen.join("\n"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.seen.extend(self.lines.try_iter());
            eprintln!("the engine printed:\n{}", self.seen.join("\n"));
        }
    }
}

/// Everything about a command that ended, for a failed assertion.
pub(crate) fn shown(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Whether a process is there and is more than the record of one that has ended.
pub(crate) fn is_alive(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The state comes after the name, which stands in parentheses.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until a process, of whatever parent, has ended.
#[track_caller]
pub(crate) fn await_ended(pid: i32) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let Ok(fd) = pidfd_open(Pid::from_raw(pid).expect("a pid"), PidfdFlags::empty()) else {
        return;
    };
    let limit = rustix::event::Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let ended = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).expect("polled");
    assert_eq!(ended, 1, "process {pid} does not end");
}
