//! Traces for OpenTelemetry: every run as spans, sent to a collector by OTLP over HTTP.
//!
//! The bus hands what was committed to [`Traces`], which only puts it into a bounded queue. A task of its
//! own makes spans of it ([`tracer`]) and sends them in batches ([`export`]). A collector that is slow,
//! broken or away costs spans, which are counted, and nothing else.
//!
//! The SDK of OpenTelemetry is not used: it makes the names of spans itself and wants to see each begin.
//! Ours are named by what they tell of, because the processes of an attempt were told that name before,
//! and are made when that has ended.

mod export;
mod message;
mod span;
mod tracer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::port::store::Store;
use camshaft_model::{Execution, ExecutionState, StepEventType};
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::export::{Exporter, Sending, Sent};
use self::tracer::{Heard, Tracer};

/// At most so many notices wait to become spans.
const NOTICES: usize = 32_768;

/// Where traces go, and how.
#[derive(Clone)]
pub struct Settings {
    /// The address that spans are posted to, whole.
    pub endpoint: String,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long a span may wait for others to be sent with.
    pub interval: Duration,
    /// At most so many spans to a request.
    pub batch_spans: usize,
    /// At most so many spans wait; further ones are dropped.
    pub queue_spans: usize,
    /// What the spans come from.
    pub resource: Vec<(String, String)>,
}

/// Why traces cannot be exported as configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address is none that can be posted to. Shown without what may be secret.
    #[error("'{0}' is not the address of a collector: write http://host:4318 or https://…")]
    Endpoint(String),
    /// A header is none that HTTP can carry; its value is not shown.
    #[error("the header '{0}' holds what a header cannot carry")]
    Header(String),
    /// The machine's TLS cannot be set up.
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// The subscriber.
pub struct Traces {
    notices: Mutex<Option<Sender<Heard>>>,
    dropped: Arc<AtomicU64>,
}

/// The task behind a [`Traces`].
pub struct Export {
    traces: Arc<Traces>,
    give_up: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Traces {
    /// A subscriber and the task that sends what it hears. `store` is asked for executions of long ago
    /// that a retry is to be linked to.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn start(
        settings: Settings,
        store: Arc<dyn Store>,
    ) -> Result<(Arc<Self>, Export), SetupError> {
        let address = reqwest::Url::parse(&settings.endpoint).ok();
        if !address.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(SetupError::Endpoint(export::shown(&settings.endpoint)));
        }
        let headers = headers(&settings.headers)?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("camshaft/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| SetupError::Client(error.to_string()))?;
        let (sender, receiver) = channel(NOTICES);
        let dropped = Arc::<AtomicU64>::default();
        let traces = Arc::new(Self {
            notices: Mutex::new(Some(sender)),
            dropped: dropped.clone(),
        });
        let (give_up, given_up) = oneshot::channel();
        let exporter = Exporter::new(settings, headers, client, dropped);
        let task = tokio::spawn(run(receiver, exporter, store, given_up));
        let export = Export {
            traces: traces.clone(),
            give_up,
            task,
        };
        Ok((traces, export))
    }
}

impl Export {
    /// Sends what is left, for at most `limit`, and ends. Call it once nothing is published any more.
    pub async fn stop(self, limit: Duration) {
        drop(self.traces.notices.lock().take());
        let mut task = self.task;
        if tokio::time::timeout(limit, &mut task).await.is_ok() {
            return;
        }
        let _ = self.give_up.send(());
        let _ = task.await;
    }
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, SetupError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let refused = || SetupError::Header(name.clone());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

impl Subscriber for Traces {
    fn name(&self) -> &str {
        "otlp"
    }

    fn notice(&self, notice: &Notice) {
        let Some(heard) = heard(notice) else {
            return;
        };
        let notices = self.notices.lock();
        let told = notices.as_ref().map(|notices| notices.try_send(heard));
        if !matches!(told, Some(Ok(()))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// What of a notice matters to a trace, without what may be large.
fn heard(notice: &Notice) -> Option<Heard> {
    match notice {
        Notice::Execution(execution) => Some(Heard::Execution(Box::new(Execution {
            spec: execution.spec.clone(),
            state: ExecutionState {
                result: None,
                ..execution.state.clone()
            },
        }))),
        Notice::Step(line) => match line.event_type {
            StepEventType::StepStarted | StepEventType::StepHeartbeat => None,
            _ => Some(Heard::Step(line.clone())),
        },
        Notice::Event(event) => Heard::of_event(event),
        Notice::Enforcement(_) | Notice::Constraint { .. } => None,
    }
}

/// Until there is nothing to hear and nothing to send any more, or it is told to give up.
async fn run(
    notices: Receiver<Heard>,
    mut exporter: Exporter,
    store: Arc<dyn Store>,
    given_up: oneshot::Receiver<()>,
) {
    tokio::select! {
        () = export_all(notices, &mut exporter, &*store) => {}
        _ = given_up => {}
    }
    let lost = exporter.abandon();
    if lost > 0 {
        tracing::warn!(lost, "not every span could be exported before the end");
    }
}

/// Sends spans as they come, and those that are left once nothing comes any more. A collector that does
/// not take them then is not asked again: nobody waits for one that is away.
async fn export_all(mut notices: Receiver<Heard>, exporter: &mut Exporter, store: &dyn Store) {
    let mut tracer = Tracer::default();
    let mut spans = Vec::new();
    let mut sending: Option<Sending> = None;
    let mut open = true;
    while open || sending.is_some() || !exporter.is_empty() {
        let due = if open {
            exporter.due()
        } else {
            Some(Instant::now())
        };
        let wanted = sending.is_none() && !exporter.is_empty();
        tokio::select! {
            biased;
            sent = answer(&mut sending) => {
                sending = None;
                if !exporter.sent(sent) && !open {
                    return;
                }
            }
            () = until(due), if wanted => sending = Some(exporter.send()),
            heard = notices.recv(), if open => match heard {
                Some(heard) => {
                    if let Some(of) = tracer.unknown_cause(&heard)
                        && let Ok(Some(earlier)) = store.execution(of).await
                    {
                        tracer.learn(&earlier);
                    }
                    tracer.take(heard, &mut spans);
                    exporter.add(spans.drain(..));
                }
                None => open = false,
            },
        }
    }
}

/// The answer to the request that is under way, if one is.
async fn answer(sending: &mut Option<Sending>) -> Sent {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
