//! Sending spans: one request at a time, again where the collector says that this may help.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::time::Instant;

use super::Settings;
use super::message::{
    ExportRequest, ExportResponse, Resource, ResourceSpans, Scope, ScopeSpans, Span, attribute, cut,
};

/// How long a collector that cannot be reached is left alone: this, and twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// At most so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A collector that names a time itself is left alone for that long, but for no longer than this.
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(300);
/// At most so many bytes of an answer are read.
const ANSWER_BYTES: usize = 64 << 10;

/// Spans on their way to the collector.
pub(super) struct Exporter {
    client: reqwest::Client,
    settings: Settings,
    /// The address without what may be secret.
    shown_endpoint: String,
    headers: HeaderMap,
    resource: Resource,
    waiting: VecDeque<Span>,
    dropped: Arc<AtomicU64>,
    /// How many spans the request that is under way has.
    under_way: usize,
    /// Since when spans wait that make no full batch.
    since: Option<Instant>,
    /// Not to be asked before this instant.
    resume_at: Option<Instant>,
    pause: Duration,
    failing: bool,
}

/// A request that is under way.
pub(super) type Sending = BoxFuture<'static, Sent>;

/// What became of one request.
pub(super) struct Sent {
    spans: Vec<Span>,
    outcome: Outcome,
}

enum Outcome {
    Taken {
        rejected: u64,
        message: String,
    },
    /// It may help to ask again, after the time that the collector names.
    Later(String, Option<Duration>),
    Refused(String),
}

impl Exporter {
    pub(super) fn new(
        settings: Settings,
        headers: HeaderMap,
        client: reqwest::Client,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        let attributes = settings.resource.iter();
        let attributes = attributes.map(|(key, value)| attribute(key.as_str(), value.as_str()));
        Self {
            resource: Resource {
                attributes: attributes.collect(),
            },
            client,
            shown_endpoint: shown(&settings.endpoint),
            settings,
            headers,
            waiting: VecDeque::new(),
            dropped,
            under_way: 0,
            since: None,
            resume_at: None,
            pause: FIRST_PAUSE,
            failing: false,
        }
    }

    /// Takes spans; those that have no room are dropped and counted.
    pub(super) fn add(&mut self, spans: impl IntoIterator<Item = Span>) {
        for span in spans {
            if self.waiting.len() < self.settings.queue_spans {
                self.waiting.push_back(span);
            } else {
                self.drop(1);
            }
        }
        if !self.waiting.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the next request is due; `None` if there is nothing to send.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since.filter(|_| !self.is_empty())?;
        let full = self.waiting.len() >= self.settings.batch_spans;
        let due = if full {
            since
        } else {
            since + self.settings.interval
        };
        Some(self.resume_at.map_or(due, |resume_at| due.max(resume_at)))
    }

    /// The next request.
    pub(super) fn send(&mut self) -> Sending {
        let count = self.waiting.len().min(self.settings.batch_spans);
        let spans: Vec<Span> = self.waiting.drain(..count).collect();
        self.under_way = spans.len();
        self.since = (!self.is_empty()).then(Instant::now);
        let scope = Scope {
            name: "camshaft".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut request = ExportRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                }],
            }],
        };
        let body = request.encode_to_vec();
        let spans = request.resource_spans.pop();
        let spans = spans.and_then(|mut resource| resource.scope_spans.pop());
        let spans = spans.map(|scope| scope.spans).unwrap_or_default();
        let request = self
            .client
            .post(self.settings.endpoint.as_str())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .timeout(self.settings.timeout)
            .body(body);
        Box::pin(async move {
            let outcome = ask(request).await;
            Sent { spans, outcome }
        })
    }

    /// Takes note of what became of a request; whether the collector took it.
    pub(super) fn sent(&mut self, sent: Sent) -> bool {
        self.under_way = 0;
        match sent.outcome {
            Outcome::Taken { rejected, message } => {
                (self.resume_at, self.pause) = (None, FIRST_PAUSE);
                let rejected = rejected.min(sent.spans.len() as u64);
                if rejected > 0 {
                    self.failed(&format!(
                        "the collector rejected {rejected} spans: {message}"
                    ));
                    self.drop(rejected);
                } else if std::mem::take(&mut self.failing) {
                    tracing::info!(endpoint = self.shown_endpoint, "spans are exported again");
                }
                true
            }
            Outcome::Later(reason, after) => {
                self.failed(&reason);
                let asked = after.map(|after| after.clamp(FIRST_PAUSE, LONGEST_ASKED_FOR));
                let pause = asked.unwrap_or(self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.resume_at = Some(Instant::now() + pause);
                let room = self.settings.queue_spans.saturating_sub(self.waiting.len());
                let lost = sent.spans.len().saturating_sub(room);
                // The oldest go: they are the least of use to who looks at what happens now.
                for span in sent.spans.into_iter().skip(lost).rev() {
                    self.waiting.push_front(span);
                }
                self.drop(lost as u64);
                self.since.get_or_insert_with(Instant::now);
                false
            }
            Outcome::Refused(reason) => {
                self.failed(&reason);
                self.drop(sent.spans.len() as u64);
                false
            }
        }
    }

    /// Gives up what is left, and says how much that was.
    pub(super) fn abandon(&mut self) -> u64 {
        let left = (self.waiting.len() + self.under_way) as u64;
        self.waiting.clear();
        self.under_way = 0;
        self.drop(left);
        left
    }

    fn drop(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Says once that spans cannot be exported; from then on they are only counted.
    fn failed(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                endpoint = self.shown_endpoint,
                reason,
                "spans cannot be exported; they are kept as far as there is room, and dropped and counted beyond"
            );
        }
    }
}

async fn ask(request: reqwest::RequestBuilder) -> Outcome {
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return Outcome::Later(chain(&error), None),
    };
    let status = answer.status();
    let after = answer.headers().get("retry-after");
    let after = after.and_then(|text| text.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES {
            break;
        }
    }
    if status.is_success() {
        // An answer that cannot be read tells of nothing that was rejected.
        let answer = ExportResponse::decode(&*body).unwrap_or_default();
        let partial = answer.partial_success.unwrap_or_default();
        return Outcome::Taken {
            rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
            message: cut(&partial.error_message),
        };
    }
    let reason = format!("the collector answered {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Later(reason, after.map(Duration::from_secs)),
        _ => Outcome::Refused(reason),
    }
}

/// An address without what may be secret: a user's name and password, and what comes after a `?`.
pub(super) fn shown(address: &str) -> String {
    let plain = address.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = plain.split_once("://").unwrap_or(("", plain));
    // A password may hold a `/` or an `@` of its own, so the last `@` counts, wherever it is.
    let rest = rest.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() {
        rest.to_owned()
    } else {
        format!("{scheme}://{rest}")
    }
}

/// An error with its causes, without the address, which may hold a password.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "the collector did not answer in time".to_owned()
    } else {
        "the collector cannot be reached".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
