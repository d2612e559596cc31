//! Taking up, at the start, what an earlier engine left.

use std::sync::Arc;

use camshaft_model::definition::Pack;
use camshaft_model::port::store::{PackRecord, StoreError};
use camshaft_model::{AttemptKey, Execution, Output, Status};

use super::Core;

/// What recovery needs of the machine that it runs on. By the time it is called, processes of the
/// earlier life have been found and killed.
pub struct Recovery<'a> {
    /// Loads a version of a pack that is not current any more.
    pub load_pack: &'a (dyn Fn(&PackRecord) -> Result<Arc<Pack>, String> + Sync),
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
        let mut recovered = Recovered::default();
        for execution in self.store().unfinished().await? {
            self.load_version(&execution, &recovery).await?;
            self.take_up(execution, &recovery, &mut recovered);
        }
        Ok(recovered)
    }

    async fn load_version(
        &self,
        execution: &Execution,
        recovery: &Recovery<'_>,
    ) -> Result<(), StoreError> {
        let Some(hash) = &execution.spec.pack_hash else {
            return Ok(());
        };
        if self.read(|state| state.versions.contains_key(hash)) {
            return Ok(());
        }
        let Some(record) = self.store().pack_version(hash.clone()).await? else {
            return Ok(());
        };
        match (recovery.load_pack)(&record) {
            Ok(pack) => self.alter(|state| {
                state.versions.insert(hash.clone(), pack);
            }),
            Err(error) => tracing::error!(
                pack = record.pack,
                hash,
                error,
                "a version of a pack cannot be loaded"
            ),
        }
        Ok(())
    }

    fn take_up(&self, execution: Execution, recovery: &Recovery<'_>, recovered: &mut Recovered) {
        let id = execution.spec.id;
        let cut_off = execution.state.status.holds_lease();
        let key = execution.key();
        let known = self.alter(|state| state.take(execution));
        if !known {
            tracing::error!(execution = %id, "its action's definition is gone; it stays as it is until the pack is applied again");
            return;
        }
        if cut_off {
            recovered.interrupted += 1;
            let outputs = (recovery.outputs)(&key);
            self.apply(|state, context| state.interrupted(id, outputs, context));
        } else if self.read(|state| {
            state
                .live
                .get(&id)
                .is_some_and(|l| l.state.status == Status::Requested)
        }) {
            recovered.waiting += 1;
        }
    }
}
