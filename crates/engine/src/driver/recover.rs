//! Taking up, at the start, what an earlier engine left.

use std::sync::Arc;

use camshaft_model::port::store::{InquiryFilter, Laps, PageRequest, StoreError, Values};
use camshaft_model::{
    AttemptKey, Execution, ExecutionId, Inquiry, InquiryStatus, Output, Status, TaskRef,
};

use super::Core;
use super::version::VersionError;
use crate::apply::workflow::{Absent, ResultPlace, RunRows, Taken};
use crate::state::State;
use crate::workflow::cache;

/// So many rows are read at once.
const PAGE: u32 = 1_000;

/// What recovery needs of the machine that it runs on. By the time it is called, processes of the
/// earlier life have been found and killed.
pub struct Recovery<'a> {
    /// What the log files of an attempt hold: standard output, standard error.
    pub outputs: &'a (dyn Fn(&AttemptKey) -> (Output, Output) + Sync),
}

/// How much was taken up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Executions that wait.
    pub waiting: usize,
    /// Attempts that had been cut off.
    pub interrupted: usize,
}

impl Core {
    /// Raises the epoch, so that every lease of an earlier life is void, and takes up every execution
    /// that is not terminal.
    pub(crate) async fn recover(&self, recovery: Recovery<'_>) -> Result<Recovered, StoreError> {
        let epoch = self.store().next_epoch().await?;
        let overrides = self.store().rule_overrides().await?;
        self.alter(|state| {
            state.epoch = epoch;
            state.rule_overrides = overrides.into_iter().collect();
            state.reindex();
        });
        let now = self.clock().now();
        for record in self.store().constraints().await? {
            self.alter(|state| state.constraints.restore(record, now));
        }
        // What is over by now is over before anything is decided.
        self.apply(State::end_expired);
        for held in self.store().held_events().await? {
            self.alter(|state| state.held_events.restore(held));
        }
        let mut recovered = Recovered::default();
        let mut cut_off = Vec::new();
        let mut runs = Vec::new();
        for execution in self.store().unfinished().await? {
            self.load_version(&execution).await?;
            let (id, key) = (execution.spec.id, execution.key());
            // The first attempt has none before it.
            let attempts = match key.attempt {
                0 | 1 => Vec::new(),
                _ => self.store().attempts(id).await?,
            };
            if !self.alter(|state| state.take(execution)) {
                tracing::error!(execution = %id, "its action's definition is gone; it stays as it is until the pack is applied again and the engine restarted");
                continue;
            }
            self.alter(|state| state.count_interruptions(id, &attempts));
            self.read(|state| match state.live.get(&id) {
                Some(live) if live.is_run() => runs.push(id),
                Some(live) if live.holds_lease() => cut_off.push(key),
                Some(live) if live.state.status == Status::Requested => recovered.waiting += 1,
                _ => {}
            });
        }
        let now = self.clock().now();
        let max_bytes = cache::MAX_CACHED_BYTES as u64;
        for cached in self.store().cached(now, max_bytes).await? {
            self.alter(|state| state.cache.put(&cached, now));
        }
        let mut pending = Vec::new();
        for id in runs {
            let Some(rows) = self.rows_of(id).await? else {
                continue;
            };
            match self.alter(|state| state.take_run(rows)) {
                Ok(Taken { steps, absent }) => {
                    for absent in absent {
                        self.supply(absent).await?;
                    }
                    pending.push((id, steps));
                }
                Err(error) => tracing::error!(execution = %id, error, "a run cannot be taken up"),
            }
        }
        for key in cut_off {
            recovered.interrupted += 1;
            let outputs = (recovery.outputs)(&key);
            self.apply(|state, context| state.interrupted(key.execution, outputs, context));
        }
        for (id, steps) in pending {
            self.apply(|state, context| state.continue_run(id, steps, context));
        }
        Ok(recovered)
    }

    /// What is recorded of a run of a workflow; `None` if it has not started.
    async fn rows_of(&self, id: ExecutionId) -> Result<Option<RunRows>, StoreError> {
        let store = self.store();
        let Some(record) = store.run(id).await? else {
            return Ok(None);
        };
        let values = Values::LeaveOut;
        let laps = Laps::Only(record.lap);
        let kept = store.tasks(id, Laps::Only(TaskRef::KEPT_LAP), values);
        let kept = kept.await?;
        let tasks = match record.lap {
            TaskRef::KEPT_LAP => Vec::new(),
            _ => store.tasks(id, laps, values).await?,
        };
        let mut items = Vec::new();
        for task in tasks
            .iter()
            .filter(|task| task.items.is_some() && !task.status.is_terminal())
        {
            let list = store.task_items(id, task.task.clone()).await?;
            items.extend(list.map(|list| (task.task.clone(), Arc::new(list))));
        }
        let open = InquiryFilter {
            statuses: vec![InquiryStatus::Open],
            run: Some(id),
            below: false,
        };
        let mut inquiries: Vec<Inquiry> = Vec::new();
        loop {
            let page = PageRequest {
                after: inquiries.last().map(|inquiry| inquiry.id),
                limit: PAGE,
            };
            let more = store.inquiries(open.clone(), page).await?;
            let last = more.len() < PAGE as usize;
            inquiries.extend(more);
            if last {
                break;
            }
        }
        let mut children: Vec<Execution> = Vec::new();
        loop {
            let page = PageRequest {
                after: children.last().map(|child| child.spec.id),
                limit: PAGE,
            };
            let more = store.children(id, laps, page, values).await?;
            let last = more.len() < PAGE as usize;
            children.extend(more);
            if last {
                break;
            }
        }
        Ok(Some(RunRows {
            record,
            kept,
            tasks,
            items,
            children,
            inquiries,
        }))
    }

    /// Reads results that the rows of a run left out, and hands them to it.
    async fn supply(&self, absent: Absent) -> Result<(), StoreError> {
        let of_executions = absent.places.iter().filter_map(|(_, place)| match place {
            ResultPlace::Execution(id) => Some(*id),
            ResultPlace::Record(_) => None,
        });
        let ids: Vec<ExecutionId> = of_executions.collect();
        let mut of_executions = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PAGE as usize) {
            of_executions.extend(self.store().results(ids.to_vec()).await?);
        }
        let mut of_executions = of_executions.into_iter();
        let mut results = Vec::with_capacity(absent.places.len());
        for (_, place) in &absent.places {
            let result = match place {
                ResultPlace::Execution(_) => of_executions.next().flatten(),
                ResultPlace::Record(task) => {
                    self.store().task_result(absent.run, task.clone()).await?
                }
            };
            results.push(result.map(Arc::new));
        }
        self.alter(|state| state.supply(absent, results));
        Ok(())
    }

    /// Loads the version that an execution is pinned to. One that cannot be loaded is no reason not to
    /// take up the others.
    async fn load_version(&self, execution: &Execution) -> Result<(), StoreError> {
        let Some(hash) = &execution.spec.pack_hash else {
            return Ok(());
        };
        match self.version(hash).await {
            Err(VersionError::Store(error)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "apply the pack again");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}
