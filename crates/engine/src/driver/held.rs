//! Reading what held events say, when they may go.

use std::time::Duration;

use camshaft_model::EventId;

use super::Core;
use crate::held_events::READ_BYTES;

/// So long after events could not be read it is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Core {
    /// Reads events in a task of its own, and wakes whoever lets them go. Called under the lock.
    pub(super) fn read_held(&self, wanted: Vec<EventId>) {
        let this = self.this.clone();
        self.runtime.spawn(async move {
            while let Some(core) = this.upgrade() {
                let store = core.store().clone();
                match store.events_by_id(wanted.clone(), READ_BYTES).await {
                    Ok(read) => {
                        core.alter(|state| state.held_events.supply(&wanted, read));
                        core.wake.notify_one();
                        return;
                    }
                    Err(_) if core.is_closed() => return,
                    Err(error) => {
                        tracing::warn!(%error, "events that were held cannot be read; it is tried again");
                    }
                }
                drop(core);
                tokio::time::sleep(RETRY).await;
            }
        });
    }
}
