//! Reading one output stream of an execution, page by page, from where the last page ended.
//!
//! A page says how far it goes (`camshaft-next-offset`) and whether that is all
//! (`camshaft-ended`). Only bytes that arrived count: after a lost connection the next page begins
//! right after them, so that what is written is what the process wrote, byte for byte.

use std::time::Duration;

use camshaft_model::port::dispatch::OutputStream;
use camshaft_model::{Execution, ExecutionId, Status};
use futures::StreamExt;
use reqwest::Response;
use reqwest::header::HeaderMap;

use super::prefix::Prefixer;
use super::retry::Patience;
use crate::command::Context;
use crate::command::context::Query;
use crate::exit::CliError;
use crate::render::escape;

/// How long the engine may hold the answer while there is nothing new.
const PAGE_WAIT: Duration = Duration::from_secs(20);
/// How often it is asked whether another attempt has begun.
const ATTEMPT_WAIT: Duration = Duration::from_secs(1);
/// A page is at most so long; memory stays bounded anyway, as bytes are written as they arrive.
const PAGE_BYTES: u64 = 4 << 20;

/// Attempts are numbered from here.
pub(crate) const FIRST_ATTEMPT: u32 = 1;

/// When to stop reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// At the end of what there is now.
    Now,
    /// When the attempt has ended.
    AttemptEnds,
    /// When the execution has ended, over all its attempts.
    ExecutionEnds,
}

/// Reads one stream.
pub(crate) struct Follower<'a> {
    context: &'a Context,
    id: ExecutionId,
    stream: OutputStream,
    until: Until,
    attempt: Option<u32>,
    say_empty: bool,
    from_first: bool,
    prefix: Option<Prefixer>,
    name: Option<String>,
    offset: u64,
}

/// What a page said beside its bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    attempt: Option<u32>,
    next_offset: Option<u64>,
    ended: bool,
    notes: Vec<String>,
    lost_reason: Option<String>,
    status: Option<Status>,
}

impl Page {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let notes = text("camshaft-notes").unwrap_or_default();
        Self {
            attempt: text("camshaft-attempt")
                .and_then(|text| text.parse().ok())
                .filter(|attempt| *attempt > 0),
            next_offset: text("camshaft-next-offset").and_then(|text| text.parse().ok()),
            ended: text("camshaft-ended").as_deref() == Some("true"),
            notes: notes
                .split(',')
                .map(|note| note.trim().to_owned())
                .filter(|note| !note.is_empty())
                .collect(),
            lost_reason: text("camshaft-lost-reason"),
            status: text("camshaft-status").and_then(|text| text.parse().ok()),
        }
    }
}

impl<'a> Follower<'a> {
    pub(crate) fn new(
        context: &'a Context,
        id: ExecutionId,
        stream: OutputStream,
        until: Until,
    ) -> Self {
        Self {
            context,
            id,
            stream,
            until,
            attempt: None,
            say_empty: false,
            from_first: false,
            prefix: None,
            name: None,
            offset: 0,
        }
    }

    /// Of this attempt; the latest if none is named.
    pub(crate) fn attempt(mut self, attempt: Option<u32>) -> Self {
        self.attempt = attempt;
        self
    }

    /// Says so if nothing was written.
    pub(crate) fn say_empty(mut self) -> Self {
        self.say_empty = true;
        self
    }

    /// Of the first attempt, once it has begun, whichever is the latest by then.
    pub(crate) fn beginning_with_the_first(mut self) -> Self {
        self.from_first = true;
        self
    }

    /// With a name before each line.
    pub(crate) fn prefixed(mut self, name: &str) -> Self {
        self.prefix = Some(Prefixer::new(name));
        self.name = Some(name.to_owned());
        self
    }

    /// Reads until the end.
    ///
    /// # Errors
    /// The engine says no, stays away, or our own output cannot be written.
    pub(crate) async fn run(mut self) -> Result<(), CliError> {
        let mut patience = Patience::default();
        loop {
            let before = self.offset;
            let page = match self.page().await {
                Ok(page) => page,
                Err(error) if self.until == Until::Now || self.context.screen.is_closed() => {
                    return Err(error);
                }
                Err(error) => {
                    // Progress is a sign of life, even if the page broke off.
                    if self.offset > before {
                        patience = Patience::default();
                    }
                    patience
                        .wait(self.context, error, self.stream.as_str())
                        .await?;
                    continue;
                }
            };
            patience = Patience::default();
            self.attempt = self.attempt.or(page.attempt);
            let progressed = self.offset > before;
            // An execution that ended without an attempt will never have a log.
            let never = self.attempt.is_none() && page.status.is_some_and(Status::is_terminal);
            let over = page.ended || (!progressed && (never || self.until == Until::Now));
            if !over {
                continue;
            }
            if let Some(prefix) = &mut self.prefix {
                let rest = prefix.finish();
                self.write(&rest)?;
            }
            self.say_notes(&page);
            if self.until != Until::ExecutionEnds || !self.next_attempt(page.status).await? {
                return Ok(());
            }
        }
    }

    /// Reads one page. What arrived of a page that broke off stays counted in `offset`.
    async fn page(&mut self) -> Result<Page, CliError> {
        let wait = if self.until == Until::Now {
            Duration::ZERO
        } else {
            PAGE_WAIT
        };
        let query = Query::default()
            .with("attempt", self.attempt)
            .with("offset", Some(self.offset))
            .with("limit", Some(PAGE_BYTES))
            .with(
                "wait",
                (!wait.is_zero()).then(|| format!("{}s", wait.as_secs())),
            );
        let path = format!("/executions/{}/logs/{}", self.id, self.stream.as_str());
        let response = self
            .context
            .client
            .open(&path, &query.0, &[], Some(wait))
            .await?;
        let page = Page::of(response.headers());
        if self.from_first && self.attempt.is_none() && page.attempt.is_some_and(|n| n > 1) {
            self.attempt = Some(FIRST_ATTEMPT);
            return Ok(Page::default());
        }
        // Should the connection break, the rest must come from the same attempt.
        self.attempt = self.attempt.or(page.attempt);
        self.copy(response).await?;
        if let Some(next) = page.next_offset {
            self.offset = next;
        }
        Ok(page)
    }

    async fn copy(&mut self, response: Response) -> Result<(), CliError> {
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Patience::lost(&error.to_string()))?;
            match &mut self.prefix {
                Some(prefix) => {
                    let lines = prefix.push(&chunk);
                    self.write(&lines)?;
                }
                None => self.write(&chunk)?,
            }
            self.offset += chunk.len() as u64;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), CliError> {
        match self.stream {
            _ if bytes.is_empty() => Ok(()),
            OutputStream::Stdout => self.context.screen.data(bytes),
            OutputStream::Stderr => self.context.screen.data_err(bytes),
        }
    }

    /// Waits for another attempt; `false` if the execution has ended without one.
    async fn next_attempt(&mut self, status: Option<Status>) -> Result<bool, CliError> {
        let done = self.attempt.unwrap_or(0);
        let mut patience = Patience::default();
        let mut hurry = status.is_some_and(Status::is_terminal);
        loop {
            let query = Query::default().with("timeout", Some("1s"));
            let path = format!("/executions/{}", self.id);
            // The page said that it is over: then there is nothing to wait for, only to look.
            let found: Result<Execution, CliError> = if hurry {
                self.context.client.get(&path, &[], Duration::ZERO).await
            } else {
                self.context
                    .client
                    .get(&format!("{path}/wait"), &query.0, ATTEMPT_WAIT)
                    .await
            };
            hurry = false;
            match found {
                Ok(execution) if execution.state.attempt > done => {
                    self.attempt = Some(done + 1);
                    self.offset = 0;
                    return Ok(true);
                }
                Ok(execution) if execution.state.status.is_terminal() => return Ok(false),
                Ok(_) => patience = Patience::default(),
                Err(error) => {
                    patience
                        .wait(self.context, error, self.stream.as_str())
                        .await?
                }
            }
        }
    }

    fn say_notes(&self, page: &Page) {
        let stream = match &self.name {
            Some(name) => &format!("{} of {name}", self.stream.as_str()),
            None => self.stream.as_str(),
        };
        for note in &page.notes {
            let text = match note.as_str() {
                "empty" if !self.say_empty => continue,
                "empty" => format!("{stream} is empty"),
                "truncated" => format!("{stream} is truncated: more was written than is kept"),
                "redacted" => format!("{stream} is redacted: values of secrets were replaced"),
                "lost" => {
                    let reason = page
                        .lost_reason
                        .as_deref()
                        .unwrap_or("the engine does not know why");
                    format!("{stream} is lost because {}", escape::line(reason))
                }
                other => format!("{stream} is {}", escape::line(other)),
            };
            self.context.screen.note(&format!("note: {text}"));
        }
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
