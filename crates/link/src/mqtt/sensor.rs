//! `core.mqtt`: messages of a topic as events.
//!
//! Each sensor has a connection of its own, so that a flood on one topic does not hold up constraints.
//! With QoS 1 its session is kept by the broker under a name that stays the same: what is published
//! while the engine is away comes later, and a message is acknowledged only once its event is recorded,
//! so each comes at least once. A sensor that is no longer wanted ends its session, because the broker
//! would go on collecting for it. More than QoS 1 is not asked for: of an exchange that a lost connection
//! cut off in the middle the client library remembers nothing, and takes its rest for a breach.
//!
//! What the broker retains comes with every connection, marked as retained. That is an event once for
//! each content. What was seen when it was published is not marked, because the same content may be
//! published again; so it is an event once more when it comes as retained for the first time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camshaft_model::definition::TriggerKind;
use camshaft_model::port::sensor::{Intake, IntakeError, SensorHealth, SensorHost, SensorSpec};
use camshaft_model::{EventDraft, EventSource, Object, duration};
use parking_lot::Mutex;
use rumqttc::Publish;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::broker::{Broker, PORT, TLS_PORT, TlsFiles};
use super::publish::quality;
use super::session::{Happened, Session};

/// The largest message that becomes an event.
const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// What is wrong with a sensor until the broker has granted its subscription.
const NOT_YET: &str = "it is not connected to the broker yet";
/// How long sensors may take to end when the engine stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The broker that an action's or a sensor's own parameters name; `None` if they name none.
///
/// # Errors
/// What is wrong with them.
pub fn broker_of(parameters: &Object) -> Result<Option<Broker>, String> {
    let text = |key: &str| parameters.get(key).and_then(Value::as_str);
    let Some(host) = text("host") else {
        return Ok(None);
    };
    let tls = parameters.get("tls").and_then(Value::as_bool) == Some(true);
    let port = parameters.get("port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok());
    let mut broker = Broker::new(host, port.unwrap_or(if tls { TLS_PORT } else { PORT }));
    if let Some(user) = text("user") {
        broker = broker.login(user, text("password").unwrap_or_default());
    }
    if tls {
        broker = broker
            .tls(&TlsFiles::default())
            .map_err(|error| format!("TLS cannot be used: {error}"))?;
    }
    Ok(Some(broker))
}

/// The host of `core.mqtt` sensors.
pub struct MqttSensors {
    intake: Arc<dyn Intake>,
    tokio: tokio::runtime::Handle,
    /// The broker of the configuration.
    broker: Option<Broker>,
    /// What begins the names of sessions: one engine's own, and the same after its restart.
    name: String,
    running: Mutex<HashMap<String, Running>>,
    /// Sensors that are no longer wanted and have not ended their session yet.
    leaving: Mutex<HashMap<String, JoinHandle<()>>>,
}

struct Running {
    spec: SensorSpec,
    stop: CancellationToken,
    unwanted: CancellationToken,
    problem: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl MqttSensors {
    /// A host without sensors. `name` must be no other engine's at the same broker.
    pub fn new(
        intake: Arc<dyn Intake>,
        tokio: tokio::runtime::Handle,
        broker: Option<Broker>,
        name: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            intake,
            tokio,
            broker,
            name,
            running: Mutex::default(),
            leaving: Mutex::default(),
        })
    }

    /// Ends every sensor. Their sessions stay with the broker.
    pub async fn shutdown(&self) {
        let running: Vec<Running> = self.running.lock().drain().map(|(_, r)| r).collect();
        running.iter().for_each(|sensor| sensor.stop.cancel());
        let leaving: Vec<_> = self.leaving.lock().drain().map(|(_, task)| task).collect();
        let tasks = running.into_iter().map(|sensor| sensor.task).chain(leaving);
        let ended = futures::future::join_all(tasks);
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, ended).await.is_err() {
            tracing::warn!("sensors of MQTT did not end in time for the shutdown");
        }
    }

    /// Lets go of every sensor at once, as by a crash.
    pub fn cut_off(&self) {
        for sensor in self.running.lock().values() {
            sensor.task.abort();
        }
        for task in self.leaving.lock().values() {
            task.abort();
        }
    }

    fn start(&self, spec: &SensorSpec, after: Option<JoinHandle<()>>) -> Running {
        let digest = Sha256::digest(spec.key.as_bytes());
        let short: String = digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (stop, unwanted) = (CancellationToken::new(), CancellationToken::new());
        let problem = Arc::new(Mutex::new(Some(NOT_YET.to_owned())));
        let watch = Watch {
            spec: spec.clone(),
            intake: self.intake.clone(),
            fallback: self.broker.clone(),
            client_id: format!("{}-{short}", self.name),
            stop: stop.clone(),
            problem: Arc::clone(&problem),
        };
        let ended = unwanted.clone();
        let task = self.tokio.spawn(async move {
            // A changed sensor begins when the one before it has ended its session.
            if let Some(before) = after {
                let _ = before.await;
            }
            watch.run(&ended).await;
        });
        Running {
            spec: spec.clone(),
            stop,
            unwanted,
            problem,
            task,
        }
    }
}

impl SensorHost for MqttSensors {
    fn reconcile(&self, desired: &[SensorSpec]) {
        let wanted: HashMap<&str, &SensorSpec> = desired
            .iter()
            .filter(|spec| spec.kind == TriggerKind::Mqtt)
            .map(|spec| (spec.key.as_str(), spec))
            .collect();
        let (mut running, mut leaving) = (self.running.lock(), self.leaving.lock());
        leaving.retain(|_, task| !task.is_finished());
        let is_stale = |key: &String, sensor: &mut Running| {
            let same = wanted
                .get(key.as_str())
                .is_some_and(|spec| spec.parameters == sensor.spec.parameters);
            !same || sensor.task.is_finished()
        };
        for (key, sensor) in running.extract_if(is_stale) {
            sensor.unwanted.cancel();
            sensor.stop.cancel();
            leaving.insert(key, sensor.task);
        }
        for (key, spec) in wanted {
            running
                .entry(key.to_owned())
                .or_insert_with(|| self.start(spec, leaving.remove(key)));
        }
    }

    fn health(&self) -> Vec<SensorHealth> {
        let running = self.running.lock();
        let mut all: Vec<_> = running
            .values()
            .map(|sensor| SensorHealth {
                key: sensor.spec.key.clone(),
                trigger: sensor.spec.trigger.clone(),
                problem: sensor.problem.lock().clone().or_else(|| {
                    let is_dead = sensor.task.is_finished();
                    is_dead.then(|| "the sensor has died".to_owned())
                }),
            })
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }
}

/// One sensor.
struct Watch {
    spec: SensorSpec,
    intake: Arc<dyn Intake>,
    fallback: Option<Broker>,
    client_id: String,
    stop: CancellationToken,
    problem: Arc<Mutex<Option<String>>>,
}

impl Watch {
    async fn run(&self, unwanted: &CancellationToken) {
        let broker = match broker_of(&self.spec.parameters) {
            Ok(own) => own.or_else(|| self.fallback.clone()),
            Err(why) => {
                self.say(Some(why));
                return self.stop.cancelled().await;
            }
        };
        let Some(broker) = broker else {
            self.say(Some("there is no broker: set mqtt.host in the configuration, run the engine with --broker, or give the parameter 'host'".to_owned()));
            return self.stop.cancelled().await;
        };
        let mut delay = FIRST_RETRY;
        while !self.stop.is_cancelled() {
            let ended = tokio::select! {
                () = self.stop.cancelled() => break,
                ended = self.listen(&broker, &mut delay) => ended,
            };
            let again = duration::display(delay);
            self.say(Some(format!("{ended}; tried again in {again}")));
            if !self.pause(delay).await {
                break;
            }
            delay = (delay * 2).min(LAST_RETRY);
        }
        if unwanted.is_cancelled() && self.qos() > 0 {
            self.end_session(&broker).await;
        }
    }

    /// 1 at the most: see the module.
    fn qos(&self) -> u8 {
        let qos = self.spec.parameters.get("qos").and_then(Value::as_u64);
        if qos == Some(0) { 0 } else { 1 }
    }

    /// One connection, until it is lost; says how.
    async fn listen(&self, broker: &Broker, delay: &mut Duration) -> String {
        let topic = self.spec.parameters.get("topic").and_then(Value::as_str);
        let Some(topic) = topic.map(str::to_owned) else {
            return "the parameter 'topic' is missing".to_owned();
        };
        let id = &self.client_id;
        let qos = self.qos();
        let opened = Session::open_to_listen(broker, id, qos > 0, CONNECT_TIMEOUT).await;
        let mut session: Session<()> = match opened {
            Ok(session) => session,
            Err(error) => return error.to_string(),
        };
        if let Err(error) = session.subscribe(vec![(topic.clone(), quality(qos))]) {
            return error.to_string();
        }
        loop {
            match session.next().await {
                Ok(Happened::Subscribed(true)) => {
                    *delay = FIRST_RETRY;
                    self.say(None);
                }
                Ok(Happened::Subscribed(false)) => {
                    return format!("the broker refuses the subscription to '{topic}'");
                }
                Ok(Happened::Received(publish)) => {
                    self.received(&publish).await;
                    session.acknowledge(&publish);
                }
                Ok(Happened::Acknowledged(())) => {}
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Hands a message in until it is recorded or refused.
    async fn received(&self, publish: &Publish) {
        if publish.payload.len() > MAX_PAYLOAD_BYTES {
            let (topic, bytes) = (&publish.topic, publish.payload.len());
            tracing::warn!(sensor = %self.spec.key, topic, bytes, "a message is larger than {MAX_PAYLOAD_BYTES} bytes and becomes no event");
            return;
        }
        let draft = EventDraft {
            trigger: self.spec.trigger.clone(),
            payload: event_payload(publish),
            source: EventSource {
                kind: "mqtt".to_owned(),
                name: Some(self.spec.key.clone()),
            },
            dedup_key: publish
                .retain
                .then(|| retained_key(&self.spec.key, publish)),
            occurred_at: None,
            sensor: Some(self.spec.key.clone()),
            depth: 0,
            trace_parent: None,
        };
        let mut delay = FIRST_RETRY;
        loop {
            match self.intake.emit(draft.clone()).await {
                Ok(_) => return,
                Err(IntakeError::Refused(why)) => {
                    tracing::warn!(sensor = %self.spec.key, "an event was refused: {why}");
                    return;
                }
                Err(IntakeError::Unavailable(why)) => {
                    tracing::warn!(sensor = %self.spec.key, "{why}; it is handed in again");
                    if !self.pause(delay).await {
                        // Not acknowledged, so it comes again.
                        return std::future::pending().await;
                    }
                    delay = (delay * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// Has the broker forget the session: a connection by its name that keeps none.
    async fn end_session(&self, broker: &Broker) {
        match Session::<()>::open(broker, &self.client_id, None, CONNECT_TIMEOUT).await {
            Ok(session) => session.close().await,
            Err(error) => {
                tracing::warn!(sensor = %self.spec.key, %error, "the broker goes on collecting messages for a sensor that is gone");
            }
        }
    }

    fn say(&self, problem: Option<String>) {
        let mut said = self.problem.lock();
        if *said != problem {
            match &problem {
                Some(problem) => tracing::warn!(sensor = %self.spec.key, "{problem}"),
                None => tracing::info!(sensor = %self.spec.key, "the sensor listens"),
            }
            *said = problem;
        }
    }

    /// Waits, unless the sensor is stopped: `false` then.
    async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

/// JSON as what it says, other text as it is, other bytes in base64.
fn event_payload(publish: &Publish) -> Value {
    let (payload, encoding) = match serde_json::from_slice::<Value>(&publish.payload) {
        Ok(value) => (value, "json"),
        Err(_) => match std::str::from_utf8(&publish.payload) {
            Ok(text) => (text.into(), "text"),
            Err(_) => (STANDARD.encode(&publish.payload).into(), "base64"),
        },
    };
    json!({
        "topic": publish.topic,
        "payload": payload,
        "encoding": encoding,
        "qos": publish.qos as u8,
        "retain": publish.retain,
    })
}

/// The same for the same content of the same topic.
fn retained_key(sensor: &str, publish: &Publish) -> String {
    let mut hash = Sha256::new();
    for part in [publish.topic.as_bytes(), &publish.payload] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{sensor}/retained/{hash}")
}

#[cfg(test)]
mod tests;
