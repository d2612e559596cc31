//! The gate: nothing new starts while the constraints that a broker retains are being fetched.

use std::sync::Arc;
use std::time::Duration;

use camshaft_model::port::constraint::ConstraintControl;
use parking_lot::Mutex;
use tokio::time::sleep;

/// How long the engine waits for a broker, and for the constraints that one holds, whatever happens.
pub(super) const GATE_TIMEOUT: Duration = Duration::from_secs(2);

/// Closes and opens the engine's gate. Each closing has a number, so that who fetched constraints for an
/// earlier connection does not open what a later one has closed; and each ends by itself after
/// [`GATE_TIMEOUT`], whatever becomes of who closed it.
pub(super) struct Gate {
    control: Arc<dyn ConstraintControl>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    number: u64,
    is_closed: bool,
}

impl Gate {
    pub(super) fn new(control: Arc<dyn ConstraintControl>) -> Self {
        Self {
            control,
            state: Mutex::default(),
        }
    }

    /// Closes it, and gives the number to open it with.
    pub(super) fn close(self: &Arc<Self>) -> u64 {
        let number = {
            let mut state = self.state.lock();
            state.number += 1;
            if !state.is_closed {
                state.is_closed = true;
                self.control.set_gate(true);
            }
            state.number
        };
        let gate = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(GATE_TIMEOUT).await;
            if let Some(gate) = gate.upgrade() {
                gate.open(number);
            }
        });
        number
    }

    /// Opens what was closed with this number.
    pub(super) fn open(&self, number: u64) {
        let mut state = self.state.lock();
        if state.number == number && state.is_closed {
            state.is_closed = false;
            self.control.set_gate(false);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.state.get_mut().is_closed {
            self.control.set_gate(false);
        }
    }
}
