//! Step events as log lines, each at the level that its type has.

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::step_event::LogLevel;
use camshaft_model::{ExecutionId, Object, StepEventType};

/// A place for step events.
pub trait EventSink: Send + Sync {
    /// Takes one step event.
    fn emit(
        &self,
        root: ExecutionId,
        item: Option<ExecutionId>,
        event_type: &StepEventType,
        payload: &Object,
    );
}

/// Writes step events to `tracing`.
#[derive(Debug, Default)]
pub struct TracingSink;

impl EventSink for TracingSink {
    fn emit(
        &self,
        root: ExecutionId,
        item: Option<ExecutionId>,
        event_type: &StepEventType,
        payload: &Object,
    ) {
        // The payload is written as JSON only for who reads it.
        macro_rules! line {
            ($level:ident) => {
                if tracing::enabled!(target: "camshaft::step", tracing::Level::$level) {
                    let execution = item.unwrap_or(root);
                    let payload = serde_json::to_string(payload).unwrap_or_default();
                    tracing::event!(target: "camshaft::step", tracing::Level::$level, run = %root, %execution, payload, "{event_type}");
                }
            };
        }
        match event_type.level() {
            LogLevel::Debug => line!(DEBUG),
            LogLevel::Info => line!(INFO),
            LogLevel::Warn => line!(WARN),
            LogLevel::Error => line!(ERROR),
        }
    }
}

impl Subscriber for TracingSink {
    fn name(&self) -> &str {
        "tracing"
    }

    fn notice(&self, notice: &Notice) {
        if let Notice::Step(step) = notice {
            self.emit(
                step.execution_id,
                step.item_id,
                &step.event_type,
                &step.payload,
            );
        }
    }
}
