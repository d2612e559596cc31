//! The server's ear on the in-process bus: it wakes whoever follows a run.
//!
//! What travels here are hints, a few bytes each, and never the lines themselves. A follower reads
//! lines from the database, where ids rise in the order of commits; so one that lags behind a full
//! channel, or hears of commits out of order, misses nothing and sees nothing twice.

use std::sync::atomic::{AtomicI64, Ordering};

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::{ExecutionId, Status};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// How many hints a follower may be behind before it has to look without one.
const HINT_CAPACITY: usize = 1_024;

/// That something happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hint {
    root: ExecutionId,
    what: Hinted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hinted {
    /// This line was added.
    Line(i64),
    /// This execution of the run became terminal, or waits for its next attempt.
    Moved(ExecutionId),
}

/// What woke a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There is a newer line.
    Line,
    /// An execution became terminal, or waits for its next attempt.
    Moved(ExecutionId),
    /// Hints were dropped, so anything may have happened.
    Lagged,
}

/// The server's subscriber: subscribe it to the bus that the engine publishes on.
#[derive(Debug)]
pub struct Feed {
    hints: broadcast::Sender<Hint>,
    newest: AtomicI64,
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}

impl Feed {
    /// A feed that has heard nothing yet.
    pub fn new() -> Self {
        Self {
            hints: broadcast::Sender::new(HINT_CAPACITY),
            newest: AtomicI64::new(0),
        }
    }

    /// Hints about one run, or about all.
    pub(crate) fn hints(&self, root: Option<ExecutionId>) -> Hints {
        Hints {
            receiver: self.hints.subscribe(),
            root,
        }
    }

    /// The newest line that was heard of; 0 if none was since the start.
    pub(crate) fn newest(&self) -> i64 {
        self.newest.load(Ordering::Acquire)
    }

    fn hint(&self, hint: Hint) {
        // Nobody following is the usual case, and no error.
        if self.hints.receiver_count() > 0 {
            let _ = self.hints.send(hint);
        }
    }
}

impl Subscriber for Feed {
    fn name(&self) -> &str {
        "http"
    }

    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Execution(execution) => {
                let status = execution.state.status;
                if status.is_terminal() || status == Status::Requested {
                    self.hint(Hint {
                        root: execution.spec.root,
                        what: Hinted::Moved(execution.spec.id),
                    });
                }
            }
            Notice::Step(line) => {
                self.newest.fetch_max(line.id, Ordering::AcqRel);
                self.hint(Hint {
                    root: line.execution_id,
                    what: Hinted::Line(line.id),
                });
            }
            Notice::Event(_) | Notice::Enforcement(_) | Notice::Constraint { .. } => {}
        }
    }
}

/// What one follower hears.
pub(crate) struct Hints {
    receiver: broadcast::Receiver<Hint>,
    root: Option<ExecutionId>,
}

impl Hints {
    /// Returns when there may be something newer than the line `seen`.
    pub(crate) async fn wait(&mut self, seen: i64) -> Woken {
        loop {
            match self.receiver.recv().await {
                Ok(hint) if self.root.is_some_and(|root| root != hint.root) => {}
                Ok(hint) => match hint.what {
                    Hinted::Moved(execution) => return Woken::Moved(execution),
                    Hinted::Line(line) if line > seen => return Woken::Line,
                    Hinted::Line(_) => {}
                },
                Err(RecvError::Lagged(_)) => return Woken::Lagged,
                // The bus is gone, and nothing will happen any more.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Listens to one run only from now on.
    pub(crate) fn follow(&mut self, root: ExecutionId) {
        self.root = Some(root);
    }

    /// Forgets every hint so far: the caller is about to look for lines. Returns whether the execution may
    /// have moved.
    pub(crate) fn forget(&mut self, execution: Option<ExecutionId>) -> bool {
        let mut moved = false;
        loop {
            match self.receiver.try_recv() {
                Ok(hint) => {
                    moved |= execution.is_some_and(|id| hint.what == Hinted::Moved(id));
                }
                Err(TryRecvError::Lagged(_)) => moved = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return moved,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camshaft_model::{StepEvent, Timestamp};
    use futures::FutureExt;
    use std::sync::Arc;
    use uuid::Uuid;

    fn line(id: i64, run: u128) -> Notice {
        let run = ExecutionId::new(Uuid::from_u128(run));
        Notice::Step(Arc::new(StepEvent::from_row(
            id,
            run,
            None,
            "step_started",
            None,
            None,
            "{}",
            Timestamp::default(),
        )))
    }

    fn wakes(hints: &mut Hints, seen: i64) -> bool {
        hints.wait(seen).now_or_never().is_some()
    }

    #[test]
    fn a_follower_is_woken_by_newer_lines_of_its_run_only() {
        let feed = Feed::new();
        let mut hints = feed.hints(Some(ExecutionId::new(Uuid::from_u128(1))));
        feed.notice(&line(1, 2));
        feed.notice(&line(2, 1));
        assert!(
            !wakes(&mut hints, 2),
            "another run, then a line that was seen"
        );
        feed.notice(&line(3, 1));
        assert!(wakes(&mut hints, 2));
        assert_eq!(feed.newest(), 3);
    }

    #[test]
    fn a_follower_that_lags_looks_by_itself() {
        let feed = Feed::new();
        let mut hints = feed.hints(Some(ExecutionId::new(Uuid::from_u128(1))));
        for id in 0..2 * HINT_CAPACITY as i64 {
            feed.notice(&line(id, 2));
        }
        assert!(
            wakes(&mut hints, 0),
            "something was dropped, so it may have been ours"
        );
        assert!(!hints.forget(None), "it was told of that already");
        assert!(!wakes(&mut hints, 0));
    }

    #[test]
    fn an_end_is_not_forgotten_with_the_hints_before_it() {
        let feed = Feed::new();
        let run = ExecutionId::new(Uuid::from_u128(1));
        let [own, other] = [2, 3].map(|id| ExecutionId::new(Uuid::from_u128(id)));
        let mut hints = feed.hints(Some(run));
        let ends = |id| Hint {
            root: run,
            what: Hinted::Moved(id),
        };
        feed.notice(&line(1, 1));
        feed.hint(ends(other));
        assert!(!hints.forget(Some(own)));
        feed.hint(ends(own));
        feed.notice(&line(2, 1));
        assert!(hints.forget(Some(own)));
        feed.hint(ends(own));
        assert_eq!(hints.wait(2).now_or_never(), Some(Woken::Moved(own)));
    }
}
