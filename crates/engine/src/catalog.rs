//! What follows from the definitions: the rule index and the sensors that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camshaft_model::port::sensor::{SensorHealth, SensorSpec};
use camshaft_model::{Event, ExecutionId, Object, Ref, Timestamp};
use serde_json::Value;

use crate::decision::Definitions;
use crate::expression::{Scope, TemplateTree};
use crate::rule::{self, RuleIndex, RuleTrial};
use crate::state::State;

/// The sensors of the enabled rules, by their keys.
#[derive(Debug, Default)]
pub(crate) struct RuleSensors {
    wanted: BTreeMap<String, SensorSpec>,
    /// Those whose parameters cannot be made, with the reason.
    broken: BTreeMap<String, SensorHealth>,
}

/// The tasks that wait for events of one sensor.
#[derive(Debug, Default)]
pub(crate) struct AwaitedSensor {
    pub(crate) parameters: Object,
    pub(crate) tasks: BTreeSet<(ExecutionId, usize)>,
}

/// The sensors that are wanted at an instant.
#[derive(Debug)]
pub(crate) struct Wanted {
    of_rules: Arc<RuleSensors>,
    awaited: Vec<SensorSpec>,
}

impl Wanted {
    #[cfg(test)]
    pub(crate) fn awaited(awaited: Vec<SensorSpec>) -> Self {
        Self {
            of_rules: Arc::default(),
            awaited,
        }
    }

    /// One sensor for each distinct trigger and parameters.
    pub(crate) fn sensors(&self) -> Vec<SensorSpec> {
        let of_rules = &self.of_rules.wanted;
        let only_awaited = |spec: &&SensorSpec| !of_rules.contains_key(&spec.key);
        let awaited = self.awaited.iter().filter(only_awaited);
        of_rules.values().chain(awaited).cloned().collect()
    }

    /// Those of rules whose parameters cannot be made, with the reason.
    pub(crate) fn broken(&self) -> Vec<SensorHealth> {
        self.of_rules.broken.values().cloned().collect()
    }
}

impl State {
    /// Takes up definitions that are recorded.
    pub(crate) fn define(&mut self, definitions: Definitions) {
        let catalog = Arc::make_mut(&mut self.catalog);
        match definitions {
            Definitions::Put(packs) => {
                for pack in packs {
                    self.versions.insert(pack.origin.hash.clone(), pack.clone());
                    catalog.packs.insert(pack.origin.pack.clone(), pack);
                }
            }
            Definitions::Remove(pack) => drop(catalog.packs.remove(&pack)),
            Definitions::Enable(rule, Some(enabled)) => {
                self.rule_overrides.insert(rule, enabled);
            }
            Definitions::Enable(rule, None) => drop(self.rule_overrides.remove(&rule)),
        }
        self.reindex();
    }

    /// Derives the rule index and the sensors of the rules anew. Called whenever the catalog or an override
    /// changes.
    pub(crate) fn reindex(&mut self) {
        let index = RuleIndex::new(&self.catalog, |rule| self.rule_enabled(rule));
        self.rules = Arc::new(index);
        self.rule_sensors = Arc::new(self.sensors_of_rules());
        self.sensors_changed = true;
    }

    /// The key is that of the parameters as they are written; the sensor gets them rendered (`secrets` and
    /// `env` are in scope, which do not change while the engine lives).
    fn sensors_of_rules(&self) -> RuleSensors {
        let mut sensors = RuleSensors::default();
        for rule in self.catalog.rules().filter(|rule| self.rule_enabled(rule)) {
            let Some(trigger) = self.catalog.trigger(&rule.trigger) else {
                continue;
            };
            let key = rule::sensor_key(&rule.trigger, &rule.trigger_parameters);
            if sensors.wanted.contains_key(&key) || sensors.broken.contains_key(&key) {
                continue;
            }
            let before = self.rule_sensors.wanted.get(&key);
            let parameters = match before {
                Some(before) => Ok(before.parameters.clone()),
                None => self.rendered(&rule.trigger_parameters),
            };
            match parameters {
                Ok(parameters) => {
                    let spec = SensorSpec {
                        key: key.clone(),
                        trigger: rule.trigger.clone(),
                        kind: trigger.kind,
                        parameters,
                    };
                    sensors.wanted.insert(key, spec);
                }
                Err(problem) => {
                    let health = SensorHealth {
                        key: key.clone(),
                        trigger: rule.trigger.clone(),
                        problem: Some(problem),
                    };
                    sensors.broken.insert(key, health);
                }
            }
        }
        sensors
    }

    /// The sensors that the enabled rules and the runs that wait for an event want, if that has changed
    /// since somebody took them.
    pub(crate) fn take_changed_sensors(&mut self) -> Option<Wanted> {
        if !std::mem::take(&mut self.sensors_changed) {
            return None;
        }
        let mut awaited = Vec::new();
        for (reference, sensors) in &self.awaited {
            let Some(trigger) = self.catalog.trigger(reference) else {
                continue;
            };
            awaited.extend(sensors.iter().map(|(key, sensor)| SensorSpec {
                key: key.clone(),
                trigger: reference.clone(),
                kind: trigger.kind,
                parameters: sensor.parameters.clone(),
            }));
        }
        Some(Wanted {
            of_rules: self.rule_sensors.clone(),
            awaited,
        })
    }

    fn rendered(&self, parameters: &Object) -> Result<Object, String> {
        let tree = TemplateTree::compile(&Value::Object(parameters.clone()), "trigger.parameters")
            .map_err(|errors| {
                errors
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; ")
            })?;
        let scope = Scope::new()
            .with("secrets", &self.settings.secrets)
            .with("env", &self.settings.env);
        match tree.render(&scope).map_err(|error| error.to_string())? {
            Value::Object(rendered) => Ok(rendered),
            _ => Ok(parameters.clone()),
        }
    }

    /// What a rule, enabled or not, would do with an event.
    pub(crate) fn trial(&self, rule: &Ref, event: &Event, now: Timestamp) -> Option<RuleTrial> {
        let rule = self.catalog.rule(rule)?;
        let action = self.catalog.action(&rule.action).map(AsRef::as_ref);
        let scope = rule::Surroundings {
            secrets: &self.settings.secrets,
            env: &self.settings.env,
        };
        Some(rule::trial(
            rule,
            self.rule_enabled(rule),
            action,
            event,
            &scope,
            now,
        ))
    }
}
