//! What is there in the end, and what contradicts what.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::definition::MARKING;
use super::load::Acknowledged;
use super::run::{self, Run};
use crate::Trouble;
use crate::engine::Api;
use crate::report::Report;

/// The statuses that nothing comes after.
pub(super) const TERMINAL: &[&str] =
    &["completed", "failed", "timed_out", "cancelled", "abandoned"];

/// Everything that is known, from three independent sources: the clients, the database, the files.
#[derive(Default)]
pub(super) struct Ledger {
    acknowledged: Vec<Acknowledged>,
    events: Vec<Value>,
    enforcements: Vec<Value>,
    executions: HashMap<String, Value>,
    runs: Vec<Run>,
    /// For each action: how often (execution, attempt) wrote that it started, and that it was through.
    marks: BTreeMap<&'static str, Marks>,
}

#[derive(Default)]
struct Marks {
    started: HashMap<(String, u64), u32>,
    through: HashMap<(String, u64), u32>,
}

impl Marks {
    fn read(text: &str) -> Self {
        let mut marks = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(mark), Some(id), Some(attempt)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let counts = if mark == "S" {
                &mut marks.started
            } else {
                &mut marks.through
            };
            *counts
                .entry((id.to_owned(), attempt.parse().unwrap_or(0)))
                .or_default() += 1;
        }
        marks
    }
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

impl Ledger {
    pub(super) async fn read(
        api: &Api,
        folder: &Path,
        acknowledged: Vec<Acknowledged>,
    ) -> Result<Self, Trouble> {
        let executions: HashMap<String, Value> = api
            .all("/executions")
            .await?
            .into_iter()
            .map(|execution| (text(&execution, "id").to_owned(), execution))
            .collect();
        let marks = MARKING.map(|name| {
            (
                name,
                Marks::read(&fs::read_to_string(folder.join(name)).unwrap_or_default()),
            )
        });
        Ok(Self {
            acknowledged,
            events: api.all("/events").await?,
            enforcements: api.all("/enforcements").await?,
            runs: run::read(api, &executions).await?,
            executions,
            marks: marks.into(),
        })
    }

    pub(super) fn check(&self, report: &mut Report) {
        let executions = format!("{} executions", self.executions.len());
        report.promise(
            "R1",
            "acknowledged, and not there",
            format!("{} acknowledged", self.acknowledged.len()),
            self.lost(),
        );
        report.promise(
            "R1",
            "keys recorded twice",
            format!("{} events", self.events.len()),
            self.doubled(),
        );
        report.promise(
            "R1",
            "not one enforcement per (rule, event)",
            format!("{} enforcements", self.enforcements.len()),
            self.enforced(),
        );
        report.promise(
            "R1",
            "not in a terminal state",
            &executions,
            self.unfinished(),
        );
        report.promise(
            "R1",
            "attempts started twice",
            format!("{} starts", self.starts()),
            self.repeated(),
        );
        report.promise(
            "R1",
            "reported completed, but not done",
            executions,
            self.invented(),
        );
        report.promise(
            "R1",
            "run, tasks and children contradict",
            format!("{} runs", self.runs.len()),
            self.runs.iter().flat_map(Run::contradictions).collect(),
        );
        report.promise(
            "R1",
            "parts without their whole",
            format!("{} executions", self.executions.len()),
            self.orphaned(),
        );
        let mut statuses: BTreeMap<&str, u64> = BTreeMap::new();
        for execution in self.executions.values() {
            *statuses.entry(text(execution, "status")).or_default() += 1;
        }
        let statuses: Vec<String> = statuses
            .iter()
            .map(|(status, count)| format!("{count} {status}"))
            .collect();
        report.row("R1", "executions", statuses.join(", "), "any", true);
    }

    fn lost(&self) -> Vec<String> {
        let events: HashMap<&str, &str> = self
            .events
            .iter()
            .map(|event| (text(event, "id"), text(event, "dedup_key")))
            .collect();
        let is_lost = |one: &&Acknowledged| {
            let key = if one.is_event {
                events.get(one.id.as_str()).copied()
            } else {
                self.executions
                    .get(&one.id)
                    .map(|execution| text(execution, "idempotency_key"))
            };
            key != Some(one.key.as_str())
        };
        self.acknowledged
            .iter()
            .filter(is_lost)
            .map(|one| format!("{one:?}"))
            .collect()
    }

    fn doubled(&self) -> Vec<String> {
        let events = self
            .events
            .iter()
            .map(|event| (text(event, "trigger"), text(event, "dedup_key")));
        let keys = self
            .executions
            .values()
            .map(|execution| ("execution", text(execution, "idempotency_key")));
        let mut seen = HashSet::new();
        let keyed = events.chain(keys).filter(|(_, key)| !key.is_empty());
        keyed
            .filter(|key| !seen.insert(*key))
            .map(|key| format!("{key:?}"))
            .collect()
    }

    /// Every event of the storm matches exactly one rule; timers have one rule.
    fn enforced(&self) -> Vec<String> {
        let mut of: HashMap<&str, Vec<&Value>> = HashMap::new();
        for enforcement in &self.enforcements {
            of.entry(text(enforcement, "event"))
                .or_default()
                .push(enforcement);
        }
        let mut broken = Vec::new();
        for event in &self.events {
            let found = of.get(text(event, "id")).map_or(&[][..], Vec::as_slice);
            let requested = found
                .iter()
                .all(|one| self.executions.contains_key(text(one, "execution")));
            if found.len() != 1 || !requested {
                broken.push(format!("{event} has {found:?}"));
            }
        }
        broken
    }

    fn unfinished(&self) -> Vec<String> {
        let open = self
            .executions
            .values()
            .filter(|execution| !TERMINAL.contains(&text(execution, "status")));
        open.map(Value::to_string).collect()
    }

    fn starts(&self) -> u64 {
        self.marks
            .values()
            .flat_map(|marks| marks.started.values())
            .map(|count| u64::from(*count))
            .sum()
    }

    /// Executions whose parent is not recorded, or is no run.
    fn orphaned(&self) -> Vec<String> {
        let is_orphan = |execution: &&Value| {
            let parent = execution["parent"].as_str();
            parent.is_some_and(|id| self.executions.get(id).and_then(run::tasks_of).is_none())
        };
        let orphans = self.executions.values().filter(is_orphan);
        orphans.map(Value::to_string).collect()
    }

    /// An attempt starts at most once, and none after the one that is recorded as the last; what must
    /// not run again has one attempt.
    fn repeated(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, marks) in &self.marks {
            let doubled = marks.started.iter().filter(|(_, count)| **count > 1);
            broken.extend(
                doubled
                    .map(|(attempt, count)| format!("{name}: {attempt:?} started {count} times")),
            );
            let later = marks.started.keys().filter(|(id, attempt)| {
                let recorded = self.executions.get(id);
                recorded.is_some_and(|one| one["attempt"].as_u64() < Some(*attempt))
            });
            broken.extend(later.map(|attempt| {
                format!("{name}: {attempt:?} started after the last attempt that is recorded")
            }));
            let unknown = marks
                .started
                .keys()
                .filter(|(id, _)| !self.executions.contains_key(id));
            broken.extend(
                unknown.map(|attempt| format!("{name}: {attempt:?} started, and is not recorded")),
            );
        }
        let later = self
            .marks
            .get("once")
            .into_iter()
            .flat_map(|marks| marks.started.keys())
            .filter(|(_, attempt)| *attempt != 1);
        broken.extend(later.map(|attempt| format!("once: {attempt:?} is a further attempt")));
        broken
    }

    fn invented(&self) -> Vec<String> {
        let is_through = |execution: &Value| {
            let attempt = (
                text(execution, "id").to_owned(),
                execution["attempt"].as_u64().unwrap_or(0),
            );
            let name = text(execution, "action")
                .rsplit('.')
                .next()
                .unwrap_or_default();
            self.marks
                .get(name)
                .is_some_and(|marks| marks.through.contains_key(&attempt))
        };
        // A run does nothing itself: its tasks do, and are among these.
        let completed = self.executions.values().filter(|execution| {
            text(execution, "status") == "completed" && run::tasks_of(execution).is_none()
        });
        completed
            .filter(|execution| !is_through(execution))
            .map(Value::to_string)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ledger(status: &str, marks: &str) -> Ledger {
        let execution = json!({"id": "x", "action": "storm.once", "status": status, "attempt": 1, "idempotency_key": "k"});
        Ledger {
            acknowledged: vec![Acknowledged {
                is_event: false,
                key: "k".into(),
                id: "x".into(),
            }],
            executions: [("x".to_owned(), execution)].into(),
            marks: [("once", Marks::read(marks))].into(),
            ..Ledger::default()
        }
    }

    #[test]
    fn what_fits_together_is_no_violation() {
        let ledger = ledger("completed", "S x 1\nE x 1\n");
        for broken in [
            ledger.lost(),
            ledger.doubled(),
            ledger.unfinished(),
            ledger.repeated(),
            ledger.invented(),
        ] {
            assert_eq!(broken, Vec::<String>::new());
        }
    }

    #[test]
    fn each_contradiction_is_found() {
        assert_eq!(ledger("running", "").unfinished().len(), 1);
        assert_eq!(ledger("completed", "S x 1\n").invented().len(), 1);
        assert_eq!(ledger("abandoned", "S x 1\nS x 1\n").repeated().len(), 1);
        assert_eq!(ledger("abandoned", "S x 2\n").repeated().len(), 2);
        assert_eq!(ledger("abandoned", "S y 1\n").repeated().len(), 1);
        let mut again = ledger("completed", "S x 1\nE x 1\n");
        again.marks = [("again", Marks::read("S x 1\nE x 1\nS x 2\n"))].into();
        assert_eq!(again.repeated().len(), 1);
        let mut orphan = ledger("completed", "S x 1\nE x 1\n");
        for execution in orphan.executions.values_mut() {
            execution["parent"] = json!("gone");
        }
        assert_eq!(orphan.orphaned().len(), 1);
        let mut lost = ledger("completed", "");
        lost.executions.clear();
        assert_eq!(lost.lost().len(), 1);
        let mut twice = ledger("completed", "");
        twice.events = vec![
            json!({"id": "e", "trigger": "t", "dedup_key": "a"}),
            json!({"id": "f", "trigger": "t", "dedup_key": "a"}),
        ];
        assert_eq!(twice.doubled().len(), 1);
        assert_eq!(twice.enforced().len(), 2);
    }
}
