//! Runs of workflows in the end: whether a run, its tasks and its children tell the same story.

use std::collections::{HashMap, HashSet};

use reqwest::Method;
use serde_json::Value;

use super::definition::{ITEMS, WORKFLOWS};
use super::ledger::text;
use crate::Trouble;
use crate::engine::Api;

/// A run as its execution, the records of its tasks and its child executions show it.
pub(super) struct Run {
    execution: Value,
    tasks: Vec<Value>,
    children: Vec<Value>,
}

/// Reads every run among these executions.
pub(super) async fn read(
    api: &Api,
    executions: &HashMap<String, Value>,
) -> Result<Vec<Run>, Trouble> {
    let mut runs = Vec::new();
    for (id, execution) in executions {
        if tasks_of(execution).is_none() {
            continue;
        }
        let path = format!("/executions/{id}/run");
        let mut record = api.must(Method::GET, &path, None).await?;
        let Value::Array(tasks) = record["tasks"].take() else {
            return Err(format!("{path} has no tasks").into());
        };
        runs.push(Run {
            execution: execution.clone(),
            tasks,
            children: api.all(&format!("/executions/{id}/children")).await?,
        });
    }
    Ok(runs)
}

/// The tasks of a run that completes; `None` if this is no run.
pub(super) fn tasks_of(execution: &Value) -> Option<&'static [&'static str]> {
    WORKFLOWS
        .iter()
        .find(|(workflow, _)| *workflow == text(execution, "action"))
        .map(|(_, tasks)| *tasks)
}

fn is_terminal(status: &str) -> bool {
    super::ledger::TERMINAL.contains(&status)
}

impl Run {
    fn child(&self, id: &str) -> Option<&Value> {
        self.children.iter().find(|child| text(child, "id") == id)
    }

    fn items(&self, task: &Value) -> impl Iterator<Item = &Value> {
        let place = ["lap", "name", "visit"].map(|part| task[part].clone());
        self.children.iter().filter(move |child| {
            let of = &child["task"];
            !of["item"].is_null() && ["lap", "name", "visit"].map(|part| of[part].clone()) == place
        })
    }

    /// Everything in which the three accounts differ.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let status = text(&self.execution, "status");
        let places: HashSet<String> = self
            .children
            .iter()
            .map(|child| child["task"].to_string())
            .collect();
        if places.len() < self.children.len() {
            found.push("two children are at one place".to_owned());
        }
        found.extend(self.tasks.iter().filter_map(|task| self.task(task)));
        let completed: HashSet<&str> = self
            .tasks
            .iter()
            .filter(|task| task["status"] == "completed")
            .map(|task| text(task, "name"))
            .collect();
        let all = tasks_of(&self.execution)
            .unwrap_or_default()
            .iter()
            .all(|name| completed.contains(name));
        if all != (status == "completed") {
            found.push(format!(
                "it is {status}, and of its tasks only {completed:?} completed"
            ));
        }
        let is_tree = text(&self.execution, "action") == "storm.tree";
        if is_tree && !self.tasks.iter().any(|task| task["name"] == "last") {
            found.push("its last task did not run".to_owned());
        }
        let id = text(&self.execution, "id");
        found
            .into_iter()
            .map(|what| format!("{id}: {what}"))
            .collect()
    }

    /// What is wrong with the record of one task.
    fn task(&self, task: &Value) -> Option<String> {
        let (name, status) = (text(task, "name"), text(task, "status"));
        if !is_terminal(status) && status != "skipped" {
            return Some(format!("task {name} is {status}"));
        }
        if let Some(id) = task["execution"].as_str() {
            return match self.child(id) {
                None => Some(format!("the execution {id} of task {name} is no child")),
                Some(child) if child["status"] != task["status"] => Some(format!(
                    "task {name} is {status}, and its execution {}",
                    child["status"]
                )),
                Some(_) => None,
            };
        }
        if task["items"].is_null() {
            return None;
        }
        let ends: Vec<&str> = self.items(task).map(|item| text(item, "status")).collect();
        let all = ends.len() == ITEMS && ends.iter().all(|end| *end == "completed");
        (all != (status == "completed"))
            .then(|| format!("task {name} is {status}, and its items are {ends:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn leaf(status: &str) -> Run {
        let task = |name: &str| json!({"name": name, "lap": 1, "visit": 1, "status": "completed", "execution": name, "items": null});
        let child = |name: &str| json!({"id": name, "status": "completed", "task": {"name": name, "lap": 1, "visit": 1}});
        Run {
            execution: json!({"id": "r", "action": "storm.leaf", "status": status}),
            tasks: vec![task("first"), task("second")],
            children: vec![child("first"), child("second")],
        }
    }

    fn fan(items: usize) -> Run {
        let place = |item: usize| json!({"name": "first", "lap": 1, "visit": 1, "item": item});
        let mut run = leaf("completed");
        run.tasks[0]["execution"] = Value::Null;
        run.tasks[0]["items"] = json!(ITEMS);
        run.children.remove(0);
        run.children.extend((0..items).map(
            |item| json!({"id": item.to_string(), "status": "completed", "task": place(item)}),
        ));
        run
    }

    #[test]
    fn one_story_is_no_contradiction() {
        assert_eq!(leaf("completed").contradictions(), Vec::<String>::new());
        assert_eq!(fan(ITEMS).contradictions(), Vec::<String>::new());
    }

    #[test]
    fn each_contradiction_is_found() {
        assert_eq!(leaf("failed").contradictions().len(), 1);
        assert_eq!(fan(ITEMS - 1).contradictions().len(), 1);
        let mut one = leaf("completed");
        one.tasks[0]["status"] = json!("running");
        assert_eq!(one.contradictions().len(), 2);
        let mut one = leaf("completed");
        one.children[0]["status"] = json!("failed");
        assert_eq!(one.contradictions().len(), 1);
        let mut one = leaf("completed");
        one.children.remove(1);
        assert_eq!(one.contradictions().len(), 1);
        let mut one = leaf("completed");
        one.children.push(one.children[0].clone());
        assert_eq!(one.contradictions().len(), 1);
        let mut one = leaf("completed");
        one.execution["action"] = json!("storm.tree");
        assert_eq!(one.contradictions().len(), 2);
    }
}
