//! Running a workflow without a process, in virtual time: what `camshaft workflow test` and the
//! conformance suite stand on.
//!
//! ```text
//! Scenario ──> Simulation: agenda ──> State (the real decisions) ──> Ledger (in place of the database)
//!                  ^        of virtual                     │
//!                  └─── instants <── mocked ends <── effects
//! ```
//! Every decision is the engine's own. Only the rim is replaced: an attempt that is started ends as its
//! mock says at a virtual instant, and what is stored goes to a [`Ledger`] that is plain memory. So a
//! retry delay of an hour costs nothing, and the same scenario gives the same outcome each time.
//!
//! A scenario may also ask for a crash: after the n-th commit everything but the ledger is thrown away,
//! and a new engine takes up what the ledger says, as at a real start. A mock that was cut off ends at
//! the instant and in the way in which it would have ended, so that the outcome must be the same.

mod agenda;
mod bench;
mod command;
mod ledger;
mod mock;
mod outcome;
mod scenario;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use ledger::Refused;
pub use ledger::{Ledger, TaskPath};
pub use mock::{Mock, Mocks, PerItem};
pub use outcome::Outcome;
pub use scenario::{Act, Answer, Move, Scenario};

pub use bench::run;
