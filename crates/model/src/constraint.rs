//! Constraints: a pause, a limit of concurrency or a limit of the rate of starts, on a scope, perhaps
//! for a time only.
//!
//! There is at most one constraint of each (scope, type), its [`ConstraintKey`]; a new one replaces it.
//! The id is a label. All constraints that an execution falls under hold together.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Object, Scope, ScopeKind, Timestamp, duration};

/// The most constraints that may be in force at once.
pub const MAX_CONSTRAINTS: usize = 10_000;
/// The most bytes of a rate as a text.
const MAX_RATE_BYTES: usize = 64;
/// The highest limit of concurrency.
pub const MAX_CONCURRENCY: u32 = 1_000_000;
/// The most starts that a burst may have.
pub const MAX_BURST: u32 = 1_000_000;
/// The most bytes of an id, a reason or an owner.
pub const MAX_LABEL_BYTES: usize = 1_024;

/// What kind of constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintType {
    /// No new attempt starts.
    Pause,
    /// At most so many attempts hold a lease.
    Concurrency,
    /// Attempts start at most so often.
    RateLimit,
    /// No event is matched with rules.
    EventPause,
}

impl ConstraintType {
    /// Every type.
    pub const ALL: &'static [Self] = &[
        Self::Pause,
        Self::Concurrency,
        Self::RateLimit,
        Self::EventPause,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Concurrency => "concurrency",
            Self::RateLimit => "rate_limit",
            Self::EventPause => "event_pause",
        }
    }

    /// What the labels of constraints that were not given one begin with.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RateLimit => "ratelimit",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for ConstraintType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ConstraintType {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let known = Self::ALL.iter().find(|known| known.as_str() == text);
        known
            .copied()
            .ok_or_else(|| ConstraintError::Type(text.chars().take(64).collect()))
    }
}

/// Why something is not a constraint. Nothing changes by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// The type has another name.
    #[error("'{0}' is not a type of constraint: use pause, concurrency, rate_limit or event_pause")]
    Type(String),
    /// The parameters are not those of the type.
    #[error("the params of a {0} constraint are wrong: {1}")]
    Params(ConstraintType, String),
    /// The text is no rate.
    #[error(
        "'{0}' is not a rate: write a number per unit, such as 10/m, 5/s, 300/h or 1/d, at least one start in 366 days and at most 1,000,000 a second; to hold everything use a pause or the concurrency 0"
    )]
    Rate(String),
    /// It is no time to live.
    #[error(
        "'{0}' is not a time to live: write more than 0 seconds and at most 100 years, such as 300, 5m, 1h30m or 7d, and leave it out for a constraint that holds until it is cleared"
    )]
    Ttl(String),
    /// It is no instant.
    #[error(
        "'{0}' is not an instant: write one such as 2026-11-21T12:00:00Z, or the seconds since 1970"
    )]
    ExpiresAt(String),
    /// Events have no such scope.
    #[error(
        "events cannot be paused on '{0}': use global, project:<id>, pack:<name> (of the trigger) or rule:<ref>"
    )]
    EventScope(String),
    /// A text is too long.
    #[error("the {0} is longer than {MAX_LABEL_BYTES} bytes or has a control character")]
    Label(&'static str),
}

/// How often attempts may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    text: String,
    interval_micros: u64,
}

impl Rate {
    /// The time from one start to the next, rounded up to whole microseconds.
    pub const fn interval(&self) -> Duration {
        Duration::from_micros(self.interval_micros)
    }

    /// For people: with its unit, also if it was left out.
    fn with_unit(&self) -> Cow<'_, str> {
        if self.text.contains('/') {
            Cow::Borrowed(&self.text)
        } else {
            Cow::Owned(format!("{}/s", self.text))
        }
    }

    /// As it is on the wire: a text with its unit, or a number of starts a second.
    fn param(&self) -> Value {
        if self.text.contains('/') {
            return json!(self.text);
        }
        match (self.text.parse::<u64>(), self.text.parse::<f64>()) {
            (Ok(whole), _) => json!(whole),
            (_, Ok(number)) => json!(number),
            _ => json!(self.text),
        }
    }

    /// How many starts may follow one another at once if nobody says: one for rates below 1 a second,
    /// else as many as start in a second.
    pub fn default_burst(&self) -> u32 {
        u32::try_from(1_000_000 / self.interval_micros).map_or(MAX_BURST, |burst| burst.max(1))
    }

    fn new(text: &str, count: f64, period_secs: f64) -> Result<Self, ConstraintError> {
        const LONGEST_MICROS: f64 = 366.0 * 86_400.0 * 1e6;
        let refuse = || ConstraintError::Rate(text.chars().take(64).collect());
        // Digits that only rounding made must not lengthen an interval by a whole microsecond.
        let interval = (period_secs * 1e6 / count - 1e-6).ceil();
        let is_slow_enough = period_secs * 1e6 >= count;
        if !(count > 0.0 && is_slow_enough && interval <= LONGEST_MICROS) {
            return Err(refuse());
        }
        Ok(Self {
            text: text.to_owned(),
            interval_micros: interval as u64,
        })
    }
}

impl FromStr for Rate {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let refuse = || ConstraintError::Rate(text.chars().take(64).collect());
        let trimmed = text.trim();
        if trimmed.len() > MAX_RATE_BYTES {
            return Err(refuse());
        }
        let (count, unit) = match trimmed.split_once('/') {
            Some((count, unit)) => (count, Some(unit)),
            None => (trimmed, None),
        };
        let plain = |c: char| c.is_ascii_digit() || c == '.';
        let count = count.trim();
        if count.is_empty() || !count.chars().all(plain) {
            return Err(refuse());
        }
        let count: f64 = count.parse().map_err(|_| refuse())?;
        let period_secs = match unit.map_or("s", str::trim) {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hr" | "hour" => 3_600.0,
            "d" | "day" => 86_400.0,
            _ => return Err(refuse()),
        };
        match unit {
            Some(_) => Self::new(trimmed, count, period_secs),
            // One way to write each number, so that what is read again is the same.
            None => Self::new(&count.to_string(), count, period_secs),
        }
    }
}

/// What a constraint demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terms {
    /// No new attempt starts.
    Pause,
    /// At most so many attempts hold a live lease; 0 holds everything.
    Concurrency {
        /// How many.
        limit: u32,
    },
    /// Attempts start at this rate, and so many may follow one another at once.
    RateLimit {
        /// How often.
        rate: Rate,
        /// How many at once after a rest.
        burst: u32,
    },
    /// Events are recorded, and not matched with rules until it ends.
    EventPause {
        /// Whether the events of that time are then dropped, not applied.
        drop: bool,
    },
}

impl Terms {
    /// Reads the `params` of a type, as they are on the wire.
    ///
    /// # Errors
    /// A value is missing, of the wrong type, out of its range, or unknown.
    pub fn read(kind: ConstraintType, params: &Value) -> Result<Self, ConstraintError> {
        let wrong = |text: &str| ConstraintError::Params(kind, text.to_owned());
        let empty = Object::new();
        let params = match params {
            Value::Object(params) => params,
            Value::Null => &empty,
            _ => return Err(wrong("they must be an object")),
        };
        let known: &[&str] = match kind {
            ConstraintType::Pause => &[],
            ConstraintType::Concurrency => &["limit"],
            ConstraintType::RateLimit => &["rate", "burst"],
            ConstraintType::EventPause => &["drop"],
        };
        if let Some(unknown) = params.keys().find(|key| !known.contains(&key.as_str())) {
            let unknown: String = unknown.chars().take(64).collect();
            return Err(wrong(&format!("'{unknown}' is not one of them")));
        }
        let whole = |name: &str, range: std::ops::RangeInclusive<u32>| {
            let number = params.get(name).and_then(Value::as_u64);
            number
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| range.contains(number))
                .ok_or_else(|| {
                    let (low, high) = (range.start(), range.end());
                    wrong(&format!(
                        "'{name}' must be a whole number from {low} to {high}"
                    ))
                })
        };
        Ok(match kind {
            ConstraintType::Pause => Self::Pause,
            ConstraintType::Concurrency => Self::Concurrency {
                limit: whole("limit", 0..=MAX_CONCURRENCY)?,
            },
            ConstraintType::RateLimit => {
                let rate: Rate = match params.get("rate") {
                    Some(Value::String(text)) => text.parse()?,
                    // Without an exponent, which no text of a rate has.
                    Some(Value::Number(number)) => {
                        number.as_f64().unwrap_or(0.0).to_string().parse()?
                    }
                    _ => {
                        return Err(wrong(
                            "'rate' must be a text such as 10/m, or a number of starts a second",
                        ));
                    }
                };
                let burst = match params.get("burst") {
                    None | Some(Value::Null) => rate.default_burst(),
                    Some(_) => whole("burst", 1..=MAX_BURST)?,
                };
                Self::RateLimit { rate, burst }
            }
            ConstraintType::EventPause => Self::EventPause {
                drop: match params.get("drop") {
                    None => false,
                    Some(Value::Bool(drop)) => *drop,
                    Some(_) => return Err(wrong("'drop' must be true or false")),
                },
            },
        })
    }

    /// The type.
    pub const fn kind(&self) -> ConstraintType {
        match self {
            Self::Pause => ConstraintType::Pause,
            Self::Concurrency { .. } => ConstraintType::Concurrency,
            Self::RateLimit { .. } => ConstraintType::RateLimit,
            Self::EventPause { .. } => ConstraintType::EventPause,
        }
    }

    /// The `params` on the wire. A burst that is the default is left out.
    pub fn params(&self) -> Value {
        match self {
            Self::Pause | Self::EventPause { drop: false } => json!({}),
            Self::Concurrency { limit } => json!({ "limit": limit }),
            Self::RateLimit { rate, burst } if *burst == rate.default_burst() => {
                json!({ "rate": rate.param() })
            }
            Self::RateLimit { rate, burst } => json!({ "rate": rate.param(), "burst": burst }),
            Self::EventPause { drop: true } => json!({ "drop": true }),
        }
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause => f.write_str("pause"),
            Self::Concurrency { limit } => write!(f, "at most {limit} at once"),
            Self::RateLimit { rate, burst } if *burst == rate.default_burst() => {
                write!(f, "at most {}", rate.with_unit())
            }
            Self::RateLimit { rate, burst } => {
                write!(f, "at most {}, {burst} at once", rate.with_unit())
            }
            Self::EventPause { drop: false } => f.write_str("pause of events"),
            Self::EventPause { drop: true } => f.write_str("pause of events, which are dropped"),
        }
    }
}

/// Reads for how long a constraint is to hold. Nothing holds for no time: there is no way to say "for
/// ever" by it.
///
/// # Errors
/// It is no duration, or not longer than 0.
pub fn ttl(text: &str) -> Result<Duration, ConstraintError> {
    duration::parse(text)
        .ok()
        .filter(|ttl| !ttl.is_zero())
        .ok_or_else(|| ConstraintError::Ttl(text.chars().take(64).collect()))
}

/// Reads when a constraint is to expire: an instant as a text, or the seconds since 1970 as a number,
/// as they are on the wire.
///
/// # Errors
/// It is neither.
pub fn expires_at(value: &Value) -> Result<Timestamp, ConstraintError> {
    const LATEST_SECS: f64 = 253_402_300_799.0;
    let read = match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number
            .as_f64()
            .filter(|secs| (0.0..=LATEST_SECS).contains(secs))
            .map(|secs| Timestamp::from_micros((secs * 1e6).round() as i64)),
        _ => None,
    };
    read.ok_or_else(|| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        ConstraintError::ExpiresAt(text.chars().take(64).collect())
    })
}

/// By what a constraint is replaced and cleared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConstraintKey {
    /// What it is about.
    pub scope: Scope,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ConstraintType,
}

impl fmt::Display for ConstraintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.scope)
    }
}

/// The way by which a constraint came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The API, and so the command line and the console.
    Api,
    /// A broker, which may hold it retained.
    Mqtt,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// A label.
    pub id: String,
    /// What it is about.
    pub scope: Scope,
    /// What it demands.
    pub terms: Terms,
    /// From when on it does not hold any more; `None` if until it is cleared.
    pub expires_at: Option<Timestamp>,
    /// Why, in the words of who set it.
    pub reason: Option<String>,
    /// Who set it.
    pub owner: Option<String>,
    /// The way by which it came.
    pub via: Via,
    /// When it was set.
    pub set_at: Timestamp,
}

impl Constraint {
    /// By what it is replaced and cleared.
    pub fn key(&self) -> ConstraintKey {
        ConstraintKey {
            scope: self.scope.clone(),
            kind: self.terms.kind(),
        }
    }

    /// The label of a constraint that was not given one.
    pub fn default_id(scope: &Scope, kind: ConstraintType) -> String {
        format!("{}-{scope}", kind.label())
    }

    /// Whether another one says the same, whenever and however it came.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.id == other.id
            && self.scope == other.scope
            && self.terms == other.terms
            && self.expires_at == other.expires_at
            && self.reason == other.reason
            && self.owner == other.owner
    }

    /// As everybody is shown it. `remaining_secs` is what is left of its time.
    pub fn shown(&self, now: Timestamp) -> Value {
        json!({
            "id": self.id,
            "scope": self.scope,
            "type": self.terms.kind(),
            "params": self.terms.params(),
            "terms": self.terms.to_string(),
            "expires_at": self.expires_at,
            "remaining_secs": self.expires_at.map(|at| at.since(now).as_secs_f64()),
            "reason": self.reason,
            "owner": self.owner,
            "via": self.via,
            "set_at": self.set_at,
        })
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Checks what its parts cannot check each for itself: its texts, and that its type goes with its scope.
    ///
    /// # Errors
    /// A text is too long or has a control character, or events have no such scope.
    pub fn check(&self) -> Result<(), ConstraintError> {
        let is_of_events = matches!(
            self.scope.kind(),
            ScopeKind::Global | ScopeKind::Project | ScopeKind::Pack | ScopeKind::Rule
        );
        if matches!(self.terms, Terms::EventPause { .. }) && !is_of_events {
            return Err(ConstraintError::EventScope(self.scope.to_string()));
        }
        let labels = [
            ("id", Some(&self.id)),
            ("reason", self.reason.as_ref()),
            ("owner", self.owner.as_ref()),
        ];
        for (name, text) in labels {
            if text.is_some_and(|text| {
                text.len() > MAX_LABEL_BYTES || text.chars().any(char::is_control)
            }) {
                return Err(ConstraintError::Label(name));
            }
        }
        Ok(())
    }
}

/// What became of a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintChange {
    /// It holds from now on; one of the same key is replaced.
    Set,
    /// Somebody ended it.
    Cleared,
    /// Its time is over.
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval(text: &str) -> Duration {
        text.parse::<Rate>().unwrap().interval()
    }

    #[test]
    fn rates_of_every_unit() {
        assert_eq!(interval("10/m"), Duration::from_secs(6));
        assert_eq!(interval("5/s"), Duration::from_millis(200));
        assert_eq!(interval("300/h"), Duration::from_secs(12));
        assert_eq!(interval("1/d"), Duration::from_secs(86_400));
        assert_eq!(interval("2.5"), Duration::from_millis(400));
        assert_eq!(interval("3/sec"), Duration::from_micros(333_334));
        assert_eq!(interval(" 1 / minute "), Duration::from_secs(60));
        assert_eq!(interval("7/s"), Duration::from_micros(142_858));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "0/m",
            "-1/s",
            "1/w",
            "x/m",
            "1e3/s",
            "inf/s",
            "nan",
            "/m",
            "1/",
            "2000000/s",
            "0.001/d",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_to_live_is_longer_than_nothing() {
        assert_eq!(ttl("5m").unwrap(), Duration::from_secs(300));
        assert_eq!(ttl("300").unwrap(), Duration::from_secs(300));
        assert_eq!(ttl("0.25").unwrap(), Duration::from_millis(250));
        for text in ["0", "0s", "-5", "", "soon", "1e300"] {
            assert!(matches!(ttl(text), Err(ConstraintError::Ttl(_))), "{text}");
        }
    }

    #[test]
    fn an_expiry_is_a_text_or_a_number() {
        let at = Timestamp::from_micros(1_795_224_509_590_000);
        assert_eq!(expires_at(&json!("2026-11-21T01:28:29.59Z")), Ok(at));
        assert_eq!(expires_at(&json!(1_795_224_509.59)), Ok(at));
        for value in [
            json!("soon"),
            json!(-1),
            json!(1e300),
            json!(true),
            json!([]),
        ] {
            assert!(expires_at(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_slow_rate_starts_one_at_a_time_and_a_fast_one_a_second_of_them() {
        assert_eq!("10/m".parse::<Rate>().unwrap().default_burst(), 1);
        assert_eq!("5/s".parse::<Rate>().unwrap().default_burst(), 5);
    }

    #[test]
    fn params_are_read_as_they_are_written() {
        for (kind, params) in [
            ("pause", json!({})),
            ("concurrency", json!({ "limit": 3 })),
            ("rate_limit", json!({ "rate": "10/m" })),
            ("rate_limit", json!({ "rate": "10/m", "burst": 4 })),
            ("rate_limit", json!({ "rate": 5 })),
            ("rate_limit", json!({ "rate": 2.5, "burst": 4 })),
            ("rate_limit", json!({ "rate": 0.000_001 })),
            ("event_pause", json!({ "drop": true })),
        ] {
            let terms = Terms::read(kind.parse().unwrap(), &params).unwrap();
            assert_eq!(terms.params(), params);
        }
        let read = |params| Terms::read(ConstraintType::RateLimit, &params).unwrap();
        assert_eq!(read(json!({ "rate": 5 })).to_string(), "at most 5/s");
        assert_eq!(read(json!({ "rate": "10/m" })).to_string(), "at most 10/m");
        for text in ["2.50", " 2.5 ", "02.5"] {
            assert_eq!(read(json!({ "rate": text })), read(json!({ "rate": 2.5 })));
        }
    }

    #[test]
    fn wrong_params_are_refused_with_what_is_wrong() {
        for (kind, params) in [
            ("pause", json!({ "limit": 1 })),
            ("pause", json!([])),
            ("concurrency", json!({})),
            ("concurrency", json!({ "limit": -1 })),
            ("concurrency", json!({ "limit": 1.5 })),
            ("concurrency", json!({ "limit": "3" })),
            ("concurrency", json!({ "limit": 1e30 })),
            ("rate_limit", json!({ "rate": true })),
            ("rate_limit", json!({ "rate": "fast" })),
            ("rate_limit", json!({ "rate": -5 })),
            ("rate_limit", json!({ "rate": "1/s", "burst": 0 })),
            ("event_pause", json!({ "drop": "yes" })),
        ] {
            let refused = Terms::read(kind.parse().unwrap(), &params);
            assert!(refused.is_err(), "{kind} {params}: {refused:?}");
        }
        assert!("paus".parse::<ConstraintType>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_rate_or_refused(text in ".{0,40}") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert!(rate.interval() >= Duration::from_micros(1));
                prop_assert!(rate.default_burst() >= 1);
            }
        }

        #[test]
        fn a_rate_is_never_faster_than_it_says(count in 1u32..100_000) {
            let rate: Rate = format!("{count}/s").parse().unwrap();
            prop_assert!(rate.interval() * count >= Duration::from_secs(1));
        }
    }
}
