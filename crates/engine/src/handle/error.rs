//! Why something that was asked of the engine was not done.

use camshaft_model::port::store::StoreError;
use camshaft_model::{ErrorCode, Execution, Ref};

/// Why something was not done. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// The stable code.
    pub code: ErrorCode,
    /// A sentence that says what and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ControlError {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The answer to a caller when the database does not answer.
pub(crate) fn unavailable(error: StoreError) -> ControlError {
    let hint = match error {
        StoreError::Delayed(_) => {
            "it is decided, and lost only if the engine ends before; camshaft status says what is wrong"
        }
        _ => "nothing has changed; camshaft status says what is wrong",
    };
    ControlError::new(ErrorCode::Unavailable, error.to_string()).hint(hint)
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        unavailable(error)
    }
}

/// The answer to a request whose idempotency key belongs to another one.
pub(super) fn key_reused(earlier: &Execution) -> ControlError {
    ControlError::new(
        ErrorCode::IdempotencyKeyReused,
        format!(
            "the idempotency key was used for {} of {}, which has another action or other parameters",
            earlier.spec.id, earlier.spec.action
        ),
    )
    .hint("repeat the first request as it was, or take a new key for a new one")
}

pub(crate) fn no_rule(rule: &Ref) -> ControlError {
    ControlError::new(ErrorCode::NotFound, format!("there is no rule '{rule}'"))
        .hint("list what there is: camshaft rule list")
}
