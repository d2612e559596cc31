//! The program under attack: started, asked over HTTP, killed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::Trouble;

/// How long a start may take before it counts as a hang.
const START: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// A folder with packs and a data directory.
pub(crate) struct Site {
    folder: TempDir,
    binary: PathBuf,
    client: Client,
}

/// A running engine.
pub(crate) struct Engine {
    child: Child,
    pub(crate) api: Api,
    /// From the start of the process until it said that it is ready.
    pub(crate) ready_after: Duration,
}

/// The API of one life of the engine.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: Client,
    url: String,
    token: String,
}

impl Site {
    pub(crate) fn new(binary: &Path) -> Result<Self, Trouble> {
        if !binary.is_file() {
            return Err(format!("there is no {}; build it first", binary.display()).into());
        }
        let client = Client::builder().timeout(ANSWER).no_proxy().build()?;
        Ok(Self {
            folder: tempfile::tempdir()?,
            binary: binary.to_owned(),
            client,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Keeps the folder for a person to look at.
    pub(crate) fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// Writes a file of a pack.
    pub(crate) fn pack_file(&self, path: &str, text: &str) -> Result<(), Trouble> {
        let path = self.path().join("packs").join(path);
        fs::create_dir_all(path.parent().ok_or("a file has a folder")?)?;
        Ok(fs::write(path, text)?)
    }

    fn command(&self, slots: u32) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args([
                "up",
                "--listen",
                "127.0.0.1:0",
                "--print",
                "none",
                "--slots",
                &slots.to_string(),
                "--packs",
            ])
            .arg(self.path().join("packs"))
            .arg("--data-dir")
            .arg(self.data_dir())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts the engine and kills it so long after, wherever it is then.
    pub(crate) async fn up_and_kill(&self, slots: u32, after: Duration) -> Result<(), Trouble> {
        let mut child = self.command(slots).stderr(Stdio::null()).spawn()?;
        sleep(after).await;
        Ok(child.kill().await?)
    }

    /// Starts the engine and waits until it says that it is ready.
    pub(crate) async fn up(
        &self,
        slots: u32,
        variables: &[(&str, &str)],
    ) -> Result<Engine, Trouble> {
        let began = Instant::now();
        let mut child = self
            .command(slots)
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("its output is piped")?).lines();
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path().join("engine.log"))?;
        let ready = async {
            let mut said = Vec::new();
            while let Some(line) = lines.next_line().await? {
                writeln!(log, "{line}")?;
                if let Some(rest) = line.strip_prefix("Camshaft is ready at ") {
                    return Ok(rest.split(' ').next().unwrap_or(rest).to_owned());
                }
                said.push(line);
            }
            Err::<String, Trouble>(
                format!("the engine does not start:\n{}", said.join("\n")).into(),
            )
        };
        let url = timeout(START, ready)
            .await
            .map_err(|_| "the engine does not get ready")??;
        let ready_after = began.elapsed();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // A log that cannot be written must not stop the attack.
                let _ = writeln!(log, "{line}");
            }
        });
        let token = fs::read_to_string(self.data_dir().join("token"))?
            .trim()
            .to_owned();
        Ok(Engine {
            child,
            api: Api {
                client: self.client.clone(),
                url,
                token,
            },
            ready_after,
        })
    }

    /// What `doctor --check` finds on a data directory that no engine uses.
    pub(crate) async fn check(&self) -> Result<Vec<String>, Trouble> {
        let arguments = ["doctor", "--check", "-o", "json", "--data-dir"];
        let output = Command::new(&self.binary)
            .args(arguments)
            .arg(self.data_dir())
            .current_dir(self.path())
            .output()
            .await?;
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
            format!(
                "doctor --check: {error}: {}",
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
        let violations = answer["violations"]
            .as_array()
            .ok_or("doctor --check says nothing")?;
        let mut found: Vec<String> = violations.iter().map(Value::to_string).collect();
        if found.is_empty() && !output.status.success() {
            found.push(format!("doctor --check ended with {}", output.status));
        }
        Ok(found)
    }
}

impl Engine {
    pub(crate) fn pid(&self) -> Result<i32, Trouble> {
        Ok(i32::try_from(
            self.child.id().ok_or("the engine has ended by itself")?,
        )?)
    }

    /// Kills it like a machine that goes dark, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<(), Trouble> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the engine ended by itself: {status}").into());
        }
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop, and waits.
    pub(crate) async fn stop(mut self) -> Result<(), Trouble> {
        let pid = rustix::process::Pid::from_raw(self.pid()?).ok_or("a pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = timeout(START, self.child.wait())
            .await
            .map_err(|_| "the engine does not stop")??;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the engine stopped with {status}").into())
        }
    }
}

impl Api {
    /// One request; `Err` if there was no answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Trouble> {
        let mut request = self
            .client
            .request(method, format!("{}/api/v1{path}", self.url))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        Ok((
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        ))
    }

    /// A request that must succeed.
    pub(crate) async fn must(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Trouble> {
        let (status, answer) = self.ask(method, path, body).await?;
        if status.is_success() {
            Ok(answer)
        } else {
            Err(format!("{path}: {status} {answer}").into())
        }
    }

    /// Every item of a list.
    pub(crate) async fn all(&self, path: &str) -> Result<Vec<Value>, Trouble> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let mut page = self
                .must(
                    Method::GET,
                    &format!("{path}{separator}limit=1000{cursor}"),
                    None,
                )
                .await?;
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Bytes of an output stream from `offset` on, as many as come at once.
    pub(crate) async fn log(
        &self,
        execution: &str,
        stream: &str,
        offset: u64,
    ) -> Result<Vec<u8>, Trouble> {
        let path = format!(
            "{}/api/v1/executions/{execution}/logs/{stream}?offset={offset}",
            self.url
        );
        let answer = self
            .client
            .get(path)
            .bearer_auth(&self.token)
            .send()
            .await?
            .error_for_status()?;
        Ok(answer.bytes().await?.to_vec())
    }
}
