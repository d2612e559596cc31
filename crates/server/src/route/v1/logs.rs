//! `GET /api/v1/executions/{id}/logs/{stream}`: the bytes of one output stream of an attempt.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use camshaft_model::port::dispatch::OutputStream;
use camshaft_model::{Attempt, AttemptKey, Execution, ExecutionId};
use serde::Deserialize;
use tokio::time::Instant;

use crate::body::{Params, PathTexts, parse_text};
use crate::logs::{self, Heading, Slice, Span};
use crate::problem::Problem;
use crate::route::v1::executions::{find, wait_of};
use crate::serve::Stopping;
use crate::state::Api;

/// How often a file that a process writes to is looked at while somebody waits for its bytes.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    attempt: Option<u32>,
    #[serde(default)]
    offset: u64,
    tail: Option<u64>,
    limit: Option<u64>,
    wait: Option<String>,
}

impl Query {
    fn span(&self) -> Result<Span, Problem> {
        let limit = self.limit.unwrap_or(logs::DEFAULT_BYTES);
        if limit == 0 || limit > logs::MAX_BYTES {
            return Err(Problem::invalid(format!(
                "limit must be from 1 to {} bytes, not {limit}",
                logs::MAX_BYTES
            )));
        }
        Ok(Span {
            offset: self.offset,
            limit,
        })
    }
}

/// `GET /api/v1/executions/{id}/logs/{stream}`
pub(crate) async fn read(
    State(api): State<Api>,
    PathTexts([id, stream]): PathTexts<2>,
    Params(query): Params<Query>,
    stopping: Stopping,
) -> Result<Response, Problem> {
    let id: ExecutionId = parse_text(&id)?;
    let stream = match stream.as_str() {
        "stdout" => OutputStream::Stdout,
        "stderr" => OutputStream::Stderr,
        _ => return Err(Problem::not_found("such stream: use stdout or stderr")),
    };
    let mut span = query.span()?;
    let deadline = Instant::now() + wait_of(query.wait.as_deref())?.unwrap_or_default();
    let mut hints = api.feed.hints(None);
    let mut found = Found::find(&api, id, query.attempt).await?;
    if let Some(tail) = query.tail {
        let there = found.there(&api, stream).await;
        span.offset = span.offset.max(there.saturating_sub(tail));
    }
    loop {
        let slice = found.slice(&api, stream, span).await;
        let satisfied = !slice.bytes.is_empty() || slice.ended;
        if satisfied || Instant::now() >= deadline || stopping.is_stopped() {
            return Ok(slice.into_response(&found.heading(span)));
        }
        hints.follow(found.execution.spec.root);
        let looking = tokio::time::sleep_until(deadline.min(Instant::now() + LOOK));
        tokio::select! {
            () = looking => found.looked(),
            _ = hints.wait(i64::MIN) => found.again = 0,
            () = stopping.stopped() => {}
        }
        if found.again == 0 {
            hints.forget(None);
            found = Found::find(&api, id, query.attempt).await?;
        }
    }
}

/// Which attempt is asked for, and what the database says of it.
struct Found {
    execution: Execution,
    number: u32,
    attempt: Option<Attempt>,
    /// After how many more looks at the file the database is asked again without a hint.
    again: u32,
}

impl Found {
    async fn find(api: &Api, id: ExecutionId, asked: Option<u32>) -> Result<Self, Problem> {
        let mut execution = find(api, id).await?;
        let number = asked.unwrap_or(execution.state.attempt);
        if asked.is_some_and(|asked| asked == 0 || asked > execution.state.attempt) {
            return Err(Problem::not_found(format!(
                "attempt {number} of {id}: there are {}",
                execution.state.attempt
            )));
        }
        let attempts = api.engine.store().attempts(id).await?;
        let attempt = attempts
            .into_iter()
            .find(|attempt| attempt.key.attempt == number);
        if attempt.is_some() && !execution.state.status.is_terminal() {
            // The end may have been recorded between the two reads, and one who reads it may take the status
            // for that after it.
            execution = find(api, id).await?;
        }
        Ok(Self {
            execution,
            number,
            attempt,
            again: 20,
        })
    }

    fn looked(&mut self) {
        self.again = self.again.saturating_sub(1);
    }

    async fn slice(&self, api: &Api, stream: OutputStream, span: Span) -> Slice {
        let dir = &api.config.logs_dir;
        let state = &self.execution.state;
        match &self.attempt {
            Some(attempt) => logs::of_ended(dir, attempt, stream, span).await,
            None if self.number == 0 => logs::of_nothing(state.status.is_terminal()),
            None => {
                let key = AttemptKey {
                    attempt: self.number,
                    ..self.execution.key()
                };
                let gone = state.status.is_terminal() || self.number < state.attempt;
                logs::of_unended(dir, &key, stream, span, gone).await
            }
        }
    }

    /// How many bytes there are by now.
    async fn there(&self, api: &Api, stream: OutputStream) -> u64 {
        match &self.attempt {
            Some(attempt) => logs::output(attempt, stream).stored,
            None => {
                let key = AttemptKey {
                    attempt: self.number,
                    ..self.execution.key()
                };
                logs::written(&api.config.logs_dir, &key, stream).await
            }
        }
    }

    fn heading(&self, span: Span) -> Heading {
        let state = &self.execution.state;
        Heading {
            attempt: self.number,
            attempts: state.attempt,
            status: state.status,
            offset: span.offset,
        }
    }
}
