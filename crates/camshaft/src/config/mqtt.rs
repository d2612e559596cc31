//! `mqtt:`, the broker that the engine connects to, and `broker:`, the one that it brings along.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use camshaft_link::mqtt::broker::{PORT, TLS_PORT};
use camshaft_link::mqtt::connect::FLUSH;
use camshaft_link::mqtt::topic::{DEFAULT_PREFIX, is_topic};
use camshaft_link::mqtt::{Broker, Identity, TlsFiles, Topics};
use camshaft_model::definition::decode::Cursor;
use camshaft_model::definition::problem::Position;
use camshaft_model::definition::{Problem, Problems};

use super::secret::{self, SecretSource};
use super::{Config, host_name, layer};

/// Who a run belongs to if nobody says.
const DEFAULT_ORG: &str = "local";
const DEFAULT_PROJECT: &str = "default";
/// The most bytes of a file for TLS.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// The broker that the engine connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Its host; without one there is no connection.
    pub host: Option<String>,
    /// Its port; that of MQTT if nobody says.
    pub port: Option<u16>,
    /// The name to log in with.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretSource>,
    /// TLS.
    pub tls: Tls,
    /// The name by which the broker knows the engine.
    pub client_id: Option<String>,
    /// What every topic begins with.
    pub prefix: String,
    /// The organisation in topics of telemetry.
    pub org_id: Option<String>,
    /// The project in topics of telemetry, and the one of the scope `project:<id>`.
    pub project_id: Option<String>,
    /// How long a stop waits for the last messages to be acknowledged.
    pub flush: Duration,
}

/// TLS towards the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether it is used; if nobody says, where one of the files is named.
    pub enabled: Option<bool>,
    /// The authorities that are trusted.
    pub ca: Option<PathBuf>,
    /// The certificate that the engine shows.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// The broker that the engine brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    /// Whether it runs.
    pub enabled: bool,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The name that its clients log in with.
    pub user: Option<String>,
    /// Their password.
    pub password: Option<SecretSource>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            user: None,
            password: None,
            tls: Tls::default(),
            client_id: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            org_id: None,
            project_id: None,
            flush: FLUSH,
        }
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: ([127, 0, 0, 1], PORT).into(),
            user: None,
            password: None,
        }
    }
}

pub(super) fn apply(cursor: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    let mqtt = &mut config.mqtt;
    for (key, target) in [
        ("host", &mut mqtt.host),
        ("user", &mut mqtt.user),
        ("client_id", &mut mqtt.client_id),
        ("org_id", &mut mqtt.org_id),
        ("project_id", &mut mqtt.project_id),
    ] {
        let text = fields.optional(key).and_then(|cursor| cursor.filled_text());
        *target = text.map(str::to_owned).or(target.take());
    }
    let port = fields
        .optional("port")
        .and_then(|cursor| cursor.integer(1..=u16::MAX));
    mqtt.port = port.or(mqtt.port);
    let password = fields
        .optional("password")
        .and_then(|cursor| secret::source(&cursor));
    mqtt.password = password.or(mqtt.password.take());
    layer::set(
        &mut mqtt.prefix,
        fields.optional("prefix").and_then(|cursor| prefix(&cursor)),
    );
    let flush = fields.optional("flush");
    layer::set(&mut mqtt.flush, flush.and_then(|cursor| cursor.duration()));
    if let Some(cursor) = fields.optional("tls") {
        tls(&cursor, &mut mqtt.tls);
    }
    fields.finish();
}

/// `tls: true`, or its files.
fn tls(cursor: &Cursor<'_>, tls: &mut Tls) {
    if let serde_json::Value::Bool(enabled) = cursor.value() {
        tls.enabled = Some(enabled);
        return;
    }
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    let enabled = fields
        .optional("enabled")
        .and_then(|cursor| cursor.boolean());
    tls.enabled = enabled.or(tls.enabled);
    for (key, target) in [
        ("ca", &mut tls.ca),
        ("cert", &mut tls.cert),
        ("key", &mut tls.key),
    ] {
        let path = fields.optional(key).and_then(|cursor| cursor.filled_text());
        *target = path.map(PathBuf::from).or(target.take());
    }
    fields.finish();
}

fn prefix(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.filled_text()?;
    if is_prefix(text) {
        return Some(text.to_owned());
    }
    cursor.problem(PREFIX_RULE);
    None
}

/// What a prefix of topics may be, in a sentence.
pub const PREFIX_RULE: &str = "a prefix is the beginning of a topic, such as cascade or site/7: no + and #, no $ in front, no / at an end";

/// Whether topics may begin with it.
pub fn is_prefix(text: &str) -> bool {
    is_topic(text) && !text.starts_with(['/', '$']) && !text.ends_with('/')
}

pub(super) fn apply_embedded(cursor: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    let broker = &mut config.broker;
    layer::set(
        &mut broker.enabled,
        fields
            .optional("enabled")
            .and_then(|cursor| cursor.boolean()),
    );
    let listen = fields.optional("listen").and_then(|cursor| {
        let address = cursor.text()?.parse().ok();
        if address.is_none() {
            cursor.problem("expected an address and a port, such as 127.0.0.1:1883");
        }
        address
    });
    layer::set(&mut broker.listen, listen);
    let user = fields
        .optional("user")
        .and_then(|cursor| cursor.filled_text());
    broker.user = user.map(str::to_owned).or(broker.user.take());
    let password = fields
        .optional("password")
        .and_then(|cursor| secret::source(&cursor));
    broker.password = password.or(broker.password.take());
    fields.finish();
}

/// What is known of brokers once everything that the configuration names has been read.
#[derive(Debug, Clone)]
pub struct Brokers {
    /// The broker to connect to, if it is not the one that the engine brings along.
    pub remote: Option<Broker>,
    /// The one that it brings along: where, and who is let in.
    pub embedded: Option<(SocketAddr, Option<(String, String)>)>,
    /// The name by which a broker knows the engine.
    pub client_id: Option<String>,
    /// The topics.
    pub topics: Topics,
    /// Who tells of runs.
    pub identity: Identity,
    /// How long a stop waits for the last messages to be acknowledged.
    pub flush: Duration,
}

impl Config {
    /// The project that the engine works for.
    pub fn project_id(&self, environment: impl Fn(&str) -> Option<String>) -> String {
        first(
            &self.mqtt.project_id,
            "PROJECT_ID",
            &environment,
            DEFAULT_PROJECT,
        )
    }

    /// Reads passwords and files, and puts together what is needed to reach the broker.
    ///
    /// # Errors
    /// Everything that is not where the configuration says, or does not fit together.
    pub fn brokers(
        &self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Brokers, Problems> {
        let mut problems = Found::default();
        let (mqtt, embedded) = (&self.mqtt, &self.broker);
        let login = login(
            ("mqtt", &mqtt.user, &mqtt.password),
            &environment,
            &mut problems,
        );
        let guests = match embedded.enabled {
            true => self::login(
                ("broker", &embedded.user, &embedded.password),
                &environment,
                &mut problems,
            ),
            false => None,
        };
        if embedded.enabled && guests.is_none() && !is_loopback(embedded.listen.ip()) {
            problems.add("broker.listen", "whoever reaches the broker controls the engine: on an address that others reach it needs broker.user and broker.password".to_owned());
        }
        if mqtt.host.is_none() {
            for (key, is_set) in [
                ("port", mqtt.port.is_some()),
                ("user", mqtt.user.is_some()),
                ("password", mqtt.password.is_some()),
                ("tls", mqtt.tls != Tls::default()),
            ] {
                if is_set {
                    let message = "it does nothing without mqtt.host".to_owned();
                    problems.add(&format!("mqtt.{key}"), message);
                }
            }
        }
        let remote = mqtt.host.as_ref().map(|host| {
            let tls = mqtt.tls.files(&mut problems);
            let standard = if tls.is_some() { TLS_PORT } else { PORT };
            let mut broker = Broker::new(host, mqtt.port.unwrap_or(standard));
            if let Some((user, password)) = &login {
                broker = broker.login(user, password);
            }
            match tls.map(|files| broker.clone().tls(&files)) {
                Some(Ok(with_tls)) => broker = with_tls,
                Some(Err(error)) => problems.add("mqtt.tls", error.to_string()),
                None => {}
            }
            broker
        });
        let source = format!("{}-{}", host_name(), std::process::id());
        let brokers = Brokers {
            remote,
            embedded: embedded.enabled.then_some((embedded.listen, guests)),
            client_id: mqtt.client_id.clone(),
            topics: Topics::new(&mqtt.prefix),
            identity: Identity {
                org_id: first(&mqtt.org_id, "ORG_ID", &environment, DEFAULT_ORG),
                project_id: self.project_id(&environment),
                source,
            },
            flush: mqtt.flush,
        };
        Problems::check(problems.0).map(|()| brokers)
    }
}

impl Tls {
    fn files(&self, problems: &mut Found) -> Option<TlsFiles> {
        let named = self.ca.is_some() || self.cert.is_some() || self.key.is_some();
        if !self.enabled.unwrap_or(named) {
            return None;
        }
        let mut read = |key: &str, path: &Option<PathBuf>| {
            let bytes = pem(path.as_deref()?);
            bytes
                .map_err(|error| problems.add(&format!("mqtt.tls.{key}"), error))
                .ok()
        };
        let (ca, cert, key) = (
            read("ca", &self.ca),
            read("cert", &self.cert),
            read("key", &self.key),
        );
        if self.cert.is_some() != self.key.is_some() {
            let message = "a certificate needs its key: write both cert and key".to_owned();
            problems.add("mqtt.tls", message);
        }
        Some(TlsFiles {
            ca,
            client: cert.zip(key),
        })
    }
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, path: &str, message: String) {
        self.0.push(Problem {
            file: "configuration".to_owned(),
            position: Position::START,
            path: path.to_owned(),
            message,
        });
    }
}

fn login(
    (section, user, password): (&str, &Option<String>, &Option<SecretSource>),
    environment: &impl Fn(&str) -> Option<String>,
    problems: &mut Found,
) -> Option<(String, String)> {
    match (user, password) {
        (None, None) => None,
        (Some(user), Some(source)) => match secret::read(source, environment) {
            Ok(password) => Some((user.clone(), password)),
            Err(message) => {
                problems.add(&format!("{section}.password"), message);
                None
            }
        },
        _ => {
            let message = "a login is a name and a password: write both user and password";
            problems.add(section, message.to_owned());
            None
        }
    }
}

/// What the configuration says, else one of two variables, else the usual.
fn first(
    configured: &Option<String>,
    name: &str,
    environment: &impl Fn(&str) -> Option<String>,
    usual: &str,
) -> String {
    let filled = |text: &String| !text.is_empty();
    configured
        .clone()
        .or_else(|| environment(&format!("CAMSHAFT_{name}")).filter(filled))
        .or_else(|| environment(&format!("CASCADE_{name}")).filter(filled))
        .unwrap_or_else(|| usual.to_owned())
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn pem(path: &Path) -> Result<Vec<u8>, String> {
    let refused = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(refused)?.len();
    if size > MAX_PEM_BYTES {
        return Err(format!(
            "{} has more than {MAX_PEM_BYTES} bytes",
            path.display()
        ));
    }
    std::fs::read(path).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, apply_file};
    use super::*;

    fn read(text: &str) -> (Config, String) {
        let mut config = Config::default();
        let problems = apply_file("camshaft.yaml", text.as_bytes(), &mut config);
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        (config, problems.join("\n"))
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn without_a_host_there_is_no_broker_and_everything_has_its_usual_name() {
        let brokers = Config::default().brokers(nothing).unwrap();
        assert!(brokers.remote.is_none() && brokers.embedded.is_none());
        assert_eq!(brokers.topics, Topics::new("cascade"));
        let Identity {
            org_id,
            project_id,
            source,
        } = brokers.identity;
        assert_eq!((org_id.as_str(), project_id.as_str()), ("local", "default"));
        assert!(
            source.ends_with(&format!("-{}", std::process::id())),
            "{source}"
        );
        assert_eq!(brokers.client_id, None);
    }

    #[test]
    fn ids_come_from_the_configuration_then_from_our_variables_then_from_those_of_others() {
        let ids = |text: &str, known: &[&str]| {
            let variable = |name: &str| known.contains(&name).then(|| name.to_lowercase());
            let identity = read(text).0.brokers(variable).unwrap().identity;
            format!("{} {}", identity.org_id, identity.project_id)
        };
        let all = ["CASCADE_ORG_ID", "CAMSHAFT_ORG_ID", "CASCADE_PROJECT_ID"];
        assert_eq!(ids("{}", &all), "camshaft_org_id cascade_project_id");
        assert_eq!(ids("mqtt: { org_id: a, project_id: b }", &all), "a b");
        assert_eq!(ids("{}", &all[..1]), "cascade_org_id default");
    }

    #[test]
    fn ports_logins_and_prefixes() {
        let (config, problems) = read(
            "mqtt: { host: h, user: u, password: { env: P }, prefix: site/7, tls: true }\nbroker: { enabled: true, listen: '0.0.0.0:0', user: g, password: { env: P } }\n",
        );
        assert_eq!(problems, "");
        let brokers = config.brokers(|name| (name == "P").then(|| "secret".to_owned()));
        let brokers = brokers.unwrap();
        assert_eq!(brokers.remote.unwrap().to_string(), "h:8883");
        assert_eq!(brokers.topics, Topics::new("site/7"));
        let login = Some(("g".to_owned(), "secret".to_owned()));
        assert_eq!(brokers.embedded, Some((([0, 0, 0, 0], 0).into(), login)));
        let (config, _) = read("mqtt: { host: h, port: 7 }");
        assert_eq!(
            config.brokers(nothing).unwrap().remote.unwrap().to_string(),
            "h:7"
        );
    }

    #[test]
    fn what_does_not_fit_together_is_said_all_at_once() {
        let (config, problems) = read(
            "mqtt: { host: h, user: u, tls: { ca: /no/such, cert: /no/such } }\nbroker: { enabled: true, listen: '0.0.0.0:1883' }\n",
        );
        assert_eq!(problems, "");
        let problems = config.brokers(nothing).unwrap_err().to_string();
        for problem in [
            "mqtt: a login is a name and a password",
            "mqtt.tls.ca: cannot read /no/such",
            "mqtt.tls.cert: cannot read /no/such",
            "mqtt.tls: a certificate needs its key",
            "broker.listen: whoever reaches the broker controls the engine",
        ] {
            assert!(problems.contains(problem), "{problem} is not in {problems}");
        }
        let (config, _) = read("mqtt: { port: 8883, user: u, tls: true }");
        let problems = config.brokers(nothing).unwrap_err().to_string();
        for key in ["port", "user", "tls"] {
            let problem = format!("mqtt.{key}: it does nothing without mqtt.host");
            assert!(
                problems.contains(&problem),
                "{problem} is not in {problems}"
            );
        }
        let problems =
            read("mqtt: { prefix: 'a/#', port: 0, hots: h }\nbroker: { listen: here }\n").1;
        for problem in [
            "mqtt.prefix: a prefix is",
            "mqtt.port",
            "did you mean 'host'",
            "broker.listen: expected an address",
        ] {
            assert!(problems.contains(problem), "{problem} is not in {problems}");
        }
    }
}
