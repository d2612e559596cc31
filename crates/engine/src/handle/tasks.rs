//! What the tasks of a run do now. The record of a task is written when the task starts and when it ends;
//! whether its execution has started by then is known of the execution alone.

use std::collections::HashMap;

use camshaft_model::{BlockedBy, ExecutionId, Status, TaskRef, Timestamp};

use super::Engine;
use crate::state::State;
use crate::workflow::{Active, ActiveWork};

/// What a task that has not ended does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskNow {
    /// `Requested` as long as nothing of it runs and no item of it has ended; else that of its record.
    pub status: Status,
    /// What holds its execution; of a task with items, the first of them, if none runs.
    pub blocked_by: Option<BlockedBy>,
}

impl Engine {
    /// The tasks of a run that have started and not ended; none of a run that is not under way.
    pub fn tasks_now(&self, run: ExecutionId) -> HashMap<TaskRef, TaskNow> {
        let now = self.core.clock().now();
        self.core.read(|state| state.tasks_now(run, now))
    }
}

impl State {
    pub(crate) fn tasks_now(&self, run: ExecutionId, now: Timestamp) -> HashMap<TaskRef, TaskNow> {
        let active = self.runs.get(&run).into_iter();
        active
            .flat_map(|run| run.active.values())
            .map(|active| (active.record.task.clone(), self.task_now(active, now)))
            .collect()
    }

    fn task_now(&self, active: &Active, now: Timestamp) -> TaskNow {
        let child = |id: &ExecutionId| self.live.get(id);
        let is_requested =
            |id| child(id).is_some_and(|live| live.state.status == Status::Requested);
        let (first, waits, has_ended) = match &active.work {
            ActiveWork::Child(id) => (Some(id), is_requested(id), false),
            ActiveWork::Items(items) => {
                let first = items.running.iter().min_by_key(|(item, _)| **item);
                let waits = first.is_some() && items.running.values().all(is_requested);
                (
                    first.map(|(_, id)| id).filter(|_| waits),
                    waits,
                    items.fanout.done() > 0,
                )
            }
            ActiveWork::Inquiry(_) | ActiveWork::Event(_) => (None, false, false),
        };
        TaskNow {
            status: if waits && !has_ended {
                Status::Requested
            } else {
                active.record.status
            },
            blocked_by: first
                .and_then(child)
                .and_then(|live| self.held_now(live, now)),
        }
    }
}
