//! MQTT, put together: the broker that the engine brings along, the connection to that or to another
//! one, and what a person is told of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use camshaft_engine::Engine;
use camshaft_link::bus::Bus;
use camshaft_link::mqtt::constraints::Notes;
use camshaft_link::mqtt::sensor::broker_of;
use camshaft_link::mqtt::telemetry::noted;
use camshaft_link::mqtt::topic::is_topic;
use camshaft_link::mqtt::{Broker, Connector, EmbeddedBroker, Link, Listener, Settings, Telemetry};
use camshaft_model::port::clock::{Clock, Entropy};
use camshaft_model::port::store::{Store, StoreError};
use camshaft_model::{ErrorCode, Object, duration};
use camshaft_worker::runtime::native::{NativeContext, NativeRegistry};
use serde_json::{Value, json};

use crate::config::Brokers;
use crate::data_dir::DataDir;
use crate::exit::CliError;
use crate::render::{Screen, catalogue};

mod left;

/// The most earlier engines of a data directory whose presence is still to be cleared.
const MAX_SOURCES: usize = 16;

/// What there is of MQTT while an engine runs.
pub struct Mqtt {
    settings: Settings,
    embedded: Option<EmbeddedBroker>,
    telemetry: Arc<Telemetry>,
    connector: Option<Arc<Connector>>,
    sources: Option<Sources>,
}

impl Mqtt {
    /// Starts the embedded broker where one is wanted, and has the bus tell of runs. `None` if the
    /// configuration names no broker.
    ///
    /// # Errors
    /// The embedded broker cannot listen.
    pub async fn prepare(
        brokers: Brokers,
        data: &DataDir,
        bus: &Bus,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, CliError> {
        let Brokers {
            remote,
            embedded,
            client_id,
            topics,
            identity,
            flush,
        } = brokers;
        let mut of_embedded = None;
        let embedded = match embedded {
            None => None,
            Some((listen, login)) => {
                let started = EmbeddedBroker::start(listen, login.clone()).await;
                let started = started.map_err(|error| {
                    CliError::new(
                        ErrorCode::InvalidConfiguration,
                        format!("the embedded broker cannot listen on {listen}: {error}"),
                    )
                    .hint("choose another address with --broker=ADDRESS:PORT; port 0 takes any that is free")
                })?;
                let address = started.address();
                let mut broker = Broker::new(&local(address).to_string(), address.port());
                if let Some((user, password)) = login {
                    broker = broker.login(&user, &password);
                }
                of_embedded = Some(broker);
                Some(started)
            }
        };
        let kept = |note: fn(&Path) -> NoteFile| {
            (!data.is_temporary()).then(|| Arc::new(note(data.path())) as Arc<dyn Notes>)
        };
        let Some(broker) = remote.or(of_embedded) else {
            // What ends while there is no broker is not told to one that is named later.
            let _ = std::fs::remove_file(NoteFile::told(data.path()).file);
            return Ok(None);
        };
        let telemetry = Arc::new(Telemetry::new(identity.clone(), topics.clone(), clock));
        bus.subscribe(telemetry.clone());
        let sources =
            (!data.is_temporary()).then(|| Sources::take_over(data.path(), &identity.source));
        // Engines in containers may all have the same host and process id.
        let client_id = client_id.unwrap_or_else(|| {
            let instance: String = data.instance().chars().take(8).collect();
            format!("camshaft-{}-{instance}", identity.source)
        });
        Ok(Some(Self {
            settings: Settings {
                broker,
                client_id,
                topics,
                identity,
                predecessors: sources.as_ref().map(Sources::earlier).unwrap_or_default(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                notes: kept(NoteFile::owed),
                noted: kept(NoteFile::told),
                flush,
            },
            embedded,
            telemetry,
            connector: None,
            sources,
        }))
    }

    /// Tells again of the runs that have ended in an earlier life and of whose end the broker may not have heard.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn end_again(&self, store: &dyn Store) -> Result<(), StoreError> {
        let newest = store.newest_step_event().await?;
        self.telemetry.begin_after(newest);
        let Some(notes) = &self.settings.noted else {
            return Ok(());
        };
        match noted::read(&**notes) {
            Some(line) => {
                for (ended, line) in left::ended_after(line, store).await? {
                    self.telemetry.end_again(&ended, line);
                }
            }
            // What ended before a broker was named for the first time is nobody's business.
            None => notes.write(&format!("{newest}\n")),
        }
        Ok(())
    }

    /// Tells of the runs that an earlier life has left, and this one takes up.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn resume(&self, store: &dyn Store) -> Result<(), StoreError> {
        let left = left::not_over(store).await?;
        self.telemetry.resume(&left);
        for task in left::waiting_tasks(&left, store).await? {
            (self.telemetry).resume_task(task.root, task.run, &task.name, task.reason);
        }
        Ok(())
    }

    /// Has it told what holds those of them that wait for their start, once the engine knows its workers.
    pub fn tell_what_waits(&self) {
        self.telemetry.doubt();
    }

    /// Begins to connect.
    pub fn connect(
        &mut self,
        engine: &Engine,
        bus: &Bus,
        ports: (Arc<dyn Clock>, Arc<dyn Entropy>),
        listener: Listener,
    ) {
        let sources = self.sources.clone();
        let listener: Listener = Arc::new(move |link| {
            // The first that a connection says is that those before us are gone.
            if let (Link::Up, Some(sources)) = (link, &sources) {
                sources.cleared();
            }
            listener(link);
        });
        let connector = Connector::start(
            self.settings.clone(),
            Arc::new(engine.clone()),
            self.telemetry.clone(),
            ports.0,
            ports.1,
            listener,
        );
        bus.subscribe(connector.clone());
        self.connector = Some(connector);
    }

    /// The broker and the names that sensors and actions use as well.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The connection, once it has begun.
    pub const fn connector(&self) -> Option<&Arc<Connector>> {
        self.connector.as_ref()
    }

    /// Where the embedded broker listens, if there is one.
    pub fn embedded_address(&self) -> Option<std::net::SocketAddr> {
        self.embedded.as_ref().map(EmbeddedBroker::address)
    }

    /// How many messages the embedded broker has dropped, if there is one.
    pub fn dropped_by_embedded(&self) -> Option<Arc<AtomicU64>> {
        self.embedded.as_ref().map(EmbeddedBroker::dropped)
    }

    /// Lets go of everything at once, as by a crash.
    pub fn cut_off(&self) {
        if let Some(connector) = &self.connector {
            connector.cut_off();
        }
    }

    /// Sends what is left, closes the connection, and stops the embedded broker.
    pub async fn stop(self) {
        if let Some(connector) = self.connector {
            connector.stop().await;
        }
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

/// An address that listens everywhere is reached here as well.
fn local(address: std::net::SocketAddr) -> std::net::IpAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

/// By which names the engines of a data directory have been known to brokers: each leaves a retained word
/// about its presence, which its successors clear. Two of them do: the first may be cut off before the
/// broker has heard it, and the broker may tell of a lost engine's end only after it was cleared.
#[derive(Clone)]
struct Sources {
    file: PathBuf,
    own: String,
    /// Those that no successor has cleared yet, and those that one has.
    earlier: Vec<(Cleared, String)>,
}

/// Whether the word of an engine was cleared by a successor already.
type Cleared = bool;

/// How one that was cleared is marked in the file.
const CLEARED_MARK: char = '~';

impl Sources {
    /// Takes over from those before this one, which is noted beside them.
    fn take_over(data_dir: &Path, own: &str) -> Self {
        let file = data_dir.join("mqtt.sources");
        let noted = std::fs::read_to_string(&file).unwrap_or_default();
        let read = |line: &str| match line.strip_prefix(CLEARED_MARK) {
            Some(name) => (true, name.to_owned()),
            None => (false, line.to_owned()),
        };
        let earlier = noted.lines().map(read).filter(|(_, name)| name != own);
        let this = Self {
            file,
            own: own.to_owned(),
            earlier: earlier.take(MAX_SOURCES).collect(),
        };
        this.keep(this.earlier.clone());
        this
    }

    fn earlier(&self) -> Vec<String> {
        self.earlier.iter().map(|(_, name)| name.clone()).collect()
    }

    /// This one has asked a broker to clear them.
    fn cleared(&self) {
        let once = self.earlier.iter().filter(|(cleared, _)| !cleared);
        self.keep(once.map(|(_, name)| (true, name.clone())).collect());
    }

    /// Notes this one and these. If that fails, a word stays with the broker, and nothing else.
    fn keep(&self, earlier: Vec<(Cleared, String)>) {
        let line = |(cleared, name): (Cleared, String)| {
            let mark = cleared.then_some(CLEARED_MARK);
            mark.into_iter().chain(name.chars()).chain(['\n']).collect()
        };
        let own = [(false, self.own.clone())];
        let lines: Vec<String> = own.into_iter().chain(earlier).map(line).collect();
        if let Err(error) = std::fs::write(&self.file, lines.concat()) {
            tracing::debug!(%error, file = %self.file.display(), "it cannot be noted by what name brokers know this engine");
        }
    }
}

/// A file of the data directory.
struct NoteFile {
    file: PathBuf,
    /// What may happen if it cannot be written.
    harm: &'static str,
}

impl NoteFile {
    /// What was decided here otherwise than by the broker.
    fn owed(data_dir: &Path) -> Self {
        Self {
            file: data_dir.join("mqtt.owed"),
            harm: "constraints that were ended or replaced here may come back with the broker after a restart",
        }
    }

    /// How far the broker has heard of the ends of runs.
    fn told(data_dir: &Path) -> Self {
        Self {
            file: data_dir.join("mqtt.told"),
            harm: "after a crash the broker may not hear of the ends of runs, or hear of them again",
        }
    }
}

impl Notes for NoteFile {
    fn read(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn write(&self, text: &str) {
        // Beside it first, so that a crash leaves the old text or the new one, whole.
        let mut beside = self.file.clone().into_os_string();
        beside.push(".new");
        let written =
            std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.file));
        if let Err(error) = written {
            tracing::warn!(%error, file = %self.file.display(), "{}", self.harm);
        }
    }
}

/// The native function of `core.mqtt_publish`, with the broker that is used where its parameters name
/// none.
pub fn with_publish(native: NativeRegistry, fallback: Option<Broker>) -> NativeRegistry {
    native.register("mqtt_publish", move |context, parameters: Object| {
        let fallback = fallback.clone();
        async move { publish(&context, &parameters, fallback).await }
    })
}

async fn publish(
    context: &NativeContext,
    parameters: &Object,
    fallback: Option<Broker>,
) -> Result<Value, String> {
    let broker = broker_of(parameters)?.or(fallback).ok_or("there is no broker: set mqtt.host in the configuration, run the engine with --broker, or give the parameter 'host'")?;
    let topic = parameters
        .get("topic")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !is_topic(topic) {
        return Err(format!(
            "'{topic}' is no topic to publish to: it has a wildcard, or nothing"
        ));
    }
    let payload = match parameters.get("payload") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(other) => other.to_string().into_bytes(),
    };
    let qos = parameters.get("qos").and_then(Value::as_u64).unwrap_or(1);
    let qos = u8::try_from(qos).unwrap_or(u8::MAX);
    let retain = parameters.get("retain").and_then(Value::as_bool) == Some(true);
    let bytes = payload.len();
    let client_id = format!("camshaft-{}-{}", context.key.execution, context.attempt);
    camshaft_link::mqtt::publish::publish(&broker, &client_id, topic, payload, qos, retain)
        .await
        .map_err(|error| error.to_string())?;
    Ok(json!({ "topic": topic, "bytes": bytes, "qos": qos, "retain": retain }))
}

/// Tells a person how the connection is.
pub fn tell(screen: Screen) -> Listener {
    Arc::new(move |link| {
        let text = match link {
            Link::Up => catalogue::text("engine.connector.connected", &[]),
            Link::Down => catalogue::text("engine.connector.disconnected", &[]),
            Link::Retrying { reason, after } => catalogue::text(
                "engine.connector.reconnecting",
                &[("reason", reason), ("delay", &duration::display(*after))],
            ),
        };
        screen.note(&text);
    })
}

/// For a program that has a log of its own and no console.
pub fn log() -> Listener {
    Arc::new(|link| match link {
        Link::Up => tracing::info!("connected to the MQTT broker"),
        Link::Down => tracing::info!("disconnected from the MQTT broker"),
        Link::Retrying { reason, after } => {
            tracing::warn!("{reason}; tried again in {}", duration::display(*after));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_successors_clear_what_an_engine_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let start = |own| Sources::take_over(folder.path(), own);
        assert!(start("h-1").earlier().is_empty());
        // It never reaches a broker.
        assert_eq!(start("h-2").earlier(), ["h-1"]);
        let third = start("h-3");
        assert_eq!(third.earlier(), ["h-2", "h-1"]);
        third.cleared();
        third.cleared();
        let fourth = start("h-1");
        assert_eq!(fourth.earlier(), ["h-3", "h-2"], "and not itself");
        fourth.cleared();
        assert_eq!(start("h-5").earlier(), ["h-1", "h-3"]);
    }

    #[test]
    fn no_more_than_some_are_noted() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=2 * MAX_SOURCES {
            Sources::take_over(folder.path(), &format!("h-{number}"));
        }
        assert_eq!(
            Sources::take_over(folder.path(), "h").earlier().len(),
            MAX_SOURCES
        );
    }
}
