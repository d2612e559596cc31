//! How an attempt is told to stop, from any thread, before or after it has started.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

const NOT_ASKED: u64 = u64::MAX;

/// Asks one attempt to stop. Clones are the same handle.
#[derive(Debug, Clone)]
pub struct StopHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Wakes the thread that watches the attempt.
    wake: OwnedFd,
    /// The shortest grace that anybody asked for, in milliseconds.
    grace_ms: AtomicU64,
}

impl StopHandle {
    /// A handle for an attempt that nobody has stopped yet.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            shared: Arc::new(Shared {
                wake,
                grace_ms: AtomicU64::new(NOT_ASKED),
            }),
        })
    }

    /// Stops the attempt: TERM to its group, `grace`, KILL. Asking again can only shorten the grace.
    /// An attempt that has not started will not start.
    pub fn stop(&self, grace: Duration) {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(NOT_ASKED - 1);
        self.shared
            .grace_ms
            .fetch_min(millis.min(NOT_ASKED - 1), Ordering::SeqCst);
        // The counter of an eventfd is full only after 2^64 - 2 of these; the reader is awake then.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
    }

    /// The grace that was asked for, if stopping was.
    pub(super) fn requested(&self) -> Option<Duration> {
        match self.shared.grace_ms.load(Ordering::SeqCst) {
            NOT_ASKED => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    /// What becomes readable when stopping is asked for.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    /// Makes it unreadable again until the next request.
    pub(super) fn acknowledge(&self) {
        let _ = rustix::io::read(&self.shared.wake, &mut [0u8; 8]);
    }
}
