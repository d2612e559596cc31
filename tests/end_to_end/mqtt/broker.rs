//! A Mosquitto of the test's own, and its clients as child processes.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use tempfile::TempDir;

use crate::harness::PATIENCE;

/// Debian keeps servers out of the path of people.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", PATH).stdin(Stdio::null());
    command
}

/// Lines of a child, as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A port that nobody used a moment ago.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.local_addr().expect("an address").port()
}

/// Mosquitto, without anything that outlives it.
pub(super) struct Mosquitto {
    child: Child,
    pub(super) port: u16,
    _folder: TempDir,
}

impl Mosquitto {
    pub(super) fn start() -> Self {
        Self::start_on(free_port(), "allow_anonymous true\n")
    }

    pub(super) fn start_on(port: u16, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nset_tcp_nodelay true\nlog_dest stderr\nlog_type all\n{settings}"
        );
        std::fs::write(&file, text).expect("written");
        let mut child = program("mosquitto")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto starts; scripts/setup.sh installs it");
        let lines = lines(child.stderr.take().expect("piped"));
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("mosquitto runs");
            if line.contains("running") {
                break;
            }
        }
        Self {
            child,
            port,
            _folder: folder,
        }
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("it is there");
    }

    /// As if the machine had lost power; what it retained is gone.
    pub(super) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A subscriber; each message is a line `RETAINED TOPIC PAYLOAD`.
pub(super) struct Ear {
    child: Child,
    lines: Receiver<String>,
    pub(super) heard: Vec<String>,
}

impl Ear {
    /// Returns once the subscription is granted.
    pub(super) fn to(port: u16, filter: &str) -> Self {
        // Its lines must come as they are printed.
        let mut child = program("stdbuf")
            .args([
                "-oL",
                "mosquitto_sub",
                "-d",
                "-q",
                "1",
                "-F",
                "heard %r %t %p",
                "-t",
                filter,
                "-p",
            ])
            .arg(port.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto_sub starts; scripts/setup.sh installs it");
        let lines = lines(child.stdout.take().expect("piped"));
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("a subscription");
            if line.starts_with("Subscribed") {
                break;
            }
        }
        Self {
            child,
            lines,
            heard: Vec::new(),
        }
    }

    /// The next message.
    #[track_caller]
    pub(super) fn next(&mut self) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("nothing more after:\n{}", self.heard.join("\n"));
            };
            if let Some(message) = line.strip_prefix("heard ") {
                self.heard.push(message.to_owned());
                return message.to_owned();
            }
        }
    }

    /// The next message that contains all of these.
    #[track_caller]
    pub(super) fn wait_for(&mut self, parts: &[&str]) -> String {
        loop {
            let message = self.next();
            if parts.iter().all(|part| message.contains(part)) {
                return message;
            }
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Publishes as the clients in the field do: QoS 0. Retained, unless said otherwise.
#[track_caller]
pub(super) fn retain(port: u16, topic: &str, payload: &str) {
    let flag = if payload.is_empty() { "-n" } else { "-m" };
    let mut arguments = vec!["-r", "-t", topic, flag];
    if !payload.is_empty() {
        arguments.push(payload);
    }
    publish(port, &arguments);
}

#[track_caller]
pub(super) fn publish(port: u16, arguments: &[&str]) {
    let status = program("mosquitto_pub")
        .arg("-p")
        .arg(port.to_string())
        .args(arguments)
        .status()
        .expect("mosquitto_pub starts; scripts/setup.sh installs it");
    assert!(status.success(), "mosquitto_pub {arguments:?}: {status}");
}

/// A client whose session is kept subscribes, and leaves once that is granted.
#[track_caller]
pub(super) fn subscribe_and_leave(port: u16, client_id: &str, filter: &str) {
    let status = program("mosquitto_sub")
        .arg("-p")
        .arg(port.to_string())
        .args(["-c", "-E", "-q", "1", "-i", client_id, "-t", filter])
        .status()
        .expect("mosquitto_sub starts; scripts/setup.sh installs it");
    assert!(status.success(), "mosquitto_sub {filter}: {status}");
}
