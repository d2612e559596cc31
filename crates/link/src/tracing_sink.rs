//! Step events as log lines, each at the level that its type has.

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::step_event::LogLevel;

/// Writes step events to `tracing`.
#[derive(Debug, Default)]
pub struct TracingSink;

/// Does something with each level by the name that `tracing` has for it.
macro_rules! at_level {
    ($level:expr, $do:ident) => {
        match $level {
            LogLevel::Debug => $do!(DEBUG),
            LogLevel::Info => $do!(INFO),
            LogLevel::Warn => $do!(WARN),
            LogLevel::Error => $do!(ERROR),
        }
    };
}

impl Subscriber for TracingSink {
    fn name(&self) -> &str {
        "tracing"
    }

    /// The payload is written as JSON only for who reads it.
    fn wants(&self, notice: &Notice) -> bool {
        macro_rules! is_enabled {
            ($level:ident) => {
                tracing::enabled!(target: "camshaft::step", tracing::Level::$level)
            };
        }
        match notice {
            Notice::Step(step) => at_level!(step.event_type.level(), is_enabled),
            _ => false,
        }
    }

    fn notice(&self, notice: &Notice) {
        let Notice::Step(step) = notice else {
            return;
        };
        let (run, event_type) = (step.execution_id, &step.event_type);
        let execution = step.item_id.unwrap_or(run);
        let payload = serde_json::to_string(&step.payload).unwrap_or_default();
        macro_rules! line {
            ($level:ident) => {
                tracing::event!(target: "camshaft::step", tracing::Level::$level, %run, %execution, payload, "{event_type}")
            };
        }
        at_level!(event_type.level(), line);
    }
}
