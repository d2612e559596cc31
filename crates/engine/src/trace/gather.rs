//! Reading what a trace is made from.

use std::collections::{HashMap, VecDeque};

use camshaft_model::port::store::{
    ExecutionFilter, Laps, PageRequest, StepEventFilter, StoreError, Values,
};
use camshaft_model::{
    ErrorCode, Execution, ExecutionId, Ref, Status, StepEvent, StepEventType, TaskRef, Timestamp,
};

use super::{Material, Trace};
use crate::handle::{ControlError, Engine, unavailable};

/// So many executions of a run are traced.
const MAX_EXECUTIONS: usize = 10_000;
/// So many lines of its event log are read.
const MAX_EVENTS: usize = 200_000;
/// So many completed executions of an action are its history.
const HISTORY: u32 = 20;
/// Of so many actions the history is read.
const MAX_ACTIONS: usize = 200;
/// So many rows are read at once.
const PAGE: u32 = 500;

/// What a trace takes from the event log.
const TYPES: &[StepEventType] = &[
    StepEventType::StepSpawned,
    StepEventType::StepStarted,
    StepEventType::StepHeartbeat,
    StepEventType::StepRetrying,
    StepEventType::TaskPaused,
    StepEventType::TaskBlocked,
    StepEventType::ResultRefused,
];

impl Engine {
    /// Where the time of an execution and everything below it went.
    ///
    /// # Errors
    /// There is no such execution.
    pub async fn trace(&self, id: ExecutionId) -> Result<Trace, ControlError> {
        let missing =
            || ControlError::new(ErrorCode::NotFound, format!("there is no execution {id}"));
        let subject = self.store().execution(id).await.map_err(unavailable)?;
        let subject = subject.ok_or_else(missing)?;
        let now = self.core.clock().now();
        let material = self.material(subject, now).await.map_err(unavailable)?;
        super::trace(&material, id, now).ok_or_else(missing)
    }

    async fn material(&self, subject: Execution, now: Timestamp) -> Result<Material, StoreError> {
        let store = self.store();
        let root = subject.spec.root;
        let mut material = Material::default();
        let mut waiting = VecDeque::from([subject]);
        while let Some(mut execution) = waiting.pop_front() {
            if material.executions.len() >= MAX_EXECUTIONS {
                material.left_out += 1;
                continue;
            }
            let id = execution.spec.id;
            let action = self.core.read(|state| {
                if let Some(live) = state.live.get(&id) {
                    execution.state.blocked_by = state.held_now(live, now);
                }
                state.action_of(&execution.spec)
            });
            // An execution that ended at its first try says all of it in its own row.
            if execution.state.attempt > 1 || execution.state.status == Status::Abandoned {
                material.attempts.extend(store.attempts(id).await?);
            }
            let workflow = action.as_ref().and_then(|action| action.workflow());
            material
                .workflows
                .extend(workflow.map(|workflow| (id, workflow.clone())));
            // A version that is not loaded any more may have been a workflow.
            if workflow.is_some() || action.is_none() {
                let room = MAX_EXECUTIONS.saturating_sub(material.executions.len() + waiting.len());
                let (left_out, laps) = self.children(id, room, &mut waiting).await?;
                material.left_out += left_out;
                let mut tasks = store.tasks(id, laps, Values::LeaveOut).await?;
                let under_way = self.core.read(|state| state.tasks_now(id, now));
                for task in tasks.iter_mut().filter(|task| task.ended_at.is_none()) {
                    if let Some(task_now) = under_way.get(&task.task) {
                        task.status = task_now.status;
                        if let Some(held) = &task_now.blocked_by {
                            task.reason.get_or_insert_with(|| held.to_string());
                            let place = (id, task.task.clone());
                            material.held.insert(place, held.clone());
                        }
                    }
                }
                material.tasks.extend(tasks);
            }
            material.executions.push(execution);
        }
        material.events = self.lines(root).await?;
        material.usual = self.history(root, &material).await?;
        Ok(material)
    }

    /// Adds the children of a run, and says how many there were no room for, and of which laps those are that
    /// there was room for.
    async fn children(
        &self,
        run: ExecutionId,
        room: usize,
        into: &mut VecDeque<Execution>,
    ) -> Result<(usize, Laps), StoreError> {
        let (mut after, mut read, mut left_out) = (None, 0, 0);
        let mut last_lap = TaskRef::KEPT_LAP;
        loop {
            let page = PageRequest { after, limit: PAGE };
            let children = self
                .store()
                .children(run, Laps::All, page, Values::LeaveOut)
                .await?;
            after = children.last().map(|child| child.spec.id);
            let full = children.len() == PAGE as usize;
            for child in children {
                if read < room {
                    let lap = child.spec.task.as_ref().map(|task| task.lap);
                    last_lap = last_lap.max(lap.unwrap_or_default());
                    into.push_back(child);
                } else {
                    left_out += 1;
                }
                read += 1;
            }
            if !full || left_out >= MAX_EXECUTIONS {
                let laps = match left_out {
                    0 => Laps::All,
                    _ => Laps::Until(last_lap),
                };
                return Ok((left_out, laps));
            }
        }
    }

    /// The lines of the whole run: those of a part do not name the part that they are below.
    async fn lines(&self, root: ExecutionId) -> Result<Vec<StepEvent>, StoreError> {
        let filter = StepEventFilter {
            root: Some(root),
            item: None,
            types: TYPES.to_vec(),
            step: None,
        };
        let (mut after, mut all) = (None, Vec::new());
        while all.len() < MAX_EVENTS {
            let page = PageRequest { after, limit: PAGE };
            let lines = self.store().step_events(filter.clone(), page).await?;
            after = lines.last().map(|line| line.id);
            let full = lines.len() == PAGE as usize;
            all.extend(lines);
            if !full {
                break;
            }
        }
        Ok(all)
    }

    /// How long the actions of the run usually take: their latest completed executions before it.
    async fn history(
        &self,
        root: ExecutionId,
        material: &Material,
    ) -> Result<HashMap<Ref, Vec<std::time::Duration>>, StoreError> {
        let leaves = material
            .executions
            .iter()
            .filter(|execution| !material.workflows.contains_key(&execution.spec.id));
        let mut usual = HashMap::new();
        for action in leaves.map(|execution| &execution.spec.action) {
            if usual.len() >= MAX_ACTIONS || usual.contains_key(action) {
                continue;
            }
            let filter = ExecutionFilter {
                statuses: vec![Status::Completed],
                action: Some(action.clone()),
                ..ExecutionFilter::default()
            };
            let page = PageRequest {
                after: Some(root),
                limit: HISTORY,
            };
            let earlier = self.store().executions(filter, page).await?;
            let times = earlier.iter().filter_map(|execution| {
                let state = &execution.state;
                Some(state.ended_at?.since(state.started_at?))
            });
            usual.insert(action.clone(), times.collect());
        }
        Ok(usual)
    }
}
