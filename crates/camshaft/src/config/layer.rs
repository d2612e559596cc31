//! One layer of the configuration: what it says overrides what is there, key by key.

use std::path::PathBuf;
use std::time::Duration;

use camshaft_model::definition::decode::Cursor;

use super::{Config, LogFormat, LogLevel, MAX_SLOTS, mqtt, otlp, secret, token};

const MAX_RESOURCE: u32 = 1_000_000;
const MAX_DEPTH: u32 = 10_000;
const MAX_ACTIONS: usize = 10_000;

const LEVELS: &[(&str, LogLevel)] = &[
    ("trace", LogLevel::Trace),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
];
const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

pub(super) fn apply(root: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = root.fields() else {
        return;
    };
    set(
        &mut config.data_dir,
        fields.optional("data_dir").and_then(|cursor| path(&cursor)),
    );
    if let Some(cursor) = fields.optional("packs_dir") {
        config.packs_dir = path(&cursor);
    }
    if let Some(cursor) = fields.optional("api") {
        api(&cursor, config);
    }
    if let Some(cursor) = fields.optional("worker") {
        worker(&cursor, config);
    }
    if let Some(cursor) = fields.optional("engine") {
        engine(&cursor, config);
    }
    if let Some(cursor) = fields.optional("secrets") {
        secret::apply(&cursor, config);
    }
    set(
        &mut config.env_allow,
        fields
            .optional("env_allow")
            .and_then(|cursor| cursor.texts()),
    );
    if let Some(cursor) = fields.optional("mqtt") {
        mqtt::apply(&cursor, config);
    }
    if let Some(cursor) = fields.optional("broker") {
        mqtt::apply_embedded(&cursor, config);
    }
    if let Some(cursor) = fields.optional("log") {
        log(&cursor, config);
    }
    if let Some(cursor) = fields.optional("metrics") {
        metrics(&cursor, config);
    }
    if let Some(cursor) = fields.optional("otlp") {
        otlp::apply(&cursor, config);
    }
    fields.finish();
}

fn api(cursor: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    let listen = fields.optional("listen").and_then(|cursor| {
        let text = cursor.text()?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        cursor.problem("expected an address and a port, such as 127.0.0.1:7410");
        None
    });
    set(&mut config.api.listen, listen);
    set(
        &mut config.api.max_body_bytes,
        fields
            .optional("max_body_bytes")
            .and_then(|cursor| bytes(&cursor)),
    );
    set(
        &mut config.api.tokens,
        fields
            .optional("tokens")
            .and_then(|cursor| token::list(&cursor)),
    );
    fields.finish();
}

fn worker(cursor: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    let worker = &mut config.worker;
    let id = fields
        .optional("id")
        .and_then(|cursor| cursor.filled_text());
    set(&mut worker.id, id.map(str::to_owned));
    set(
        &mut worker.slots,
        fields
            .optional("slots")
            .and_then(|cursor| cursor.integer(1..=MAX_SLOTS)),
    );
    for (name, _, cursor) in fields
        .optional("resources")
        .and_then(|cursor| cursor.entries())
        .unwrap_or_default()
    {
        let amount = cursor.integer(0..=MAX_RESOURCE);
        worker
            .resources
            .extend(amount.map(|amount| (name.to_owned(), amount)));
    }
    set(
        &mut worker.grace,
        fields
            .optional("grace")
            .and_then(|cursor| cursor.duration()),
    );
    let limit = fields
        .optional("output_limit_bytes")
        .and_then(|cursor| bytes(&cursor));
    set(&mut worker.output_limit_bytes, limit);
    set(
        &mut worker.heartbeat,
        fields
            .optional("heartbeat")
            .and_then(|cursor| longer_than_zero(&cursor)),
    );
    for (name, _, cursor) in fields
        .optional("environment")
        .and_then(|cursor| cursor.entries())
        .unwrap_or_default()
    {
        let value = cursor.text();
        worker
            .environment
            .extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    fields.finish();
}

fn engine(cursor: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    let depth = fields
        .optional("max_depth")
        .and_then(|cursor| cursor.integer(1..=MAX_DEPTH));
    set(&mut config.engine.max_depth, depth);
    let memory = fields
        .optional("run_memory_bytes")
        .and_then(|cursor| bytes(&cursor));
    set(&mut config.engine.run_memory_bytes, memory);
    set(
        &mut config.engine.drain,
        fields
            .optional("drain")
            .and_then(|cursor| cursor.duration()),
    );
    fields.finish();
}

fn log(cursor: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    set(
        &mut config.log.level,
        fields
            .optional("level")
            .and_then(|cursor| cursor.one_of(LEVELS)),
    );
    set(
        &mut config.log.format,
        fields
            .optional("format")
            .and_then(|cursor| cursor.one_of(FORMATS)),
    );
    fields.finish();
}

fn metrics(cursor: &Cursor<'_>, config: &mut Config) {
    let Some(mut fields) = cursor.fields() else {
        return;
    };
    set(
        &mut config.metrics.enabled,
        fields
            .optional("enabled")
            .and_then(|cursor| cursor.boolean()),
    );
    set(
        &mut config.metrics.actions,
        fields
            .optional("actions")
            .and_then(|cursor| cursor.integer(0..=MAX_ACTIONS)),
    );
    fields.finish();
}

fn path(cursor: &Cursor<'_>) -> Option<PathBuf> {
    cursor.filled_text().map(PathBuf::from)
}

pub(super) fn longer_than_zero(cursor: &Cursor<'_>) -> Option<Duration> {
    let duration = cursor.duration()?;
    if duration.is_zero() {
        cursor.problem("must be longer than 0");
        return None;
    }
    Some(duration)
}

/// A number of bytes, or a number with KiB, MiB or GiB.
fn bytes(cursor: &Cursor<'_>) -> Option<u64> {
    const UNITS: &[(&str, u32)] = &[("KiB", 10), ("MiB", 20), ("GiB", 30)];
    const LARGEST: u64 = 1 << 50;
    let value = cursor.value();
    let number = match &value {
        serde_json::Value::String(text) => {
            let unit = UNITS
                .iter()
                .find_map(|(unit, shift)| Some((text.trim().strip_suffix(unit)?, *shift)));
            let (digits, shift) = unit.unwrap_or((text.trim(), 0));
            digits
                .trim()
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(1 << shift))
        }
        other => other.as_u64(),
    };
    let number = number.filter(|number| (1..=LARGEST).contains(number));
    if number.is_none() {
        cursor.problem(format!(
            "expected a number of bytes, such as 10485760 or 10MiB, found {}",
            cursor.node().describe()
        ));
    }
    number
}
