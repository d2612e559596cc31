//! Event streams. A follower reads the log from where its client left off by pages, and once it has
//! caught up waits for a hint (or for the sweep behind lost hints) and reads on. It keeps at most one
//! page, so a slow client costs memory once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use camshaft_model::port::store::{PageRequest, StepEventFilter, Store};
use camshaft_model::{ExecutionId, StepEvent};
use futures::stream;

use crate::body::parse_text;
use crate::feed::{Feed, Hints, Woken};
use crate::problem::Problem;
use crate::serve::Stopping;

/// How many lines are read at once.
const PAGE: u32 = 500;
/// How often the log is looked at without a hint.
const SWEEP: Duration = Duration::from_secs(10);
/// How often a silent stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One client that follows the event log.
pub(crate) struct Follower {
    store: Arc<dyn Store>,
    filter: StepEventFilter,
    /// The log was read as far as this line.
    read_to: i64,
    /// As far as this one, once `page` has been handed on.
    then_to: i64,
    /// The stream ends when this execution is terminal and the log was read to its end.
    until: Option<ExecutionId>,
    /// Whether that execution may have become terminal since it was last looked at.
    unsure: bool,
    over: bool,
    feed: Arc<Feed>,
    hints: Hints,
    page: VecDeque<StepEvent>,
    stopping: Stopping,
}

impl Follower {
    /// Follows the lines of `filter` after `after`; with `until` only as long as that execution lives.
    pub(crate) fn new(
        store: &Arc<dyn Store>,
        feed: &Arc<Feed>,
        filter: StepEventFilter,
        after: i64,
        until: Option<ExecutionId>,
        stopping: Stopping,
    ) -> Self {
        let hints = feed.hints(filter.root);
        Self {
            store: Arc::clone(store),
            filter,
            read_to: after,
            then_to: after,
            until,
            unsure: true,
            over: false,
            feed: Arc::clone(feed),
            hints,
            page: VecDeque::new(),
            stopping,
        }
    }

    /// The next line; `None` when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<StepEvent> {
        loop {
            if let Some(line) = self.page.pop_front() {
                self.read_to = line.id;
                return Some(line);
            }
            self.read_to = self.read_to.max(self.then_to);
            if self.stopping.is_stopped() {
                return None;
            }
            self.unsure |= self.hints.forget(self.until);
            // What was heard of before the read begins is in it, or is none of these lines.
            let newest = self.feed.newest();
            let page = PageRequest {
                after: Some(self.read_to),
                limit: PAGE,
            };
            match self.store.step_events(self.filter.clone(), page).await {
                Ok(lines) => {
                    if lines.len() < PAGE as usize {
                        self.then_to = newest;
                    }
                    self.page = lines.into();
                }
                // The client comes back with the id of the last line that it has.
                Err(error) => {
                    tracing::warn!(%error, "an event stream was cut off");
                    return None;
                }
            }
            if self.page.is_empty() && !self.caught_up().await {
                return None;
            }
        }
    }

    /// Waits for more. False when there will be none: the execution was terminal before the log was
    /// last read to its end.
    async fn caught_up(&mut self) -> bool {
        if self.over {
            return false;
        }
        if let Some(id) = self.until.filter(|_| self.unsure) {
            self.unsure = false;
            match self.store.execution(id).await {
                Ok(execution) => self.over = execution.is_none_or(|e| e.state.status.is_terminal()),
                Err(_) => return false,
            }
            if self.over {
                return true;
            }
        }
        let seen = self.read_to.max(self.then_to);
        tokio::select! {
            woken = self.hints.wait(seen) => self.unsure |= match woken {
                Woken::Line => false,
                Woken::Moved(id) => self.until == Some(id),
                Woken::Lagged => true,
            },
            () = tokio::time::sleep(SWEEP) => self.unsure = true,
            () = self.stopping.stopped() => return false,
        }
        true
    }

    /// The answer that carries the stream.
    pub(crate) fn into_response(self) -> Response {
        let lines = stream::unfold(self, |mut follower| async move {
            let line = follower.next().await?;
            Some((
                Event::default().id(line.id.to_string()).json_data(&line),
                follower,
            ))
        });
        Sse::new(lines)
            .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
            .into_response()
    }
}

/// Where a client left off: its `Last-Event-ID`, else the parameter `after`.
pub(crate) fn resume_after(
    headers: &HeaderMap,
    after: Option<i64>,
) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(after);
    };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(after);
    }
    parse_text::<i64>(text).map(Some).map_err(|_| {
        Problem::invalid("Last-Event-ID must be the id of a line of the event log, a whole number")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_reconnecting_client_wins_over_the_parameter() {
        let headers = |text: &str| {
            HeaderMap::from_iter([("last-event-id".parse().unwrap(), text.parse().unwrap())])
        };
        assert_eq!(resume_after(&headers("17"), Some(3)).unwrap(), Some(17));
        assert_eq!(resume_after(&headers(""), Some(3)).unwrap(), Some(3));
        assert_eq!(resume_after(&HeaderMap::new(), None).unwrap(), None);
        assert!(resume_after(&headers("seventeen"), None).is_err());
    }
}
