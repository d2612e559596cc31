//! Where traces go: the section `otlp`, and the variables that OpenTelemetry has for every program.
//!
//! What the section says goes before the variables. They are read where they are needed and not as a layer,
//! because an address in a variable of OpenTelemetry means one for all signals or one for traces.

use std::collections::BTreeMap;
use std::time::Duration;

use camshaft_link::otlp::Settings;
use camshaft_model::definition::decode::Cursor;
use camshaft_model::definition::{Problem, Problems, problem::Position};

use super::Config;
use super::layer::{longer_than_zero, set};
use super::secret::{self, SecretSource};

/// The most spans that may wait: about a kilobyte of memory each.
const MAX_SPANS: usize = 1_000_000;

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// The collector, without the path of the signal; traces are exported only if it is known.
    pub endpoint: Option<String>,
    /// Headers of every request, by name in lower case.
    pub headers: BTreeMap<String, SecretSource>,
    /// How long one request may take.
    pub timeout: Option<Duration>,
    /// How long a span may wait for others to be sent with.
    pub interval: Option<Duration>,
    /// At most so many spans to a request.
    pub batch_spans: Option<usize>,
    /// At most so many spans wait.
    pub queue_spans: Option<usize>,
    /// What else is said of where spans come from.
    pub resource: BTreeMap<String, String>,
    /// How long a stop waits for the last spans to be sent.
    pub flush: Duration,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            timeout: None,
            interval: None,
            batch_spans: None,
            queue_spans: None,
            resource: BTreeMap::new(),
            flush: Duration::from_secs(5),
        }
    }
}

pub(super) fn apply(cursor: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    let otlp = &mut config.otlp;
    let endpoint = fields.optional("endpoint");
    if let Some(text) = endpoint.and_then(|cursor| cursor.filled_text()) {
        otlp.endpoint = Some(text.to_owned());
    }
    let headers = fields.optional("headers");
    for (name, _, cursor) in headers
        .and_then(|headers| headers.entries())
        .unwrap_or_default()
    {
        let source = secret::source(&cursor);
        let header = source.map(|source| (name.to_ascii_lowercase(), source));
        otlp.headers.extend(header);
    }
    let timeout = fields.optional("timeout");
    otlp.timeout = timeout
        .and_then(|cursor| longer_than_zero(&cursor))
        .or(otlp.timeout);
    let interval = fields.optional("interval");
    otlp.interval = interval
        .and_then(|cursor| longer_than_zero(&cursor))
        .or(otlp.interval);
    let spans = |cursor: Cursor<'_>| cursor.integer(1..=MAX_SPANS);
    let batch = fields.optional("batch_spans").and_then(spans);
    otlp.batch_spans = batch.or(otlp.batch_spans);
    let queue = fields.optional("queue_spans").and_then(spans);
    otlp.queue_spans = queue.or(otlp.queue_spans);
    let resource = fields.optional("resource");
    for (name, _, cursor) in resource
        .and_then(|resource| resource.entries())
        .unwrap_or_default()
    {
        let value = cursor.text();
        let attribute = value.map(|value| (name.to_owned(), value.to_owned()));
        otlp.resource.extend(attribute);
    }
    let flush = fields.optional("flush");
    set(&mut otlp.flush, flush.and_then(|cursor| cursor.duration()));
    fields.finish();
}

/// What this process is called in what it exports.
pub struct Identity<'a> {
    /// The random name of the data directory.
    pub instance: &'a str,
    /// The host.
    pub host: &'a str,
}

impl Config {
    /// Where traces go; `None` if nothing says so. `environment` gives the value of a variable.
    ///
    /// # Errors
    /// Everything that is wrong with the variables and secrets.
    pub fn otlp_settings(
        &self,
        identity: &Identity<'_>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Settings>, Problems> {
        let mut standard = Standard {
            read: environment,
            problems: Vec::new(),
        };
        let own = &self.otlp;
        let Some(endpoint) = standard.endpoint(own.endpoint.as_deref()) else {
            return Ok(None);
        };
        let settings = Settings {
            endpoint,
            headers: standard.headers(&own.headers),
            timeout: own.timeout.unwrap_or_else(|| {
                let names = [
                    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
                    "OTEL_EXPORTER_OTLP_TIMEOUT",
                ];
                standard.millis(&names, 10_000)
            }),
            interval: own
                .interval
                .unwrap_or_else(|| standard.millis(&["OTEL_BSP_SCHEDULE_DELAY"], 1_000)),
            batch_spans: own
                .batch_spans
                .unwrap_or_else(|| standard.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)),
            queue_spans: own
                .queue_spans
                .unwrap_or_else(|| standard.count("OTEL_BSP_MAX_QUEUE_SIZE", 8_192)),
            resource: standard.resource(identity, &own.resource),
        };
        standard.refuse_other_protocols(own.endpoint.is_some());
        Problems::check(standard.problems)?;
        Ok(Some(settings))
    }
}

/// The variables of OpenTelemetry. An empty one is as good as none.
struct Standard<F> {
    read: F,
    problems: Vec<Problem>,
}

impl<F: Fn(&str) -> Option<String>> Standard<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.read)(name).filter(|value| !value.trim().is_empty())
    }

    fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            file: name.to_owned(),
            position: Position::START,
            path: String::new(),
            message: message.into(),
        });
    }

    /// Where spans are posted to: ours, then that for traces as it is, then that for all signals.
    fn endpoint(&self, own: Option<&str>) -> Option<String> {
        let below = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
        if let Some(own) = own {
            return Some(below(own));
        }
        let off = |name: &str, value: &str| {
            self.get(name)
                .is_some_and(|given| given.eq_ignore_ascii_case(value))
        };
        if off("OTEL_SDK_DISABLED", "true") || off("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| {
            self.get("OTEL_EXPORTER_OTLP_ENDPOINT")
                .map(|base| below(&base))
        })
    }

    /// Only one protocol is spoken; who asks for another by a variable is told so, unless the section
    /// says where to go.
    fn refuse_other_protocols(&mut self, is_own: bool) {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ];
        let Some((name, protocol)) = names.iter().find_map(|name| Some((*name, self.get(name)?)))
        else {
            return;
        };
        if !is_own && protocol != "http/protobuf" {
            self.problem(name, format!("'{protocol}' is not spoken here: use http/protobuf (port 4318 of a collector), or set otlp.endpoint"));
        }
    }

    fn headers(&mut self, own: &BTreeMap<String, SecretSource>) -> Vec<(String, String)> {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ];
        let given = names.iter().find_map(|name| Some((*name, self.get(name)?)));
        let mut headers = given
            .map(|(name, text)| self.pairs(name, &text))
            .unwrap_or_default();
        for (name, source) in own {
            match secret::read(source, &self.read) {
                Ok(value) => {
                    headers.insert(name.clone(), value);
                }
                Err(message) => self.problems.push(Problem {
                    file: "configuration".to_owned(),
                    position: Position::START,
                    path: format!("otlp.headers.{name}"),
                    message,
                }),
            }
        }
        headers.into_iter().collect()
    }

    fn resource(
        &mut self,
        identity: &Identity<'_>,
        own: &BTreeMap<String, String>,
    ) -> Vec<(String, String)> {
        let mut resource: BTreeMap<String, String> = [
            ("service.name", "camshaft"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", identity.instance),
            ("host.name", identity.host),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        if let Some(text) = self.get(ATTRIBUTES) {
            resource.extend(self.pairs(ATTRIBUTES, &text));
        }
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            resource.insert("service.name".to_owned(), name);
        }
        resource.extend(own.clone());
        resource.into_iter().collect()
    }

    /// `name=value,name=value`, values percent-encoded. A message does not show a value.
    fn pairs(&mut self, name: &str, text: &str) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::new();
        for (place, pair) in text
            .split(',')
            .enumerate()
            .filter(|(_, pair)| !pair.trim().is_empty())
        {
            let decoded = pair.split_once('=').and_then(|(key, value)| {
                let key = key.trim();
                Some((key, percent_decoded(value.trim())?)).filter(|_| !key.is_empty())
            });
            match decoded {
                Some((key, value)) => {
                    pairs.insert(key.to_owned(), value);
                }
                None => self.problem(name, format!("entry {} is not name=value", place + 1)),
            }
        }
        pairs
    }

    fn millis(&mut self, names: &[&str], default: u64) -> Duration {
        let given = names.iter().find_map(|name| Some((*name, self.get(name)?)));
        let Some((name, text)) = given else {
            return Duration::from_millis(default);
        };
        let millis = text.trim().parse().ok().filter(|millis| *millis > 0);
        if millis.is_none() {
            self.problem(
                name,
                format!("'{text}' is not a number of milliseconds above 0"),
            );
        }
        Duration::from_millis(millis.unwrap_or(default))
    }

    fn count(&mut self, name: &str, default: usize) -> usize {
        let Some(text) = self.get(name) else {
            return default;
        };
        let count = text
            .trim()
            .parse()
            .ok()
            .filter(|count| (1..=MAX_SPANS).contains(count));
        if count.is_none() {
            self.problem(
                name,
                format!("'{text}' is not a number from 1 to {MAX_SPANS}"),
            );
        }
        count.unwrap_or(default)
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(own: Otlp, variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let config = Config {
            otlp: own,
            ..Config::default()
        };
        let identity = Identity {
            instance: "i",
            host: "h",
        };
        let read = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        config
            .otlp_settings(&identity, read)
            .map_err(|problems| problems.to_string())
    }

    fn pair(pairs: &[(String, String)], name: &str) -> Option<String> {
        let found = pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    #[test]
    fn nothing_is_exported_unless_somebody_says_where_to() {
        assert!(settings(Otlp::default(), &[]).unwrap().is_none());
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let endpoint = |variables: &[_]| {
            let settings = settings(Otlp::default(), variables).unwrap();
            settings.map(|settings| settings.endpoint)
        };
        assert_eq!(
            endpoint(&[base]).as_deref(),
            Some("http://c:4318/v1/traces")
        );
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x");
        assert_eq!(endpoint(&[base, traces]).as_deref(), Some("http://t/x"));
        assert_eq!(endpoint(&[base, ("OTEL_SDK_DISABLED", "true")]), None);
        assert_eq!(endpoint(&[base, ("OTEL_TRACES_EXPORTER", "none")]), None);
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
    }

    #[test]
    fn the_section_goes_before_the_variables() {
        let own = Otlp {
            endpoint: Some("https://own".to_owned()),
            headers: [("x-key".to_owned(), SecretSource::Env("KEY".to_owned()))].into(),
            timeout: Some(Duration::from_secs(3)),
            resource: [("service.name".to_owned(), "mine".to_owned())].into(),
            ..Otlp::default()
        };
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "x-key=no, authorization=Basic%20eA%3D%3D",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "7000"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "9"),
            ("OTEL_SERVICE_NAME", "theirs"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test",
            ),
            ("KEY", "secret"),
        ];
        let settings = settings(own, &variables).unwrap().unwrap();
        assert_eq!(settings.endpoint, "https://own/v1/traces");
        assert_eq!(pair(&settings.headers, "x-key").as_deref(), Some("secret"));
        let basic = pair(&settings.headers, "authorization");
        assert_eq!(basic.as_deref(), Some("Basic eA=="));
        assert_eq!(
            (settings.timeout.as_secs(), settings.interval.as_millis()),
            (3, 20)
        );
        assert_eq!((settings.queue_spans, settings.batch_spans), (9, 512));
        let resource = |name| pair(&settings.resource, name);
        assert_eq!(resource("service.name").as_deref(), Some("mine"));
        assert_eq!(
            resource("deployment.environment.name").as_deref(),
            Some("test")
        );
        assert_eq!(resource("host.name").as_deref(), Some("h"));
    }

    #[test]
    fn every_mistake_is_named_and_no_value_of_a_header_shown() {
        let own = Otlp {
            headers: [("a".to_owned(), SecretSource::Env("NONE".to_owned()))].into(),
            ..Otlp::default()
        };
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "ok=1,hunter2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ];
        insta::assert_snapshot!(settings(own, &variables).map(|_| ()).unwrap_err(), @r"
        OTEL_BSP_MAX_QUEUE_SIZE:1:1: '0' is not a number from 1 to 1000000
        OTEL_EXPORTER_OTLP_HEADERS:1:1: entry 2 is not name=value
        OTEL_EXPORTER_OTLP_PROTOCOL:1:1: 'grpc' is not spoken here: use http/protobuf (port 4318 of a collector), or set otlp.endpoint
        OTEL_EXPORTER_OTLP_TIMEOUT:1:1: '10s' is not a number of milliseconds above 0
        configuration:1:1: otlp.headers.a: the variable NONE is not set
        ");
    }
}
