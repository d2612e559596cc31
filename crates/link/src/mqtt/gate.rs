//! The gate: nothing new starts while the constraints that a broker retains are being fetched.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::port::constraint::ConstraintControl;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long the engine waits for the constraints that the broker holds.
pub(super) const GATE_TIMEOUT: Duration = Duration::from_secs(2);

/// Closes and opens the engine's gate. Each closing has a number, so that who fetched constraints for an
/// earlier connection does not open what a later one has closed. However often it is closed meanwhile, it
/// does not stay closed for longer than [`GATE_TIMEOUT`].
pub(super) struct Gate {
    control: Arc<dyn ConstraintControl>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    number: u64,
    closed_until: Option<Instant>,
}

impl Gate {
    pub(super) fn new(control: Arc<dyn ConstraintControl>) -> Self {
        Self {
            control,
            state: Mutex::default(),
        }
    }

    /// Closes it, and gives the number to open it with.
    pub(super) fn close(&self) -> u64 {
        let mut state = self.state.lock();
        state.number += 1;
        if state.closed_until.is_none() {
            state.closed_until = Some(Instant::now() + GATE_TIMEOUT);
            self.control.set_gate(true);
        }
        state.number
    }

    /// Opens what was closed with this number.
    pub(super) fn open(&self, number: u64) {
        let mut state = self.state.lock();
        if state.number == number && state.closed_until.take().is_some() {
            self.control.set_gate(false);
        }
    }

    /// Opens it if it has been closed for as long as it may.
    pub(super) fn expire(&self) {
        let mut state = self.state.lock();
        if state.closed_until.is_some_and(|at| at <= Instant::now()) {
            state.closed_until = None;
            self.control.set_gate(false);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.state.get_mut().closed_until.is_some() {
            self.control.set_gate(false);
        }
    }
}
