//! The connector: one connection to the broker, kept up for ever, with constraints coming in and
//! telemetry going out.
//!
//! It never stands in the way of the engine. It connects in the background; only while the constraints
//! that the broker retains are being fetched, and for 2 s at the most, the engine starts nothing new.
//! When they have all come is known by a message to a topic of our own: the broker sends its echo after
//! what it had retained when we subscribed.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::port::clock::{Clock, Entropy};
use camshaft_model::port::constraint::ConstraintControl;
use rumqttc::{LastWill, QoS};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::broker::Broker;
use super::constraints::{Constraints, Forget, Input, Refused};
use super::gate::{GATE_TIMEOUT, Gate};
use super::message;
use super::session::{ConnectError, Happened, Message, Session};
use super::telemetry::{Identity, Queued, Telemetry};
use super::topic::Topics;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last messages may take before the connection is closed.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// Messages and changes that wait to be applied.
const INPUTS: usize = 4_096;
/// What the broker says of us when we are gone without a word.
const OFFLINE: &str = r#"{"status": "offline"}"#;

/// What a connector needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The broker.
    pub broker: Broker,
    /// The name by which the broker knows us; no two connections may have the same.
    pub client_id: String,
    /// The topics.
    pub topics: Topics,
    /// Who tells.
    pub identity: Identity,
    /// The version of the program, for who looks at its presence.
    pub version: String,
}

/// How the connection is.
#[derive(Debug, Clone, PartialEq)]
pub enum Link {
    /// It is there.
    Up,
    /// It is not there any more.
    Down,
    /// It is tried again.
    Retrying {
        /// Why it is not there.
        reason: String,
        /// When it is tried.
        after: Duration,
    },
}

/// Hears how the connection is. It must return at once.
pub type Listener = Arc<dyn Fn(&Link) + Send + Sync>;

/// See the module.
pub struct Connector {
    telemetry: Arc<Telemetry>,
    refused: Arc<Refused>,
    inputs: mpsc::Sender<Input>,
    stop: watch::Sender<bool>,
    task: parking_lot::Mutex<Option<JoinHandle<()>>>,
    /// Applies constraints; it holds the engine, which holds the bus, which holds this.
    applying: AbortHandle,
}

impl Connector {
    /// Begins to connect. The engine's gate is closed when this returns, and opens after 2 s at the
    /// latest. `telemetry` must hear the bus, and so must what is returned here.
    pub fn start(
        settings: Settings,
        control: Arc<dyn ConstraintControl>,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        listener: Listener,
    ) -> Arc<Self> {
        let gate = Arc::new(Gate::new(control.clone()));
        let (inputs, received) = mpsc::channel(INPUTS);
        let (forget, to_forget) = mpsc::channel(INPUTS);
        let (stop, stopped) = watch::channel(false);
        let constraints = Constraints::new(
            control,
            clock.clone(),
            settings.topics.clone(),
            gate.clone(),
            forget,
        );
        let refused = constraints.refused.clone();
        let applying = tokio::spawn(constraints.run(received)).abort_handle();
        gate.close();
        let worker = Worker {
            settings,
            telemetry: telemetry.clone(),
            clock,
            entropy,
            listener,
            gate: gate.clone(),
            inputs: inputs.clone(),
            to_forget,
            stopped,
        };
        tokio::spawn(async move {
            sleep(GATE_TIMEOUT).await;
            gate.expire();
        });
        Arc::new(Self {
            telemetry,
            refused,
            inputs,
            stop,
            task: parking_lot::Mutex::new(Some(tokio::spawn(worker.run()))),
            applying,
        })
    }

    /// How many messages about constraints changed nothing.
    pub fn refused(&self) -> u64 {
        self.refused.count()
    }

    /// Sends what is left, says that we are gone, and closes the connection: after 2 s at the latest.
    pub async fn stop(&self) {
        self.telemetry.close();
        let _ = self.stop.send(true);
        let Some(mut task) = self.task.lock().take() else {
            return;
        };
        // A broker that takes its time for the last word as well does not hold up the end.
        if timeout(2 * FLUSH_TIMEOUT, &mut task).await.is_err() {
            tracing::warn!("the connection to the broker was not closed in time");
            task.abort();
        }
        self.applying.abort();
    }

    /// Lets go of the connection at once, as by a crash: the broker tells that we are gone.
    pub fn cut_off(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
        self.applying.abort();
    }
}

impl Subscriber for Connector {
    fn name(&self) -> &str {
        "mqtt constraints"
    }

    fn refused(&self) -> u64 {
        self.refused.count()
    }

    fn notice(&self, notice: &Notice) {
        if let Notice::Constraint {
            constraint, change, ..
        } = notice
            && self
                .inputs
                .try_send(Input::Changed(constraint.clone(), *change))
                .is_err()
        {
            tracing::warn!(
                constraint = constraint.id,
                "the broker may go on holding a constraint: too many changes at once"
            );
        }
    }
}

/// What a message was, so that it can be sent again if the broker has not got it.
enum Ticket {
    Telemetry(Box<Queued>),
    Forget(camshaft_model::ConstraintKey),
    Other,
}

enum End {
    Stopped,
    Lost(ConnectError),
}

struct Worker {
    settings: Settings,
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    listener: Listener,
    gate: Arc<Gate>,
    inputs: mpsc::Sender<Input>,
    to_forget: mpsc::Receiver<Forget>,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    async fn run(mut self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let reason = match self.open().await {
                Ok(session) => {
                    backoff = FIRST_BACKOFF;
                    (self.listener)(&Link::Up);
                    let end = self.serve(session).await;
                    (self.listener)(&Link::Down);
                    match end {
                        End::Stopped => return,
                        End::Lost(error) => error.to_string(),
                    }
                }
                Err(error) => error.to_string(),
            };
            if *self.stopped.borrow() {
                return;
            }
            // Engines that lost the same broker must not come back in step.
            let after = backoff.mul_f64(0.5 + self.entropy.fraction() / 2.0);
            (self.listener)(&Link::Retrying { reason, after });
            backoff = (backoff * 2).min(LAST_BACKOFF);
            tokio::select! {
                () = sleep(after) => {}
                () = asked_to_stop(&mut self.stopped) => {
                    // One more attempt for what has not been told yet.
                    if self.telemetry.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<Session<Ticket>, ConnectError> {
        let Settings {
            broker,
            client_id,
            topics,
            identity,
            ..
        } = &self.settings;
        let will = LastWill::new(
            topics.status(&identity.source),
            OFFLINE,
            QoS::AtLeastOnce,
            true,
        );
        let within = if *self.stopped.borrow() {
            FLUSH_TIMEOUT
        } else {
            CONNECT_TIMEOUT
        };
        Session::open(broker, client_id, Some(will), within).await
    }

    async fn serve(&mut self, mut session: Session<Ticket>) -> End {
        let gate = self.gate.close();
        let error = self.converse(&mut session, gate).await;
        self.gate.open(gate);
        let _ = self.inputs.send(Input::Disconnected).await;
        match error {
            Ok(()) => {
                session.close().await;
                End::Stopped
            }
            Err(error) => {
                let tickets = session.into_unacknowledged();
                let telemetry = tickets.into_iter().filter_map(|ticket| match ticket {
                    Ticket::Telemetry(queued) => Some(*queued),
                    // These are published again with the next connection.
                    Ticket::Forget(_) | Ticket::Other => None,
                });
                self.telemetry.put_back(telemetry.collect());
                while self.to_forget.try_recv().is_ok() {}
                End::Lost(error)
            }
        }
    }

    async fn converse(
        &mut self,
        session: &mut Session<Ticket>,
        gate: u64,
    ) -> Result<(), ConnectError> {
        let marker = format!("{}/sync", self.status_topic());
        let _ = self.inputs.send(Input::Connected).await;
        self.greet(session);
        session.subscribe(vec![
            (self.settings.topics.constraints(), QoS::AtLeastOnce),
            (marker.clone(), QoS::AtLeastOnce),
        ])?;
        let mut gathering_until = Some(Instant::now() + GATE_TIMEOUT);
        let mut flush_until = None;
        loop {
            self.send_telemetry(session);
            let flushed = self.telemetry.is_empty() && session.is_idle();
            if flush_until.is_some_and(|at| flushed || Instant::now() >= at) {
                return self.take_leave(session).await;
            }
            let until = |at: Option<Instant>| async move {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                happened = session.next() => {
                    if self.happened(happened?, session, &marker).await {
                        gathering_until = None;
                        let _ = self.inputs.send(Input::Gathered(gate)).await;
                    }
                }
                () = self.telemetry.filled(), if session.has_room() => {}
                Some(Forget { key, message }) = self.to_forget.recv(), if session.has_room() => {
                    let _ = session.publish(message, Ticket::Forget(key));
                }
                () = until(gathering_until) => {
                    tracing::warn!("the broker has not said within 2 s that all of its constraints are here (may this engine publish to {marker}?); what has come holds");
                    gathering_until = None;
                    self.gate.open(gate);
                    let _ = self.inputs.send(Input::Gathered(gate)).await;
                }
                () = until(flush_until) => {}
                () = asked_to_stop(&mut self.stopped), if flush_until.is_none() => {
                    flush_until = Some(Instant::now() + FLUSH_TIMEOUT);
                }
            }
        }
    }

    /// Deals with what happened; `true` if the broker has sent all that it had retained.
    async fn happened(
        &self,
        happened: Happened<Ticket>,
        session: &mut Session<Ticket>,
        marker: &str,
    ) -> bool {
        match happened {
            Happened::Acknowledged(Ticket::Telemetry(queued)) => {
                self.telemetry.delivered(queued.run);
            }
            Happened::Acknowledged(Ticket::Forget(key)) => {
                let _ = self.inputs.send(Input::Forgotten(key)).await;
            }
            Happened::Acknowledged(Ticket::Other) => {}
            Happened::Subscribed(granted) => {
                if !granted {
                    tracing::error!(
                        "the broker refuses the subscription to {}: its constraints do not reach this engine",
                        self.settings.topics.constraints()
                    );
                }
                let _ = session.publish(Message::passing(marker.to_owned(), "sync"), Ticket::Other);
            }
            Happened::Received(publish) if publish.topic == marker => return true,
            Happened::Received(publish) => {
                let input = Input::Received {
                    topic: publish.topic,
                    payload: publish.payload.into(),
                    retained: publish.retain,
                };
                let _ = self.inputs.send(input).await;
            }
        }
        false
    }

    fn send_telemetry(&self, session: &mut Session<Ticket>) {
        while session.has_room()
            && let Some(queued) = self.telemetry.pop()
        {
            let message = self.telemetry.written(&queued);
            if let Err(Ticket::Telemetry(queued)) =
                session.publish(message, Ticket::Telemetry(Box::new(queued)))
            {
                self.telemetry.put_back(vec![*queued]);
                return;
            }
        }
    }

    fn status_topic(&self) -> String {
        self.settings.topics.status(&self.settings.identity.source)
    }

    fn greet(&self, session: &mut Session<Ticket>) {
        let Settings {
            identity, version, ..
        } = &self.settings;
        let online = json!({
            "status": "online",
            "since": self.clock.now(),
            "org_id": identity.org_id,
            "project_id": identity.project_id,
            "version": version,
        });
        let message = Message::retained(self.status_topic(), message::spaced(&online));
        let _ = session.publish(message, Ticket::Other);
    }

    async fn take_leave(&self, session: &mut Session<Ticket>) -> Result<(), ConnectError> {
        let message = Message::retained(self.status_topic(), OFFLINE);
        let _ = session.publish(message, Ticket::Other);
        let told = async {
            while !session.is_idle() {
                if let Happened::Acknowledged(Ticket::Telemetry(queued)) = session.next().await? {
                    self.telemetry.delivered(queued.run);
                }
            }
            Ok(())
        };
        // Whoever does not hear it from us hears it from the broker.
        timeout(FLUSH_TIMEOUT, told).await.unwrap_or(Ok(()))
    }
}

async fn asked_to_stop(stopped: &mut watch::Receiver<bool>) {
    // Whoever could ask is gone: that is as good as having asked.
    let _ = stopped.wait_for(|stop| *stop).await;
}
