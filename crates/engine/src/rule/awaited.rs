//! An event that a run of a workflow waits for: criteria like those of a rule, on one trigger.

use camshaft_model::definition::Criterion;
use camshaft_model::{Event, Object, Ref, Timestamp};
use serde_json::Value;

use super::criteria::{CompiledCriterion, View};
use super::index::sensor_key;
use super::matching::implied;

/// See the module.
#[derive(Debug)]
pub struct AwaitedEvent {
    trigger: Ref,
    sensor: String,
    criteria: Vec<CompiledCriterion>,
}

impl AwaitedEvent {
    /// Compiles what is awaited; the patterns of the criteria are rendered already.
    pub fn new(trigger: Ref, parameters: &Object, criteria: Vec<Criterion>) -> Self {
        Self {
            sensor: sensor_key(&trigger, parameters),
            criteria: implied(&trigger, parameters)
                .into_iter()
                .chain(criteria)
                .map(CompiledCriterion::new)
                .collect(),
            trigger,
        }
    }

    /// The kind of event.
    pub fn trigger(&self) -> &Ref {
        &self.trigger
    }

    /// The key of the sensor that it comes from.
    pub fn sensor(&self) -> &str {
        &self.sensor
    }

    /// Whether an event is from the right sensor and meets every criterion. One that cannot be
    /// evaluated on this event does not hold.
    pub fn is_met_by(&self, event: &Event, now: Timestamp) -> bool {
        if event
            .draft
            .sensor
            .as_ref()
            .is_some_and(|key| *key != self.sensor)
        {
            return false;
        }
        let view = View::new(event, now);
        self.criteria
            .iter()
            .all(|criterion| criterion.holds(&view) == Ok(true))
    }
}

/// What `event` is in an expression.
pub fn described(event: &Event, now: Timestamp) -> Value {
    View::new(event, now).described().clone()
}
