//! What the lines of an event log are about, by name: `task`, `task[3]` for an item, `task#2` for a
//! second visit, `task/inner` for a task of a run below.
//!
//! A line names an execution and a step; where that execution is in the tree of runs is asked for
//! once and kept. Lines about the parts of one run follow one another, so the parts are asked for by
//! pages: as many as have started by then are known after one question.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use camshaft_model::{Execution, ExecutionId, ExecutionSpec, StepEvent};
use serde::Deserialize;

use crate::command::Context;
use crate::command::context::Query;
use crate::exit::CliError;
use crate::render::tree::task_label;

/// So many executions are kept in mind; after that they are asked for again.
const MAX_KNOWN: usize = 20_000;
/// So many parts of a run are asked for at once.
const PAGE: u32 = 100;
/// Runs below runs are followed so far up.
const MAX_NESTING: usize = 64;

/// Finds names for the parts of one execution.
pub(crate) struct Names<'a> {
    context: &'a Context,
    subject: ExecutionId,
    known: HashMap<ExecutionId, Arc<ExecutionSpec>>,
    /// The run whose parts are being told of.
    run: ExecutionId,
    /// How far the parts of runs have been read.
    read: HashMap<ExecutionId, ExecutionId>,
}

/// A page of the parts of a run.
#[derive(Deserialize)]
struct Parts {
    items: Vec<Execution>,
}

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    /// The execution.
    pub(crate) execution: ExecutionId,
    /// Its way from the execution that is watched; empty for that one itself.
    pub(crate) name: String,
    /// Whether the line is about the execution itself rather than about a task of it.
    pub(crate) itself: bool,
}

impl<'a> Names<'a> {
    pub(crate) fn new(context: &'a Context, subject: ExecutionId) -> Self {
        Self {
            context,
            subject,
            known: HashMap::new(),
            run: subject,
            read: HashMap::new(),
        }
    }

    /// What a line is about; `None` if that is no part of the execution that is watched.
    ///
    /// # Errors
    /// The engine does not say.
    pub(crate) async fn about(&mut self, event: &StepEvent) -> Result<Option<About>, CliError> {
        let execution = event.item_id.unwrap_or(event.execution_id);
        let Some(mut name) = self.path(execution).await? else {
            return Ok(None);
        };
        let spec = self.spec(execution).await?;
        // A task may be called like the workflow; what is said of the workflow itself has no scope.
        let own = spec.task.is_some() || event.step_scope.is_none();
        let step = event.step.as_deref();
        let step = step.filter(|step| !(own && *step == spec.step()));
        // The line of a task without an execution of its own names the run.
        if let Some(step) = step {
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(step);
        }
        Ok(Some(About {
            execution,
            name,
            itself: step.is_none(),
        }))
    }

    /// The way from the execution that is watched to another one; `None` if that is not below it.
    async fn path(&mut self, id: ExecutionId) -> Result<Option<String>, CliError> {
        let (mut names, mut at) = (Vec::new(), id);
        while at != self.subject {
            let spec = self.spec(at).await?;
            let Some(parent) = spec.parent.filter(|_| names.len() < MAX_NESTING) else {
                return Ok(None);
            };
            names.push(
                spec.task
                    .as_deref()
                    .map_or_else(|| spec.step().to_owned(), task_label),
            );
            at = parent;
        }
        names.reverse();
        Ok(Some(names.join("/")))
    }

    async fn spec(&mut self, id: ExecutionId) -> Result<Arc<ExecutionSpec>, CliError> {
        if let Some(spec) = self.known.get(&id) {
            return Ok(spec.clone());
        }
        if id != self.subject {
            self.read_on().await?;
            if let Some(spec) = self.known.get(&id) {
                return Ok(spec.clone());
            }
        }
        let path = format!("/executions/{id}");
        let execution: Execution = self.context.client.get(&path, &[], Duration::ZERO).await?;
        self.run = execution.spec.parent.unwrap_or(self.run);
        self.learn(&execution);
        Ok(execution.spec)
    }

    /// Learns the next parts of the run whose parts are being told of.
    async fn read_on(&mut self) -> Result<(), CliError> {
        let path = format!("/executions/{}/children", self.run);
        let query = Query::default()
            .with("limit", Some(PAGE))
            .with("cursor", self.read.get(&self.run));
        let client = &self.context.client;
        let parts: Parts = client.get(&path, &query.0, Duration::ZERO).await?;
        if let Some(last) = parts.items.last() {
            if self.read.len() >= MAX_KNOWN {
                self.read.clear();
            }
            self.read.insert(self.run, last.spec.id);
        }
        parts.items.iter().for_each(|part| self.learn(part));
        Ok(())
    }

    fn learn(&mut self, execution: &Execution) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(execution.spec.id, execution.spec.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Answer, FakeEngine};
    use crate::render::Format;
    use serde_json::{Value, json};

    fn id(number: u32) -> String {
        format!("exec_{number:026}")
    }

    fn execution(number: u32, task: Option<(&str, u32, Option<u32>)>) -> Value {
        let mut execution = json!({
            "id": id(number), "root": id(1), "parent": null, "action": "demo.etl", "pack_hash": null, "adhoc": null,
            "parameters": {}, "priority": 0, "requested_at": "2026-11-21T01:28:29Z", "origin": {"kind": "api"},
            "idempotency_key": null, "depth": 0, "trace_parent": null, "status": "running", "attempt": 1, "epoch": 1,
            "not_before": null, "blocked_by": null, "worker": null, "lease_expires_at": null, "scheduled_at": null,
            "started_at": null, "ended_at": null, "result": null, "error": null, "exit_code": null, "signal": null
        });
        if let Some((name, visit, item)) = task {
            execution["parent"] = id(1).into();
            execution["task"] = json!({"lap": 1, "name": name, "visit": visit});
            if let Some(item) = item {
                execution["task"]["item"] = item.into();
            }
        }
        execution
    }

    #[tokio::test]
    async fn the_parts_of_a_run_are_asked_for_together() {
        let parts = [
            execution(2, Some(("fetch", 1, Some(0)))),
            execution(3, Some(("fetch", 2, Some(7)))),
            execution(4, Some(("load", 2, None))),
        ];
        let later = execution(5, Some(("store", 1, None)));
        let children = format!("GET /api/v1/executions/{}/children?limit=100", id(1));
        let engine = FakeEngine::start(vec![
            Answer::json(
                &format!("{children} "),
                &json!({"items": parts, "next_cursor": null}),
            ),
            Answer::json(
                &format!("{children}&cursor={} ", id(4)),
                &json!({"items": [later], "next_cursor": null}),
            ),
        ])
        .await;
        let (context, _, _) = engine.context(Format::Table);
        let mut names = Names::new(&context, id(1).parse().unwrap());
        let mut paths = Vec::new();
        for number in [4, 2, 3, 5, 2] {
            let path = names.path(id(number).parse().unwrap()).await.unwrap();
            paths.push(path.unwrap());
        }
        assert_eq!(
            paths,
            ["load#2", "fetch[0]", "fetch#2[7]", "store", "fetch[0]"]
        );
        assert_eq!(engine.requests().len(), 2);
    }
}
