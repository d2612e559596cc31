//! What may start: constraints, capacities, and the work that waits for them.
//!
//! An execution is known to admission by its [`Candidate`]: the names by which a scope may choose it,
//! and what it needs of a worker. Executions with equal candidates are admitted alike, so they wait in
//! one class, and whether a class may go on is asked once and not for each of its members.
//!
//! [`admit`] is the one decision: a pure function of a candidate and a [`World`] at an instant. The
//! dispatcher runs it, `why` prints what it says, and a preview runs it in the world that would be and counts
//! what waits there. [`Waiting`] keeps the classes
//! filed under what holds them, so that lifting a constraint costs the work that it frees and no more.

mod admit;
mod candidate;
mod explain;
mod force;
mod preview;
mod rate;
mod told;
mod waiting;

pub(crate) use admit::{Verdict, World, admit};
pub(crate) use candidate::{Candidate, Candidates, Leases};
pub(crate) use force::{Constraints, Home, InForce, RateMoved};
pub(crate) use told::Told;
pub(crate) use waiting::{Class, Hold, Pass, Place, Waiting};
