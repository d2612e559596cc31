//! Reads single parameters of a timer. YAML gives numbers where people mean text (`every: 10`), so
//! durations take both; everything else takes text only.

use std::time::Duration;

use camshaft_model::{Object, Timestamp};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::ScheduleError;
use super::zone;

/// How much of a wrong value an error repeats, in characters.
const SHOWN_VALUE_LEN: usize = 80;

/// The longest expression or rule that is read, in bytes.
const EXPRESSION_LEN_LIMIT: usize = 1_000;

const INSTANT_HINT: &str = "an instant such as 2027-01-31T08:00:00Z or 2027-01-31T08:00:00+01:00, or a local time such as 2027-01-31T08:00:00";

pub(super) fn shown(value: &Value) -> String {
    value.to_string().chars().take(SHOWN_VALUE_LEN).collect()
}

pub(super) fn invalid(
    parameter: &'static str,
    value: &Value,
    hint: impl Into<String>,
) -> ScheduleError {
    ScheduleError::Invalid {
        parameter,
        value: shown(value),
        hint: hint.into(),
    }
}

/// The value, if the parameter is there and not null.
pub(super) fn given<'a>(parameters: &'a Object, name: &str) -> Option<&'a Value> {
    parameters.get(name).filter(|value| !value.is_null())
}

/// A text of ASCII characters: cron and recurrence rules know no others.
pub(super) fn expression<'a>(
    parameters: &'a Object,
    name: &'static str,
    hint: &'static str,
) -> Result<&'a str, ScheduleError> {
    let value = given(parameters, name).ok_or(ScheduleError::Missing {
        parameter: name,
        hint,
    })?;
    match value.as_str() {
        Some(text) if text.len() > EXPRESSION_LEN_LIMIT => Err(invalid(
            name,
            value,
            format!("it is longer than {EXPRESSION_LEN_LIMIT} characters"),
        )),
        Some(text) if text.is_ascii() && !text.trim().is_empty() => Ok(text.trim()),
        _ => Err(invalid(name, value, format!("write {hint}"))),
    }
}

/// A duration, as text or as a number of seconds.
pub(super) fn duration(
    parameters: &Object,
    name: &'static str,
) -> Result<Option<Duration>, ScheduleError> {
    let Some(value) = given(parameters, name) else {
        return Ok(None);
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => {
            return Err(invalid(
                name,
                value,
                "write a duration such as 30s, 5m or 1h30m",
            ));
        }
    };
    camshaft_model::duration::parse(&text)
        .map(Some)
        .map_err(|error| invalid(name, value, error.to_string()))
}

/// An instant with an offset, or a local time in `zone`.
pub(super) fn instant(
    parameters: &Object,
    name: &'static str,
    zone: &TimeZone,
) -> Result<Option<Timestamp>, ScheduleError> {
    let Some(value) = given(parameters, name) else {
        return Ok(None);
    };
    let refuse = || invalid(name, value, format!("write {INSTANT_HINT}"));
    let text = value.as_str().ok_or_else(refuse)?.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(Some(instant));
    }
    let wall: DateTime = text.parse().map_err(|_| refuse())?;
    zone::instant_of(zone, wall).map(Some).ok_or_else(refuse)
}

/// The time zone, UTC if none is given.
pub(super) fn zone(parameters: &Object) -> Result<TimeZone, ScheduleError> {
    let Some(value) = given(parameters, "timezone") else {
        return Ok(TimeZone::UTC);
    };
    let hint =
        "write the name of a time zone as in the IANA database, such as Europe/Berlin, or UTC";
    let name = value
        .as_str()
        .ok_or_else(|| invalid("timezone", value, hint))?
        .trim();
    TimeZone::get(name)
        .map_err(|_| invalid("timezone", value, format!("there is no such zone; {hint}")))
}
