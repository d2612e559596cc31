//! `camshaft up --for`: whether anything completed while the engine ran.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use camshaft_model::notice::{Notice, Subscriber};
use camshaft_model::{ErrorCode, Status};

use crate::render::Screen;

/// Notices that an execution completed, whenever it was requested.
#[derive(Debug, Default)]
pub(super) struct Trial(AtomicBool);

impl Trial {
    /// How the program ends, once everything is over.
    pub(super) fn exit(&self, screen: &Screen) -> ExitCode {
        if self.0.load(Ordering::Relaxed) {
            return ExitCode::SUCCESS;
        }
        screen.note("No execution completed.");
        ExitCode::from(ErrorCode::ExecutionFailed.exit_code())
    }
}

impl Subscriber for Trial {
    fn name(&self) -> &str {
        "trial"
    }

    fn notice(&self, notice: &Notice) {
        if let Notice::Execution(execution) = notice
            && execution.state.status == Status::Completed
        {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
