//! The index that finds the rules an event may match without trying each.
//!
//! An event with a sensor reaches the rules that this sensor feeds, any other event every rule on its
//! trigger. Among those, a rule that demands `equals` of a payload path is found by the value there:
//! one lookup for each distinct path, however many rules there are. Equality is defined between any
//! two values, so an `equals` that does not hold decides, and a rule left aside could not have
//! matched or failed. The rest are tried.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use camshaft_model::definition::{Catalog, Rule};
use camshaft_model::{EventDraft, Object, Ref};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::matching::CompiledRule;
use super::path::Path;
use super::value::Scalar;
use crate::expression::canonical;

/// The identity of the sensor that feeds rules on `trigger` with these parameters: the ref, `#`, and
/// 12 hexadecimal digits of the hash of the parameters.
pub fn sensor_key(trigger: &Ref, parameters: &Object) -> String {
    const DIGITS: usize = 12;
    let digest = Sha256::digest(canonical(&Value::Object(parameters.clone())));
    let hex: String = digest
        .iter()
        .take(DIGITS / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{trigger}#{hex}")
}

/// The enabled rules.
#[derive(Debug, Default)]
pub struct RuleIndex {
    triggers: HashMap<Ref, OnTrigger>,
}

#[derive(Debug, Default)]
struct OnTrigger {
    all: Group,
    by_sensor: HashMap<String, Group>,
}

/// Rules, in the order of their refs, and where to look them up.
#[derive(Debug, Default)]
struct Group {
    rules: Vec<Arc<CompiledRule>>,
    lookups: Vec<(Path, Lookup)>,
    /// The places in `rules` of those that must be tried.
    rest: Vec<usize>,
}

/// Places in `rules` by the value that they demand. Texts are apart, so that looking one up makes no
/// copy of it.
#[derive(Debug, Default)]
struct Lookup {
    texts: HashMap<String, Vec<usize>>,
    others: HashMap<Scalar, Vec<usize>>,
}

impl RuleIndex {
    /// Compiles and indexes the rules that are enabled.
    pub fn new(catalog: &Catalog, enabled: impl Fn(&Rule) -> bool) -> Self {
        let rules = catalog.rules().filter(|rule| enabled(rule));
        Self::of(rules.map(|rule| Arc::new(CompiledRule::new(rule.clone()))))
    }

    fn of(rules: impl Iterator<Item = Arc<CompiledRule>>) -> Self {
        let mut sorted: Vec<_> = rules.collect();
        sorted.sort_by(|a, b| a.rule().reference.cmp(&b.rule().reference));
        let mut by_trigger: HashMap<Ref, Vec<Arc<CompiledRule>>> = HashMap::new();
        for rule in sorted {
            by_trigger
                .entry(rule.rule().trigger.clone())
                .or_default()
                .push(rule);
        }
        let triggers = by_trigger
            .into_iter()
            .map(|(trigger, rules)| (trigger, OnTrigger::new(rules)));
        Self {
            triggers: triggers.collect(),
        }
    }

    /// The rules that may match an event, in the order of their refs: every one that would match or
    /// fail, and few of those that would not match.
    pub fn candidates(&self, draft: &EventDraft) -> impl Iterator<Item = &CompiledRule> {
        let group = self
            .triggers
            .get(&draft.trigger)
            .and_then(|on| match &draft.sensor {
                Some(key) => on.by_sensor.get(key),
                None => Some(&on.all),
            });
        let places = group
            .map(|group| group.places(&draft.payload))
            .unwrap_or_default();
        let rules = group.map_or(&[][..], |group| &group.rules);
        places
            .into_iter()
            .filter_map(|place| rules.get(place).map(AsRef::as_ref))
    }

    /// Whether any enabled rule is on a trigger.
    pub fn has_rules_on(&self, trigger: &Ref) -> bool {
        self.triggers.contains_key(trigger)
    }

    /// How many rules are enabled.
    pub fn len(&self) -> usize {
        self.triggers.values().map(|on| on.all.rules.len()).sum()
    }

    /// Whether no rule is enabled.
    pub fn is_empty(&self) -> bool {
        self.triggers.is_empty()
    }
}

impl OnTrigger {
    fn new(rules: Vec<Arc<CompiledRule>>) -> Self {
        let mut by_sensor: HashMap<String, Vec<Arc<CompiledRule>>> = HashMap::new();
        for rule in &rules {
            let key = sensor_key(&rule.rule().trigger, &rule.rule().trigger_parameters);
            by_sensor.entry(key).or_default().push(rule.clone());
        }
        let by_sensor = by_sensor
            .into_iter()
            .map(|(key, rules)| (key, Group::new(rules)))
            .collect();
        Self {
            all: Group::new(rules),
            by_sensor,
        }
    }
}

impl Group {
    fn new(rules: Vec<Arc<CompiledRule>>) -> Self {
        let spread = spread(&rules);
        let mut lookups: BTreeMap<usize, (Path, Lookup)> = BTreeMap::new();
        let mut rest = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            // Of several paths the one with the most distinct patterns: it leaves the fewest rules.
            let best = equalities(rule).max_by_key(|(path, _)| spread.get(path).map_or(0, |s| s.1));
            let Some((path, value)) = best else {
                rest.push(place);
                continue;
            };
            let order = spread.get(path).map_or(0, |s| s.0);
            let (_, lookup) = lookups
                .entry(order)
                .or_insert_with(|| (path.clone(), Lookup::default()));
            lookup.insert(value, place);
        }
        Self {
            rules,
            lookups: lookups.into_values().collect(),
            rest,
        }
    }

    /// The places of the rules that may match a payload, ascending.
    fn places(&self, payload: &Value) -> Vec<usize> {
        let mut places = self.rest.clone();
        for (path, lookup) in &self.lookups {
            if let Some(value) = path.resolve(payload) {
                places.extend(lookup.get(value));
            }
        }
        places.sort_unstable();
        places
    }
}

impl Lookup {
    fn insert(&mut self, value: Scalar, place: usize) {
        let places = match value {
            Scalar::Text(text) => self.texts.entry(text).or_default(),
            other => self.others.entry(other).or_default(),
        };
        places.push(place);
    }

    fn get(&self, value: &Value) -> &[usize] {
        let places = match value {
            Value::String(text) => self.texts.get(text),
            other => Scalar::of(other).and_then(|key| self.others.get(&key)),
        };
        places.map_or(&[], Vec::as_slice)
    }
}

/// Each path on which a rule demands a scalar.
fn equalities(rule: &CompiledRule) -> impl Iterator<Item = (&Path, Scalar)> {
    rule.criteria.iter().filter_map(|criterion| {
        let (path, pattern) = criterion.equality()?;
        Some((path, Scalar::of(pattern)?))
    })
}

/// For each path its place in the order of appearance and its number of distinct patterns.
fn spread(rules: &[Arc<CompiledRule>]) -> HashMap<Path, (usize, usize)> {
    let mut patterns: HashMap<&Path, (usize, std::collections::HashSet<Scalar>)> = HashMap::new();
    for rule in rules {
        for (path, value) in equalities(rule) {
            let order = patterns.len();
            patterns
                .entry(path)
                .or_insert_with(|| (order, Default::default()))
                .1
                .insert(value);
        }
    }
    patterns
        .into_iter()
        .map(|(path, (order, set))| (path.clone(), (order, set.len())))
        .collect()
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
