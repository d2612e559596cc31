//! The async code round the decisions.
//!
//! [`Core`] owns the state behind one lock. A caller takes the lock, applies its command, hands the
//! resulting units to the store's writer while it still holds the lock (so that the database sees
//! changes in the order in which they were decided), and lets go. The lock is the linearisation point
//! of a decision; the commit is the point from which it is true. Effects are performed by the
//! writer's callback, after the commit: until then nobody outside has heard of the decision, so a
//! crash before it leaves nothing behind, and a crash after it leaves rows that the next start takes
//! up.

mod core;
#[cfg(test)]
mod core_tests;
mod held;
mod pulse;
#[cfg(test)]
mod pulse_tests;
mod recover;
mod sensors;
pub mod timers;
mod version;

pub(crate) use core::{Core, Ports};
pub use recover::{Recovered, Recovery};
pub use version::LoadPack;
pub(crate) use version::VersionError;
