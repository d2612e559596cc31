//! What is wrong with the parameters of a timer, in words that say what to write instead.

/// Why parameters are not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The trigger is not a timer at all.
    #[error("a trigger of kind {0} is not a timer")]
    NotATimer(String),
    /// A parameter is not there.
    #[error("'{parameter}' is missing: write {hint}")]
    Missing {
        /// Which.
        parameter: &'static str,
        /// What to write.
        hint: &'static str,
    },
    /// A parameter cannot be read.
    #[error("'{parameter}' is {value}: {hint}")]
    Invalid {
        /// Which.
        parameter: &'static str,
        /// What it is, shortened, as JSON.
        value: String,
        /// Why not, and what to write.
        hint: String,
    },
    /// The parameters can be read, but no instant satisfies them.
    #[error("'{parameter}' is {value}: it never comes to pass; {hint}")]
    Never {
        /// Which.
        parameter: &'static str,
        /// What it is, shortened, as JSON.
        value: String,
        /// What to look at.
        hint: &'static str,
    },
}
