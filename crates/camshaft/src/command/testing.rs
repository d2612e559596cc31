//! For tests: a command with its streams in memory, and an engine that answers what it is told to.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use camshaft_model::ErrorCode;
use clap::Parser;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Cli, Context, Local, run};
use crate::client::Client;
use crate::client::endpoint::Source;
use crate::exit::CliError;
use crate::render::{Format, Screen, Style};

/// A stream in memory.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A composition root that has nothing.
pub(crate) fn local() -> Local {
    fn none<T>() -> Result<T, CliError> {
        Err(CliError::new(ErrorCode::Internal, "not in this test"))
    }
    Local {
        up: |_| none(),
        guest: |_| none(),
        check_database: |_| none(),
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn status_of(code: std::process::ExitCode) -> u8 {
    (0..=u8::MAX)
        .find(|n| std::process::ExitCode::from(*n) == code)
        .unwrap()
}

/// Runs something with streams in memory, as the edge of the program does.
fn finish(run: impl FnOnce(&Screen) -> Result<std::process::ExitCode, CliError>) -> Ended {
    let (out, err) = (Memory::default(), Memory::default());
    let screen = Screen::new(
        Box::new(out.clone()),
        Box::new(err.clone()),
        Style::default(),
    );
    let code = run(&screen).unwrap_or_else(|error| {
        screen.error(&error);
        error.exit_code()
    });
    Ended {
        status: status_of(code),
        stdout: out.text(),
        stderr: err.text(),
    }
}

/// Runs a whole command line.
pub(crate) fn run_with(arguments: &[&str]) -> Ended {
    let cli = Cli::try_parse_from([&["camshaft"], arguments].concat()).unwrap();
    finish(|screen| run(cli, screen.clone(), local()))
}

/// Runs a part of a verb that needs no engine.
pub(crate) fn ended(
    verb: impl FnOnce(&Context) -> Result<std::process::ExitCode, CliError>,
) -> Ended {
    finish(|screen| {
        let data_dir = PathBuf::from("/nowhere");
        let client = Client::new(Source {
            data_dir: data_dir.clone(),
            url: None,
            token: None,
        })?;
        verb(&Context {
            client,
            screen: screen.clone(),
            format: Format::Table,
            data_dir,
            local: local(),
        })
    })
}

/// What the engine answers to one request.
pub(crate) struct Answer {
    /// What the request line must begin with.
    pub(crate) expects: String,
    /// Status line, headers and body as they go over the wire.
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(expects: &str, status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        Self::cut(expects, status, headers, body, body.len())
    }

    pub(crate) fn json(expects: &str, body: &serde_json::Value) -> Self {
        Self::new(
            expects,
            "200 OK",
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    /// Promises `promised` bytes and may send fewer: then the connection breaks.
    pub(crate) fn cut(
        expects: &str,
        status: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        promised: usize,
    ) -> Self {
        let mut head =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {promised}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self {
            expects: expects.to_owned(),
            bytes: [head.as_bytes(), body].concat(),
        }
    }
}

/// An engine on port 0 that answers each request with the first answer that expects it.
pub(crate) struct FakeEngine {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeEngine {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answers) = (
            requests.clone(),
            Arc::new(Mutex::new(VecDeque::from(answers))),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), answers.clone()));
            }
        });
        Self { url, requests }
    }

    /// Each request as it came, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    /// A context that talks to this engine, with its standard output and standard error.
    pub(crate) fn context(&self, format: Format) -> (Context, Memory, Memory) {
        let (out, err) = (Memory::default(), Memory::default());
        let source = Source {
            data_dir: PathBuf::from("/nowhere"),
            url: Some(self.url.clone()),
            token: Some("cam_test".into()),
        };
        let context = Context {
            client: Client::new(source).unwrap(),
            screen: Screen::new(
                Box::new(out.clone()),
                Box::new(err.clone()),
                Style::default(),
            ),
            format,
            data_dir: PathBuf::from("/nowhere"),
            local: local(),
        };
        (context, out, err)
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&request) {
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let answer = {
        let mut answers = answers.lock();
        let at = answers
            .iter()
            .position(|answer| request.starts_with(&answer.expects));
        at.and_then(|at| answers.remove(at))
    };
    let bytes = answer.map_or_else(
        || {
            Answer::new(
                "",
                "500 Internal Server Error",
                &[],
                format!("unexpected: {request}").as_bytes(),
            )
            .bytes
        },
        |answer| answer.bytes,
    );
    seen.lock().push(request);
    // A client that has gone away is not this engine's problem.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}
