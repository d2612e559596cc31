//! The event log as it grows, over lost connections and restarts of the engine.

use camshaft_model::{Execution, ExecutionId, StepEvent};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::client::sse::Parser;
use crate::command::Context;
use crate::command::logs::retry::Patience;
use crate::exit::CliError;
use crate::render::escape;

/// Where a stream says that it lost the engine: standard error, or a screen that draws itself anew.
pub(crate) type Say = Arc<Mutex<Vec<String>>>;

/// The lines of one event log, or of all.
pub(crate) struct Lines<'a> {
    context: &'a Context,
    path: String,
    query: Vec<(&'static str, String)>,
    /// The execution with which the stream ends; none for the stream of all runs.
    until: Option<ExecutionId>,
    /// What was read last: the next connection begins after it.
    last: Option<String>,
    chunks: Option<BoxStream<'a, reqwest::Result<bytes::Bytes>>>,
    parser: Parser,
    ready: VecDeque<String>,
    patience: Patience,
    said: Option<Say>,
}

impl<'a> Lines<'a> {
    /// The log of a run, or of all runs.
    pub(crate) fn new(context: &'a Context, run: Option<ExecutionId>) -> Self {
        let path = run.map_or_else(
            || "/events/stream".to_owned(),
            |id| format!("/executions/{id}/events/stream"),
        );
        Self {
            context,
            path,
            query: Vec::new(),
            until: run,
            last: None,
            chunks: None,
            parser: Parser::default(),
            ready: VecDeque::new(),
            patience: Patience::default(),
            said: None,
        }
    }

    /// Only some of the lines.
    pub(crate) fn query(mut self, query: Vec<(&'static str, String)>) -> Self {
        self.query = query;
        self
    }

    /// Only those after this one.
    pub(crate) fn after(mut self, last: Option<i64>) -> Self {
        self.last = last.map(|id| id.to_string());
        self
    }

    /// Tells of a lost connection here instead of on standard error.
    pub(crate) fn say(mut self, said: &Say) -> Self {
        self.said = Some(said.clone());
        self
    }

    /// The text of the next line; `None` once the execution has ended and all was read.
    ///
    /// # Errors
    /// The engine says no, or stays away.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, CliError> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Ok(Some(data));
            }
            let Some(chunks) = &mut self.chunks else {
                self.open().await?;
                continue;
            };
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    for message in self.parser.push(&chunk) {
                        self.last = message.id.or(self.last.take());
                        self.ready.push_back(message.data);
                        self.patience = Patience::default();
                    }
                }
                Some(Err(error)) => self.lost(Patience::lost(&error.to_string())).await?,
                // The engine ends a stream with the run, but also when it is stopped itself.
                None if self.is_over().await? => return Ok(None),
                None => {
                    self.lost(Patience::lost("the engine closed the stream"))
                        .await?
                }
            }
        }
    }

    /// The next line that can be read; one that cannot is told of and left out.
    ///
    /// # Errors
    /// As of [`Lines::next`].
    pub(crate) async fn event(&mut self) -> Result<Option<StepEvent>, CliError> {
        while let Some(data) = self.next().await? {
            match serde_json::from_str(&data) {
                Ok(event) => return Ok(Some(event)),
                Err(_) => self.note(&format!("an event cannot be read: {}", escape::line(&data))),
            }
        }
        Ok(None)
    }

    async fn open(&mut self) -> Result<(), CliError> {
        let headers: Vec<_> = self
            .last
            .iter()
            .map(|id| ("last-event-id", id.clone()))
            .collect();
        let opened = self
            .context
            .client
            .open(&self.path, &self.query, &headers, None);
        match opened.await {
            Ok(response) => {
                self.parser = Parser::default();
                self.chunks = Some(response.bytes_stream().boxed());
                Ok(())
            }
            Err(error) => self.lost(error).await,
        }
    }

    async fn lost(&mut self, error: CliError) -> Result<(), CliError> {
        self.chunks = None;
        let said = self.said.clone();
        let screen = &self.context.screen;
        let say = move |text: &str| match said {
            Some(said) => said.lock().push(text.to_owned()),
            None => screen.note(text),
        };
        self.patience
            .wait_saying(self.context, error, "the events", say)
            .await
    }

    async fn is_over(&mut self) -> Result<bool, CliError> {
        let Some(id) = self.until else {
            return Ok(false);
        };
        let path = format!("/executions/{id}");
        match self
            .context
            .client
            .get::<Execution>(&path, &[], Duration::ZERO)
            .await
        {
            Ok(execution) => Ok(execution.state.status.is_terminal()),
            Err(error) => self.lost(error).await.map(|()| false),
        }
    }

    fn note(&self, text: &str) {
        match &self.said {
            Some(said) => said.lock().push(text.to_owned()),
            None => self.context.screen.note(text),
        }
    }
}
