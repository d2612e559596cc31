//! Waking whoever follows a run in this program.
//!
//! What is told here is only that something happened. A follower reads what it was from the database,
//! so it misses nothing and sees nothing twice.

use std::collections::HashMap;
use std::sync::Arc;

use camshaft_model::ExecutionId;
use camshaft_model::notice::{Notice, Subscriber};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The runs that are followed; none once the engine has stopped.
#[derive(Debug)]
pub(super) struct Followers(Mutex<Option<HashMap<ExecutionId, watch::Sender<()>>>>);

impl Default for Followers {
    fn default() -> Self {
        Self(Mutex::new(Some(HashMap::new())))
    }
}

impl Followers {
    /// What hears of everything that happens to a run that no other run has started, and below it, from
    /// now on, and of the end of the engine.
    pub(super) fn follow(&self, run: ExecutionId) -> watch::Receiver<()> {
        let mut runs = self.0.lock();
        let Some(runs) = runs.as_mut() else {
            return watch::Sender::default().subscribe();
        };
        runs.retain(|_, followers| !followers.is_closed());
        runs.entry(run).or_default().subscribe()
    }
}

/// Whoever holds this is followed; once it is dropped, nothing will happen any more.
#[derive(Debug)]
pub(super) struct Followed(pub(super) Arc<Followers>);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.0.lock().take();
    }
}

impl Subscriber for Followers {
    fn name(&self) -> &str {
        "embed"
    }

    fn notice(&self, notice: &Notice) {
        let run = match notice {
            Notice::Step(line) => line.execution_id,
            Notice::Execution(execution) => execution.spec.root,
            _ => return,
        };
        if let Some(followers) = self.0.lock().as_ref().and_then(|runs| runs.get(&run)) {
            followers.send_replace(());
        }
    }
}
