//! What an earlier life has left, for the broker: the runs that this one goes on with, and those of whose end
//! the broker may not have heard.

use std::collections::{HashMap, HashSet};

use camshaft_model::port::store::{
    ExecutionFilter, Laps, PageRequest, StepEventFilter, Store, StoreError, Values,
};
use camshaft_model::{Execution, ExecutionId, Status, StepEventType};

/// The most runs of an earlier life that are told of at the start.
const MAX_RESUMED: u32 = 1_000;
/// The most runs of workflows below those that are known at the start, and the most executions that wait.
const MAX_RESUMED_BELOW: u32 = 10_000;
/// The most runs that ended in an earlier life of which the broker is told again at the start.
const MAX_TOLD_AGAIN: usize = 10_000;
/// The most lines of the event log that are looked through for them, and how many at once.
const MAX_LINES: u32 = 100_000;
const LINES_AT_ONCE: u32 = 1_000;

/// The runs that are not over, and what is below them that is a run of a workflow or waits for its start.
pub(super) async fn not_over(store: &dyn Store) -> Result<Vec<Execution>, StoreError> {
    let in_states = |statuses: &[Status], roots| ExecutionFilter {
        statuses: statuses.to_vec(),
        roots,
        values: Values::LeaveOut,
        ..ExecutionFilter::default()
    };
    let page = |limit| PageRequest { after: None, limit };
    let begun = [
        Status::Scheduled,
        Status::Running,
        Status::Waiting,
        Status::Canceling,
    ];
    // Those that have begun come first: of one that waits the change that starts it tells as well.
    let mut left = Vec::new();
    for statuses in [&begun[..], &[Status::Requested]] {
        let asked_for = in_states(statuses, true);
        left.extend(store.executions(asked_for, page(MAX_RESUMED + 1)).await?);
    }
    if left.len() > MAX_RESUMED as usize {
        left.truncate(MAX_RESUMED as usize);
        tracing::warn!(
            "an earlier life has left more than {MAX_RESUMED} runs: of the others the broker is told when something happens to them"
        );
    }
    let taken_up: HashSet<ExecutionId> = left.iter().map(|run| run.spec.id).collect();
    let runs = in_states(&[Status::Waiting, Status::Canceling], false);
    let mut below = store.executions(runs, page(MAX_RESUMED_BELOW)).await?;
    let waiting = in_states(&[Status::Requested], false);
    let waiting = store.executions(waiting, page(MAX_RESUMED_BELOW)).await?;
    below.extend(
        waiting
            .into_iter()
            .filter(|one| taken_up.contains(&one.spec.root)),
    );
    left.extend(below.into_iter().filter(|one| one.spec.parent.is_some()));
    Ok(left)
}

/// A task that waits for a person or an event, and has no execution that would say so.
pub(super) struct WaitingTask {
    pub(super) root: ExecutionId,
    pub(super) run: ExecutionId,
    pub(super) name: String,
    pub(super) reason: &'static str,
}

/// Those of the first [`MAX_RESUMED`] of these that are runs of workflows.
pub(super) async fn waiting_tasks(
    left: &[Execution],
    store: &dyn Store,
) -> Result<Vec<WaitingTask>, StoreError> {
    let mut found = Vec::new();
    let runs = left
        .iter()
        .filter(|one| one.state.status == Status::Waiting);
    for run in runs.take(MAX_RESUMED as usize) {
        let id = run.spec.id;
        let Some(record) = store.run(id).await? else {
            continue;
        };
        let lap = Laps::Only(record.lap);
        let tasks = store.tasks(id, lap, Values::LeaveOut).await?;
        let waiting = tasks
            .into_iter()
            .filter(|task| task.status == Status::Waiting);
        found.extend(waiting.map(|task| WaitingTask {
            root: run.spec.root,
            run: id,
            name: task.task.name,
            reason: match task.awaited {
                Some(_) => "waits for an event",
                None => "waits for a person",
            },
        }));
    }
    Ok(found)
}

/// The runs that have ended after a line of the event log, oldest first, each with its last line. No more
/// than [`MAX_TOLD_AGAIN`].
pub(super) async fn ended_after(
    mut after: i64,
    store: &dyn Store,
) -> Result<Vec<(Execution, i64)>, StoreError> {
    let mut lines = HashMap::new();
    let mut is_all = false;
    for _ in 0..MAX_LINES / LINES_AT_ONCE {
        let request = PageRequest {
            after: Some(after),
            limit: LINES_AT_ONCE,
        };
        let page = store.step_events(ends_of_anything(), request).await?;
        is_all = page.len() < LINES_AT_ONCE as usize;
        for line in page {
            after = line.id;
            // What is about a part of a run names that part.
            if line.item_id.is_none() {
                lines.insert(line.execution_id, line.id);
            }
        }
        if is_all || lines.len() > MAX_TOLD_AGAIN {
            break;
        }
    }
    let mut lines: Vec<(ExecutionId, i64)> = lines.into_iter().collect();
    lines.sort_unstable_by_key(|(_, line)| *line);
    if !is_all || lines.len() > MAX_TOLD_AGAIN {
        lines.truncate(MAX_TOLD_AGAIN);
        tracing::warn!(
            "more runs have ended than the broker is told of again: it may not have heard of the ends after line {after} of the event log"
        );
    }
    let mut ended = Vec::with_capacity(lines.len());
    for (run, line) in lines {
        let execution = store.execution(run).await?;
        let execution = execution.filter(|execution| execution.state.status.is_terminal());
        ended.extend(execution.map(|execution| (execution, line)));
    }
    Ok(ended)
}

/// The lines of which one is about each end of a run.
fn ends_of_anything() -> StepEventFilter {
    StepEventFilter {
        types: vec![
            StepEventType::StepFinished,
            StepEventType::TaskCompleted,
            StepEventType::TaskFailed,
            StepEventType::TaskCancelled,
        ],
        ..StepEventFilter::default()
    }
}
