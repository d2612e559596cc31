//! The last lines that the steps of a run wrote.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::ExecutionId;
use camshaft_model::port::dispatch::OutputStream;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;

use crate::command::Context;
use crate::command::context::Query;

/// Of so many attempts at a time output is shown.
const MAX_READ: usize = 3;
/// So many lines are shown.
const MAX_LINES: usize = 5;
/// So many bytes of what was written before are read.
const TAIL_BYTES: u64 = 2_000;
/// So many bytes are read at once.
const PAGE_BYTES: u64 = 64 << 10;
/// How long the engine may hold the answer while there is nothing new.
const PAGE_WAIT: Duration = Duration::from_secs(20);

type Key = (ExecutionId, u32);

/// Reads the ends of streams.
pub(super) struct Output<'a> {
    context: &'a Context,
    /// How many streams are read of each attempt.
    read: HashMap<Key, usize>,
    pages: FuturesUnordered<BoxFuture<'a, Page>>,
    pub(super) lines: VecDeque<String>,
}

/// One stream of an attempt, with the name of its step.
#[derive(Clone)]
struct Source {
    key: Key,
    stream: OutputStream,
    name: Arc<str>,
}

struct Page {
    source: Source,
    bytes: Vec<u8>,
    next: Option<u64>,
    over: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self {
            context,
            read: HashMap::new(),
            pages: FuturesUnordered::new(),
            lines: VecDeque::new(),
        }
    }

    /// An attempt has started. Its output is shown if not too many others are read.
    pub(super) fn started(&mut self, execution: ExecutionId, attempt: u32, name: &str) {
        let key = (execution, attempt);
        if self.read.len() >= MAX_READ || self.read.contains_key(&key) {
            return;
        }
        let name: Arc<str> = name.into();
        let streams = [OutputStream::Stdout, OutputStream::Stderr];
        self.read.insert(key, streams.len());
        for stream in streams {
            let name = name.clone();
            let source = Source { key, stream, name };
            self.pages.push(page(self.context, source, None).boxed());
        }
    }

    /// Whether anything is read.
    pub(super) fn is_idle(&self) -> bool {
        self.pages.is_empty()
    }

    /// Waits for something new.
    pub(super) async fn next(&mut self) {
        let Some(page) = self.pages.next().await else {
            return;
        };
        let name = &page.source.name;
        for line in String::from_utf8_lossy(&page.bytes).lines() {
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            self.lines.push_back(if name.is_empty() {
                line.to_owned()
            } else {
                format!("{name} | {line}")
            });
            if self.lines.len() > MAX_LINES {
                self.lines.pop_front();
            }
        }
        if !page.over {
            let next = self::page(self.context, page.source, page.next);
            self.pages.push(next.boxed());
        } else if let Some(streams) = self.read.get_mut(&page.source.key) {
            *streams = streams.saturating_sub(1);
            if *streams == 0 {
                self.read.remove(&page.source.key);
            }
        }
    }
}

async fn page(context: &Context, source: Source, offset: Option<u64>) -> Page {
    let (key, stream) = (source.key, source.stream);
    let mut page = Page {
        source,
        bytes: Vec::new(),
        next: offset,
        over: true,
    };
    let query = Query::default()
        .with("attempt", Some(key.1))
        .with("offset", offset)
        .with("tail", offset.is_none().then_some(TAIL_BYTES))
        .with("limit", Some(PAGE_BYTES))
        .with("wait", Some(format!("{}s", PAGE_WAIT.as_secs())));
    let path = format!("/executions/{}/logs/{}", key.0, stream.as_str());
    // Output is an extra here: if it cannot be read, the tree goes on without it.
    let Ok(response) = context
        .client
        .open(&path, &query.0, &[], Some(PAGE_WAIT))
        .await
    else {
        return page;
    };
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    page.next = header("camshaft-next-offset").and_then(|text| text.parse().ok());
    page.over = header("camshaft-ended").as_deref() == Some("true") || page.next.is_none();
    match response.bytes().await {
        Ok(bytes) => page.bytes = bytes.to_vec(),
        Err(_) => page.over = true,
    }
    page
}
