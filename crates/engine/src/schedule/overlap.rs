//! What to do with an occurrence while the execution of an earlier one has not ended. Read here with a
//! timer's other parameters; held to where executions are admitted.

use camshaft_model::Object;

use super::{ScheduleError, parameters};

/// What to do when an occurrence meets an earlier one's execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// Both run.
    #[default]
    Allow,
    /// The new one does not run.
    Skip,
    /// The new one waits for the earlier one.
    Queue,
    /// The earlier one is cancelled.
    CancelPrevious,
}

impl Overlap {
    pub(super) fn parse(parameters: &Object) -> Result<Self, ScheduleError> {
        let Some(value) = parameters::given(parameters, "overlap") else {
            return Ok(Self::default());
        };
        match value.as_str() {
            Some("allow") => Ok(Self::Allow),
            Some("skip") => Ok(Self::Skip),
            Some("queue") => Ok(Self::Queue),
            Some("cancel_previous") => Ok(Self::CancelPrevious),
            _ => Err(parameters::invalid(
                "overlap",
                value,
                "write allow, skip, queue or cancel_previous",
            )),
        }
    }
}

/// The overlap policy in a timer's parameters; the default if it is absent or cannot be read, which
/// [`super::Schedule::parse`] has then refused.
pub fn overlap(parameters: &Object) -> Overlap {
    Overlap::parse(parameters).unwrap_or_default()
}
