//! What follows from the definitions: the rule index and the sensors that are wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use camshaft_model::port::sensor::{SensorHealth, SensorSpec};
use camshaft_model::{Event, Object, Ref, Timestamp};
use serde_json::Value;

use crate::decision::Definitions;
use crate::expression::{Scope, TemplateTree};
use crate::rule::{self, RuleIndex, RuleTrial};
use crate::state::State;
use crate::workflow::ActiveWork;

/// The sensors that the enabled rules want.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) sensors: Vec<SensorSpec>,
    /// Those whose parameters cannot be made, with the reason.
    pub(crate) broken: Vec<SensorHealth>,
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

    /// Derives the rule index anew. Called whenever the catalog or an override changes.
    pub(crate) fn reindex(&mut self) {
        let index = RuleIndex::new(&self.catalog, |rule| self.rule_enabled(rule));
        self.rules = Arc::new(index);
    }

    /// One sensor for each distinct trigger and parameters of the enabled rules and of the runs that wait
    /// for an event. The key is that of the parameters as they are written; the sensor gets them rendered
    /// (`secrets` and `env` are in scope).
    pub(crate) fn wanted_sensors(&self) -> Wanted {
        let mut wanted: BTreeMap<String, SensorSpec> = BTreeMap::new();
        let mut broken: BTreeMap<String, SensorHealth> = BTreeMap::new();
        for rule in self.catalog.rules().filter(|rule| self.rule_enabled(rule)) {
            let Some(trigger) = self.catalog.trigger(&rule.trigger) else {
                continue;
            };
            let key = rule::sensor_key(&rule.trigger, &rule.trigger_parameters);
            let parameters = match self.rendered(&rule.trigger_parameters) {
                Ok(parameters) => parameters,
                Err(problem) => {
                    let health = SensorHealth {
                        key: key.clone(),
                        trigger: rule.trigger.clone(),
                        problem: Some(problem),
                    };
                    broken.insert(key, health);
                    continue;
                }
            };
            wanted
                .entry(key.clone())
                .or_insert_with(|| SensorSpec {
                    key,
                    trigger: rule.trigger.clone(),
                    kind: trigger.kind,
                    parameters,
                    rules: Vec::new(),
                })
                .rules
                .push(rule.reference.clone());
        }
        let awaited = self.awaited.values().flatten().filter_map(|(run, task)| {
            let run = self.runs.get(run)?;
            match &run.active.get(task)?.work {
                ActiveWork::Event(awaited) => Some((run, awaited)),
                _ => None,
            }
        });
        for (run, awaited) in awaited {
            let Some(trigger) = self.catalog.trigger(awaited.trigger()) else {
                continue;
            };
            let key = rule::sensor_key(awaited.trigger(), awaited.parameters());
            wanted
                .entry(key.clone())
                .or_insert_with(|| SensorSpec {
                    key,
                    trigger: trigger.reference.clone(),
                    kind: trigger.kind,
                    parameters: awaited.parameters().clone(),
                    rules: Vec::new(),
                })
                .rules
                .push(run.spec.action.clone());
        }
        Wanted {
            sensors: wanted.into_values().collect(),
            broken: broken.into_values().collect(),
        }
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
