//! How constraints reach the engine from elsewhere than its API: a connector sets and clears them.

use std::collections::HashMap;

use async_trait::async_trait;

use super::store::StoreError;
use crate::{
    BlockedBy, Constraint, ConstraintError, ConstraintKey, ConstraintType, ExecutionId, Scope,
};

/// Why a constraint was not set or cleared. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ControlRefused {
    /// It is not valid, or has expired already.
    #[error(transparent)]
    Invalid(#[from] ConstraintError),
    /// Its time was over when it came.
    #[error("it expired before it arrived")]
    Expired,
    /// There are as many as there may be.
    #[error("there are {0} constraints already, and no more are taken")]
    TooMany(usize),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The engine, as a source of constraints sees it.
#[async_trait]
pub trait ConstraintControl: Send + Sync {
    /// Puts a constraint in force; one of the same key is replaced. Returns when it is stored. One that
    /// is in force as it is already changes nothing.
    ///
    /// # Errors
    /// It is refused or could not be stored.
    async fn set(&self, constraint: Constraint) -> Result<(), ControlRefused>;

    /// Ends the constraints of exactly this scope: all of them, or those of one type. Returns those that
    /// it ended, once that is stored.
    ///
    /// # Errors
    /// It could not be stored.
    async fn clear(
        &self,
        scope: &Scope,
        kind: Option<ConstraintType>,
    ) -> Result<Vec<ConstraintKey>, ControlRefused>;

    /// The constraint of this key, if one is in force.
    fn constraint(&self, key: &ConstraintKey) -> Option<Constraint>;

    /// Every constraint in force, in the order of scopes and types.
    fn constraints(&self) -> Vec<Constraint>;

    /// Everything that keeps these executions from starting now, of those that wait for their start: what
    /// somebody set comes first. One that nothing keeps starts at once.
    fn blockers(&self, ids: &[ExecutionId]) -> HashMap<ExecutionId, Vec<BlockedBy>>;

    /// Starts nothing new while `closed`, because constraints that hold already may not be known yet.
    /// Whoever closes the gate opens it again, after a named time at the latest.
    fn set_gate(&self, closed: bool);
}
