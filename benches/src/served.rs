//! The real binary, as a client meets it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::Failure;

/// An engine in a process of its own. Dropping it stops it.
pub(crate) struct Served {
    child: Child,
    client: reqwest::Client,
    url: String,
    token: String,
    /// From the start of the process until it said that it is ready.
    pub(crate) ready_after: Duration,
    _data: Option<tempfile::TempDir>,
}

impl Served {
    /// Starts an engine on a new data directory below `dir`, with the packs of `packs`.
    pub(crate) fn start(binary: &Path, dir: &Path, packs: Option<&Path>) -> Result<Self, Failure> {
        Self::start_with(binary, dir, packs, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(
        binary: &Path,
        dir: &Path,
        packs: Option<&Path>,
        flags: &[&str],
    ) -> Result<Self, Failure> {
        let data = tempfile::tempdir_in(dir)?;
        let mut this = Self::start_on(binary, data.path().to_owned(), packs, flags)?;
        this._data = Some(data);
        Ok(this)
    }

    /// Starts an engine on a data directory.
    pub(crate) fn start_on(
        binary: &Path,
        data: PathBuf,
        packs: Option<&Path>,
        flags: &[&str],
    ) -> Result<Self, Failure> {
        let mut command = Command::new(binary);
        command
            .args([
                "up",
                "--listen",
                "127.0.0.1:0",
                "--slots",
                "16",
                "--print",
                "none",
                "--data-dir",
            ])
            .arg(&data)
            .args(flags);
        if let Some(packs) = packs {
            command.arg("--packs").arg(packs);
        }
        let began = Instant::now();
        let mut child = command
            .current_dir(data.parent().unwrap_or(&data))
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let Some(stderr) = child.stderr.take() else {
            return Err("no standard error".into());
        };
        let mut lines = BufReader::new(stderr);
        let mut line = String::new();
        let mut said = String::new();
        let url = loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                child.wait()?;
                return Err(format!("the engine ended before it was ready: {said}").into());
            }
            if let Some((_, rest)) = line.split_once("Camshaft is ready at ") {
                break rest.split(' ').next().unwrap_or_default().to_owned();
            }
            said += &line;
        };
        let ready_after = began.elapsed();
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        let token = fs::read_to_string(data.join("token"))?.trim().to_owned();
        let client = reqwest::Client::builder()
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        Ok(Self {
            child,
            client,
            url,
            token,
            ready_after,
            _data: None,
        })
    }

    /// Posts a document and returns the answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .json(body);
        answer(request.send().await?).await
    }

    /// Puts a document and returns the answer.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self
            .client
            .put(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .json(body);
        answer(request.send().await?).await
    }

    /// Deletes what is at a path and returns the answer.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        let request = self
            .client
            .delete(format!("{}{path}", self.url))
            .bearer_auth(&self.token);
        answer(request.send().await?).await
    }

    /// Gets a document.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        let request = self
            .client
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.token);
        answer(request.send().await?).await
    }

    /// Seconds that the threads of the process have been on a processor. Of threads that have ended nothing
    /// is left, so it is for a process at rest.
    pub(crate) fn cpu_secs(&self) -> Result<f64, Failure> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let Ok(spent) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let on_processor = spent.split(' ').next().ok_or("no schedstat")?;
            nanos += on_processor.parse::<u64>()?;
        }
        Ok(nanos as f64 / 1e9)
    }

    /// Megabytes of memory that the process has resident.
    pub(crate) fn resident_mb(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kb: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kb / 1024.0)
    }
}

async fn answer(response: reqwest::Response) -> Result<Value, Failure> {
    let status = response.status();
    let body = response.bytes().await?;
    if !status.is_success() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(serde_json::from_slice(&body)?)
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
