//! What the lines of an event log are about, by name: `task`, `task[3]` for an item, `task:2` for a
//! second visit, `task/inner` for a task of a run below.
//!
//! A line names an execution and a step; where that execution is in the tree of runs is asked for
//! once and kept.

use std::collections::HashMap;
use std::sync::Arc;

use camshaft_model::{Execution, ExecutionId, ExecutionSpec, StepEvent};

use crate::command::Context;
use crate::exit::CliError;
use crate::render::tree::task_label;

/// So many executions are kept in mind; after that they are asked for again.
const MAX_KNOWN: usize = 20_000;
/// Runs below runs are followed so far up.
const MAX_NESTING: usize = 64;

/// Finds names for the parts of one execution.
pub(crate) struct Names<'a> {
    context: &'a Context,
    subject: ExecutionId,
    known: HashMap<ExecutionId, Arc<ExecutionSpec>>,
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
        let execution: Execution = self
            .context
            .client
            .get(&format!("/executions/{id}"), &[], std::time::Duration::ZERO)
            .await?;
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(id, execution.spec.clone());
        Ok(execution.spec)
    }
}
