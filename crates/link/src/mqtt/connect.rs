//! The connector: one connection to the broker, kept up for ever, with constraints coming in and
//! telemetry going out.
//!
//! It never stands in the way of the engine. It connects in the background; only while the constraints
//! that the broker retains are being fetched, and for 2 s at the most, the engine starts nothing new.
//! When they have all come is known by a message to a topic of our own: the broker sends its echo after
//! what it had retained when we subscribed. Telemetry waits until then, so that what has piled up while
//! the broker was away does not stand before that message.
//!
//! At the stop all of it has one deadline. That we are gone is said last, and the connection is closed
//! only once the broker has it; else it is dropped, and the broker says it by our will.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::MAX_CONSTRAINTS;
use camshaft_model::notice::{Connection, Notice, Subscriber};
use camshaft_model::port::clock::{Clock, Entropy};
use camshaft_model::port::constraint::ConstraintControl;
use parking_lot::Mutex;
use rumqttc::{LastWill, QoS};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::backoff::{Backoff, Went};
use super::broker::Broker;
use super::constraints::{Constraints, Notes, Refused, Tell};
use super::gate::{GATE_TIMEOUT, Gate};
use super::inbox::{Inbox, Input, inbox};
use super::message::{self, MAX_CONSTRAINT_BYTES};
use super::session::{ConnectError, Happened, Message, Session};
use super::telemetry::noted::Noted;
use super::telemetry::{Identity, Queued, Telemetry};
use super::topic::Topics;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker may take to send what it retains; the rest of the gate's time is for applying it.
const GATHER_TIMEOUT: Duration = GATE_TIMEOUT.saturating_sub(Duration::from_millis(200));
/// How long the last messages may take at the stop, if nobody says.
pub const FLUSH: Duration = Duration::from_secs(2);
/// How long the word that we are gone may take after them.
const LEAVE_TIME: Duration = Duration::from_millis(500);
/// How long the connection itself may take to close after that.
const CLOSE_TIME: Duration = Duration::from_millis(250);
/// The most predecessors that the broker is made to forget at once.
const MAX_PREDECESSORS: usize = 16;
/// What waits to be told of constraints: of each there are two topics.
const TELLS: usize = 2 * MAX_CONSTRAINTS;
/// What the broker says of us when we are gone without a word.
const OFFLINE: &str = r#"{"status": "offline"}"#;

/// What a connector needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The broker.
    pub broker: Broker,
    /// The name by which the broker knows us; no two connections may have the same.
    pub client_id: String,
    /// The topics.
    pub topics: Topics,
    /// Who tells.
    pub identity: Identity,
    /// Earlier sources of the same data directory, whose presence nobody will look at any more.
    pub predecessors: Vec<String>,
    /// The version of the program, for who looks at its presence.
    pub version: String,
    /// Where it is kept through restarts what this engine decided otherwise than the broker.
    pub notes: Option<Arc<dyn Notes>>,
    /// Where it is kept how far the broker has heard of ends: see [`noted`](super::telemetry::noted).
    pub noted: Option<Arc<dyn Notes>>,
    /// How long the last messages may take at the stop.
    pub flush: Duration,
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
    flush: Duration,
    noted: Arc<Noted>,
    refused: Arc<Refused>,
    connection: Arc<Mutex<Connection>>,
    inbox: Inbox,
    /// Set to the deadline when it stops.
    stop: watch::Sender<Option<Instant>>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Applies constraints; it holds the engine, which holds the bus, which holds this.
    applying: AbortHandle,
    /// Finds out what holds executions; it holds the engine as well.
    settling: AbortHandle,
    noting: AbortHandle,
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
        let (inbox, inputs) = inbox();
        let (tell, to_tell) = mpsc::channel(TELLS);
        let (stop, stopped) = watch::channel(None);
        let settling = tokio::spawn(telemetry.clone().settle(control.clone())).abort_handle();
        let constraints = Constraints::new(
            control,
            clock.clone(),
            settings.topics.clone(),
            gate.clone(),
            tell,
            entropy.uuid(clock.now()).simple().to_string(),
        );
        let constraints = match &settings.notes {
            Some(notes) => constraints.keeping(notes.clone()),
            None => constraints,
        };
        let refused = constraints.refused.clone();
        let applying = tokio::spawn(constraints.run(inputs)).abort_handle();
        gate.close();
        let connection = Arc::new(Mutex::new(Connection {
            to: settings.broker.to_string(),
            up: false,
            since: clock.now(),
            problem: None,
        }));
        let noted = Arc::new(Noted::new(settings.noted.clone()));
        let noting = tokio::spawn(noted.clone().keep(telemetry.clone())).abort_handle();
        let flush = settings.flush;
        let worker = Worker {
            settings,
            telemetry: telemetry.clone(),
            clock,
            entropy,
            listener,
            connection: connection.clone(),
            gate,
            inbox: inbox.clone(),
            to_tell,
            stopped,
        };
        Arc::new(Self {
            telemetry,
            flush,
            noted,
            refused,
            connection,
            inbox,
            stop,
            task: Mutex::new(Some(tokio::spawn(worker.run()))),
            applying,
            settling,
            noting,
        })
    }

    /// How many messages about constraints changed nothing.
    pub fn refused(&self) -> u64 {
        self.refused.count()
    }

    /// Sends what is left, for as long as the settings say, then says that we are gone, and closes the
    /// connection.
    pub async fn stop(&self) {
        self.settling.abort();
        self.telemetry.close();
        let deadline = Instant::now() + self.flush + LEAVE_TIME;
        let _ = self.stop.send(Some(deadline));
        let Some(mut task) = self.task.lock().take() else {
            return;
        };
        if timeout_at(deadline + CLOSE_TIME, &mut task).await.is_err() {
            tracing::warn!("the connection to the broker was not closed in time");
            task.abort();
        }
        self.applying.abort();
        self.noting.abort();
        self.noted.close(self.telemetry.told_up_to());
        let left = self.telemetry.give_up();
        if left > 0 {
            tracing::warn!(
                left,
                "the broker had not taken all that was told of runs when the engine stopped"
            );
        }
    }

    /// Lets go of the connection at once, as by a crash: the broker tells that we are gone.
    pub fn cut_off(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
        self.applying.abort();
        self.settling.abort();
        self.noting.abort();
    }
}

impl Subscriber for Connector {
    fn name(&self) -> &str {
        "mqtt constraints"
    }

    fn refused(&self) -> u64 {
        self.refused.count()
    }

    fn connection(&self) -> Option<Connection> {
        Some(self.connection.lock().clone())
    }

    fn notice(&self, notice: &Notice) {
        if let Notice::Constraint {
            constraint, change, ..
        } = notice
        {
            self.inbox.put(Input::Changed(constraint.clone(), *change));
        }
    }
}

/// What a message was, so that it can be sent again if the broker has not got it.
enum Ticket {
    Telemetry(Box<Queued>),
    Offline,
    Other,
}

/// How a connection came to its end.
enum End {
    /// The broker knows that we are gone.
    Told,
    /// There was no time to tell it: it finds out.
    CutOff,
    Lost(ConnectError),
}

/// One connection, as far as it has come.
struct Talk {
    number: u64,
    /// The topic of the message by whose echo it is known that everything has come.
    marker: String,
    /// What is in that message, which nobody else knows.
    mark: String,
    /// Until when the broker may take to send what it retains; `None` once that is over.
    gathering_until: Option<Instant>,
    /// Whether everything that the broker retains has come.
    has_all: bool,
    stop_at: Option<Instant>,
}

struct Worker {
    settings: Settings,
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    listener: Listener,
    connection: Arc<Mutex<Connection>>,
    gate: Arc<Gate>,
    inbox: Inbox,
    to_tell: mpsc::Receiver<Tell>,
    stopped: watch::Receiver<Option<Instant>>,
}

impl Worker {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let (reason, went) = match self.open().await {
                Ok(session) => {
                    self.tell(&Link::Up);
                    let began = Instant::now();
                    let (end, gathered) = self.serve(session).await;
                    self.tell(&Link::Down);
                    let after = began.elapsed();
                    match end {
                        End::Told | End::CutOff => return,
                        End::Lost(error) => (error.to_string(), Went::Lost { after, gathered }),
                    }
                }
                Err(error) => (error.to_string(), Went::Unreached),
            };
            if self.stopped.borrow().is_some() {
                return;
            }
            // Engines that lost the same broker must not come back in step.
            let after = backoff
                .after(went)
                .mul_f64(0.5 + self.entropy.fraction() / 2.0);
            if backoff.is_a_pattern() && went != Went::Unreached {
                tracing::warn!(
                    client_id = self.settings.client_id,
                    "connections to the broker end as soon as they have begun: another client may have the same name, or a message below {} may be larger than a connection takes",
                    self.settings.topics.constraints()
                );
            }
            self.tell(&Link::Retrying { reason, after });
            tokio::select! {
                () = sleep(after) => {}
                _ = asked_to_stop(&mut self.stopped) => {
                    // One more attempt for what has not been told yet.
                    if self.telemetry.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// Notes how the connection is, and tells the listener.
    fn tell(&self, link: &Link) {
        {
            let mut connection = self.connection.lock();
            let up = *link == Link::Up;
            if connection.up != up {
                (connection.up, connection.since) = (up, self.clock.now());
            }
            connection.problem = match link {
                Link::Retrying { reason, .. } => Some(reason.clone()),
                Link::Up | Link::Down => None,
            };
        }
        (self.listener)(link);
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
        let deadline = *self.stopped.borrow();
        let within = deadline.map_or(CONNECT_TIMEOUT, |at| at - Instant::now());
        Session::open(broker, client_id, Some(will), within).await
    }

    /// What became of a connection, and whether everything that the broker retains has come by it.
    async fn serve(&mut self, mut session: Session<Ticket>) -> (End, bool) {
        let mut talk = Talk {
            number: self.gate.close(),
            marker: format!("{}/sync", self.status_topic()),
            mark: self.entropy.uuid(self.clock.now()).simple().to_string(),
            gathering_until: Some(Instant::now() + GATHER_TIMEOUT),
            has_all: false,
            stop_at: None,
        };
        let ended = self.converse(&mut session, &mut talk).await;
        self.inbox.put(Input::Disconnected(talk.number));
        let end = match ended {
            Ok(true) => {
                session.close().await;
                End::Told
            }
            Ok(false) => End::CutOff,
            Err(error) => {
                let tickets = session.into_unacknowledged();
                let telemetry = tickets.into_iter().filter_map(|ticket| match ticket {
                    Ticket::Telemetry(queued) => Some(*queued),
                    // What of these is still needed is published again with the next connection.
                    Ticket::Offline | Ticket::Other => None,
                });
                self.telemetry.put_back(telemetry.collect());
                End::Lost(error)
            }
        };
        (end, talk.has_all)
    }

    /// Goes on until the engine stops. Says then whether the broker knows.
    async fn converse(
        &mut self,
        session: &mut Session<Ticket>,
        talk: &mut Talk,
    ) -> Result<bool, ConnectError> {
        self.inbox.put(Input::Connected(talk.number));
        self.greet(session);
        session.subscribe(vec![
            (self.settings.topics.constraints(), QoS::AtLeastOnce),
            (talk.marker.clone(), QoS::AtLeastOnce),
        ])?;
        loop {
            // Engines act on what is told of constraints, so it never waits for telemetry, of which there
            // may be any amount.
            while session.has_room()
                && let Ok(tell) = self.to_tell.try_recv()
            {
                tell_of_constraint(tell, session, talk);
            }
            if talk.gathering_until.is_none() || talk.stop_at.is_some() {
                self.send_telemetry(session);
            }
            if let Some(deadline) = talk.stop_at {
                let flushed = self.telemetry.is_empty() && session.is_idle();
                if flushed || Instant::now() + LEAVE_TIME >= deadline {
                    return self.take_leave(session, deadline).await;
                }
            }
            let until = |at: Option<Instant>| async move {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                happened = session.next() => self.happened(happened?, session, talk)?,
                () = self.telemetry.filled(), if session.has_room() && talk.gathering_until.is_none() => {}
                Some(tell) = self.to_tell.recv(), if session.has_room() => tell_of_constraint(tell, session, talk),
                () = until(talk.gathering_until) => {
                    tracing::warn!("the broker has not said within 2 s that all of its constraints are here (may this engine publish to {}?); what has come holds", talk.marker);
                    self.gathered(talk, false);
                }
                () = until(talk.stop_at.map(|at| at - LEAVE_TIME)) => {}
                at = asked_to_stop(&mut self.stopped), if talk.stop_at.is_none() => {
                    talk.stop_at = Some(at);
                }
            }
        }
    }

    /// What has come is to be applied, and then the gate may open.
    fn gathered(&self, talk: &mut Talk, complete: bool) {
        talk.has_all |= complete;
        talk.gathering_until = None;
        self.inbox.put(Input::Gathered {
            connection: talk.number,
            complete,
        });
    }

    fn happened(
        &self,
        happened: Happened<Ticket>,
        session: &mut Session<Ticket>,
        talk: &mut Talk,
    ) -> Result<(), ConnectError> {
        match happened {
            Happened::Acknowledged(ticket) => self.acknowledged(ticket),
            Happened::Subscribed(granted) => {
                if !granted {
                    tracing::error!(
                        "the broker refuses the subscription to {}: its constraints do not reach this engine",
                        self.settings.topics.constraints()
                    );
                }
                let marker = Message::passing(talk.marker.clone(), talk.mark.clone());
                if session.publish(marker, Ticket::Other).is_err() {
                    return Err(
                        session.lost("there was no room for the message that is waited for")
                    );
                }
            }
            Happened::Received(publish) if publish.topic == talk.marker => {
                // It is late if the gate is open already.
                let is_ours = !publish.retain && publish.payload == talk.mark;
                if is_ours && !talk.has_all {
                    self.gathered(talk, true);
                }
            }
            Happened::Received(publish) => {
                let (topic, bytes) = (publish.topic, publish.payload.len());
                let input = if bytes > MAX_CONSTRAINT_BYTES {
                    Input::TooLarge { topic, bytes }
                } else {
                    Input::Received {
                        topic,
                        payload: publish.payload.into(),
                        retained: publish.retain,
                    }
                };
                if !self.inbox.offer(input) {
                    // What is retained comes again with the next connection.
                    return Err(session.lost("more came about constraints than could be stored"));
                }
            }
        }
        Ok(())
    }

    fn acknowledged(&self, ticket: Ticket) {
        match ticket {
            Ticket::Telemetry(queued) => self.telemetry.delivered(queued.run),
            Ticket::Offline | Ticket::Other => {}
        }
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

    /// Says that we are here, and that those before us will not be again.
    fn greet(&self, session: &mut Session<Ticket>) {
        let Settings {
            identity,
            version,
            topics,
            predecessors,
            ..
        } = &self.settings;
        let online = json!({
            "status": "online",
            "since": self.clock.now(),
            "org_id": identity.org_id,
            "project_id": identity.project_id,
            "version": version,
        });
        let gone = predecessors.iter().filter(|gone| **gone != identity.source);
        let gone = gone.map(|gone| Message::retained(topics.status(gone), ""));
        let here = Message::retained(self.status_topic(), message::spaced(&online));
        for message in gone.take(MAX_PREDECESSORS).chain([here]) {
            let _ = session.publish(message, Ticket::Other);
        }
    }

    /// Says that we are gone; whether the broker knows before the deadline.
    async fn take_leave(
        &self,
        session: &mut Session<Ticket>,
        deadline: Instant,
    ) -> Result<bool, ConnectError> {
        let message = Message::retained(self.status_topic(), OFFLINE);
        if session.publish(message, Ticket::Offline).is_err() {
            return Ok(false);
        }
        let told = async {
            loop {
                match session.next().await? {
                    Happened::Acknowledged(Ticket::Offline) => return Ok(true),
                    Happened::Acknowledged(ticket) => self.acknowledged(ticket),
                    Happened::Received(_) | Happened::Subscribed(_) => {}
                }
            }
        };
        timeout_at(deadline, told).await.unwrap_or(Ok(false))
    }
}

/// Returns the deadline.
async fn asked_to_stop(stopped: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match stopped.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        // Whoever could ask is gone: that is as good as having asked.
        Err(_) => Instant::now() + LEAVE_TIME,
    }
}

/// What was meant for an earlier connection was decided anew for this one.
fn tell_of_constraint(tell: Tell, session: &mut Session<Ticket>, talk: &Talk) {
    let Tell {
        connection,
        message,
    } = tell;
    if connection == talk.number {
        let _ = session.publish(message, Ticket::Other);
    }
}

#[cfg(test)]
mod tests;
